"""Cells add up exactly, however many keys there are and however large the numbers."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from store.cells import Cells, combined, halves, whole

KEYS = st.tuples(*[st.integers(0, 3) | st.integers(0, (1 << 40) - 1)] * 3)
PARTS = st.lists(st.lists(st.tuples(KEYS, st.integers(0, (1 << 62) - 1)), max_size=12), max_size=5)


@settings(max_examples=200, deadline=None)
@given(PARTS, st.data())
def test_cells_hold_what_adding_up_one_by_one_comes_to(
    parts: list[list[tuple[tuple[int, ...], int]]], data: st.DataObject
) -> None:
    cells = Cells(3, 3)
    sums: Counter[tuple[int, ...]] = Counter()
    counts: Counter[tuple[int, ...]] = Counter()
    for part in parts:
        for key, value in part:
            sums[key] += value
            counts[key] += 1
        if part:
            keys = np.array([key for key, _ in part], np.int64).T
            low, high = halves(np.array([value for _, value in part], np.int64))
            cells.add(list(keys), [np.ones(len(part), np.int64), low, high])
        if data.draw(st.booleans()):
            cells.added_up()
            assert cells.new == 0
    keys, (count, low, high) = cells.added_up()
    found = list(map(tuple, keys.T.tolist()))
    assert len(set(found)) == len(found)
    assert dict(zip(found, count.tolist(), strict=True)) == counts
    assert dict(zip(found, whole(low, high), strict=True)) == sums


def test_no_cells_come_to_nothing() -> None:
    keys, values = Cells(2, 3).added_up()
    assert keys.shape == (2, 0)
    assert values.shape == (3, 0)


def test_two_numbers_are_one_and_come_apart_again() -> None:
    said, many = combined(np.array([0, 4, 2]), 5, np.array([6, 0, 3]), 7)
    assert many == 35
    assert list(zip(*map(list, np.divmod(said, 7)), strict=True)) == [(0, 6), (4, 0), (2, 3)]


def test_numbers_that_would_not_fit_are_numbered_anew_and_stay_apart() -> None:
    said, many = combined(np.array([0, 1 << 61, 0]), 1 << 62, np.array([5, 5, 6]), 8)
    assert many == 2 * 8
    assert len(set(said.tolist())) == 3
