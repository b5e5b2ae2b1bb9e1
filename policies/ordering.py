"""Sorting that lets other threads have their turn: a sort holds the interpreter until it is done.

A hundred thousand rows take half a second to sort, and nothing else runs in the process meanwhile, whatever
thread they are sorted in. So many are sorted in parts, each some milliseconds, and the parts are merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import merge
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison

T = TypeVar("T", bound="SupportsRichComparison")
PART: Final = 2_000  # sorted at once


def in_order(items: Iterable[T]) -> list[T]:
    """The items sorted."""
    left = list(items)
    if len(left) <= PART:
        return sorted(left)
    parts = [sorted(left[start : start + PART]) for start in range(0, len(left), PART)]
    return list(merge(*parts))
