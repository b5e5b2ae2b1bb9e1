"""Changes to a dict that are built aside and put in place in one step.

A dict is copied and the copy changed, so that putting it in place is one assignment. Only a large one
that is changed in few places is not: copying tens of thousands of entries for one row would be the longest
pause of all, so its changes are kept apart and made in the last step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

V = TypeVar("V")

LARGE = 4096  # a dict up to here is copied for the first change
SHARE = 16  # a larger one when one entry in so many has changed


class Overlay(Generic[V]):
    """One dict and the changes to it; None as a value means that the key goes."""

    __slots__ = ("_base", "_changes", "_copy")

    def __init__(self, base: dict[str, V]) -> None:
        self._base = base
        self._changes: dict[str, V | None] = {}
        self._copy: dict[str, V] | None = None

    def get(self, key: str) -> V | None:
        """The value once the change is made."""
        if self._copy is not None:
            return self._copy.get(key)
        return self._changes[key] if key in self._changes else self._base.get(key)

    def put(self, key: str, value: V | None) -> int:
        """Notes a change; answers how many entries had to be copied for it."""
        if self._copy is not None:
            _put(self._copy, key, value)
            return 0
        self._changes[key] = value
        if LARGE < len(self._base) > len(self._changes) * SHARE:
            return 0
        copy = dict(self._base)
        for one, its in self._changes.items():
            _put(copy, one, its)
        self._copy, self._changes = copy, {}
        return len(copy)

    def __iter__(self) -> Iterator[str]:
        """The keys once the change is made."""
        if self._copy is not None:
            yield from self._copy
            return
        yield from (key for key in self._base if self._changes.get(key, key) is not None)
        yield from (
            key for key, its in self._changes.items() if its is not None and key not in self._base
        )

    def commit(self) -> dict[str, V]:
        """The dict with the change made: the one in use, changed in place, or the copy instead of it."""
        if self._copy is not None:
            return self._copy
        for key, value in self._changes.items():
            _put(self._base, key, value)
        return self._base


def _put(into: dict[str, V], key: str, value: V | None) -> None:
    if value is None:
        into.pop(key, None)
    else:
        into[key] = value
