"""Names of several servers in one list go there and back, and none moves because another came."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mcp.names import LIMIT, Names, advertised, holds_separator

FORM = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,47}\Z")


def test_a_name_that_fits_is_kept() -> None:
    assert advertised("github", "create_issue") == "github__create_issue"
    assert advertised("git-hub", "getIssue") == "git-hub__getIssue"
    assert Names([("github", "x")]).pair("github__x") == ("github", "x")


@pytest.mark.parametrize(
    ("server", "tool"),
    [
        ("github~2", "x"),
        ("github", "a.b"),
        ("github", "ü"),
        ("9lives", "x"),
        ("", ""),
        ("a__b", "c"),
        ("a_", "b"),
        ("a", "b__c"),
        ("a" * 60, "x"),
        ("a", "x" * 60),
        ("_" * 60, "_" * 60),
    ],
)
def test_one_that_does_not_fit_is_made_to(server: str, tool: str) -> None:
    name = advertised(server, tool)
    assert FORM.match(name)
    assert re.search(r"__[a-z2-7]{10}\Z", name)


def test_a_shortened_name_can_still_be_recognised() -> None:
    name = advertised("salesforce-production", "accounts.contacts.search_by_everything_there_is")
    assert name.startswith("salesforce-pro__accounts-contacts-")
    assert len(name) == LIMIT


def test_no_server_can_call_a_tool_as_another_is_advertised() -> None:
    other = advertised("github~2", "x")
    server, tool = other.split("__", 1)
    assert holds_separator(tool)
    assert advertised(server, tool) != other
    assert advertised("a_", "b") != advertised("a", "_b")
    assert advertised("a", "__b") != advertised("a__", "b")


def test_pairs_that_are_not_there_are_unknown() -> None:
    names = Names([("a", "b")])
    assert (len(names), list(names)) == (1, ["a__b"])
    with pytest.raises(KeyError):
        names.of("a", "c")
    with pytest.raises(KeyError):
        names.pair("a__c")
    with pytest.raises(ValueError, match="40"):
        Names([], limit=39)


def test_all_of_a_collision_get_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.mcp.names._DIGEST", 0)  # as if two digests began alike
    pairs = [("a", "x.y"), ("a", "x y"), ("b", "x.y")]
    for order in (pairs, pairs[::-1]):
        names = Names(order)
        made = {pair: names.of(*pair) for pair in pairs}
        assert len(set(made.values())) == 3
        assert all(re.search(r"__[a-z2-7]{24}\Z", made[pair]) for pair in pairs[:2])
        assert all(names.pair(name) == pair for pair, name in made.items())


PART = st.one_of(
    st.text(st.sampled_from("ab_-~.9"), max_size=8),
    st.text(max_size=70),
    st.sampled_from(["a", "a_", "_b"]),
)
PAIRS = st.lists(st.tuples(PART, PART), max_size=30)


@given(PAIRS, PAIRS)
def test_names_are_a_bijection_and_stay_when_others_come(
    first: list[tuple[str, str]], more: list[tuple[str, str]]
) -> None:
    before, after = Names(first), Names(more + first)
    for names, pairs in ((before, first), (after, first + more)):
        assert len(names) == len(set(pairs))
        for pair in pairs:
            name = names.of(*pair)
            assert FORM.match(name)
            assert names.pair(name) == pair
    for pair in first:
        assert before.of(*pair) == after.of(*pair) == advertised(*pair)


@given(PAIRS, st.integers(40, 128))
def test_the_limit_is_kept(pairs: list[tuple[str, str]], limit: int) -> None:
    assert all(len(name) <= limit for name in Names(pairs, limit))
