"""Rows and their digest."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.errors import InvalidRow
from authz.rows import ARITY, Row, digest_after, digest_of, digest_text, row

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=100)
@given(values=st.lists(text, min_size=2, max_size=2))
def test_the_digest_is_that_of_the_canonical_text(values: list[str]) -> None:
    made = row("g", *values)
    wanted = hashlib.sha256(made.text().encode()).digest()
    assert digest_of(made) == int.from_bytes(wanted, "big")


def test_the_canonical_text_is_fixed() -> None:
    assert row("m", "a/b#c", 'say "hé"\n').text() == '["m","a/b#c","say \\"hé\\"\\n"]'


def test_the_digest_of_a_set_has_no_order_and_goes_back() -> None:
    one, two = row("g", "a", "b"), row("g", "c", "d")
    assert digest_after(0, [one, two], []) == digest_after(digest_after(0, [two], []), [one], [])
    assert digest_after(digest_after(0, [one, two], []), [], [one, two]) == 0
    assert digest_text(0) == "0" * 64


def test_moving_a_value_to_the_next_field_changes_the_digest() -> None:
    assert digest_of(row("g", "ab", "c")) != digest_of(row("g", "a", "bc"))


@pytest.mark.parametrize(
    "values",
    [
        ("g", "a"),
        ("g", "a", "b", "c"),
        ("x", "a", "b"),
        ("p", "s", "o", "a", "Deny", "", "id"),
        ("p", "s", "o", "*", "allow", "", "id"),
        ("p2", "s", "o", "a", "", "", "id"),
    ],
)
def test_a_wrong_row_is_refused(values: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRow):
        row(*values)


def test_every_type_of_row_has_its_number_of_values() -> None:
    for ptype, count in ARITY.items():
        values = ["x"] * count
        if ptype in ("p", "p2"):
            values[3] = "allow"
        assert row(ptype, *values) == Row(ptype, tuple(values))
