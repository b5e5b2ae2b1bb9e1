"""The small tables."""

from __future__ import annotations

import pytest

from authz.errors import InvalidRow
from authz.table import Table


def test_the_last_value_counts_and_each_row_goes_by_itself() -> None:
    table = Table()
    table.add("k", "old")
    table.add("k", "new")
    table.add("k", "new")
    assert table.get("k") == "new"
    table.remove("k", "new")
    table.remove("k", "new")
    assert table.get("k") == "old"
    table.remove("k", "old")
    assert table.get("k") is None and len(table) == 0


def test_a_row_that_is_not_there_cannot_go() -> None:
    table = Table()
    table.add("k", "v")
    for key, value in (("k", "w"), ("l", "v")):
        with pytest.raises(InvalidRow):
            table.remove(key, value)
