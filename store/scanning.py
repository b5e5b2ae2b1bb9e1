"""How a store looks through a shelf: newest first, in windows that grow, until enough is found.

Whether a store walks its index backwards or sorts what it finds, a window bounds what it does before it
can say how far it came; so a deadline costs at most the last window, and the next page goes on from there.
Where records of a span of time lie is known by pieces of 4,096 places, since arrival is only nearly time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from store.request_records import Entry, Found, Row

PIECE_BITS: Final = 12  # of a place: which piece it belongs to
_FIRST: Final = 1 << 16  # places in the first window
_GROWTH: Final = 4
_LARGEST: Final = 1 << 20

# Rows in [bottom, top], the newest first, at most so many, within so many seconds; whether the time ran out.
Fetch = Callable[[int, int, int, float], tuple[list[Row], bool]]


def walk(
    fetch: Fetch, lowest: int, highest: int, limit: int, seconds: float, clock: Callable[[], float]
) -> Found:
    """At most `limit` rows between two places, the newest first."""
    rows: list[Row] = []
    end = clock() + seconds
    top, size = highest, _FIRST
    while top >= lowest:
        bottom = max(lowest, top - size + 1)
        found, struck = fetch(bottom, top, limit - len(rows), end - clock())
        rows += found
        if struck:
            return Found(tuple(rows), found[-1].seq if found else top + 1, struck=True)
        if len(rows) >= limit:
            return Found(tuple(rows), rows[-1].seq)
        top, size = bottom - 1, min(size * _GROWTH, _LARGEST)
        if top >= lowest and clock() >= end:
            return Found(tuple(rows), bottom, struck=True)
    return Found(tuple(rows), lowest, done=True)


def pieces(placed: Iterable[tuple[int, Entry]]) -> dict[int, tuple[int, int]]:
    """By piece, the oldest and the newest time of the records that come into it."""
    made: dict[int, tuple[int, int]] = {}
    for seq, entry in placed:
        first, last = made.get(seq >> PIECE_BITS, (entry.at, entry.at))
        made[seq >> PIECE_BITS] = min(first, entry.at), max(last, entry.at)
    return made


def places(lowest: int | None, highest: int | None) -> tuple[int, int]:
    """The places that two pieces, and all between them, have; (1, 0) for none."""
    if lowest is None or highest is None:
        return 1, 0
    return lowest << PIECE_BITS, ((highest + 1) << PIECE_BITS) - 1
