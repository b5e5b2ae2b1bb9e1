"""The files of one writer: its lock, its segments, the tail that a restart finds, the reserve.

A folder `<journal>/<writer>/` holds `<first seq>.jsonl` segments, `checkpoints.jsonl` (a copy of each
checkpoint line), `keys.jsonl` (key rotations), `head` (the durable seq, for readers beside us), `lock`
and `reserve`. Blocking: everything here runs at start or in the journal's thread. What the lines mean
stands in `authz/chain.py`; who writes them, in `writer.py`.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from authz.chain import BrokenLine, Line, Link, follows, read_line, time_of
from authz.records import Recovered
from store.errors import StoreError

CHECKPOINTS: Final = "checkpoints.jsonl"
KEYS: Final = "keys.jsonl"
TAIL_BYTES: Final = 1 << 16
_NAME = re.compile(r"(\d{20})\.jsonl\Z")
_TORN = re.compile(r"(\d{20})-(\d+)\.torn\Z")
_CHECKPOINT = b'"type":"checkpoint"'


class JournalError(StoreError):
    """The journal's folder cannot be used."""

    code = "journal_error"


class NoFreeSlot(JournalError):
    """Every slot of this host is held by a running process."""

    code = "journal_slots_taken"


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of lines; its name says which record comes first."""

    first: int
    path: Path


def writer_name(installation: str, host: str, slot: int) -> str:
    """The name of a writer, which is also the name of its folder."""
    return "@".join(re.sub(r"[^A-Za-z0-9._-]", "-", part) for part in (installation, host)) + (
        f"@{slot}"
    )


def is_held(folder: Path) -> bool:
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


def segment_path(folder: Path, first: int) -> Path:
    return folder / f"{first:020d}.jsonl"


def segments(folder: Path) -> list[Segment]:
    """The segments of a writer, oldest first."""
    found = ((_NAME.match(path.name), path) for path in folder.iterdir())
    return sorted(
        (Segment(int(match[1]), path) for match, path in found if match), key=lambda s: s.first
    )


def writers(journal: Path) -> list[Path]:
    """The folders of all writers, by name."""
    if not journal.is_dir():
        return []
    return sorted(path for path in journal.iterdir() if path.is_dir() and path.name.count("@") == 2)


def claim(journal: Path, installation: str, host: str, slots: int) -> tuple[Path, int]:
    """The folder of the first free slot and the descriptor that holds its lock.

    Raises:
        NoFreeSlot: all are held.
        OSError: the folder cannot be made or opened.
    """
    for slot in range(slots):
        folder = journal / writer_name(installation, host, slot)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return folder, lock
    raise NoFreeSlot(
        f"all {slots} journal slots of `{host}` are taken",
        hint="another server runs on this data folder, or raise the number of slots",
    )


def sync_folder(folder: Path) -> None:
    """Makes new and removed names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def whole_lines(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The offset and bytes (with line break) of each line that is whole."""
    start = 0
    while (end := raw.find(b"\n", start)) >= 0:
        yield start, raw[start : end + 1]
        start = end + 1


def last_line(path: Path) -> Line | None:
    """The last line of a small file that can be read, None if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            raw = file.read()
    except FileNotFoundError:
        return None
    for piece in reversed([line for _, line in whole_lines(raw)]):
        try:
            return read_line(piece)
        except BrokenLine:
            continue
    return None


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a writer goes on: after `link`, in `segment` at `offset` (None: a new segment).

    `floor` is the time of the newest id, `at` the time of the last record, `cuts` what was cut off.
    """

    link: Link
    segment: Segment | None
    offset: int
    floor: int
    at: int
    cuts: tuple[Recovered, ...]


def recover(folder: Path) -> Tail:
    """Finds the end of the chain, and cuts off a tail that is not whole.

    The end is the last sound line; what follows it is a torn write and is moved into a file beside.
    From the last checkpoint to the end the chain is checked: a break there is no torn write, so it is
    recorded and left for `verify`. If the checkpoints know of later records than the segments hold,
    the chain goes on after those, so that no seq is used twice and `verify` sees the hole.
    """
    link, floor, at, offset = Link(), 0, 0, 0
    current: Segment | None = None
    broken: tuple[Recovered, ...] = ()
    found = segments(folder)
    for segment in reversed(found):
        raw = segment.path.read_bytes()
        last, end = _end(raw)
        if segment is found[-1]:
            current, offset = segment, end
            if end < len(raw):
                _cut(segment, raw, end)
        if last is not None:
            link, floor, at = Link(last.seq, last.hash), time_of(last.id), last.at
            broken = _breaks(segment, raw[:end])
            break
    known = last_line(folder / CHECKPOINTS)
    if known is not None and known.seq > link.seq:
        link, floor, at, current = Link(known.seq, known.hash), time_of(known.id), known.at, None
    if current is not None and offset == 0 and current.first != link.seq + 1:
        current.path.unlink()
        current = None
    return Tail(link, current, offset, floor, at, (*_torn(folder), *broken))


def _end(raw: bytes) -> tuple[Line | None, int]:
    """The last sound line and where it ends."""
    end = raw.rfind(b"\n") + 1
    while end:
        start = raw.rfind(b"\n", 0, end - 1) + 1
        try:
            return read_line(raw[start:end]), end
        except BrokenLine:
            end = start
    return None, 0


def _breaks(segment: Segment, raw: bytes) -> tuple[Recovered, ...]:
    """The first break of the chain between the last checkpoint and the end, if there is one."""
    mark = raw.rfind(_CHECKPOINT)
    start = raw.rfind(b"\n", 0, mark) + 1 if mark >= 0 else 0
    link: Link | None = None
    for offset, piece in whole_lines(raw[start:]):
        try:
            line = read_line(piece)
            sound = link is None or not follows(line, link)
        except BrokenLine:
            sound = False
        if not sound:
            rest = raw[start + offset :]
            return (
                Recovered(
                    segment=segment.path.name,
                    offset=start + offset,
                    length=len(rest),
                    digest=sha256(rest).hexdigest(),
                    lines=rest.count(b"\n"),
                    kept=True,
                ),
            )
        link = Link(line.seq, line.hash)
    return ()


def _cut(segment: Segment, raw: bytes, offset: int) -> None:
    """Moves the bytes from `offset` on into a file beside the segment, then cuts them off."""
    beside = segment.path.with_name(f"{segment.first:020d}-{offset}.torn")
    try:
        with beside.open("wb") as file:
            file.write(raw[offset:])
            file.flush()
            os.fsync(file.fileno())
        sync_folder(segment.path.parent)
    except OSError:
        # No room to keep it. What is cut was never acknowledged; that it was cut is still recorded.
        beside.unlink(missing_ok=True)
        beside.touch()
    with segment.path.open("rb+") as file:
        file.truncate(offset)
        os.fsync(file.fileno())


def _torn(folder: Path) -> Iterator[Recovered]:
    """A record for each cut that is not yet recorded (also those of a start that was killed)."""
    for path in sorted(folder.iterdir()):
        match = _TORN.match(path.name)
        if match:
            raw = path.read_bytes()
            yield Recovered(
                segment=f"{match[1]}.jsonl",
                offset=int(match[2]),
                length=len(raw),
                digest=sha256(raw).hexdigest(),
                lines=raw.count(b"\n"),
            )


def settle(folder: Path) -> None:
    """Marks all cuts as recorded."""
    for path in list(folder.iterdir()):
        if _TORN.match(path.name):
            path.rename(path.with_suffix(".cut"))


class SegmentFile:
    """An open segment: bytes are either durable up to `offset` or will be cut before the next write."""

    def __init__(self, path: Path, offset: int, sync: Callable[[int], None]) -> None:
        self.offset = offset
        self._sync = sync
        fresh = not path.exists()
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._dirty = os.fstat(self._handle).st_size != offset
        if fresh:
            sync_folder(path.parent)

    def write(self, data: bytes) -> None:
        """Writes at the end and waits until it is on the disk.

        Raises:
            OSError: nothing of it counts; `offset` stays.
        """
        if self._dirty:
            os.ftruncate(self._handle, self.offset)
            self._dirty = False
        self._dirty = True
        view, offset = memoryview(data), self.offset
        while view:
            written = os.pwrite(self._handle, view, offset)
            view, offset = view[written:], offset + written
        self._sync(self._handle)
        self._dirty = False
        self.offset = offset

    def cut(self) -> None:
        """Takes back what a failed write left behind (tried again before the next write)."""
        if self._dirty:
            os.ftruncate(self._handle, self.offset)
            self._dirty = False

    def close(self) -> None:
        os.close(self._handle)


class Reserve:
    """Some disk space that is given back when the disk is full, for the records that say so."""

    def __init__(self, folder: Path, size: int) -> None:
        self._path = folder / "reserve"
        self._size = size
        self.held = False

    def make(self) -> None:
        """Takes the space; without effect when there is none (tried again after the next commit)."""
        if self.held or not self._size:
            return
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, self._size)
            finally:
                os.close(handle)
        except OSError:
            self.release()
            return
        self.held = True

    def release(self) -> None:
        self.held = False
        self._path.unlink(missing_ok=True)
