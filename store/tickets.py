"""A record on its way to the disk: its ticket, the commit it goes with, and what stops it.

The values that `journal.py` moves about. Nothing here knows a file; all of it belongs to one loop.
"""

from __future__ import annotations

import asyncio
import errno
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from authz.records import DecisionRecord, Gap, Record
from store.segments import JournalError
from store.writer import Draft, Item, Stamp


class JournalUnavailable(JournalError):
    """A record is not on the disk, and the mode says that nothing goes on without it."""

    code = "journal_unavailable"


def unavailable(cause: str) -> JournalUnavailable:
    """The error for a record that is not on the disk because of `cause`."""
    return JournalUnavailable(
        f"the decision log cannot be written (`{cause}`)", hint="try again later"
    )


class JournalMode(StrEnum):
    STRICT = "strict"  # no record, no answer: for allows and denials
    AVAILABLE = "available"  # go on, count what is lost, chain the count


class Queue(Protocol):
    """What a ticket needs of its journal."""

    def want(self, ticket: Ticket) -> None: ...
    def missing(self, state: State) -> bool: ...


class State(StrEnum):
    PENDING = "pending"
    WRITTEN = "written"
    LOST = "lost"  # there was no room to keep it
    REFUSED = "refused"  # it has no JSON form


class Ticket:
    """A record on its way. `id` is known at once; `durable` says when it is on the disk."""

    __slots__ = ("_queue", "at", "id", "record", "state", "waiters")

    def __init__(self, queue: Queue, at: int, record_id: str, record: Record) -> None:
        self._queue = queue
        self.state = State.PENDING
        self.waiters: list[asyncio.Future[None]] | None = None
        self.at = at
        self.id = record_id
        self.record = record

    async def durable(self) -> bool:
        """Waits until the record is on the disk: True; False in mode available if it cannot be.

        Raises:
            JournalUnavailable: it is not on the disk (mode strict), or it has no JSON form.
        """
        if self.state is State.PENDING:
            # A future for each waiter: one shared by a batch would be cancelled by one caller for all.
            future = asyncio.get_running_loop().create_future()
            if self.waiters is None:
                self.waiters = [future]
            else:
                self.waiters.append(future)
            self._queue.want(self)
            await future
        if self.state is State.WRITTEN:
            return True
        if self.state is State.LOST:
            await asyncio.sleep(0)  # a caller who tries again and again must let the writing happen
        return self._queue.missing(self.state)

    def wake(self) -> None:
        waiters, self.waiters = self.waiters, None
        for future in waiters or ():
            if not future.done():
                future.set_result(None)


class Outage:
    """Since when and why nothing can be written, and what was lost meanwhile, by effect."""

    __slots__ = ("cause", "lost", "retry_at", "since")

    def __init__(self, cause: str, since: int) -> None:
        self.cause = cause
        self.since = since
        self.retry_at = 0
        self.lost = {"allow": 0, "deny": 0, "": 0}

    def count(self, record: Record) -> None:
        self.lost[record.effect if isinstance(record, DecisionRecord) else ""] += 1

    def end(self, now: int) -> Gap:
        """The record that ends the gap, with what was lost until now."""
        return Gap(
            phase="end",
            cause=self.cause,
            since=self.since,
            until=now,
            allowed=self.lost["allow"],
            denied=self.lost["deny"],
            other=self.lost[""],
        )


@dataclass(slots=True)
class Job:
    """One commit: its records, and what else is due."""

    batch: list[Ticket]
    stamp: Stamp
    checkpoint: bool
    gap: Ticket | None = None
    draft: Draft | None = None  # the batch as lines, if it was encoded ahead
    refused: list[Item] = field(default_factory=list)  # those that have no JSON form
    lost: dict[str, int] = field(default_factory=dict)


def wall_us() -> int:
    """UTC microseconds."""
    return time.time_ns() // 1000


def steady_us() -> int:
    """Microseconds of a clock that never steps."""
    return time.monotonic_ns() // 1000


def cause_of(error: BaseException) -> str:
    """`ENOSPC` and the like; the name of the class if the system did not say."""
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, str(error.errno))
    return type(error).__name__
