"""The shipper: copies durable lines of every writer in the journal's folder into the record store.

By a cursor per writer that moves in the same transaction as the records, so that a crash repeats and
never skips. Only whole, sound lines are shipped, and of a running writer only those that it says are
durable. It reads files and never talks to the journal: a store that stands still cannot stop it.
Blocking; one at a time by the `Lease`. Which process it runs in: `proxy/shipping.py`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from authz.chain import BrokenLine, Line, read_line
from store.segments import Segment, is_held, segment_path, segments, whole_lines, writers

BATCH_BYTES = 2 << 20


class Filled(Protocol):
    """What is filled (`intake.Intake`). Every method raises StoreUnavailable."""

    def cursor(self, writer: str) -> tuple[int, str]:
        """The seq and hash of the last line taken of a writer; (0, "") if none."""

    def ship(self, lines: Iterable[Line]) -> int:
        """Takes lines, in order, and moves the cursors; how many records are new."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one pass did: new records in the store, lines that are broken and were left out."""

    records: int
    broken: int
    done: bool  # nothing more to ship right now


class Lease:
    """The right to ship for an installation: a lock on a file, let go when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self) -> bool:
        """Whether we hold it now.

        Raises:
            OSError: the file cannot be made.
        """
        if self._handle is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            self._handle = handle
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class Shipper:
    """Ships the lines of all writers."""

    def __init__(self, journal: Path, store: Filled) -> None:
        self._journal = journal
        self._store = store
        self._places: dict[str, _Place] = {}

    def run_once(self) -> Shipped:
        """Ships at most two megabytes of each writer, all in one transaction.

        Raises:
            StoreUnavailable: the store cannot take records; the next pass tries again.
        """
        parts = [_Part(folder, self._place(folder)) for folder in writers(self._journal)]
        records = self._store.ship(line for part in parts for line in part.lines())
        for part in parts:
            if part.next is None:
                self._places.pop(part.folder.name, None)
            else:
                self._places[part.folder.name] = part.next
        return Shipped(
            records, sum(part.broken for part in parts), not any(part.more for part in parts)
        )

    def drain(self) -> int:
        """Ships until nothing is left; how many records are new. Raises: as `run_once`."""
        total = 0
        while True:
            shipped = self.run_once()
            total += shipped.records
            if shipped.done:
                return total

    def _place(self, folder: Path) -> _Place | None:
        place = self._places.get(folder.name)
        if place is not None and _still_there(folder, place):
            return place
        return _find(folder, *self._store.cursor(folder.name))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the next line of a writer begins."""

    first: int  # of the segment
    offset: int
    file: int  # which file that was: one that was written anew (`erasing`) has other offsets


class _Part:
    """What one pass takes from one writer. `next`, `broken` and `more` hold once `lines` has ended."""

    def __init__(self, folder: Path, place: _Place | None) -> None:
        self.folder = folder
        self.next = place
        self.broken = 0
        self.more = False

    def lines(self) -> Iterator[Line]:
        """The sound lines from the place on that are durable."""
        if self.next is None:
            return
        place, end = self.next, self.next.offset
        durable = _durable(self.folder)  # before the lines are read
        raw = _read(self.folder, place)
        if raw is None:
            self.next, self.more = None, True  # found anew by the cursor
            return
        waiting = False
        for start, piece in whole_lines(raw):
            try:
                line = read_line(piece)
            except BrokenLine:
                self.broken += 1
                end = place.offset + start + len(piece)
                continue
            if line.seq > durable:
                waiting = True
                break
            end = place.offset + start + len(piece)
            if line.writer == self.folder.name:
                yield line
            else:
                self.broken += 1  # another writer's: it would move that one's cursor
        self.more = end != place.offset
        self.next = replace(place, offset=end)
        if not self.more and not waiting:
            self._turn(place, len(raw))

    def _turn(self, place: _Place, unread: int) -> None:
        """Goes on in the next segment, if there is one and this one has not grown meanwhile."""
        following = [part.first for part in segments(self.folder) if part.first > place.first]
        if following:
            self.more = True
            size = segment_path(self.folder, place.first).stat().st_size
            if size == place.offset + unread:
                self.next = _begin(self.folder, following[0])


def _durable(folder: Path) -> int:
    """The seq up to which lines are on the disk; without limit once nobody writes any more."""
    try:
        head = int((folder / "head").read_bytes() or b"0")
    except (OSError, ValueError):
        head = 0
    return head if is_held(folder) else max(head, 1 << 62)


def _still_there(folder: Path, place: _Place) -> bool:
    """Whether the file has not become shorter than where we stand (a restart cut its tail)."""
    path = segment_path(folder, place.first)
    return path.exists() and path.stat().st_size >= place.offset


def _begin(folder: Path, first: int) -> _Place:
    """The begin of a segment."""
    return _Place(first, 0, segment_path(folder, first).stat().st_ino)


def _read(folder: Path, place: _Place) -> bytes | None:
    """What comes next; None if the segment was written anew since the place was found."""
    with segment_path(folder, place.first).open("rb") as file:
        if os.fstat(file.fileno()).st_ino != place.file:
            return None
        file.seek(place.offset)
        raw = file.read(BATCH_BYTES)
        while raw and b"\n" not in raw:  # a line longer than a batch
            more = file.read(BATCH_BYTES)
            if not more:
                break
            raw += more
    return raw


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
        with home.path.open("rb") as file:
            inode, raw = os.fstat(file.fileno()).st_ino, file.read()
        mark = raw.find(b',"hash":"%b",' % digest.encode())
        start, end = raw.rfind(b"\n", 0, max(mark, 0)) + 1, raw.find(b"\n", max(mark, 0)) + 1
        if mark >= 0 and end and _is(raw[start:end], seq, digest):
            return _Place(home.first, end, inode)
    return _begin(folder, home.first)


def _is(piece: bytes, seq: int, digest: str) -> bool:
    try:
        line = read_line(piece)
    except BrokenLine:
        return False
    return (line.seq, line.hash) == (seq, digest)
