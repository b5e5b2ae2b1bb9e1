"""Takes the text of a person out of the journal: the asides of the lines that the person caused.

The chain holds only the salted digest of an aside, so a line without it proves what it proved (`verify` counts
them). Whole segments are written anew beside and put in the place of the old ones: only those that nobody
writes any more and that are shipped. What stands in others is counted, and goes when it is tried again.
Blocking. The torn tails that restarts set aside are left: their digest is part of the proof.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from authz.chain import BrokenLine, read_line
from authz.records import canonical
from store.segments import Segment, last_line, segments, sync_folder, writers

_ASIDE: Final = b'{"aside":'
_PART: Final = ".rewritten"


@dataclass(frozen=True, slots=True)
class Stripped:
    """Lines that lost their aside, and lines that still have one."""

    lines: int = 0
    left: int = 0


def strip(journal: Path, subject: str, settled: Callable[[str], int]) -> Stripped:
    """Erases the asides of `subject`; `settled` says up to which seq a writer's records are shipped.

    Raises:
        OSError: a segment cannot be written; those before it are done.
    """
    if not journal.is_dir():
        return Stripped()
    with (journal / "erasing.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # let go when it is closed
        return _strip(journal, subject, settled)


def _strip(journal: Path, subject: str, settled: Callable[[str], int]) -> Stripped:
    lines = left = 0
    for folder in writers(journal):
        shipped = settled(folder.name)
        with _unwritten(folder) as unwritten:
            parts = segments(folder)
            for place, part in enumerate(parts):
                last = _last(parts, place) if place + 1 < len(parts) or unwritten else None
                if last is not None and last <= shipped:
                    lines += _rewrite(folder, part, subject)
                else:
                    left += sum(1 for _ in _found(part, subject))
    return Stripped(lines, left)


@contextlib.contextmanager
def _unwritten(folder: Path) -> Iterator[bool]:
    """Whether nobody writes; while the block runs nobody begins to (a writer takes the next slot)."""
    try:
        handle = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)


def _last(parts: list[Segment], place: int) -> int | None:
    """The seq of the last record of a segment."""
    if place + 1 < len(parts):
        return parts[place + 1].first - 1
    line = last_line(parts[place].path)
    return None if line is None else line.seq


def _lean(raw: bytes, subject: str) -> bytes | None:
    """The line without its aside; None if it has none, or is somebody else's."""
    if not raw.startswith(_ASIDE) or subject.encode() not in raw:
        return None
    try:
        line = read_line(raw)
    except BrokenLine:
        return None  # it proves nothing, and is left as it is
    if line.body.get("principal") != subject:
        return None
    return canonical(msgspec.structs.replace(line, aside=None)) + b"\n"


def _found(part: Segment, subject: str) -> Iterator[bytes]:
    with part.path.open("rb") as file:
        for raw in file:
            if _lean(raw, subject) is not None:
                yield raw


def _rewrite(folder: Path, part: Segment, subject: str) -> int:
    if next(_found(part, subject), None) is None:
        return 0
    fresh = part.path.with_suffix(_PART)
    count = 0
    with part.path.open("rb") as old, fresh.open("wb") as new:
        fresh.chmod(0o600)
        for raw in old:
            lean = _lean(raw, subject)
            count += lean is not None
            new.write(raw if lean is None else lean)
        new.flush()
        os.fsync(new.fileno())
    fresh.replace(part.path)
    sync_folder(folder)
    return count
