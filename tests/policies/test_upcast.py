"""Stored documents of an older schema are brought up when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from policies import upcast as module
from policies.documents import DOCUMENT_TYPES, Team, parse_json
from policies.upcast import STEPS, UnknownSchema, schema_of, stamped, upcast

Data = Mapping[str, Any]


def renamed(data: Data) -> Data:
    """1 -> 2: `people` became `members`."""
    return {"members" if name == "people" else name: value for name, value in data.items()}


def described(data: Data) -> Data:
    """2 -> 3: every team has a description."""
    return {"description": "", **data}


TEAM = {"team": {1: renamed, 2: described}}


def test_each_step_is_taken_from_the_schema_that_was_stored() -> None:
    old = {"name": "search", "people": ["u-1"]}
    assert upcast("team", old, TEAM) == {"name": "search", "members": ["u-1"], "description": ""}
    two = {"schema": 2, "name": "search", "members": []}
    assert upcast("team", two, TEAM) == {"name": "search", "members": [], "description": ""}
    assert old == {"name": "search", "people": ["u-1"]}


def test_what_is_stored_now_is_read_as_it_is() -> None:
    now = {"name": "search", "members": [], "description": "ours"}
    written = stamped("team", now, TEAM)
    assert written == {**now, "schema": 3}
    assert upcast("team", written, TEAM) == now


def test_a_family_without_a_step_costs_nothing_and_says_no_schema() -> None:
    data = {"name": "search"}
    assert upcast("team", data) is data and stamped("team", data) is data
    assert schema_of("team", {}) == 1


@pytest.mark.parametrize("schema", [4, 0, "2", None])
def test_a_schema_that_nobody_here_knows_is_refused(schema: object) -> None:
    with pytest.raises(UnknownSchema, match="reads 3"):
        upcast("team", {"schema": schema, "name": "search"}, TEAM)


def test_a_newer_document_of_a_family_without_steps_is_refused_too() -> None:
    with pytest.raises(UnknownSchema, match="reads 1"):
        upcast("team", {"schema": 2, "name": "search"})


def test_a_stored_body_is_brought_up_where_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.STEPS, "team", {1: renamed})  # type: ignore[misc]
    team = parse_json("team", b'{"type":"team","name":"search","people":["user:u-1"]}')
    assert isinstance(team, Team) and team.members == ("user:u-1",)


def test_the_steps_of_each_family_have_no_gap() -> None:
    families = {cls.family or name for name, cls in DOCUMENT_TYPES.items()}
    for family, steps in STEPS.items():
        assert family in families
        assert sorted(steps) == list(range(1, len(steps) + 1))
