"""Who follows the log, how far they are, and waiting for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from store.replicas import Applied, Replica, Replicas, applied, live
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState
from tests.store.change_kit import NOW


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[SqliteState]:
    store = SqliteStore(tmp_path / "gatewarden.db")
    await store.open()
    yield SqliteState(store)
    await store.close()


def seconds(count: float) -> datetime:
    return NOW + timedelta(seconds=count)


def test_who_said_nothing_for_fifteen_seconds_is_not_live() -> None:
    told = [Replica("b@0", "1", 3, NOW), Replica("a@0", "2", 4, seconds(10))]
    assert [one.name for one in live(told, seconds(14.9))] == ["a@0", "b@0"]
    assert [one.name for one in live(told, seconds(15))] == ["a@0"]
    assert live(told, seconds(25)) == ()


def test_a_clock_that_was_set_back_loses_nobody() -> None:
    assert len(live([Replica("a@0", "1", 3, seconds(3600))], NOW)) == 1


def test_those_that_are_behind_are_named() -> None:
    told = [Replica("a@0", "1", 3, NOW), Replica("a@1", "2", 4, NOW), Replica("b@0", "3", 5, NOW)]
    assert applied(told, 4) == Applied(2, 3, ("a@0",))
    assert applied(told, 3) == Applied(3, 3)


async def test_a_process_tells_when_it_moved_and_else_every_five_seconds(
    state: SqliteState,
) -> None:
    epoch = [1]
    one = Replicas(state, "a@0", lambda: epoch[0])
    assert await one.tell(NOW)
    assert not await one.tell(seconds(4.9))
    epoch[0] = 2
    assert await one.tell(seconds(4.9))
    assert not await one.tell(seconds(5))
    assert await one.tell(seconds(9.9))
    assert await one.tell(NOW)  # the clock was set back


async def test_each_counts_itself_and_sees_the_others_until_they_leave(state: SqliteState) -> None:
    one, two = Replicas(state, "a@0", lambda: 5), Replicas(state, "b@0", lambda: 4)
    await two.beat(NOW)
    await one.beat(NOW)
    assert [(r.name, r.epoch) for r in one.seen] == [("a@0", 5), ("b@0", 4)]
    assert one.lowest == 4
    await two.leave()
    await one.beat(seconds(5))
    assert [r.name for r in one.seen] == ["a@0"] and one.lowest == 5


async def test_waiting_ends_when_all_have_it(state: SqliteState) -> None:
    epoch = [4]
    one, two = Replicas(state, "a@0", lambda: 5), Replicas(state, "b@0", lambda: epoch[0])
    await two.tell(NOW)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(one.wait(5, lambda: NOW))
        await asyncio.sleep(0)
        epoch[0] = 5
        await two.tell(NOW)
    assert waiting.result() == Applied(2, 2)


async def test_waiting_is_given_up_and_says_for_whom(state: SqliteState) -> None:
    one, two = Replicas(state, "a@0", lambda: 5), Replicas(state, "b@0", lambda: 4)
    await two.tell(NOW)
    assert await one.wait(5, lambda: NOW, 0.0) == Applied(1, 2, ("b@0",))
    # Whoever dies meanwhile is not waited for.
    assert await one.wait(5, lambda: seconds(15), 0.0) == Applied(1, 1)


async def test_what_another_version_wrote_is_left_out(state: SqliteState) -> None:
    await state.put("replicas", "x", b"[]", seconds(15))
    assert len(await Replicas(state, "a@0", lambda: 1).alive(NOW)) == 1
