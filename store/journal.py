"""The journal: no answer before its record is on the disk. Group commit without a timer.

`append` is synchronous and encodes nothing. When somebody waits and no write is in flight, everything
that is pending is encoded, written and synced by one call in the journal's own thread; what arrives
meanwhile is the next batch. A waiter who hangs up disturbs nobody. What a failing disk means is decided
by `JournalMode`. Files: `segments.py`; the chain: `writer.py`; readers: `verify.py`, `shipper.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.chain import GENESIS, Ids
from authz.records import ClockStep, Closed, Opened, Record
from store.checkpoints import SecondPlace, key_to_start
from store.segments import claim, recover, settle
from store.tickets import (
    Job,
    JournalMode,
    JournalUnavailable,
    Outage,
    State,
    Ticket,
    cause_of,
    steady_us,
    unavailable,
    wall_us,
)
from store.writer import ChainWriter, Item, Limits, Stamp

__all__ = ["Journal", "JournalMode", "JournalUnavailable", "Limits", "Ticket"]

_T = TypeVar("_T")
_log = logging.getLogger("gatewarden.journal")

STEP_US: Final = 1_000_000  # a wall clock that moves by more is a record
DEFAULT_LIMITS: Final = Limits()
RETRY_US: Final = 100_000  # a failing disk is tried again at most this often


class Journal:
    """The decision log of one process. All methods belong to one event loop."""

    def __init__(
        self,
        writer: ChainWriter,
        lock: int,
        *,
        mode: JournalMode,
        clock: Callable[[], int],
        steady: Callable[[], int],
        floor: int,
        limit: int,
        checkpoint_us: int,
        change_head: Callable[[], tuple[int, str]],
        second: SecondPlace | None,
    ) -> None:
        self.writer = writer.writer
        self.folder = writer.folder
        self.mode = mode
        self.refused = 0  # records without a JSON form: a fault of ours, for the metrics
        self._writer = writer
        self._lock = lock
        self._clock, self._steady = clock, steady
        self._wall, self._mono = clock(), steady()
        self._ids = Ids(os.urandom(4).hex(), max(floor, self._wall - 1))
        self._limit = limit
        self._pending: deque[Ticket] = deque()
        self._waiting: list[Ticket] = []  # those of the pending that somebody waits for
        self._job: Job | None = None
        self._outage: Outage | None = None
        self._scheduled = False
        self._closing = self._closed = False
        self._settled = False  # whether the cuts of the start are recorded
        self._next_key: Ed25519PrivateKey | None = None
        self._checkpoint_us = checkpoint_us
        self._checkpoint_at = self._wall
        self._checkpoint_due = True
        self._change_head = change_head
        self._second = second
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        signing_key: Ed25519PrivateKey,
        mode: JournalMode | str = JournalMode.STRICT,
        clock: Callable[[], int] = wall_us,
        steady: Callable[[], int] = steady_us,
        installation: str = "gatewarden",
        host: str = "localhost",
        slots: int = 64,
        previous_key: Ed25519PrivateKey | None = None,
        limits: Limits = DEFAULT_LIMITS,
        checkpoint_seconds: float = 60.0,
        copy_to: Path | None = None,
        change_head: Callable[[], tuple[int, str]] = lambda: (0, GENESIS),
        pending_limit: int = 20_000,
        version: str = "",
        sync: Callable[[int], None] = os.fdatasync,
    ) -> Self:
        """Takes the first free slot, finds the end of its chain and goes on there. Blocking: at start.

        A full disk does not stop it: the journal then starts in an outage and recovers by itself.
        `previous_key` introduces `signing_key` if the chain was signed with the former until now.

        Raises:
            NoFreeSlot: all slots are held by running processes.
            UnknownKey: the chain was signed with another key that did not introduce this one.
            OSError: the folder cannot be used at all.
        """
        place, lock = claim(folder, installation, host, slots)
        try:
            tail = recover(place)
            key = key_to_start(place, signing_key, previous_key)
            writer = ChainWriter(place, tail, key=key, limits=limits, sync=sync)
        except BaseException:
            os.close(lock)
            raise
        journal = cls(
            writer,
            lock,
            mode=JournalMode(mode),
            clock=clock,
            steady=steady,
            floor=tail.floor,
            limit=pending_limit,
            checkpoint_us=int(checkpoint_seconds * 1e6),
            change_head=change_head,
            second=SecondPlace(place, copy_to) if copy_to is not None else None,
        )
        journal._next_key = signing_key
        journal.note(Opened(key=writer.key, version=version))
        for cut in tail.cuts:
            journal.note(cut)
        if tail.at > journal._wall + STEP_US:
            journal.note(ClockStep(expected=tail.at, found=journal._wall))
        job = journal._take()
        try:
            refused = journal._write(job)
        except OSError as error:
            journal._failed(job, error)
        else:
            journal._written(job, refused)
        return journal

    # Appending

    def append(self, record: Record) -> Ticket:
        """Takes the record; its id and its place in the order are fixed now. Never raises."""
        wall, mono = self._clock(), self._steady()
        if abs((wall - self._wall) - (mono - self._mono)) > STEP_US:
            step = ClockStep(expected=self._wall + mono - self._mono, found=wall)
            self._queue(Ticket(self, wall, self._ids.next(wall), step))
        self._wall, self._mono = wall, mono
        ticket = Ticket(self, wall, self._ids.next(wall), record)
        self._queue(ticket)
        return ticket

    def note(self, record: Record) -> str:
        """Takes a record that nobody waits for; it goes with the next commit or `tick`. Its id."""
        return self.append(record).id

    def _queue(self, ticket: Ticket) -> None:
        if self._closing:
            ticket.state = State.LOST
            return
        if len(self._pending) >= self._limit and not isinstance(ticket.record, Closed):
            ticket.state = State.LOST
            if self._outage is None:
                self._outage = Outage("overflow", self._wall)
            self._outage.count(ticket.record)
            self._schedule()  # room is made by writing
            return
        self._pending.append(ticket)

    # What others look at

    @property
    def depth(self) -> int:
        """Records that are not on the disk yet."""
        return len(self._pending) + (len(self._job.batch) if self._job else 0)

    @property
    def age(self) -> float:
        """Seconds since the oldest record that is not on the disk yet was taken."""
        oldest = self._job.batch if self._job and self._job.batch else self._pending
        return max(0, self._clock() - oldest[0].at) / 1e6 if oldest else 0.0

    @property
    def writable(self) -> bool:
        """Whether records are being taken: the last write worked and there is room for more."""
        return self._outage is None and not self._closing and len(self._pending) < self._limit

    @property
    def copy_error(self) -> str:
        """Why the last checkpoint is not in the second place (empty: it is)."""
        return self._second.error if self._second else ""

    @property
    def seq(self) -> int:
        """The seq of the last durable record."""
        return self._writer.link.seq

    # Committing

    def tick(self, now: int) -> None:
        """Called about each second (`now` in UTC µs): flushes notes, makes the checkpoint that is due."""
        if abs(now - self._checkpoint_at) >= self._checkpoint_us:
            self._checkpoint_due = True
        if self._pending or self._checkpoint_due or self._outage:
            self._schedule()

    def want(self, ticket: Ticket) -> None:
        self._waiting.append(ticket)
        self._schedule()

    def _schedule(self) -> None:
        """Starts a commit at the end of this turn of the loop, so that all its appends come along."""
        if not self._scheduled and self._job is None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._kick)

    def _kick(self) -> None:
        self._scheduled = False
        if self._job is not None or self._closed:
            return
        if self._outage is not None and self._steady() < self._outage.retry_at:
            waiting, self._waiting = self._waiting, []
            for ticket in waiting:
                ticket.wake()  # the disk failed a moment ago: whoever waits is told so at once
            return
        job = self._job = self._take()
        if job.gap is None and not job.checkpoint:
            # Encoded here: in the thread it would fight the loop for the interpreter's lock, record by
            # record. The thread is left with what waits for the disk.
            job.draft, job.refused = self._writer.draft(job.batch, job.stamp)
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._thread, self._write, job).add_done_callback(
            partial(self._landed, job)
        )

    def _take(self) -> Job:
        """Everything that is pending, as one commit."""
        now = self._clock()
        job = Job(list(self._pending), Stamp(now, *self._change_head()), self._checkpoint_due)
        self._pending.clear()
        self._waiting.clear()
        self._checkpoint_due = False
        outage = self._outage
        if outage is not None:
            job.checkpoint = True
            job.lost = dict(outage.lost)
            job.gap = Ticket(self, now, self._ids.next(now), outage.end(now))
        return job

    def _write(self, job: Job) -> list[Item]:
        """In the journal's thread: the whole batch, or an exception and nothing of it."""
        items: list[Item] = [*job.batch, job.gap] if job.gap else list(job.batch)
        refused = job.refused
        try:
            if job.gap is not None:
                self._writer.regain_reserve()
            if job.draft is not None and self._writer.fits(job.draft):
                self._writer.put(job.draft)
            else:
                refused = self._writer.commit(items, job.stamp, checkpoint=job.checkpoint)
        except OSError as error:
            if job.gap is None:  # the first failure; without room the end of the gap tells it all
                with contextlib.suppress(OSError):
                    self._writer.begin_gap(cause_of(error), job.stamp)
            raise
        self._writer.take_reserve()
        with contextlib.suppress(OSError):  # else at the next commit
            if not self._settled:
                settle(self.folder)
                self._settled = True
            if self._next_key is not None:
                self._writer.rotate_key(self._next_key, job.stamp)
                self._next_key = None
        return refused

    def _landed(self, job: Job, future: asyncio.Future[list[Item]]) -> None:
        self._job = None
        error = future.exception()
        if error is None:
            self._written(job, future.result())
        else:
            self._failed(job, error)
        self._waiting = [ticket for ticket in self._waiting if ticket.waiters]
        if self._waiting:
            self._schedule()

    def _written(self, job: Job, refused: list[Item]) -> None:
        for item in refused:
            self.refused += 1
            if isinstance(item, Ticket):
                item.state = State.REFUSED
        if job.checkpoint:
            self._checkpoint_at = job.stamp.now
        outage = self._outage
        if outage is not None:
            for effect, count in job.lost.items():
                outage.lost[effect] -= count
            if job.gap is not None and not any(outage.lost.values()):
                self._outage = None
                _log.warning("the journal takes records again", extra={"cause": outage.cause})
        for ticket in job.batch:
            if ticket.state is State.PENDING:
                ticket.state = State.WRITTEN
            if ticket.waiters:
                ticket.wake()
        self._copy()

    def _failed(self, job: Job, error: BaseException) -> None:
        """Nothing of the batch was written: its records wait for the next try, its waiters do not."""
        if self._outage is None:
            self._outage = Outage(cause_of(error), job.stamp.now)
            _log.error("the journal cannot be written", exc_info=error)
        self._outage.retry_at = self._steady() + RETRY_US
        self._checkpoint_due = self._checkpoint_due or job.checkpoint
        self._pending.extendleft(reversed(job.batch))
        for ticket in job.batch:
            if ticket.waiters:
                ticket.wake()

    def missing(self, state: State) -> bool:
        if state is State.REFUSED:
            raise JournalUnavailable(
                "the record of this decision cannot be written", code="record_refused"
            )
        if self.mode is JournalMode.AVAILABLE:
            return False
        cause = self._outage.cause if self._outage else "closed"
        raise unavailable(cause)

    def _copy(self) -> None:
        lines = []
        while self._writer.fresh:
            lines.append(self._writer.fresh.popleft())
        if self._second is not None and lines:
            self._second.send(lines)

    # Rare things: they queue behind the commits in the journal's thread

    async def rotate_key(self, new: Ed25519PrivateKey) -> None:
        """Signs with `new` from now on; a record signed with the old key introduces it.

        Raises:
            JournalUnavailable: it could not be written; the old key stays.
        """
        stamp = Stamp(self._clock(), *self._change_head())
        await self._run(partial(self._writer.rotate_key, new, stamp))
        self._copy()

    async def prune(self, shipped: int, before: int) -> int:
        """Removes whole segments shipped up to `shipped` and older than `before` (µs); how many.

        Raises:
            JournalUnavailable: the prune record could not be written.
        """
        stamp = Stamp(self._clock(), *self._change_head())
        return await self._run(partial(self._writer.prune, shipped, before, stamp))

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as error:
            raise unavailable(cause_of(error)) from error

    async def close(self) -> None:
        """Writes what is pending, a `closed` record and a checkpoint; lets go of the slot.

        Raises:
            JournalUnavailable: some records could not be written; the slot is free nevertheless.
        """
        if self._closed:
            return
        last = self.append(Closed())
        self._checkpoint_due = True
        if self._outage is not None:
            self._outage.retry_at = 0
        self._closing = True
        with contextlib.suppress(JournalUnavailable):
            await last.durable()
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.close)
        left = self.depth
        self._copy()
        if self._second is not None:
            await self._second.close()
        self._thread.shutdown(wait=False)
        os.close(self._lock)
        if left:
            raise JournalUnavailable(f"{left} records could not be written before the end")
