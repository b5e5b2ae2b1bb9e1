"""The stream: reads the journal and the change log by cursors, and hands events to a sink, at least once.

It reads files beside the journal and never talks to it: a sink that stands still stops nothing here, and is
tried again with growing pauses. One batch is in memory at a time. One process of a data folder streams, by a
lock beside the cursors; another takes over when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Final

from policies.change import Entry
from proxy import logs
from proxy.siem.event import CHANGE, Event, of_entry, of_line
from proxy.siem.sinks import Sink, SinkError
from store.errors import StoreError
from store.outbox import Outbox
from store.shipper import Lease, Shipper

log = logs.get("siem")
QUIET_SECONDS: Final = 0.5
MOST_EVENTS: Final = 1_000  # handed over at once
MOST_BYTES: Final = 1 << 20
ENTRIES: Final = 50  # of the change log read at once
PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 60.0)  # after failures in a row
ALL: Final = "all"

Entries = Callable[[int, int], Awaitable[list[Entry]]]


class Stream:
    """The stream of one process. Belongs to one event loop."""

    def __init__(
        self,
        journal: Path,
        cursors: Path,
        sink: Sink,
        entries: Entries,
        *,
        records: Collection[str],
        texts: bool = False,
    ) -> None:
        """`entries(after, limit)` reads the change log; `records` are types of records, or `all`."""
        self._journal = journal
        self._cursors = cursors
        self._sink = sink
        self._entries = entries
        self._records = frozenset(records)
        self._texts = texts
        self._lease = Lease(cursors.with_suffix(".lock"))
        self._outbox: Outbox | None = None
        self._shipper: Shipper | None = None
        self._pending: list[Event] = []
        self._epoch: int | None = None  # up to which the pending ones tell the change log
        self._unsettled = False  # whether something is to be settled once they have left
        self._more = False
        self._closed = False
        self.failures = 0  # in a row
        self.sent = 0

    async def step(self) -> float:
        """One batch; how many seconds to wait until the next."""
        try:
            if self._closed or not await asyncio.to_thread(self._lease.take):
                return QUIET_SECONDS * 4
            if not self._pending and not self._unsettled:
                await self._fill()
            await self._hand_over()
        except (SinkError, StoreError, OSError) as error:
            if not self.failures:  # said once; the metric says how long
                log.error("events are not handed over", cause=str(error))
            self.failures += 1
            return PAUSES[min(self.failures, len(PAUSES)) - 1]
        if self.failures:
            log.info("events are handed over again")
            self.failures = 0
        return 0.0 if self._more else QUIET_SECONDS

    async def _fill(self) -> None:
        events, moved = await asyncio.to_thread(self._read)
        assert self._outbox is not None
        self._epoch = None
        if self._wants(CHANGE):
            entries = await self._entries(self._outbox.epoch, ENTRIES)
            if entries:
                self._epoch = entries[-1].epoch
                self._more = self._more or len(entries) == ENTRIES
                events += [of_entry(entry) for entry in entries]
        self._pending = events
        self._unsettled = moved or self._epoch is not None

    def _wants(self, kind: str) -> bool:
        return ALL in self._records or kind in self._records

    def _read(self) -> tuple[list[Event], bool]:
        """In a thread: the next events of the journal, and whether its cursors have moved."""
        if self._outbox is None:
            self._outbox = Outbox(self._cursors)
        if self._shipper is None:
            self._shipper = Shipper(self._journal, self._outbox)
        shipped = self._shipper.run_once()
        self._more = not shipped.done
        lines = self._outbox.take()
        wanted = [of_line(line, texts=self._texts) for line in lines if self._wants(line.type)]
        return wanted, bool(lines)

    async def _hand_over(self) -> None:
        """Sends what is pending, part by part; what was sent is not sent again after a failure."""
        while self._pending:
            part = _part(self._pending)
            await self._sink.send(part)
            self.sent += len(part)
            del self._pending[: len(part)]
        if self._unsettled:
            assert self._outbox is not None
            await asyncio.to_thread(self._outbox.settle, self._epoch)
            self._unsettled = False

    async def close(self) -> None:
        """Lets go of the sink and of the right to stream."""
        self._closed = True
        await self._sink.close()
        self._lease.release()


def _part(events: list[Event]) -> list[Event]:
    """The first of them, as many as are handed over at once."""
    size = 0
    for count, event in enumerate(events[:MOST_EVENTS]):
        size += len(event.line)
        if size > MOST_BYTES and count:
            return events[:count]
    return events[:MOST_EVENTS]
