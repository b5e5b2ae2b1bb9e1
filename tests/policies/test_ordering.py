"""Sorting in parts is sorting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pytest import MonkeyPatch

from policies import ordering
from policies.ordering import in_order


@given(items=st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9))), part=st.integers(1, 7))
def test_parts_that_are_merged_are_in_order(items: list[tuple[str, int]], part: int) -> None:
    with MonkeyPatch.context() as patch:
        patch.setattr(ordering, "PART", part)
        assert in_order(iter(items)) == sorted(items)
