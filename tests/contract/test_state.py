"""Short-lived things: kept until their instant, taken by one only, seen by every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from store.mongo import MongoStore
from store.mongo_state import MongoState
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState
from store.state import State

NOW = datetime(2026, 11, 25, tzinfo=UTC)
SOON = NOW + timedelta(seconds=60)


@pytest.fixture(params=["sqlite", "mongo"])
async def states(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[State, State]]:
    """The state of one installation, as two processes have it."""
    if request.param == "mongo":
        shared = [MongoStore(request.getfixturevalue("mongo_uri")) for _ in range(2)]
        for mongo in shared:
            await mongo.open()
        yield MongoState(shared[0]), MongoState(shared[1])
        for mongo in shared:
            await mongo.close()
        return
    stores = [SqliteStore(tmp_path / "s.db") for _ in range(2)]
    for store in stores:
        await store.open()
    yield SqliteState(stores[0]), SqliteState(stores[1])
    for store in stores:
        await store.close()


async def test_a_value_is_there_until_its_instant_and_not_at_it(
    states: tuple[State, State],
) -> None:
    one, other = states
    await one.put("session", "k", b"v", SOON)
    assert await other.get("session", "k", NOW) == b"v"
    assert await other.get("login", "k", NOW) is None
    assert await one.get("session", "k", SOON) is None
    await one.put("session", "k", b"w", SOON)
    assert await one.get("session", "k", NOW) == b"w"
    assert await other.drop("session", "k")
    assert not await other.drop("session", "k")


async def test_of_two_who_take_at_once_one_gets_it(states: tuple[State, State]) -> None:
    one, other = states
    await one.put("link", "k", b"v", SOON)
    taken = await asyncio.gather(*(s.take_once("link", "k", NOW) for s in (one, other) * 5))
    assert sorted(t for t in taken if t is not None) == [b"v"]


async def test_what_is_past_is_not_taken(states: tuple[State, State]) -> None:
    await states[0].put("link", "k", b"v", SOON)
    assert await states[0].take_once("link", "k", SOON) is None


async def test_a_lease_is_held_by_one_and_free_after_its_end(states: tuple[State, State]) -> None:
    one, other = states
    assert await one.put_new("lease", "job", b"1", SOON, NOW)
    assert not await other.put_new("lease", "job", b"2", SOON, NOW)
    later = SOON + timedelta(seconds=60)
    assert await other.put_new("lease", "job", b"2", later, SOON)
    assert await one.get("lease", "job", SOON) == b"2"


async def test_sweeping_takes_only_what_is_past(states: tuple[State, State]) -> None:
    one, _ = states
    for n in range(5):
        await one.put("x", str(n), b"", NOW + timedelta(seconds=n))
    assert await one.expire(NOW + timedelta(seconds=2), limit=2) == 2
    assert await one.expire(NOW + timedelta(seconds=2)) == 1
    assert await one.get("x", "4", NOW) == b""
