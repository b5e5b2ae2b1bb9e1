"""What one process does beside requests: it follows the policy, ticks, and looks after the journal.

Each job runs by itself and again and again; one that fails is logged and tried the next time. None of
them may hold up a request, so what blocks runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from identity.kept_tokens import KeptTokens, ended_by
from policies.change import Entry
from proxy import logs
from proxy.catalogue import Catalogue
from proxy.gateway import Gateway
from proxy.record_access import RecordAccess
from proxy.runtime import Runtime
from proxy.secrets import Secrets
from proxy.shipping import QUIET_SECONDS, Inline
from store.errors import StoreError, StoreUnavailable
from store.feed import Snapshot
from store.journal import Journal, JournalUnavailable
from store.replicas import STEP_SECONDS
from store.skew import Skew
from store.state import State

TICK_SECONDS = 1.0
LOOK_SECONDS = 10.0
CLOCK_SECONDS = 30.0
PRUNE_SECONDS = 3600.0

log = logs.get("chores")


class Credentials:
    """Keeps provider credentials resolved: dropped when an account changes, fetched before a request."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._stale = True

    def changed(self, account: str) -> None:
        """Called by the catalogue for each account whose document changed."""
        self._secrets.forget(account)
        self._stale = True

    async def warm(self, catalogue: Catalogue) -> None:
        """Resolves what changed, so that no request waits for the store."""
        if self._stale:
            self._stale = False
            for account in await self._secrets.warm(catalogue.models()):
                log.warning("the credential of an account does not resolve", account=account)


class Upkeep:
    """Looks after this process's part of the journal: how far it is shipped, and what may go.

    `keep_days` 0 keeps everything. `streamed` says up to which record of a writer the security monitor has
    been told, None where there is none: what it lacks stays.
    """

    def __init__(
        self,
        journal: Journal,
        records: RecordAccess,
        keep_days: int,
        streamed: Callable[[str], int] | None = None,
    ) -> None:
        self._journal = journal
        self._records = records
        self._keep = timedelta(days=keep_days)
        self._streamed = streamed
        self.behind = 0  # records that are not in the record store yet, when it was last looked at

    @property
    def prunes(self) -> bool:
        return bool(self._keep)

    async def look(self) -> None:
        """Counts the records that are not shipped yet."""
        seq = self._journal.seq
        self.behind = max(0, seq - await self._shipped())

    async def _shipped(self) -> int:
        try:
            records = await self._records.open()
            return (await records.work(lambda store: store.cursor(self._journal.writer)))[0]
        except StoreError:
            return 0

    async def prune(self, now: datetime) -> int:
        """Removes segments that are older than what is kept, shipped and checkpointed; how many."""
        try:
            records = await self._records.open()
            shipped = await records.work(lambda store: store.settled(self._journal.writer))
            if self._streamed is not None:
                told = await asyncio.to_thread(self._streamed, self._journal.writer)
                shipped = min(shipped, told)
            before = int((now - self._keep).timestamp() * 1_000_000)
            removed = await self._journal.prune(shipped, before)
        except (StoreError, JournalUnavailable) as error:
            log.warning("old segments are not removed", cause=str(error))
            return 0
        if removed:
            log.info("old segments of the journal were removed", segments=removed)
        return removed


class Chores:
    """All the jobs of a process. An applier of the change log, for the tokens that end with an entry."""

    def __init__(
        self,
        runtime: Runtime,
        gateway: Gateway,
        state: State,
        kept: KeptTokens,
        credentials: Credentials,
        upkeep: Upkeep,
        shipper: Inline | None,
        introduce: Callable[[], Awaitable[None]],
        skew: Skew,
    ) -> None:
        """`introduce` writes this process's chain of the decision log into the change log, if it lacks it."""
        self._runtime = runtime
        self._gateway = gateway
        self._state = state
        self._kept = kept
        self._credentials = credentials
        self._upkeep = upkeep
        self._shipper = shipper
        self._ended: list[str] = []
        self._introduce = introduce
        self._skew = skew
        self._doubted = runtime.changes.doubt is not None

    def load(self, snapshot: Snapshot) -> None:
        """Nothing to do at the start."""

    def apply(self, entry: Entry) -> None:
        """Remembers which kept tokens ended with this entry."""
        self._ended += ended_by(entry)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        async with asyncio.TaskGroup() as group:
            every = self._runtime.settings.policy.poll_seconds
            group.create_task(self._runtime.changes.run_feed(stop, every))
            group.create_task(each(TICK_SECONDS, stop, self._tick))
            group.create_task(each(TICK_SECONDS, stop, self._credentials_ready))
            group.create_task(each(TICK_SECONDS, stop, self._sweep))
            group.create_task(each(TICK_SECONDS, stop, self._remember))
            if self._runtime.replicas is not None:
                group.create_task(each(STEP_SECONDS, stop, self._beat))
            group.create_task(each(LOOK_SECONDS, stop, self._upkeep.look))
            group.create_task(each(CLOCK_SECONDS, stop, self._compare_clocks))
            if self._upkeep.prunes:
                group.create_task(each(PRUNE_SECONDS, stop, self._prune))
            if self._shipper is not None:
                group.create_task(each(QUIET_SECONDS, stop, self._shipper.step))

    # Each by itself: a store that is slow holds up neither the log nor the next credential.

    async def _tick(self) -> None:
        now = self._runtime.clock.now()
        self._gateway.tick(now)
        self._runtime.journal.tick(int(now.timestamp() * 1_000_000))

    async def _credentials_ready(self) -> None:
        await self._credentials.warm(self._runtime.catalogue)

    async def _sweep(self) -> None:
        if self._ended:
            ended = list(self._ended)
            await self._kept.forget(ended)
            del self._ended[: len(ended)]  # once they are: else the next sweep tries again
        await self._state.expire(self._runtime.clock.now())

    async def _remember(self) -> None:
        changes = self._runtime.changes
        await changes.remember()
        if changes.doubt is not None:
            self._doubted = True
        elif self._doubted:  # a restored store was confirmed: it may be older than this chain
            await self._introduce()
            self._doubted = False

    async def _beat(self) -> None:
        assert self._runtime.replicas is not None
        try:
            await self._runtime.replicas.beat(self._runtime.clock.now())
        except StoreUnavailable as error:  # said each time by the feed
            log.debug("this process could not say how far it is", cause=str(error))

    async def _compare_clocks(self) -> None:
        with contextlib.suppress(StoreUnavailable):  # said each time by the feed
            await self._skew.look()

    async def _prune(self) -> None:
        await self._upkeep.prune(self._runtime.clock.now())


async def each(seconds: float, stop: asyncio.Event, work: Callable[[], Awaitable[object]]) -> None:
    """Does `work` every `seconds` until `stop`; one failure does not end it."""
    while not stop.is_set():
        try:
            await work()
        except Exception:
            log.exception("a background job failed", job=getattr(work, "__name__", ""))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
