"""How a line about access reads."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.printing_plan import access_line, drift_line

LINE: dict[str, Any] = {
    "subject": "team:search",
    "effect": "gains",
    "action": "model:use",
    "resource": "provider-account:acme",
    "people": 14,
    "accounts": 0,
    "things": 3,
}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "team:search (14 people) gains model:use on acme (3 models)"),
        (
            {"people": 1, "accounts": 2, "things": 1, "effect": "loses"},
            "team:search (1 person, 2 accounts) loses model:use on acme (1 model)",
        ),
        ({"resource": "model:acme/mini"}, "team:search (14 people) gains model:use on acme/mini"),
        (
            {"subject": "user:u-1", "people": 1},
            "ann@example.com gains model:use on acme (3 models)",
        ),
        (
            {"action": "team:write", "resource": "any:team"},
            "team:search (14 people) gains team:write on any:team (3 teams)",
        ),
    ],
)
def test_a_line_says_who_and_how_many(changes: dict[str, Any], text: str) -> None:
    people = {"user:u-1": "ann@example.com"}
    assert access_line({**LINE, **changes}, lambda name: people.get(str(name), str(name))) == text


def test_drift_says_what_stays_and_who_holds_it() -> None:
    held = {"type": "team", "name": "search", "field": "members", "held_by": ["scim"]}
    assert drift_line(held) == "drift    team/search: members stays, held by scim"
    assert "taken over" in drift_line({"type": "team", "name": "search"})
