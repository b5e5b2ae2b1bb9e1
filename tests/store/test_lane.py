from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store.errors import StoreUnavailable
from store.lane import Lane, connect, in_transaction


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    made = Lane("test")
    yield made
    made.close()


async def test_work_comes_in_order(lane: Lane) -> None:
    seen: list[int] = []
    await asyncio.gather(*(lane.run(lambda n=n: seen.append(n)) for n in range(20)))
    assert seen == list(range(20))


async def test_an_error_of_sqlite_is_a_store_that_does_not_answer(lane: Lane) -> None:
    def fails() -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    with pytest.raises(StoreUnavailable) as caught:
        await lane.run(fails)
    assert "malformed" not in str(caught.value)
    assert await lane.run(lambda: 1) == 1


async def test_nobody_queues_behind_what_was_given_up_until_it_has_ended(lane: Lane) -> None:
    # docs/attacks.md D6
    gate = threading.Event()
    try:
        with pytest.raises(StoreUnavailable, match="in time"):
            await lane.run(gate.wait, 0.01)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="does not answer"):
                await lane.run(lambda: 1)  # at once, without a deadline of its own
    finally:
        gate.set()
    async with asyncio.timeout(5):
        while True:
            try:
                assert await lane.run(lambda: 1) == 1
            except StoreUnavailable:
                await asyncio.sleep(0)
            else:
                break


async def test_what_waited_behind_it_is_never_done(lane: Lane) -> None:
    gate, done = threading.Event(), threading.Event()
    given_up = await asyncio.gather(
        lane.run(gate.wait, 0.05), lane.run(done.set, 0.01), return_exceptions=True
    )
    assert [type(one) for one in given_up] == [StoreUnavailable, StoreUnavailable]
    gate.set()
    lane._thread.submit(lambda: None).result()
    assert not done.is_set()


def test_a_transaction_is_whole_or_not_there(tmp_path: Path) -> None:
    db = connect(tmp_path / "x.db")
    db.execute("CREATE TABLE t (n)")

    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO t VALUES (1)")
        raise ValueError

    with pytest.raises(ValueError):
        in_transaction(db, half)
    assert db.execute("SELECT count(*) FROM t").fetchone() == (0,)
    in_transaction(db, lambda db: db.execute("INSERT INTO t VALUES (1)"))
    assert db.execute("SELECT count(*) FROM t").fetchone() == (1,)
    db.close()
