"""Prices of models: the shipped table, the names it knows them by, and what documents say instead."""

from __future__ import annotations

import re

import pytest
from ruamel.yaml import YAML

from policies.loader import load_text
from policies.pricing import TABLE, Long, Price, price_of, public
from policies.provider_accounts import PROVIDER_TYPES, Cost
from policies.validate import validate


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("openai", "gpt-4o-mini", "openai/gpt-4o-mini"),
        ("openai", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"),
        ("openai", "GPT-4o", "openai/gpt-4o"),
        ("anthropic", "claude-3-5-haiku-latest", "anthropic/claude-3-5-haiku"),
        ("aws-bedrock", "us.anthropic.claude-3-haiku-20240307-v1:0", "aws-bedrock/anthropic.claude-3-haiku"),
        ("google-gemini", "gemini-2.0-flash-001", "google-gemini/gemini-2.0-flash"),
    ],
)  # fmt: skip
def test_a_model_is_known_under_its_dated_names(provider: str, model: str, name: str) -> None:
    found = public(provider, model)
    assert found is not None and found.version.partition(":")[2] == name


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-4o-audio-preview"), ("openai", "gpt"), ("echo", "gpt-4o"), ("openai", "")],
)
def test_a_model_that_nobody_knows_has_no_price(provider: str, model: str) -> None:
    assert public(provider, model) is None


def test_a_dollar_for_a_million_tokens_is_a_whole_number() -> None:
    assert public("openai", "gpt-4o-mini") == Price(
        150_000, 600_000, "2026-11-27:openai/gpt-4o-mini"
    )


def test_a_dated_name_may_have_a_price_of_its_own() -> None:
    old, new = public("openai", "gpt-4o-2024-05-13"), public("openai", "gpt-4o-2024-11-20")
    assert old is not None and new is not None and old.input == 2 * new.input


def test_a_model_that_keeps_to_a_region_may_cost_more() -> None:
    anywhere, here = (
        public("aws-bedrock", f"{place}anthropic.claude-opus-5") for place in ("global.", "eu.")
    )
    assert anywhere == public("aws-bedrock", "anthropic.claude-opus-5")
    assert anywhere is not None and here is not None
    assert (10 * here.input, 10 * here.output) == (11 * anywhere.input, 11 * anywhere.output)
    assert here.version == f"{anywhere.version}*1.1"
    long = public("aws-bedrock", "us.anthropic.claude-haiku-5-5")
    assert long is not None and long.long == Long(100_000, 550_000, 2_750_000)
    assert public("aws-bedrock", "us.amazon.nova-lite-v1:0") == public(
        "aws-bedrock", "amazon.nova-lite-v1:0"
    )


def test_a_document_says_its_own_price_and_the_price_is_its_version() -> None:
    own = Cost(metric="custom_cost", input_cost_per_token=1.5e-07, output_cost_per_token=6e-07)
    assert price_of("openai", "gpt-4o", own) == Price(150_000, 600_000, "document:150000/600000")
    assert price_of("openai", "gpt-4o", Cost()) == public("openai", "gpt-4o")


def test_the_table_has_a_version_known_providers_and_exact_prices() -> None:
    table = YAML(typ="safe").load(TABLE.read_text("utf-8"))
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", table["version"])
    for provider, models in table["providers"].items():
        assert f"provider-account/{provider}" in PROVIDER_TYPES
        for name, price in models.items():
            assert name == name.lower() and {"input", "output"} <= set(price)
            assert set(price) <= {"input", "output", "long", "regional"}
            long = price.get("long", {**price, "above": 1000})
            assert set(long) >= {"above", "input", "output"} and long["above"] >= 1000
            assert 0 <= price["input"] <= long["input"] < 1000
            assert 0 <= price["output"] <= long["output"] < 1000
            assert 1 <= price.get("regional", 1) < 2


def test_a_price_of_one_s_own_must_be_said() -> None:
    def codes(cost: str) -> list[str]:
        model = f"{{type: integration/model/echo, name: mini, cost: {cost}}}"
        text = f"type: provider-account/echo\nname: acme\nintegrations:\n  - {model}\n"
        return [problem.code for problem in validate(load_text(text, "f.yaml"))]

    assert codes("{metric: custom_cost}") == ["missing_field"]
    assert codes("{metric: public_cost, input_cost_per_token: 0.1}") == ["no_effect"]
    assert codes("{metric: custom_cost, input_cost_per_token: 0.00000015}") == []
    assert codes("{metric: custom_cost, input_cost_per_token: -1}") == ["wrong_value"]
