"""From the journal into the records store: a line becomes an entry on its shelf, with its keys.

It has what `shipper.Shipper` asks of a record file (`cursor`, `ship`) and what a prune asks (`settled`), so
that one shipper fills any store. Lines that are neither a request nor a decision (a writer opened, a
checkpoint) stay in the journal; they only move the cursor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from authz.chain import Line
from authz.keys import keys_of, stamp_of
from authz.records import canonical
from store.request_records import Entry, Shelf, Shelves

_SHELVES: Final = {"request": Shelf.REQUESTS, "decision": Shelf.DECISIONS}


class Intake:
    """Fills a records store; blocking. Raises: StoreUnavailable, from every method."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves

    def cursor(self, writer: str) -> tuple[int, str]:
        """The seq and hash of the last line shipped of a writer; (0, "") if none."""
        return self._shelves.cursor(writer)

    def settled(self, writer: str) -> int:
        """The seq up to which a writer's records are here and on the disk."""
        return self._shelves.settled(writer)

    def ship(self, lines: Iterable[Line]) -> int:
        """Takes lines of one or more writers, in order; how many records are new."""
        entries: list[Entry] = []
        heads: dict[str, tuple[int, str]] = {}
        for line in lines:
            heads[line.writer] = (line.seq, line.hash)
            entry = entry_of(line)
            if entry is not None:
                entries.append(entry)
        return self._shelves.take(entries, heads) if heads else 0


def entry_of(line: Line) -> Entry | None:
    """The line as an entry; None if it belongs on no shelf."""
    shelf = _SHELVES.get(line.type)
    if shelf is None:
        return None
    keys = keys_of(stamp_of(line.body, line.aside))
    return Entry(shelf, line.writer, line.seq, line.id, line.at, keys, canonical(line))
