"""Jobs beside requests: how far shipping is, and what of the journal may go."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz.checkpoint import public_bytes
from proxy.chores import Upkeep, each
from proxy.record_access import RecordAccess
from store.intake import Intake
from store.journal import Journal
from store.segments import segments
from store.shelving import Place
from store.shipper import Shipper
from store.verify import verify
from store.writer import Limits
from tests.store.journal_kit import KEY, NOON, Clock, decision, open_journal

DAY_US = 86_400_000_000


def instant(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)


async def filled(folder: Path, clock: Clock, count: int = 20) -> Journal:
    journal = open_journal(folder, clock, limits=Limits(segment_bytes=3000))
    for n in range(count):
        await journal.append(decision(number=n)).durable()
    return journal


def ship(folder: Path, records: Path) -> None:
    store = Place(records).open()
    Shipper(folder, Intake(store)).drain()
    store.close()


async def test_what_is_not_shipped_yet_is_counted(tmp_path: Path) -> None:
    folder, records = tmp_path / "journal", tmp_path / "records.db"
    journal = await filled(folder, Clock())
    upkeep = Upkeep(journal, RecordAccess(Place(records)), 0)
    await upkeep.look()
    assert upkeep.behind == journal.seq > 20
    ship(folder, records)
    await journal.append(decision()).durable()
    await upkeep.look()
    assert upkeep.behind == 1
    assert not upkeep.prunes
    await journal.close()


async def test_segments_go_once_they_are_old_and_shipped_and_the_log_stays_whole(
    tmp_path: Path,
) -> None:
    folder, records, clock = tmp_path / "journal", tmp_path / "records.db", Clock()
    journal = await filled(folder, clock)
    before = len(segments(journal.folder))
    upkeep = Upkeep(journal, RecordAccess(Place(records)), 30)
    assert upkeep.prunes

    clock.move(31 * DAY_US)
    assert await upkeep.prune(instant(clock.wall())) == 0  # old, but not shipped
    ship(folder, records)
    assert await upkeep.prune(instant(NOON) + timedelta(days=29)) == 0  # shipped, but not old
    removed = await upkeep.prune(instant(clock.wall()))
    assert removed == before - 1
    await journal.close()
    report = verify(folder, public_bytes(KEY))
    assert report.ok, report.faults
    assert report.writers[0].first > 1


async def test_segments_that_the_security_monitor_lacks_stay(tmp_path: Path) -> None:
    folder, records, clock = tmp_path / "journal", tmp_path / "records.db", Clock()
    journal = await filled(folder, clock)
    ship(folder, records)
    clock.move(31 * DAY_US)
    told = [0]
    upkeep = Upkeep(journal, RecordAccess(Place(records)), 30, lambda writer: told[0])
    assert await upkeep.prune(instant(clock.wall())) == 0
    told[0] = journal.seq
    assert await upkeep.prune(instant(clock.wall())) > 0
    await journal.close()


async def test_a_store_that_cannot_be_asked_keeps_the_journal(tmp_path: Path) -> None:
    folder, records, clock = tmp_path / "journal", tmp_path / "records.db", Clock()
    journal = await filled(folder, clock)
    records.mkdir()
    upkeep = Upkeep(journal, RecordAccess(Place(records)), 1)
    clock.move(9 * DAY_US)
    assert await upkeep.prune(instant(clock.wall())) == 0
    await upkeep.look()
    assert upkeep.behind == journal.seq
    await journal.close()


async def test_a_job_that_fails_is_done_again() -> None:
    stop, done = asyncio.Event(), []

    async def job() -> None:
        done.append(1)
        if len(done) == 2:
            stop.set()
        raise RuntimeError("once more")

    async with asyncio.timeout(5):
        await each(0.001, stop, job)
    assert len(done) == 2


@pytest.mark.parametrize("days", [0, 1])
def test_nothing_is_pruned_unless_it_is_asked_for(days: int) -> None:
    assert Upkeep(None, None, days).prunes == bool(days)  # type: ignore[arg-type]
