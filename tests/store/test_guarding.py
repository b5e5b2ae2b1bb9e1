"""Who could still administer after a change: asked without changing the engine, and without stopping the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from authz.conditions import Context
from authz.decision import Somebody
from authz.engine import Engine
from policies.change import Change, Plan, Source
from policies.documents import Document
from policies.errors import GuardRefused
from policies.guards import administers
from store.changes import ChangeLog
from store.entries import row_of
from store.guarding import AdministratorGuard
from tests.store.change_kit import ANN, BOB, MODEL, NOW, Alarms, change_log, put, team, user

T = TypeVar("T")
CONTEXT = Context({"time.now": NOW})
MANY = 1_100  # users: as rows more than are applied in one step


class Watched(Engine):
    """An engine that tells how often it was changed."""

    changes = 0

    def apply(self, *arguments: Any) -> None:
        self.changes += 1
        super().apply(*arguments)


def crowd(state: str = "active") -> list[Document]:
    return [user(f"p{n}@acme.com", state=state) for n in range(MANY)]


@pytest.fixture
def alarms() -> Alarms:
    return Alarms()


@pytest.fixture
async def log(tmp_path: Path, alarms: Alarms) -> AsyncIterator[ChangeLog]:
    made = change_log(tmp_path, alarm=alarms)
    await made.start()
    await made.commit(put(user(ANN, roles=["tenant-admin"]), user(BOB), *crowd()), None, NOW)
    yield made
    await made.close()


async def who(log: ChangeLog, address: str) -> Somebody:
    return Somebody(f"user:{(await log.people_by_email([address]))[address].id}")


async def test_a_large_change_that_locks_everybody_out_is_refused(log: ChangeLog) -> None:
    head, digest = log.head, log.engine.digest
    demoted = put(user(ANN, roles=["auditor"]), *crowd("suspended"))
    plan = await log.plan(demoted)
    assert len(plan.added) + len(plan.removed) > 1_000
    with pytest.raises(GuardRefused):
        await log.commit(demoted, None, NOW)
    assert (log.head, log.engine.digest) == (head, digest)


async def test_a_large_pure_revocation_commits_with_an_alarm(
    log: ChangeLog, alarms: Alarms
) -> None:
    gone = put(user(ANN, state="suspended"), *crowd("suspended"), source=Source.SCIM)
    await log.commit(gone, None, NOW)
    assert ["nobody active" in text for text in alarms] == [True]
    # Nobody could before, so that the next one takes nothing from anybody.
    await log.commit(put(user(BOB, state="suspended"), source=Source.SCIM), None, NOW)
    assert len(alarms) == 1


async def test_somebody_new_may_take_over_in_the_change_itself(log: ChangeLog) -> None:
    new = user("eve@acme.com", roles=["tenant-admin"])
    await log.commit(put(user(ANN, roles=["auditor"]), *crowd("suspended"), new), None, NOW)
    assert administers(log.engine, (await who(log, "eve@acme.com")).id, CONTEXT)


async def test_the_engine_that_answers_is_not_changed_to_find_out(log: ChangeLog) -> None:
    plan = await log.plan(put(user(ANN, roles=["auditor"]), *crowd("suspended")))
    async with log._store.snapshot() as snapshot:
        engine = await snapshot.rows(
            lambda texts: Watched.load(MODEL, map(row_of, texts), log.head)
        )
    ann = (await who(log, ANN)).id
    with ThreadPoolExecutor(1) as executor:
        guard = AdministratorGuard(MODEL, executor)
        assert not await guard.holds(engine, plan, ann, CONTEXT)
        assert await guard.holds(engine, Plan(Change("host", Source.HOST, "r")), ann, CONTEXT)
    assert isinstance(engine, Watched)
    assert engine.changes == 0 and engine.digest == log.engine.digest


async def test_the_loop_turns_while_a_large_change_is_planned_and_judged(log: ChangeLog) -> None:
    """What takes long is done elsewhere: meanwhile the loop turns, and answers by the old policy."""
    ann = await who(log, ANN)
    stages: dict[str, int] = {}

    async def turning(name: str, work: Coroutine[Any, Any, T]) -> T:
        count, before = 0, log.engine.digest
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            while not task.done():
                count += 1
                assert log.engine.digest == before and administers(log.engine, ann.id, CONTEXT)
                await asyncio.sleep(0)
        stages[name] = count
        return task.result()

    grown = put(*(user(f"q{n}@acme.com") for n in range(MANY)), team("big", BOB))
    draft = await turning("planned", log.draft(grown, ann))
    await turning("judged", log.authorise(draft.plan, ann, CONTEXT))
    suspended = await log.plan(put(*crowd("suspended")))
    guard = log._committer._administrators
    assert await turning("guarded", guard.holds(log.engine, suspended, "", CONTEXT))
    # A turn takes microseconds and each stage milliseconds: done on the loop, it would be one turn or two.
    assert all(count > 2 for count in stages.values()), stages
