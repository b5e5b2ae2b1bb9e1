"""The shipper: copies durable lines of every writer in the journal's folder into the record store.

By a cursor per writer that moves in the same transaction as the records, so that a crash repeats and
never skips. Only whole, sound lines are shipped, and of a running writer only those that it says are
durable. It reads files and never talks to the journal: a store that stands still cannot stop it.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from authz.chain import BrokenLine, Line, read_line
from store.records import RecordFile, RecordStore
from store.segments import Segment, segments, whole_lines, writers

BATCH_BYTES = 1 << 20


@dataclass(slots=True)
class _Place:
    """Where the next line of a writer begins."""

    first: int  # of the segment
    offset: int


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one pass did: new records in the store, lines that are broken and were left out."""

    records: int
    broken: int
    done: bool  # nothing more to ship right now


class Shipper:
    """Ships the lines of all writers. One process of an installation runs it."""

    def __init__(self, journal: Path, store: RecordStore) -> None:
        self._journal = journal
        self._store = store
        self._places: dict[str, _Place] = {}

    async def run_once(self) -> Shipped:
        """Ships at most a megabyte of each writer.

        Raises:
            RecordsUnavailable: the store cannot take records; the next pass tries again.
        """
        return await self._store.work(self._pass)

    async def drain(self) -> int:
        """Ships until nothing is left; how many records are new."""
        total = 0
        while True:
            shipped = await self.run_once()
            total += shipped.records
            if shipped.done:
                return total

    async def cursor(self, writer: str) -> int:
        """The seq up to which a writer's records are in the store (for pruning)."""
        return (await self._store.work(lambda file: file.cursor(writer)))[0]

    def _pass(self, file: RecordFile) -> Shipped:
        records = broken = 0
        done = True
        for folder in writers(self._journal):
            try:
                new, bad, more = self._ship(folder, file)
            except BaseException:
                self._places.pop(folder.name, None)  # find the place again by the cursor
                raise
            records += new
            broken += bad
            done = done and not more
        return Shipped(records, broken, done)

    def _ship(self, folder: Path, file: RecordFile) -> tuple[int, int, bool]:
        durable = _durable(folder)
        place = self._places.get(folder.name)
        if place is None or not _still_there(folder, place):
            place = _find(folder, *file.cursor(folder.name))
            if place is None:
                return 0, 0, False
            self._places[folder.name] = place
        lines: list[Line] = []
        broken = 0
        waiting = False
        raw, offset = _read(folder, place)
        for start, piece in whole_lines(raw):
            try:
                line = read_line(piece)
            except BrokenLine:
                broken += 1
                offset = place.offset + start + len(piece)
                continue
            if line.seq > durable:
                waiting = True
                break
            offset = place.offset + start + len(piece)
            lines.append(line)
        moved = offset != place.offset
        new = file.ship(lines) if lines else 0
        place.offset = offset
        if not moved and not waiting:
            following = [s for s in segments(folder) if s.first > place.first]
            if following:
                place.first, place.offset, moved = following[0].first, 0, True
        return new, broken, moved


def _durable(folder: Path) -> int:
    """The seq up to which lines are on the disk; without limit once nobody writes any more."""
    try:
        head = int((folder / "head").read_bytes() or b"0")
    except (OSError, ValueError):
        head = 0
    return head if _held(folder) else max(head, 1 << 62)


def _held(folder: Path) -> bool:
    """Whether a running process holds the writer's lock."""
    try:
        handle = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared and for a moment only: a writer that starts just now takes the next slot at worst.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _still_there(folder: Path, place: _Place) -> bool:
    """Whether the file has not become shorter than where we stand (a restart cut its tail)."""
    path = folder / f"{place.first:020d}.jsonl"
    return path.exists() and path.stat().st_size >= place.offset


def _read(folder: Path, place: _Place) -> tuple[bytes, int]:
    with (folder / f"{place.first:020d}.jsonl").open("rb") as file:
        file.seek(place.offset)
        raw = file.read(BATCH_BYTES)
        while raw and b"\n" not in raw:  # a line longer than a batch
            more = file.read(BATCH_BYTES)
            if not more:
                break
            raw += more
    return raw, place.offset


def _find(folder: Path, seq: int, digest: str) -> _Place | None:
    """The place after the record (seq, digest), or the begin of the segment that should hold it.

    Shipping a line twice does no harm, skipping one would: so a cursor that is not found as it was
    (its record was not durable and was written anew) means the whole segment again.
    """
    found = segments(folder)
    if not found:
        return None
    home: Segment = found[0]
    for segment in found:
        if segment.first <= seq:
            home = segment
    if seq:
        offset = 0
        for start, piece in whole_lines(home.path.read_bytes()):
            offset = start + len(piece)
            try:
                line = read_line(piece)
            except BrokenLine:
                continue
            if (line.seq, line.hash) == (seq, digest):
                return _Place(home.first, offset)
    return _Place(home.first, 0)
