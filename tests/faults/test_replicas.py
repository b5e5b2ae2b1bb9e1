"""Several processes on one store: one is killed in mid-commit, fifty write at once, a clock is set back."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from policies.documents import Team
from store.changes import ChangeLog
from store.rebuild import rebuild
from tests.store.change_kit import NOW, change_log, put, team

HERE = Path(__file__).parent
STEPS = [
    "begun",
    "entry",
    "documents",
    "rows",
    "mentions",
    "people",
    "secrets",
    "written",
    "committed",
]


@asynccontextmanager
async def logs(path: Path, count: int, **fields: Any) -> AsyncIterator[list[ChangeLog]]:
    """Several processes' change logs on one store."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            log = change_log(path, **fields)
            await log.start()
            stack.push_async_callback(log.close)
            made.append(log)
        yield made


async def agree(*given: ChangeLog) -> None:
    """All have applied the same, and it is what the log says."""
    for log in given:
        await log.poll()
        assert log.problem is None
    store = given[0]._store
    head = await store.head()
    texts = await rebuild(store, head)
    async with store.snapshot() as snapshot:
        assert sorted(await snapshot.rows(list)) == texts
    assert {(log.head, log.head_hash, log.engine.digest) for log in given} == {
        (head.epoch, head.hash, head.digest)
    }


async def killed_at(path: Path, step: str) -> None:
    """Runs a process that commits a team `victim` and is killed at this step of its commit."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "dying.py"),
        str(path),
        step,
        cwd=HERE.parents[1],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    assert await process.wait() == -signal.SIGKILL


async def test_kill_9_at_any_step_of_a_commit_leaves_the_other_process_going(
    tmp_path: Path,
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    picked = random.Random(seed).sample(STEPS[1:-2], 2)
    async with logs(tmp_path, 2) as (one, two):
        for number, step in enumerate(("begun", *picked, "written", "committed")):
            before = one.head
            await killed_at(tmp_path, step)
            # It commits at once, on whatever the dead one left.
            await one.commit(put(team(f"after{number}")), None, NOW)
            await agree(one, two)
            made = await two.document(("team", "victim"))
            assert (made is not None) == (step == "committed"), step
            assert one.head == before + (2 if step == "committed" else 1)


async def test_fifty_writers_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    async with logs(tmp_path, 3) as (one, two, three):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    log.commit(
                        put(team(f"t{number}", f"p{number}@acme.com"), request_id=f"r{number}"),
                        None,
                        NOW,
                    )
                )
                for number in range(50)
                for log in [(one, two, three)[number % 3]]
            ]
        await agree(one, two, three)
        epochs = Counter(task.result().epoch for task in tasks)
        entries = await one.entries(0, 1_000)
        asked = Counter(e.request_id for e in entries if e.request_id.startswith("r"))
        assert asked == Counter({f"r{number}": 1 for number in range(50)})
        assert set(epochs) == {e.epoch for e in entries if e.request_id.startswith("r")}
        found = [stored.document for stored in await two.documents("team", "", 1_000)]
        held = {t.name: len(t.members) for t in found if isinstance(t, Team)}
        assert {f"t{number}": 1 for number in range(50)}.items() <= held.items()
        # Each added row is in the log once.
        rows = Counter(row for e in entries for row in e.added)
        assert max(rows.values()) == 1


async def test_fifty_writers_of_one_document_end_at_one_of_them(tmp_path: Path) -> None:
    async with logs(tmp_path, 2) as (one, two):
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                log = (one, two)[number % 2]
                change = put(team("shared", f"p{number % 5}@acme.com"), request_id=f"r{number}")
                group.create_task(log.commit(change, None, NOW))
        await agree(one, two)
        stored = await one.document(("team", "shared"))
        assert stored is not None and isinstance(stored.document, Team)
        assert len(stored.document.members) == 1
        written = [
            change.version
            for entry in await two.entries(0, 1_000)
            for change in entry.documents
            if change.key == ("team", "shared")
        ]
        assert written == list(range(1, len(written) + 1)) and stored.version == len(written)


@pytest.mark.parametrize("back", [1, 3600, 86_400 * 400])
async def test_a_clock_that_is_set_back_neither_stops_nor_misleads_anybody(
    tmp_path: Path, back: int
) -> None:
    now = [NOW]
    async with logs(tmp_path, 2, clock=lambda: now[0]) as (one, two):
        first = await one.commit(put(team("a", "p@acme.com")), None, now[0])
        await two.poll()
        now[0] -= timedelta(seconds=back)
        # What was read a moment ago is not taken for old, nor for read in the future.
        assert one.age(now[0]) == two.age(now[0]) == 0
        second = await two.commit(put(team("b", "p@acme.com")), None, now[0])
        assert second.epoch == first.epoch + 1
        await agree(one, two)
        # And time goes on from there.
        assert two.age(now[0] + timedelta(seconds=5)) == 5
