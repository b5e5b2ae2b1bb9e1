"""Changes on their way into the log: planned, judged, merged, written, and what became of them.

One change, or several that give and take nobody's rights (tokens), go into one transaction after the head;
if only the head moved they are planned again on the new one. Whoever holds the lock works for all that
wait. A commit whose end nobody saw (a caller who hung up, a store that failed) is looked up in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from authz.conditions import Context
from authz.decision import Asker
from authz.errors import GatewardenError
from policies.authorise import authorise, may_grant
from policies.case_gate import MAX_SHOWN, Failure, findings_of, refusing
from policies.change import Change, Entry, Plan
from policies.errors import CasesFailed, Conflict, GuardRefused, InvalidDocuments, Problem
from store.errors import HeadMoved, StoreError, StoreUnavailable
from store.feed import STEP_ROWS, Alarm, Feed
from store.guarding import AdministratorGuard
from store.judging import authorise_aside, is_large
from store.port import Head, Store
from store.preparing import LARGE, Prepared, SealingVault, drive, prepare
from store.resting import resting
from store.sealed import Sealer
from store.trial import Trial

_log = logging.getLogger("gatewarden.store")
ATTEMPTS = 50  # how often a change is planned again because others were first
_MERGED = 64  # changes in one transaction


@dataclass(frozen=True, slots=True)
class Draft:
    """What a change comes to at a head, with the secrets that were sealed on the way."""

    plan: Plan
    vault: SealingVault
    base: Head


@dataclass(eq=False, slots=True)
class _Waiting:
    """A change that waits to be committed, and what became of it."""

    change: Change
    asker: Asker | None
    now: datetime
    context: Context
    draft: Draft | None = None  # of no use once the head moves
    attempt: Head | None = None  # written as this, if it was written: not known yet
    entry: Entry | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.entry is not None or self.error is not None

    def result(self) -> Entry:
        if self.error is not None:
            raise self.error
        assert self.entry is not None
        return self.entry


@dataclass(slots=True)
class _Merged:
    """Prepared changes that go into one transaction."""

    waiting: list[_Waiting] = field(default_factory=list)
    prepared: list[Prepared] = field(default_factory=list)

    def takes(self, plan: Plan) -> bool:
        """Whether a plan may join: nobody's rights depend on the others, and they touch other things."""
        if not self.prepared:
            return True
        touched = {c.key for p in self.prepared for c in p.plan.documents}
        return (
            len(self.prepared) < _MERGED
            and all(_is_neutral(p.plan) for p in self.prepared)
            and _is_neutral(plan)
            and touched.isdisjoint(c.key for c in plan.documents)
        )


def _is_large(change: Change) -> bool:
    return len(change.puts) + len(change.deletes) > LARGE


def _is_neutral(plan: Plan) -> bool:
    """Whether a plan gives and takes nobody's right to change things: it is about credentials only."""
    return all(change.key[0] == "credential" for change in plan.documents)


class Committer:
    """Makes entries of changes. One a process; others are seen through the feed."""

    def __init__(
        self, store: Store, feed: Feed, sealer: Sealer, alarm: Alarm, model_text: str
    ) -> None:
        self._store = store
        self._feed = feed
        self._sealer = sealer
        self._alarm = alarm
        self._queue: deque[_Waiting] = deque()
        self._writing = asyncio.Lock()
        self._planner = ThreadPoolExecutor(1, thread_name_prefix="plan")
        self._trial = Trial(store, feed, model_text, self._planner)
        feed.subscribe(self._trial.book)
        self._administrators = AdministratorGuard(model_text, self._planner)

    def close(self) -> None:
        """Ends the thread for large plans."""
        self._planner.shutdown(wait=False)

    async def planned(self, change: Change, asker: Asker | None, context: Context) -> Draft:
        """What a change comes to now."""
        base = self._feed.head

        def grants(thing: str) -> bool:
            assert asker is not None
            return may_grant(self._feed.engine, asker, thing, context)

        vault = SealingVault(self._sealer)
        judged = grants if asker is not None else None
        with resting(_is_large(change)):
            plan = await drive(self._store, self._feed.names, change, vault, judged, self._planner)
        return Draft(plan, vault, base)

    async def commit(
        self,
        change: Change,
        asker: Asker | None,
        now: datetime,
        context: Context,
        draft: Draft | None = None,
    ) -> Entry:
        """See `ChangeLog.commit`."""
        waiting = _Waiting(change, asker, now, context, draft)
        self._queue.append(waiting)
        try:
            while not waiting.done:
                async with self._writing:
                    if not waiting.done:
                        with resting(any(_is_large(one.change) for one in self._queue)):
                            await self._commit_some()
        finally:
            if waiting in self._queue:
                self._queue.remove(waiting)
        return waiting.result()

    async def _commit_some(self) -> None:
        """Commits what waits, from the front, until something is decided."""
        for _ in range(ATTEMPTS):
            await self._settle()
            base = self._feed.head
            try:
                merged = await self._merge(base)
                if not merged.prepared:
                    return
                await self._write(base, merged)
                return
            except HeadMoved:
                self._feed.look_again()
                await self._feed.poll()
        self._queue[0].error = Conflict("others are always first", hint="try again")
        self._queue.popleft()

    async def _merge(self, base: Head) -> _Merged:
        """The changes from the front of the queue that can be written together after `base`.

        Raises:
            HeadMoved: entries of others were applied meanwhile.
        """
        merged = _Merged()
        head = base
        while self._queue:
            waiting = self._queue[0]
            try:
                draft = waiting.draft
                # INVARIANT: the store is still where it was planned: the commit compares its head with `base`.
                if draft is None or draft.base != base:
                    draft = await self.planned(waiting.change, waiting.asker, waiting.context)
                    waiting.draft = draft
                plan = draft.plan
                if not merged.takes(plan):
                    break
                await self._authorised_aside(plan, waiting)
                left = await self._left(plan, waiting)
                failures = await self._tried_aside(plan, base)
                async with self._feed.applying:
                    if self._feed.head != base:
                        raise HeadMoved("others committed meanwhile")
                    if not plan.empty:
                        self._judge(plan, waiting, left)
                        if not self._trial.is_large(plan):
                            failures = await self._trial.live(plan)
                        self._refuse_failing(failures, plan, waiting)
                prepared = await self._prepared(plan, head, waiting, draft.vault)
            except (HeadMoved, asyncio.CancelledError):
                self._put_back(merged)
                raise
            except Exception as error:
                try:
                    moved = await self._moved(base)
                except BaseException:
                    self._put_back(merged)
                    raise
                if moved:
                    # Planned on what changed meanwhile: whatever came of it says nothing.
                    self._put_back(merged)
                    raise HeadMoved("others committed meanwhile") from error
                if not isinstance(error, GatewardenError):
                    _log.exception("a change could not be planned")
                waiting.error = error
            if not self._queue or self._queue[0] is not waiting:
                continue  # who asked for it hung up while it was planned
            self._queue.popleft()
            if waiting.error is None and plan.empty:
                waiting.entry = _no_entry(waiting, head)
            elif waiting.error is None:
                merged.waiting.append(waiting)
                merged.prepared.append(prepared)
                head = prepared.after
        return merged

    async def _moved(self, base: Head) -> bool:
        """Whether others committed after `base`: a plan reads the store, which may be ahead of the feed."""
        if self._feed.head == base:
            self._feed.look_again()
            with contextlib.suppress(StoreError):  # then it is told as what it came to
                await self._feed.poll()
        return self._feed.head != base

    async def _prepared(
        self, plan: Plan, head: Head, waiting: _Waiting, vault: SealingVault
    ) -> Prepared:
        make = partial(prepare, plan, head, waiting.now, vault.sealed)
        if len(plan.documents) <= LARGE:
            return make()
        return await asyncio.get_running_loop().run_in_executor(self._planner, make)

    def _put_back(self, merged: _Merged) -> None:
        self._queue.extendleft(reversed(merged.waiting))

    async def _write(self, base: Head, merged: _Merged) -> None:
        """Raises: HeadMoved, and everything is back in the queue."""
        try:
            await self._store.commit(base, [prepared.batch for prepared in merged.prepared])
            await self._feed.take(prepared.entry for prepared in merged.prepared)
        except HeadMoved:
            self._put_back(merged)
            raise
        except BaseException as error:
            # It may have been written all the same. Whoever comes next looks into the log (`_settle`).
            for waiting, prepared in zip(merged.waiting, merged.prepared, strict=True):
                waiting.attempt = prepared.after
            self._put_back(merged)
            if isinstance(error, Exception):
                _log.exception("a commit did not end well")
                self._feed.look_again()
                await self._settle_or_fail(merged.waiting)
                return
            raise
        for waiting, prepared in zip(merged.waiting, merged.prepared, strict=True):
            waiting.entry = prepared.entry
            self._administrators.committed(
                prepared.entry.epoch, only_revokes=not prepared.entry.added
            )
            for text in prepared.plan.alarms:
                self._alarm(f"epoch {prepared.entry.epoch}: {text}")

    async def _settle(self) -> None:
        """Finds out what became of attempts whose end nobody saw.

        Raises:
            StoreError: the store does not answer.
        """
        open_ends = [waiting for waiting in self._queue if waiting.attempt is not None]
        if not open_ends:
            return
        await self._store.head()  # behind every write that was begun
        self._feed.look_again()
        await self._feed.poll()
        for waiting in open_ends:
            attempt = waiting.attempt
            assert attempt is not None
            waiting.attempt = None
            raw = await self._store.entries(attempt.epoch - 1, 1)
            if raw and raw[0].hash == attempt.hash:
                self._queue.remove(waiting)
                waiting.entry = self._feed.read(raw[0])

    async def _settle_or_fail(self, waiting: Sequence[_Waiting]) -> None:
        try:
            await self._settle()
        except StoreError as error:
            for one in waiting:
                if one in self._queue:
                    self._queue.remove(one)
                    one.error = error
            return
        for one in waiting:
            if one in self._queue:
                self._queue.remove(one)
                one.error = StoreUnavailable("the change could not be written", hint="try again")

    # --- judging --------------------------------------------------------------------------------

    def _judge(self, plan: Plan, waiting: _Waiting, left: bool) -> None:
        """What a large change may not was judged before. `left`: somebody can still administer.

        Raises:
            InvalidDocuments (a cycle), NotAuthorised, GuardRefused.
        """
        # No document can make a cycle; a large change is not asked again, because that takes long.
        asked = plan.added and len(plan.added) + len(plan.removed) <= STEP_ROWS
        cycles = self._feed.engine.link_problems(plan.added, plan.removed) if asked else []
        if cycles:
            raise InvalidDocuments(
                tuple(Problem("request", 1, 1, "cycle", text) for text in cycles)
            )
        if waiting.asker is not None and not is_large(plan):
            authorise(self._feed.engine, waiting.asker, plan, waiting.context)
        self._guard(plan, left)

    async def _authorised_aside(self, plan: Plan, waiting: _Waiting) -> None:
        """Judges a large change before the feed has to wait for us. Raises: NotAuthorised."""
        if waiting.asker is not None and is_large(plan):
            await self.authorise(plan, waiting.asker, waiting.context)

    async def _left(self, plan: Plan, waiting: _Waiting) -> bool:
        """Whether somebody could still administer; looked at before the feed has to wait for us."""
        asker = waiting.asker.id if waiting.asker is not None else ""
        context = Context({"time.now": waiting.now})
        return await self._administrators.holds(self._feed.engine, plan, asker, context)

    async def authorise(self, plan: Plan, asker: Asker, context: Context) -> None:
        """Whether `asker` may make the planned change. Raises: NotAuthorised."""
        if is_large(plan):
            await authorise_aside(self._feed.engine, asker, plan, context, self._planner)
        else:
            authorise(self._feed.engine, asker, plan, context)

    async def failing(
        self, plan: Plan, asker: Asker | None, context: Context
    ) -> tuple[Problem, ...]:
        """The cases that would refuse a change which `asker` may make: for a dry run.

        Raises:
            InvalidDocuments: there would be too many cases. HeadMoved, StoreUnavailable.
        """
        if plan.empty:
            return ()
        base = self._feed.head
        failures = await self._tried_aside(plan, base)
        if not self._trial.is_large(plan):
            async with self._feed.applying:
                if self._feed.head != base:
                    raise HeadMoved("others committed meanwhile")
                failures = await self._trial.live(plan)
        refused = refusing(failures, only_revokes=plan.only_revokes)
        return findings_of(self._feed.engine, refused, asker, context)

    async def _tried_aside(self, plan: Plan, base: Head) -> tuple[Failure, ...]:
        """What fails after a large change; it is tried before the feed has to wait for us."""
        large = self._trial.is_large(plan)
        return await self._trial.aside(plan, base.epoch) if large else ()

    def _refuse_failing(self, failures: Sequence[Failure], plan: Plan, waiting: _Waiting) -> None:
        """Raises: CasesFailed, for what the change breaks. What it does not refuse is an alarm."""
        refused = refusing(failures, only_revokes=plan.only_revokes)
        if refused:
            asker, context = waiting.asker, waiting.context
            raise CasesFailed(findings_of(self._feed.engine, refused, asker, context))
        for one in failures[:MAX_SHOWN]:
            since = "fails, as before" if one.before else "fails after this change"
            self._alarm(f"{one.text} ({since})")

    def _guard(self, plan: Plan, left: bool) -> None:
        """Somebody active must still be able to administer. Pure revocations commit with an alarm."""
        if left:
            return
        if not plan.only_revokes:
            raise GuardRefused(
                "afterwards nobody active could write policy and assign roles",
                hint="give somebody else these rights first",
            )
        self._alarm("after this change nobody active can write policy and assign roles")


def _no_entry(waiting: _Waiting, head: Head) -> Entry:
    """What is answered for a change that changes nothing; it is not in the log."""
    return Entry(
        epoch=head.epoch,
        at=waiting.now,
        actor=waiting.change.actor,
        source=waiting.change.source,
        request_id=waiting.change.request_id,
        comment=waiting.change.comment,
        documents=(),
        added=(),
        removed=(),
        digest=head.digest,
        previous="",
        hash=head.hash,
    )
