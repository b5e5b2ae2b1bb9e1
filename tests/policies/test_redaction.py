"""What is cut out of what is kept, and what is left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.logging_config import PRESETS, CustomPattern, Preset, RedactWith
from policies.redaction import MAX_DEPTH, Counted, Redactor

EVERYTHING = Redactor([RedactWith(presets=PRESETS)])  # type: ignore[arg-type]


def cut(text: str, redactor: Redactor = EVERYTHING) -> str:
    return redactor.text(text, Counted())


@pytest.mark.parametrize(
    ("preset", "text", "left"),
    [
        ("email", "write to ann.b+x@mail.example.co.uk, now", "write to [email], now"),
        ("email", "It is ann@example.com. Or ann@example.com?", "It is [email]. Or [email]?"),
        ("email", "jörg@bücher.example", "[email]"),
        ("credit-card", "4111111111111111", "[credit-card]"),
        ("credit-card", "4111 1111-1111 1111 123", "[credit-card] 123"),
        ("credit-card", "card: 340000000000009.", "card: [credit-card]."),
        ("iban", "DE89 3704 0044 0532 0130 00 AND MORE", "[iban] AND MORE"),
        ("iban", "AB12 DE89370400440532013000 GB82WEST12345698765432", "AB12 [iban] [iban]"),
        ("phone", "call +49 (0)30 1234567 or (415) 555-2671", "call [phone] or [phone]"),
        ("ip-address", "from 10.0.0.1, 2001:db8::1 and ::1", "from [ip-address], [ip-address] and [ip-address]"),
        ("aws-key", "AKIAIOSFODNN7EXAMPLE", "[aws-key]"),
        ("aws-key", "secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "[aws-key]"),
        ("openai-key", "sk-proj-abcdefghijklmnopqrstuvwx", "[openai-key]"),
        ("github-token", "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[github-token]"),
    ],
)  # fmt: skip
def test_a_preset_finds_its_form(preset: Preset, text: str, left: str) -> None:
    assert cut(text, Redactor([RedactWith(presets=(preset,))])) == left


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # the check digit is wrong
        "1700000000000",  # an instant in milliseconds
        "41111111111111110000000000000000",  # digits inside of others
        "DE88 3704 0044 0532 0130 00",
        "999.1.1.1 and 1.2.3.4.5 and v1.2.3.4 at 12:30:45",
        "a@b and x@localhost",
        "order 2024-11-27-0001",
        "sk-short",
    ],
)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    assert cut(text) == text


def test_tokens_of_this_gateway_go_whatever_the_rules_say() -> None:
    token = "gw_pat_abcd1234efgh_ABCDEFGHIJKLMNOPQRSTUVWXYZ123456_abc123"
    assert cut(f"Bearer {token}", Redactor()) == "Bearer [gateway-token]"


def test_patterns_of_several_rules_add_up() -> None:
    rules = [
        RedactWith(custom_patterns=(CustomPattern(pattern=r"EMP-\d{6}", redaction_text="[who]"),)),
        RedactWith(presets=("email",)),
    ]
    counted = Counted()
    assert Redactor(rules).text("EMP-123456 is a@b.example", counted) == "[who] is [email]"
    assert counted.found == {"custom": 1, "email": 1}


def test_a_pattern_that_cannot_be_tried_hides_all_rather_than_nothing() -> None:
    broken = RedactWith(custom_patterns=(CustomPattern(pattern="(?=x)"),))
    assert cut("anything\nat all", Redactor([broken])) == "[redacted]"


def test_values_keys_numbers_and_json_in_texts_are_gone_through() -> None:
    value = {
        "ann@example.com": [4111111111111111, 5, True, None, 1.5],
        "arguments": json.dumps({"to": "ann@example.com", "n": 1}),
        "plain": '{"a": [1,  2]}',
    }
    counted = Counted()
    assert EVERYTHING.value(value, counted) == {
        "[email]": ["[credit-card]", 5, True, None, 1.5],
        "arguments": '{"to":"[email]","n":1}',
        "plain": '{"a": [1,  2]}',  # nothing in it: as it came
    }
    assert counted.found == {"email": 2, "credit-card": 1}


def test_an_escape_in_arguments_hides_no_address() -> None:
    value = {"arguments": r'{"to":"ann\u0040example.com"}'}
    assert EVERYTHING.value(value, Counted()) == {"arguments": '{"to":"[email]"}'}


def test_pictures_in_texts_are_only_named() -> None:
    found = EVERYTHING.value("data:image/png;base64," + "A" * 5000, Counted())
    assert found == "data:image/png;base64,[5022 characters]"


def test_what_is_too_deep_is_not_kept() -> None:
    value: Any = "ann@example.com"
    for _ in range(MAX_DEPTH + 5):
        value = [value]
    assert "ann" not in json.dumps(EVERYTHING.value(value, Counted()))


@given(st.text(), st.text())
def test_an_address_goes_wherever_it_stands(before: str, after: str) -> None:
    assert "ann@mail.example" not in cut(f"{before} ann@mail.example {after}")


@given(st.text())
def test_what_was_cut_is_not_cut_again(text: str) -> None:
    once = cut(text)
    assert cut(once) == once
