"""The change log: every effective right is a row that was added here, by somebody who could grant it.

A change is planned on what is stored, authorised by the rows it adds, guarded, written as one entry with
a compare-and-set on the head, and applied to this process before the caller hears of it (`committing`).
What other processes commit comes through `feed`; reading what is stored is in `reading`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from authz.conditions import Context
from authz.decision import Asker
from authz.engine import Engine
from policies.change import Change, Entry, Plan, Source
from policies.compile import STRUCTURE_ROWS
from policies.documents import Document
from policies.estate import Names
from store.committing import ATTEMPTS, Committer
from store.errors import HeadMoved, StoreUnavailable
from store.feed import POLL_SECONDS, Alarm, Applier, Clock, Feed, Snapshot
from store.port import Store
from store.preparing import prepare
from store.reading import Reading
from store.sealed import Sealer

__all__ = ["Applier", "ChangeLog", "Snapshot"]

_log = logging.getLogger("gatewarden.store")


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _log_alarm(text: str) -> None:
    _log.error("alarm: %s", text)


class ChangeLog(Reading):
    """The change log of one installation, as one process has it. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        *,
        model_text: str,
        shipped: Iterable[Document],
        sealer: Sealer,
        clock: Clock = _utc_now,
        alarm: Alarm = _log_alarm,
    ) -> None:
        super().__init__(store, Feed(store, model_text, clock, alarm), sealer)
        self._shipped = tuple(shipped)
        self._clock = clock
        self._committer = Committer(store, self._feed, sealer, alarm)

    # --- life -----------------------------------------------------------------------------------

    def subscribe(self, applier: Applier) -> None:
        """Lets `applier` follow the log; before `start`."""
        self._feed.subscribe(applier)

    async def start(self) -> None:
        """Opens the store, loads what is there, and brings what this version ships.

        Raises:
            StoreError: it cannot be opened, is newer, or is damaged beyond the log.
        """
        await self._store.open()
        await self._feed.load()
        for _ in range(ATTEMPTS):
            if await self._bring_shipped():
                return
            await self._feed.load()
        raise StoreUnavailable(
            "the shipped documents could not be written: others are always first"
        )

    async def close(self) -> None:
        """Closes the store. The engine still answers."""
        self._committer.close()
        await self._store.close()

    async def _bring_shipped(self) -> bool:
        """Writes shipped documents that are new, or newer and unedited, and the rows between kinds."""
        names = self._feed.names
        stored = {s.key: s for s in await self._stored(d.key for d in self._shipped)}
        puts = []
        for document in self._shipped:
            there = stored.get(document.key)
            if there is None:
                new = not names.latest(*document.key)
            else:
                new = there.source is Source.SHIPPED
            if new:
                puts.append(document)
        change = Change(
            "host", Source.SHIPPED, "start", tuple(puts), comment="shipped with this version"
        )
        plan, vault = await self._committer.planned(change, None, Context())
        wanted = frozenset(STRUCTURE_ROWS)
        added, removed = wanted - self._feed.structure, self._feed.structure - wanted
        if plan.empty and not added and not removed:
            return True
        head = self._feed.head
        prepared = prepare(
            plan,
            head,
            self._clock(),
            vault.sealed,
            structure_added=added,
            structure_removed=removed,
        )
        try:
            await self._store.commit(head, [prepared.batch])
        except HeadMoved:
            return False
        await self._feed.take([prepared.entry])
        return True

    # --- how far --------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The engine of now. Do not keep it: a reload brings another."""
        return self._feed.engine

    @property
    def names(self) -> Names:
        """What exists, for checks before a change."""
        return self._feed.names

    @property
    def head(self) -> int:
        """The last epoch that this process has applied."""
        return self._feed.head.epoch

    @property
    def head_hash(self) -> str:
        """The hash of that entry, for checkpoints."""
        return self._feed.head.hash

    @property
    def problem(self) -> str | None:
        """Why this process cannot follow the log and is not ready; None when it can."""
        return self._feed.problem

    def age(self, now: datetime) -> float:
        """Seconds since the store was last read with success."""
        return self._feed.age(now)

    async def poll(self) -> int:
        """Applies what other processes committed; how many entries. Raises: StoreError."""
        return await self._feed.poll()

    async def wait(self, epoch: int, timeout: float) -> bool:
        """Whether this process has applied `epoch`, after at most `timeout` seconds."""
        return await self._feed.wait(epoch, timeout)

    async def run_feed(self, stop: asyncio.Event, seconds: float = POLL_SECONDS) -> None:
        """Polls each `seconds` until `stop` is set."""
        await self._feed.run(stop, seconds)

    # --- changes --------------------------------------------------------------------------------

    async def plan(
        self, change: Change, asker: Asker | None = None, context: Context | None = None
    ) -> Plan:
        """What a change would come to. Nothing is written, and nobody is judged (`authorise` does).

        Raises:
            InvalidDocuments, Conflict, NotFound, GuardRefused, StoreUnavailable.
        """
        context = context or _context(asker, self._clock())
        plan, _ = await self._committer.planned(change, asker, context)
        return plan

    async def commit(
        self,
        change: Change,
        asker: Asker | None,
        now: datetime,
        context: Context | None = None,
    ) -> Entry:
        """Makes a change: durable, and applied to this process, when this returns.

        `asker` None is the host itself, whom no row judges. A change that changes nothing writes nothing
        and answers with an entry without content at the present epoch.

        Raises:
            InvalidDocuments, NotAuthorised, Conflict, NotFound, GuardRefused: nothing was written.
            StoreUnavailable: it is not known whether it was.
        """
        context = context or _context(asker, now)
        return await self._committer.commit(change, asker, now, context)


def _context(asker: Asker | None, now: datetime) -> Context:
    """What is known of the asker, for conditions of the rows that judge the change."""
    values: dict[str, object] = {"time.now": now}
    for name, attribute in (
        ("credential.id", "credential_id"),
        ("credential.kind", "credential_kind"),
        ("principal.team", "team"),
    ):
        value = getattr(asker, attribute, None)
        if value is not None:
            values[name] = str(value)
    return Context(values)
