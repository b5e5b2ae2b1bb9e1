"""The stored cases of this process, and the trial of a change on them.

A small change is tried on the live engine and taken back, in slices of one synchronous step each; a large
one on an engine of its own, loaded from the store in a thread, because the live one would stand still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from functools import partial

from authz.engine import Engine
from policies.case import Case
from policies.case_gate import (
    BoundOf,
    Failure,
    StoredCase,
    cases_after,
    failing,
    is_gated,
)
from policies.change import Entry, Plan
from policies.documents import Policy, VirtualAccount, parse, parse_json
from policies.naming import Key
from store.entries import row_of
from store.errors import HeadMoved
from store.feed import STEP_ROWS, Feed, Snapshot
from store.port import Store

_SLICE = 50  # cases asked in one synchronous step: 1 to 2 ms
_ACCOUNT = "virtualaccount:"


class CaseBook:
    """The cases of the stored policies: follows the log (`feed.Applier`)."""

    def __init__(self) -> None:
        self.cases: dict[Key, tuple[Case, ...]] = {}

    def load(self, snapshot: Snapshot) -> None:
        """Start over from a snapshot."""
        self.cases.clear()
        for document in snapshot.documents.of("policy"):
            if isinstance(document, Policy) and document.cases:
                self.cases[document.key] = document.cases

    def apply(self, entry: Entry) -> None:
        """Take over the policies of an entry."""
        for change in entry.documents:
            if change.key[0] != "policy":
                continue
            self.cases.pop(change.key, None)
            document = parse(change.after) if change.after is not None else None
            if isinstance(document, Policy) and document.cases:
                self.cases[change.key] = document.cases


class Trial:
    """Tries changes on the cases. `model_text` makes the engine that large ones are tried on."""

    def __init__(self, store: Store, feed: Feed, model_text: str, executor: Executor) -> None:
        self._store = store
        self._feed = feed
        self._model_text = model_text
        self._executor = executor
        self.book = CaseBook()

    @staticmethod
    def is_large(plan: Plan) -> bool:
        """Whether a change is tried aside (`aside`), not on the live engine (`live`)."""
        return len(plan.added) + len(plan.removed) > STEP_ROWS

    def cases(self, plan: Plan) -> tuple[StoredCase, ...]:
        """What a change must be tried on; () when no case gates it. Raises: InvalidDocuments."""
        return cases_after(self.book.cases, plan) if is_gated(plan) else ()

    async def live(self, plan: Plan) -> tuple[Failure, ...]:
        """The cases that fail after a small change. The caller holds `feed.applying`.

        Raises:
            InvalidDocuments: there would be too many cases. StoreUnavailable.
        """
        cases = self.cases(plan)
        if not cases:
            return ()
        before, after = await self._bounds(cases, plan)
        engine = self._feed.engine
        found: list[Failure] = []
        for start in range(0, len(cases), _SLICE):
            if start:
                await asyncio.sleep(0)
            part = cases[start : start + _SLICE]
            engine.apply(plan.added, plan.removed, engine.epoch)
            try:
                failed = failing(engine, part, after)
            finally:
                engine.apply(plan.removed, plan.added, engine.epoch)
            found += _compared(engine, failed, before)
        return tuple(found)

    async def aside(self, plan: Plan, epoch: int) -> tuple[Failure, ...]:
        """The same of a large change on the policy of `epoch`, in a thread; live traffic goes on.

        Raises:
            HeadMoved: the store is not at `epoch`. InvalidDocuments, StoreUnavailable: as `live`.
        """
        cases = self.cases(plan)
        if not cases:
            return ()
        before, after = await self._bounds(cases, plan)
        async with self._store.snapshot() as snapshot:
            if snapshot.head.epoch != epoch:
                raise HeadMoved("others committed meanwhile")
            engine = await snapshot.rows(partial(_loaded, self._model_text, epoch))
        work = partial(_tried, engine, plan, cases, before, after)
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _bounds(self, cases: Iterable[StoredCase], plan: Plan) -> tuple[BoundOf, BoundOf]:
        """Which team bounds the accounts that ask in cases, before and after the change."""
        names = {
            one.case.asker.removeprefix(_ACCOUNT)
            for one in cases
            if one.case.asker.startswith(_ACCOUNT)
        }
        before: dict[str, str] = {}
        for raw in await self._store.documents([("virtual-account", name) for name in names]):
            document = parse_json(raw.family, raw.body)
            if isinstance(document, VirtualAccount) and document.bounded_by:
                before[f"{_ACCOUNT}{document.name}"] = f"bound:{document.bounded_by}"
        after = dict(before)
        for change in plan.documents:
            if change.key[0] == "virtual-account":
                bound = change.after.get("bounded_by") if change.after is not None else None
                after.pop(f"{_ACCOUNT}{change.key[1]}", None)
                if bound:
                    after[f"{_ACCOUNT}{change.key[1]}"] = f"bound:{bound}"
        return before.get, after.get


def _loaded(model_text: str, epoch: int, texts: Iterator[str]) -> Engine:
    return Engine.load(model_text, (row_of(text) for text in texts), epoch)


def _tried(
    engine: Engine,
    plan: Plan,
    cases: tuple[StoredCase, ...],
    before: BoundOf,
    after: BoundOf,
) -> tuple[Failure, ...]:
    engine.apply(plan.added, plan.removed, engine.epoch)
    failed = failing(engine, cases, after)
    if not failed:
        return ()
    engine.apply(plan.removed, plan.added, engine.epoch)
    return tuple(_compared(engine, failed, before))


def _compared(
    engine: Engine,
    failed: list[tuple[StoredCase, tuple[str, ...]]],
    bound_of: BoundOf,
) -> Iterator[Failure]:
    """Failing cases with whether they failed before as well, which `engine` now is again."""
    already = {
        (one.key, one.index)
        for one, _ in failing(engine, [one for one, _ in failed if not one.new], bound_of)
    }
    for one, differences in failed:
        yield Failure(one, differences, (one.key, one.index) in already)
