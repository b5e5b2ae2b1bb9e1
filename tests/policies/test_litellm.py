"""A LiteLLM installation as an estate: what it could use there it can use here, and nothing besides."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from estates import House
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.conditions import Context
from authz.engine import Engine
from policies.errors import InvalidDocuments, PolicyError
from policies.litellm import Migration, migrate, read_config
from policies.litellm_notes import Fate
from policies.loader import load_mapping
from policies.validate import validate

FIXTURES = Path(__file__).parent / "fixtures" / "litellm"
EVERY = {
    "openai/gpt-4o",
    "openai/mini",
    "azure-acme-eu/gpt-4o",
    "anthropic/claude",
    "openai-2/embed",
}
EVERY |= {"bedrock/titan", "openai-3/shared"}


class Asker(NamedTuple):
    id: str
    bound: str | None = None
    token: str | None = None


def imported() -> Migration:
    return migrate(
        read_config((FIXTURES / "config.yaml").read_text(), "config.yaml"),
        teams=json.loads((FIXTURES / "teams.json").read_text()),
        keys=json.loads((FIXTURES / "keys.json").read_text()),
    )


def by_name(made: Migration) -> dict[str, Any]:
    return {f"{str(d['type']).partition('/')[0]}/{d['name']}": d for d in made.documents}


def usable(house: House, engine: Engine, subject: str) -> set[str]:
    """The models that a subject may use."""
    models = house.estate.names.models(None)
    return {
        model.partition(":")[2]
        for model in models
        if engine.decide(Asker(subject), "model:use", model, Context()).effect == "allow"
    }


def person(house: House, email: str) -> str:
    return f"user:{house.estate.emails[email]}"


def test_what_comes_out_is_an_estate_without_errors() -> None:
    loaded = load_mapping(list(imported().documents))
    assert [p.text() for p in validate(loaded) if p.severity == "error"] == []
    assert len(loaded.documents) == len(imported().documents)


def test_everybody_may_use_what_their_keys_and_teams_could_and_no_more() -> None:
    house = House(*load_mapping(list(imported().documents)).plain())
    engine = house.engine()

    def may(subject: str) -> set[str]:
        return usable(house, engine, subject)

    # An empty list meant every model, and the one that is the team's own.
    assert may(person(house, "bob@example.com")) == EVERY | {"hosted-vllm-llm/llama"}
    assert may("virtualaccount:anything") == EVERY
    ops = {"openai/gpt-4o", "azure-acme-eu/gpt-4o", "openai/mini"}
    assert may("virtualaccount:checkout") == ops
    assert may("virtualaccount:batch") == {"openai/mini"}  # its team may not use the other
    assert may("virtualaccount:stopped") == set()
    assert may("virtualaccount:narrow") == {"openai/mini"}
    assert may("virtualaccount:nobody") == set()


def test_accounts_stand_for_providers_addresses_and_keys() -> None:
    found = by_name(imported())
    assert found["provider-account/openai"]["auth_data"]["api_key"] == "env:OPENAI_API_KEY"
    assert [m["name"] for m in found["provider-account/openai"]["integrations"]] == [
        "gpt-4o",
        "mini",
    ]
    azure = found["provider-account/azure-acme-eu"]
    assert azure["base_url"] == "https://acme-eu.openai.azure.com"
    assert azure["api_version"] == "2024-10-21"
    assert azure["auth_data"]["api_key"] == "env:AZURE_ACME_EU_API_KEY"
    assert azure["integrations"][0]["model_id"] == "gpt-4o-eu"
    assert found["provider-account/openai-2"]["integrations"][0]["model_types"] == ["embedding"]
    assert found["provider-account/openai-3"]["auth_data"]["api_key"] == "env:OTHER_KEY"
    assert found["provider-account/bedrock"]["auth_data"] == {
        "type": "access-key-based",
        "access_key_id": "env:AWS_ID",
        "secret_access_key": "env:BEDROCK_SECRET_ACCESS_KEY",
    }
    assert "auth_data" not in found["provider-account/hosted-vllm-llm"]


def test_teams_keep_their_people_and_service_keys_become_virtual_accounts() -> None:
    found = by_name(imported())
    search = found["team/Search-Find"]
    assert search["members"] == ["alice@example.com", "bob@example.com"]
    assert search["managers"] == ["alice@example.com"]
    assert "team/ops" in found and "team/Ops-2" in found
    assert "role-binding/team-Ops-2" not in found and "role-binding/team-none" not in found
    checkout = found["virtual-account/checkout"]
    assert checkout["ownedBy"] == {"team": "ops"}
    assert (
        checkout["expiration_date"] == "2027-05-04"
    )  # the last whole day: never longer than it was
    assert found["virtual-account/narrow"]["expiration_date"] == "1970-01-01"
    assert "virtual-account/lost" not in found and "virtual-account/alice-laptop" not in found
    assert found["role-binding/user-alice-example.com"]["subjects"] == [
        {"type": "user", "name": "alice@example.com"}
    ]


@pytest.mark.parametrize(
    ("where", "fate", "said"),
    [
        ("model_list[0].litellm_params.rpm", Fate.LEFT, "limits"),
        ("model_list[1].litellm_params.api_key", Fate.CHANGED, "was not copied"),
        ("model_list[1]", Fate.CHANGED, "several deployments"),
        ("model_list[3].litellm_params.api_key", Fate.CHANGED, "ANTHROPIC_API_KEY"),
        ("model_list[7].litellm_params.aws_region_name", Fate.LEFT, "without region"),
        ("model_list[8].litellm_params.api_base", Fate.LEFT, "address cannot"),
        ("model_list[9].litellm_params.api_base", Fate.LEFT, "address cannot"),
        ("model_list[10].litellm_params.model", Fate.LEFT, "vertex_ai"),
        ("model_list[11]", Fate.LEFT, "wildcard"),
        ("router_settings.fallbacks", Fate.LEFT, "fallbacks"),
        ("litellm_settings.callbacks", Fate.LEFT, "callbacks"),
        ("general_settings.master_key", Fate.LEFT, "tenant-admin"),
        ("guardrails", Fate.LEFT, "guardrails"),
        ("teams[0].models", Fate.CHANGED, "an empty list, which meant every model"),
        ("teams[0].max_budget", Fate.LEFT, "budgets"),
        ("teams[0].members_with_roles[2]", Fate.LEFT, "without an e-mail"),
        ("teams[1].models", Fate.LEFT, "gone-model"),
        ("teams[2].blocked", Fate.CHANGED, "granted nothing"),
        ("keys[0].metadata", Fate.LEFT, "metadata"),
        ("keys[1].models", Fate.CHANGED, "team may not use"),
        ("keys[3].tpm_limit", Fate.LEFT, "limits"),
        ("keys[6]", Fate.LEFT, "not known"),
        ("keys[7]", Fate.LEFT, "t-gone"),
        ("keys[9]", Fate.LEFT, "only its number"),
    ],
)  # fmt: skip
def test_the_report_says_what_became_of_each_thing(where: str, fate: Fate, said: str) -> None:
    made = imported()
    found = [n for n in made.notes if n.where == where and n.fate is fate and said in n.what]
    assert len(found) == 1, [n for n in made.notes if n.where.startswith(where)]
    assert f"`{where}`" in made.report()


def test_no_secret_comes_through_to_files_or_report() -> None:
    made = imported()
    whole = json.dumps([list(made.documents), made.to_json()], default=str) + made.report()
    assert "sk-" not in whole and "postgresql" not in whole
    assert "| `gpt-4o` | `openai/gpt-4o`, `azure-acme-eu/gpt-4o` |" in made.report()
    assert "- `AZURE_ACME_EU_API_KEY`" in made.report()


def test_a_personal_key_that_has_ended_grants_nothing() -> None:
    config = {"model_list": [{"model_name": "m", "litellm_params": {"model": "openai/m"}}]}
    key = {"user_id": "a@example.com", "models": ["m"], "expires": "2026-01-01T00:00:00Z"}

    def grants(now: datetime) -> list[Any]:
        made = migrate(config, keys=[key], now=now)
        return [d for d in made.documents if d["type"] == "role-binding"]

    assert grants(datetime(2026, 1, 1, tzinfo=UTC)) == []
    (binding,) = grants(datetime(2025, 12, 31, tzinfo=UTC))
    assert binding["subjects"] == [{"type": "user", "name": "a@example.com"}]
    key["expires"] = "whenever"
    assert grants(datetime(2025, 12, 31, tzinfo=UTC)) == []


def test_an_export_of_another_form_is_refused() -> None:
    with pytest.raises(PolicyError, match="the team export is no list"):
        migrate({}, teams={"detail": "no"})
    with pytest.raises(PolicyError, match="model_list is no list"):
        migrate({"model_list": "x"})
    with pytest.raises(InvalidDocuments, match="one mapping"):
        read_config("- a\n", "c.yaml")
    with pytest.raises(InvalidDocuments, match="not valid YAML"):
        read_config("a: [", "c.yaml")


LEAVES = st.none() | st.booleans() | st.integers(-1, 9) | st.sampled_from(
    ["", "gpt-4o", "openai/x", "azure/y", "*", "=cmd", "a b", "https://x.example", "os.environ/K", "everyone", "v1"]
)  # fmt: skip
NAMES = st.sampled_from(
    ["model_name", "litellm_params", "model", "api_base", "api_key", "model_info", "team_id", "team_alias",
     "models", "members_with_roles", "user_id", "user_email", "key_alias", "expires", "metadata", "role", "mode"]
)  # fmt: skip
ANY = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=20
)  # fmt: skip


@given(st.lists(ANY, max_size=4), st.lists(ANY, max_size=4), st.lists(ANY, max_size=4))
@settings(max_examples=120, deadline=None)
def test_whatever_the_exports_hold_the_outcome_is_an_estate(
    models: list[Any], teams: list[Any], keys: list[Any]
) -> None:
    made = migrate({"model_list": models}, teams=teams, keys=keys)
    assert made.report()
    problems = validate(load_mapping(list(made.documents)))
    assert [p.text() for p in problems if p.severity == "error"] == []
