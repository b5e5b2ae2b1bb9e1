"""Counts and sums by keys of whole numbers: what figures add up in.

Cells are taken as they come and added up when many have come together, so that a key costs no step of the
interpreter. Sums are exact: what would not fit into 63 bits is kept in two halves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
HALF = 31  # bits of a number's lower half
_FITS = 1 << 62


class Cells:
    """`size` whole numbers for each key of `width` whole numbers that are not negative."""

    def __init__(self, width: int, size: int) -> None:
        self._width = width
        self._size = size
        self._new: list[tuple[Numbers, Numbers]] = []
        self.new = 0  # how many cells came since they were added up

    def add(self, keys: Sequence[Numbers], values: Sequence[Numbers]) -> None:
        """Cells more: of each its keys, and its numbers."""
        self._new.append((np.array(keys), np.array(values)))
        self.new += self._new[-1][1].shape[1]

    def added_up(self) -> tuple[Numbers, Numbers]:
        """One cell a key: the keys, an array of each place, and the numbers likewise."""
        if not self._new:
            return np.zeros((self._width, 0), np.int64), np.zeros((self._size, 0), np.int64)
        keys = np.concatenate([one for one, _ in self._new], axis=1)
        values = np.concatenate([one for _, one in self._new], axis=1)
        said = _one_number(keys)
        order = np.argsort(said, kind="stable")
        said = said[order]
        first = np.flatnonzero(np.append(True, said[1:] != said[:-1]))
        keys = keys[:, order[first]]
        values = np.add.reduceat(values[:, order], first, axis=1)
        self._new = [(keys, values)]
        self.new = 0
        return keys, values


def among(keys: Numbers, others: Numbers) -> NDArray[np.bool_]:
    """Which of the keys are among others."""
    said = _one_number(np.concatenate([keys, others], axis=1))
    many = keys.shape[1]
    return np.isin(said[:many], said[many:])


def _one_number(keys: Numbers) -> Numbers:
    """A number for each key, the same for the same."""
    said = np.zeros(keys.shape[1], np.int64)
    many = 1
    for place in keys:
        said, many = combined(said, many, place, int(place.max(initial=0)) + 1)
    return said


def combined(said: Numbers, many: int, more: Numbers, of: int) -> tuple[Numbers, int]:
    """Two numbers of each record as one, which is below the second of what this returns.

    `said` is below `many`, `more` below `of`; `divmod` by `of` gives both back, unless they do not fit.
    """
    if many * of >= _FITS:
        held, said = np.unique(said, return_inverse=True)
        many = len(held)
    return said * of + more, many * of


def halves(total: Numbers) -> tuple[Numbers, Numbers]:
    """Numbers that are not negative as a lower and an upper half; sums of halves are exact for long."""
    return total & ((1 << HALF) - 1), total >> HALF


def whole(lower: Numbers, upper: Numbers) -> list[int]:
    """What sums of halves stand for."""
    lows: list[int] = lower.tolist()
    if not upper.any():
        return lows
    return [low + (high << HALF) for low, high in zip(lows, upper.tolist(), strict=True)]
