"""The chain writer: encodes, chains, checkpoints and writes. It lives in the journal's thread.

`commit` is all or nothing: either every record of a batch is on the disk, or the chain stands where it
stood. Checkpoints go in by count here, by time on the journal's word. It never waits for anything but
the disk; the copy of the checkpoints in the second place is another thread's work (`checkpoints.py`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.chain import GENESIS, Ids, Link, seal
from authz.checkpoint import key_id, public_bytes, sign
from authz.records import Checkpoint, Gap, KeyRotation, Prune, Record
from store.checkpoints import append_after, forget_checkpoints
from store.segments import (
    CHECKPOINTS,
    KEYS,
    Reserve,
    Segment,
    SegmentFile,
    Tail,
    last_line,
    segment_path,
    segments,
    sync_folder,
    writers,
)


class Item(Protocol):
    """A record with its time and id."""

    @property
    def at(self) -> int: ...
    @property
    def id(self) -> str: ...
    @property
    def record(self) -> Record: ...


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a commit needs to know of the moment: the time, and the head of the change log."""

    now: int
    change_epoch: int = 0
    change_head: str = GENESIS


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes: bytes of a segment, records between checkpoints, bytes kept in reserve."""

    segment_bytes: int = 64 * 1024 * 1024
    checkpoint_records: int = 10_000
    reserve_bytes: int = 64 * 1024


@dataclass(slots=True)
class Draft:
    """A batch in the making: what the chain would be after it."""

    base: Link  # the end of the chain that it follows
    link: Link
    since: int  # records since the last checkpoint
    lines: list[bytes] = field(default_factory=list)
    checkpoints: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Own:
    """A record of the writer's own."""

    at: int
    id: str
    record: Record


class ChainWriter:
    """The end of one writer's chain. One thread at a time, but for `draft`, which may run beside it."""

    def __init__(
        self,
        folder: Path,
        tail: Tail,
        *,
        key: Ed25519PrivateKey,
        limits: Limits,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.folder = folder
        self.writer = folder.name
        self.link = tail.link
        self.checkpointed = 0  # seq of the last checkpoint of this run
        self.fresh: deque[bytes] = (
            deque()
        )  # checkpoint lines for the second place; the journal takes them
        self._key = key
        self._key_id = key_id(public_bytes(key))
        self._limits = limits
        self._sync = sync
        self._since = 0
        self._ids = Ids(os.urandom(4).hex(), tail.floor)
        self._naming = (
            Lock()
        )  # a draft is made on the loop while the thread may prune or turn a key
        self._reserve = Reserve(folder, limits.reserve_bytes)
        self._segment = tail.segment
        self._file = SegmentFile(tail.segment.path, tail.offset, sync) if tail.segment else None
        self._head = os.open(folder / "head", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mark()

    @property
    def key(self) -> str:
        return self._key_id

    def commit(
        self, items: Sequence[Item], stamp: Stamp, *, checkpoint: bool = False
    ) -> list[Item]:
        """Writes the records; returns those that have no JSON form and were left out.

        Raises:
            OSError: nothing was written; the chain stands where it stood.
        """
        draft, refused = self.draft(items, stamp)
        if checkpoint:
            self._checkpoint(draft, stamp, peers=True)
        self.put(draft)
        return refused

    def draft(self, items: Sequence[Item], stamp: Stamp) -> tuple[Draft, list[Item]]:
        """The records as lines that follow the chain, and those that have no JSON form.

        Touches no file. It can be `put` as long as nothing else was (see `fits`).
        """
        draft = Draft(self.link, self.link, self._since)
        refused = []
        for item in items:
            try:
                self._add(draft, item)
            except Exception:  # a record that cannot be encoded must not take its batch along
                refused.append(item)
                continue
            if draft.since >= self._limits.checkpoint_records:
                self._checkpoint(draft, stamp)
        return draft, refused

    def fits(self, draft: Draft) -> bool:
        """Whether the chain still ends where the draft begins."""
        return draft.base is self.link

    def put(self, draft: Draft) -> None:
        """Writes a draft and waits until it is on the disk.

        Raises:
            OSError: nothing was written; the chain stands where it stood.
        """
        if draft.lines:
            self._put(draft)

    def begin_gap(self, cause: str, stamp: Stamp) -> None:
        """Writes down that writing fails, with a checkpoint, into the reserved space.

        Raises:
            OSError: not even that is possible.
        """
        self._reserve.release()
        gap = self._own(Gap(phase="begin", cause=cause, since=stamp.now), stamp)
        self.commit([gap], stamp, checkpoint=True)

    def rotate_key(self, new: Ed25519PrivateKey, stamp: Stamp) -> None:
        """Introduces the new key with a record signed with the old one, then signs with the new one.

        Raises:
            OSError: the old key stays.
        """
        public = public_bytes(new)
        if key_id(public) == self._key_id:
            return
        rotation = sign(KeyRotation(key=self._key_id, public=public.hex(), at=stamp.now), self._key)
        draft = Draft(self.link, self.link, self._since)
        self._add(draft, self._own(rotation, stamp))
        # The copy goes first: a rotation that is known but not in the chain does no harm.
        append_after(self.folder / KEYS, draft.lines[0], sync=True)
        self._put(draft)
        self._key, self._key_id = new, key_id(public)
        self.commit([], stamp, checkpoint=True)

    def prune(self, shipped: int, before: int, stamp: Stamp) -> int:
        """Removes whole segments that are shipped, checkpointed and end before `before`; how many.

        The signed record is durable first. A crash in between leaves files that it already names.

        Raises:
            OSError: the record could not be written, or a file not be removed.
        """
        self.commit([], stamp, checkpoint=True)
        found = segments(self.folder)
        cuts, old = [], []
        for segment, following in pairwise(found):
            last = last_line(segment.path)
            if last is None or last.seq + 1 != following.first:
                break
            if last.seq > shipped or last.seq > self.checkpointed or last.at >= before:
                break
            cuts.append((last.seq, last.hash))
            old.append(segment)
        if not old:
            return 0
        record = sign(
            Prune(writer=self.writer, cuts=tuple(cuts), at=stamp.now, key=self._key_id), self._key
        )
        self.commit([self._own(record, stamp)], stamp, checkpoint=True)
        for segment in old:
            segment.path.unlink()
        forget_checkpoints(self.folder, cuts[-1][0])
        sync_folder(self.folder)
        return len(old)

    def take_reserve(self) -> None:
        self._reserve.make()

    def regain_reserve(self) -> None:
        """After a gap: ordinary records wait until there is room for the next gap's records too.

        Raises:
            OSError: there is not.
        """
        self._reserve.make()
        if self._limits.reserve_bytes and not self._reserve.held:
            raise OSError(errno.ENOSPC, "no room for the reserve")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._reserve.release()
        os.close(self._head)

    def _own(self, record: Record, stamp: Stamp) -> _Own:
        with self._naming:
            return _Own(stamp.now, self._ids.next(stamp.now), record)

    def _add(self, draft: Draft, item: Item) -> None:
        record = item.record
        line, draft.link = seal(
            record,
            draft.link,
            writer=self.writer,
            at=item.at,
            record_id=item.id,
            salt=os.urandom(16).hex() if record.aside else "",
        )
        draft.lines.append(line)
        draft.since += 1

    def _checkpoint(self, draft: Draft, stamp: Stamp, *, peers: bool = False) -> None:
        statement = Checkpoint(
            writer=self.writer,
            count=draft.link.seq,
            head=draft.link.hash,
            at=stamp.now,
            every=self._limits.checkpoint_records,
            change_epoch=stamp.change_epoch,
            change_head=stamp.change_head,
            key=self._key_id,
            peers=self._peers() if peers else {},
        )
        self._add(draft, self._own(sign(statement, self._key), stamp))
        draft.checkpoints.append(draft.lines[-1])
        draft.since = 0

    def _peers(self) -> dict[str, tuple[int, str]]:
        found = {}
        for folder in writers(self.folder.parent):
            if folder != self.folder:
                last = last_line(folder / CHECKPOINTS)
                if last is not None:
                    found[folder.name] = (last.seq, last.hash)
        return found

    def _put(self, draft: Draft) -> None:
        file = self._open_file()
        try:
            file.write(b"".join(draft.lines))
        except OSError:
            with contextlib.suppress(OSError):  # else it is cut before the next write
                file.cut()
            raise
        self.link, self._since = draft.link, draft.since
        self._mark()
        if draft.checkpoints:
            self.checkpointed = draft.link.seq - draft.since
            self._copy_here(draft.checkpoints)

    def _open_file(self) -> SegmentFile:
        file = self._file
        if file is not None and file.offset < self._limits.segment_bytes:
            return file
        first = self.link.seq + 1
        fresh = SegmentFile(segment_path(self.folder, first), 0, self._sync)
        if file is not None:
            file.close()
        self._file, self._segment = fresh, Segment(first, segment_path(self.folder, first))
        return fresh

    def _mark(self) -> None:
        """Tells readers in other processes how far the chain is durable. A hint: may fail."""
        try:
            os.pwrite(self._head, b"%020d\n" % self.link.seq, 0)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO):
                raise

    def _copy_here(self, lines: list[bytes]) -> None:
        """Keeps the checkpoint lines beside the segments; they are in the chain already."""
        self.fresh.extend(lines)
        # Without room it is left out: the next checkpoint stands for this one too.
        with contextlib.suppress(OSError):
            append_after(self.folder / CHECKPOINTS, b"".join(lines))
