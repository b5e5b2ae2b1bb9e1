"""How long records can be read: what the settings and the logging configurations say, and the work of it.

Rows go in small transactions of a store's writing thread, the oldest first, so that nobody who reads or ships
waits long. What was said goes no later than the record of its request. The decision log itself is not
touched here: its segments leave by a signed prune (`chores.Upkeep`), which only the host's settings order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from policies.logging_config import Retention
from proxy import logs
from proxy.record_access import RecordAccess
from store.errors import StoreError
from store.request_records import RequestRecords, Shelf, Shelves

RETENTION_SECONDS = 600.0
CHUNKS = 2000  # of one round; the next goes on

log = logs.get("retention")


@dataclass(frozen=True, slots=True)
class KeepDays:
    """Days of each kind; 0 keeps for ever."""

    payloads: int = 30
    requests: int = 0
    decisions: int = 0

    def limited(self, said: Retention) -> KeepDays:
        """The fewest days of both, and for what was said at most those of the requests."""
        requests = _fewest(self.requests, said.requests)
        return KeepDays(
            payloads=_fewest(_fewest(self.payloads, said.payloads), requests),
            requests=requests,
            decisions=_fewest(self.decisions, said.decisions),
        )


def _fewest(one: int, other: int | None) -> int:
    return min(one or other or 0, other or one)


class Forgetting:
    """The job. `said` answers what documents say now."""

    def __init__(
        self, records: RecordAccess, keep: KeepDays, said: Callable[[], Retention]
    ) -> None:
        self._records = records
        self._keep = keep
        self._said = said

    async def run(self, now: datetime) -> int:
        """One round; how many rows went."""
        days = self._keep.limited(self._said())
        gone = 0
        try:
            records = await self._records.open()
            for kept, forget in (
                (days.payloads, lambda store, before: store.forget_payloads(before)),
                (days.requests, lambda store, before: store.forget(Shelf.REQUESTS, before)),
                (days.decisions, lambda store, before: store.forget(Shelf.DECISIONS, before)),
            ):
                if kept:
                    before = int((now - timedelta(days=kept)).timestamp() * 1_000_000)
                    gone += await _all(records, before, forget)
        except StoreError as error:
            log.warning("old records are not removed", cause=str(error))
        if gone:
            log.info("old records were removed", rows=gone)
        return gone


async def _all(records: RequestRecords, before: int, forget: Callable[[Shelves, int], int]) -> int:
    total = 0
    for _ in range(CHUNKS):
        gone = await records.work(lambda store: forget(store, before))
        total += gone
        if not gone:
            break
    return total
