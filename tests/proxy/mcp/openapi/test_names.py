"""Names of tools: safe everywhere, and never moved from one operation to another."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mcp.openapi.names import MAX_NAME, Wish, names, safe


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("listPets", "listPets"),
        ("get /pets/{id}", "get_pets_id"),
        ("a__b___c", "a_b_c"),
        ("__x__", "x"),
        ("pets.list:all", "pets_list_all"),
        ("größe", "gr_e"),
        ("本", ""),
    ],
)
def test_a_text_is_made_safe(text: str, name: str) -> None:
    assert safe(text) == name


def test_a_long_name_keeps_its_beginning_and_stays_apart() -> None:
    one, other = safe("a" * 100), safe("a" * 101)
    assert len(one) == len(other) == MAX_NAME
    assert one != other


def test_what_an_operation_is_called() -> None:
    wishes = [
        Wish("GET", "/a", "listA", "chosen"),
        Wish("GET", "/b", "listB"),
        Wish("GET", "/c/{id}", ""),
        Wish("GET", "/d", "本"),
    ]
    assert names(wishes) == ["chosen", "listB", "get_c_id", "get_d"]


def test_two_of_one_name_both_lose_it() -> None:
    one, other = Wish("GET", "/a", "list"), Wish("GET", "/b", "List")
    assert names([one]) == ["list"]
    both = names([one, other])
    assert len(set(both)) == 2
    assert not {"list", "List"} & set(both)
    # The order of the document does not matter, so that a name means the same after an edit.
    assert names([other, one]) == both[::-1]


def test_a_chosen_name_is_kept() -> None:
    made = names([Wish("GET", "/a", "list"), Wish("GET", "/b", "", "list")])
    assert made[1] == "list"
    assert made[0].startswith("list_")


def test_a_name_that_looks_like_a_suffix_takes_nobodys_place() -> None:
    pair = [Wish("GET", "/a", "list"), Wish("GET", "/b", "list")]
    trap = Wish("GET", "/c", names(pair)[0])
    made = names([*pair, trap])
    assert len({name.casefold() for name in made}) == 3


@given(st.lists(st.tuples(st.text(max_size=80), st.text(max_size=80)), max_size=8))
def test_names_are_always_fit_and_unique(texts: list[tuple[str, str]]) -> None:
    wishes = [Wish("GET", f"/{n}", a, b) for n, (a, b) in enumerate(texts)]
    made = names(wishes)
    assert len({name.casefold() for name in made}) == len(wishes)
    for name in made:
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
        assert "__" not in name
        assert not name.startswith("_")
