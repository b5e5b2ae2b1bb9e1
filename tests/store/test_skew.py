"""A clock that differs from the store's is seen, and how long an answer takes is not taken for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from store.mongo import MongoStore
from store.skew import MOST_SECONDS, Skew
from store.sqlite import SqliteStore

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


class Clock:
    """Moves on by `step` each time it is read."""

    def __init__(self, at: datetime, step: float = 0.0) -> None:
        self.at = at
        self.step = timedelta(seconds=step)

    def __call__(self) -> datetime:
        self.at += self.step
        return self.at


def of(there: datetime | None, here: Clock) -> Skew:
    async def store_time() -> datetime | None:
        return there

    return Skew(store_time, here)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize(
    ("off", "ok", "detail"),
    [
        (0.0, True, "that of the store"),
        (1.9, True, "1.9 s ahead of the store"),
        (MOST_SECONDS, True, "2.0 s ahead of the store"),
        (2.1, False, "2.1 s ahead of the store"),
        (-2.1, False, "2.1 s behind the store"),
        (-3600.0, False, "3600.0 s behind the store"),
    ],
)
async def test_the_difference_decides_and_is_told(off: float, ok: bool, detail: str) -> None:
    skew = of(NOW, Clock(NOW + seconds(off)))
    await skew.look()
    assert (skew.ok, skew.detail) == (ok, detail)


async def test_an_answer_that_takes_long_is_no_difference() -> None:
    skew = of(NOW + seconds(12), Clock(NOW, step=10))  # asked at +10, answered at +20
    await skew.look()
    assert skew.seconds == 0.0


async def test_of_a_slow_answer_the_part_that_no_delay_explains_counts() -> None:
    skew = of(NOW + seconds(7), Clock(NOW, step=10))
    await skew.look()
    assert skew.seconds == 3.0


async def test_the_file_on_this_host_has_no_other_clock(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    await store.open()
    skew = Skew(store.time, Clock(NOW))
    await skew.look()
    await store.close()
    assert skew.ok and skew.seconds is None and skew.detail == "the store has no other clock"


@pytest.mark.parametrize(("off", "ok"), [(0.0, True), (5.0, False), (-5.0, False)])
async def test_a_server_is_asked_for_its_own(mongo_uri: str, off: float, ok: bool) -> None:
    store = MongoStore(mongo_uri)
    await store.open()
    skew = Skew(store.time, lambda: datetime.now(UTC) + seconds(off))
    await skew.look()
    await store.close()
    assert skew.ok is ok
    assert skew.seconds is not None and abs(skew.seconds - off) < 1.5
