"""The change log: every effective right is a row that was added here, by somebody who could grant it.

A change is planned on what is stored, authorised by the rows it adds, guarded, written as one entry with
a compare-and-set on the head, and applied to this process before the caller hears of it (`committing`).
What other processes commit comes through `feed`; reading what is stored is in `reading`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from authz.conditions import Context
from authz.decision import Asker
from authz.engine import Engine
from policies.change import Change, Entry, Plan, Source
from policies.compile import STRUCTURE_ROWS
from policies.documents import Document
from policies.errors import Conflict, Problem
from policies.estate import Names
from store.committing import ATTEMPTS, Committer, Draft
from store.errors import HeadMoved, StoreError, StoreRestored, StoreUnavailable
from store.feed import POLL_SECONDS, Alarm, Applier, Clock, Feed, Snapshot
from store.memory import Revocation
from store.port import Store
from store.preparing import prepare
from store.reading import Reading
from store.remembering import Keeps
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
        memory: Keeps | None = None,
    ) -> None:
        """`memory` is what the data folder remembers of the log; without it nobody would notice that the
        store was restored while no process ran.
        """
        super().__init__(store, Feed(store, model_text, clock, alarm, memory), sealer)
        self._shipped = tuple(shipped)
        self._clock = clock
        self._committer = Committer(store, self._feed, sealer, alarm, model_text)

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
            if self.doubt is not None:
                return  # it starts, and says why it serves nothing
            if await self._bring_shipped():
                await self.remember()
                return
            await self._feed.load()
        raise StoreUnavailable(
            "the shipped documents could not be written: others are always first"
        )

    async def close(self) -> None:
        """Closes the store. The engine still answers."""
        self._committer.close()
        with contextlib.suppress(StoreError):
            await self.remember()
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
        draft = await self._committer.planned(change, None, Context())
        plan = draft.plan
        wanted = frozenset(STRUCTURE_ROWS)
        added, removed = wanted - self._feed.structure, self._feed.structure - wanted
        if plan.empty and not added and not removed:
            return True
        head = self._feed.head
        prepared = prepare(
            plan,
            head,
            self._clock(),
            draft.vault.sealed,
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

    @property
    def known(self) -> int:
        """The highest epoch that this process knows to be committed; it may not have applied it yet."""
        return max(self._feed.known, self._feed.head.epoch)

    @property
    def rebuilds(self) -> int:
        """How often the policy here differed from the log and was made anew."""
        return self._feed.rebuilds

    @property
    def doubt(self) -> str | None:
        """Why the store is not the one that was applied here; None when it is."""
        return self._feed.doubt

    def age(self, now: datetime) -> float:
        """Seconds since the store was last read with success."""
        return self._feed.age(now)

    async def store_time(self) -> datetime | None:
        """What time it is for the store; None if it has no clock of its own. Raises: StoreUnavailable."""
        return await self._store.time()

    async def poll(self) -> int:
        """Applies what other processes committed; how many entries. Raises: StoreError."""
        return await self._feed.poll()

    async def wait(self, epoch: int, timeout: float) -> bool:
        """Whether this process has applied `epoch`, after at most `timeout` seconds."""
        return await self._feed.wait(epoch, timeout)

    async def reach(self, epoch: int, timeout: float) -> bool:
        """The same, but asks the store at once. Raises: StoreError."""
        return await self._feed.reach(epoch, timeout)

    async def run_feed(self, stop: asyncio.Event, seconds: float = POLL_SECONDS) -> None:
        """Polls each `seconds` until `stop` is set."""
        await self._feed.run(stop, seconds)

    # --- a store that was restored --------------------------------------------------------------

    async def remember(self) -> None:
        """Writes down the head that was applied here, for the next start. Raises: StoreError."""
        try:
            await self._feed.remembering.keep()
        except OSError as error:
            _log.warning("the head of the change log is not remembered: %s", error)

    async def lost(self) -> list[Revocation]:
        """The revocations that were applied here and that the store does not hold, oldest first."""
        return await self._feed.remembering.lost()

    async def confirm_restored(self, request_id: str, now: datetime) -> Entry:
        """Goes on with a store that was restored: a recorded entry with both heads.

        Raises:
            StoreUnavailable. StoreRestored: there is nothing to confirm.
        """
        remembering = self._feed.remembering
        for _ in range(ATTEMPTS):
            before = remembering.remembered
            if self.doubt is None or before is None:
                raise StoreRestored(
                    "the store is the one that was applied here: nothing to confirm"
                )
            head = self._feed.head
            change = Change(
                "host",
                Source.RECOVERY,
                request_id,
                comment=f"restored: goes on from entry {head.epoch} ({head.hash}); entry"
                f" {before.epoch} ({before.hash}) had been applied",
            )
            prepared = prepare(Plan(change), head, now, {})
            try:
                await self._store.commit(head, [prepared.batch])
            except HeadMoved:
                await self._feed.load()
                continue
            await remembering.reset(prepared.after)
            await self._feed.load()
            return prepared.entry
        raise StoreUnavailable("the store could not be confirmed: others are always first")

    # --- changes --------------------------------------------------------------------------------

    async def plan(
        self, change: Change, asker: Asker | None = None, context: Context | None = None
    ) -> Plan:
        """What a change would come to. Nothing is written, and nobody is judged (`authorise` does).

        Raises:
            InvalidDocuments, Conflict, NotFound, GuardRefused, StoreUnavailable.
        """
        return (await self.draft(change, asker, context)).plan

    async def draft(
        self, change: Change, asker: Asker | None = None, context: Context | None = None
    ) -> Draft:
        """The same, for `commit` to go on with: it is planned again only if others were first.

        Raises:
            As `plan`.
        """
        context = context or _context(asker, self._clock())
        return await self._committer.planned(change, asker, context)

    async def authorise(self, plan: Plan, asker: Asker, context: Context) -> None:
        """Whether `asker` may make the planned change, as `commit` would judge it. Raises: NotAuthorised."""
        await self._committer.authorise(plan, asker, context)

    async def failing_cases(
        self, plan: Plan, asker: Asker | None, context: Context
    ) -> tuple[Problem, ...]:
        """The decision cases that would refuse the planned change: for a dry run. () = none.

        Raises:
            InvalidDocuments: there would be too many cases. Conflict, StoreUnavailable.
        """
        try:
            return await self._committer.failing(plan, asker, context)
        except HeadMoved as error:
            message = "others changed something meanwhile"
            raise Conflict(message, hint="try again") from error

    async def commit(
        self,
        change: Change,
        asker: Asker | None,
        now: datetime,
        context: Context | None = None,
        draft: Draft | None = None,
    ) -> Entry:
        """Makes a change: durable, and applied to this process, when this returns.

        `draft` is what `draft` gave for this very change, asker and context.

        `asker` None is the host itself, whom no row judges. A change that changes nothing writes nothing
        and answers with an entry without content at the present epoch.

        Raises:
            InvalidDocuments, NotAuthorised, Conflict, NotFound, GuardRefused: nothing was written.
            StoreUnavailable: it is not known whether it was.
        """
        if self.doubt is not None:
            raise StoreRestored(
                "the store was restored and lacks what was applied here",
                hint="run `gatewarden restore confirm` on the host",
            )
        context = context or _context(asker, now)
        return await self._committer.commit(change, asker, now, context, draft)


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
