"""Ids and actions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.errors import InvalidId
from authz.vocabulary import Action, Kind, escape, kind_of, make_id, mcp_id, model_id, split_id


def test_actions_are_written_type_and_verb_in_order() -> None:
    values = [action.value for action in Action]
    assert values == sorted(values) and all(value.count(":") == 1 for value in values)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("gpt-4.1", "gpt-4.1"),
        ("a b", "a%20b"),
        ("100%", "100%25"),
        ("über", "%C3%BCber"),
        ("a,b|c>d\n", "a%2Cb%7Cc%3Ed%0A"),
        ("~@+", "~@+"),
    ],
)
def test_bytes_outside_the_plain_set_are_escaped(name: str, written: str) -> None:
    assert escape(name) == written


@settings(max_examples=100)
@given(name=st.text(min_size=1, max_size=30))
def test_every_made_id_is_canonical_and_two_names_never_meet(name: str) -> None:
    made = make_id(Kind.TEAM, name)
    assert split_id(made) == (Kind.TEAM, escape(name)) and kind_of(made) == "team"
    assert made != make_id(Kind.TEAM, name + "x")


@pytest.mark.parametrize(
    "value", ["", "team:", "nokind:x", "team", "team:a b", "team:%2c", "team:a\n"]
)
def test_what_is_no_id_is_refused(value: str) -> None:
    with pytest.raises(InvalidId):
        split_id(value)


def test_an_accounts_name_has_no_slash_and_a_model_may() -> None:
    assert model_id("acme", "org/mini") == "model:acme/org/mini"
    with pytest.raises(InvalidId):
        model_id("ac/me", "mini")


def test_a_name_is_needed_and_not_endless() -> None:
    for name in ("", "x" * 513):
        with pytest.raises(InvalidId):
            make_id(Kind.TEAM, name)


def test_what_a_server_offers_is_named_by_the_server_and_its_own_name() -> None:
    assert mcp_id(Kind.MCP_TOOL, "github~2", "get issue") == "mcp-tool:github~2/get%20issue"
    template = mcp_id(Kind.MCP_RESOURCE, "docs", "file:///{path}?a=1")
    assert template == "mcp-resource:docs/file:///%7Bpath%7D%3Fa%3D1"
    for server, name in (("a/b", "x"), ("a", ""), ("a", "x" * 600)):
        with pytest.raises(InvalidId):
            mcp_id(Kind.MCP_TOOL, server, name)
