"""A small table of rows with two values, such as aliases (`a`) and public messages (`m`).

The same row may come from two documents and then goes with the second; the last value added is the one
that counts. Conditions (`c`) are kept by `enforcer.Conditions`, which compiles them.
"""

from __future__ import annotations

from authz.errors import InvalidRow


class Table:
    """`key -> value`, by rows."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> str | None:
        """The value of `key`, or None."""
        found = self._values.get(key)
        return None if found is None else found[-1]

    def add(self, key: str, value: str) -> None:
        """One row more."""
        self._values[key] = (*self._values.get(key, ()), value)

    def remove(self, key: str, value: str) -> None:
        """One row less.

        Raises:
            InvalidRow: there is no such row.
        """
        had = self._values.get(key, ())
        if value not in had:
            raise InvalidRow(f"there is no row `{key}, {value}`")
        at = had.index(value)
        left = had[:at] + had[at + 1 :]
        if left:
            self._values[key] = left
        else:
            del self._values[key]
