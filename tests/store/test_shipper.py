from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from authz.filters import EVERYTHING
from store import shipper as shipping
from store.intake import Intake
from store.journal import Journal
from store.request_records import Shelf, Window
from store.segments import segments
from store.shipper import Lease, Shipper
from store.sqlite_request_records import SqliteShelves
from store.writer import Limits
from tests.store.journal_kit import Clock, decision, lines, open_journal


@pytest.fixture
def shelves(tmp_path: Path) -> Iterator[SqliteShelves]:
    made = SqliteShelves(tmp_path / "records.db")
    yield made
    made.close()


@pytest.fixture
def store(shelves: SqliteShelves) -> Intake:
    return Intake(shelves)


async def filled(folder: Path, count: int, **more: object) -> Journal:
    journal = open_journal(folder, **more)
    for n in range(count):
        await journal.append(decision(number=n)).durable()
    return journal


def newest(shelves: SqliteShelves) -> list[dict[str, Any]]:
    """All decisions in the store, the last first."""
    found = shelves.scan(Shelf.DECISIONS, EVERYTHING, Window(0, 1 << 61), None, 1000, 60.0)
    return [msgspec.json.decode(row.body) for row in found.rows]


def decisions(folder: Path) -> int:
    """How many lines belong in the store."""
    return len([line for line in lines(folder) if line.type == "decision"])


async def test_everything_durable_arrives_once_and_in_order(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    folder = tmp_path / "journal"
    journal = await filled(folder, 20, limits=Limits(segment_bytes=3000))
    shipper = Shipper(folder, store)
    assert shipper.drain() == decisions(folder)
    assert shipper.drain() == 0
    await journal.append(decision(number=77)).durable()
    assert shipper.drain() == 1
    found = newest(shelves)[0]
    assert found["body"]["request"] == "r-77"
    await journal.close()
    shipper.drain()
    assert store.settled(journal.writer) == lines(folder)[-1].seq
    assert len(newest(shelves)) == 21


async def test_a_new_shipper_goes_on_by_the_cursor(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    folder = tmp_path / "journal"
    journal = await filled(folder, 10, limits=Limits(segment_bytes=3000))
    Shipper(folder, store).drain()
    await journal.append(decision()).durable()
    assert Shipper(folder, store).drain() == 1
    await journal.close()


async def test_every_writer_is_shipped(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    folder = tmp_path / "journal"
    journals = [await filled(folder, 3, clock=Clock()) for _ in range(3)]
    assert Shipper(folder, store).drain() == decisions(folder)
    for journal in journals:
        await journal.close()


async def test_a_line_that_is_not_whole_waits(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    folder = tmp_path / "journal"
    journal = await filled(folder, 3)
    shipper = Shipper(folder, store)
    path = segments(journal.folder)[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert shipper.drain() == decisions(folder)
    before = len(newest(shelves))
    path.write_bytes(whole)
    assert shipper.drain() == 1
    assert len(newest(shelves)) == before + 1
    await journal.close()


async def test_what_a_running_writer_does_not_call_durable_waits(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    """A batch that is being written may be taken back, and its seqs be used again."""
    folder = tmp_path / "journal"
    journal = await filled(folder, 8, limits=Limits(segment_bytes=3000))
    assert len(segments(journal.folder)) > 1
    (journal.folder / "head").write_bytes(b"%020d\n" % 3)
    shipper = Shipper(folder, store)
    assert shipper.drain() == 1  # the two before it open the chain
    os.close(journal._lock)  # the process died: what it left whole is all there will be
    assert shipper.drain() == decisions(folder) - 1


async def test_a_cursor_whose_record_was_written_anew_ships_the_segment_again(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    folder = tmp_path / "journal"
    journal = await filled(folder, 5)
    await journal.close()
    Shipper(folder, store).drain()
    path = segments(journal.folder)[0].path
    raw = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(raw[:4]))  # a power cut took the rest
    (journal.folder / "checkpoints.jsonl").write_bytes(raw[1])
    clock = Clock()
    clock.move(60_000_000)
    journal = await filled(folder, 9, clock=clock)
    await journal.close()
    Shipper(folder, store).drain()
    ids = [line.id for line in lines(folder) if line.type == "decision"]
    found = [record["id"] for record in newest(shelves)]
    assert found[:9] == ids[:-10:-1] and set(ids) <= set(found)


async def test_a_broken_line_is_left_out_and_counted(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    folder = tmp_path / "journal"
    journal = await filled(folder, 5)
    await journal.close()
    path = segments(journal.folder)[0].path
    path.write_bytes(path.read_bytes().replace(b'"r-2"', b'"r-x"'))
    shipped = Shipper(folder, store).run_once()
    assert shipped.broken == 1 and len(newest(shelves)) == 4


async def test_a_store_that_fails_makes_the_shipper_try_again(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    folder = tmp_path / "journal"
    journal = await filled(folder, 5)
    shipper = Shipper(folder, store)
    shelves._db.execute("PRAGMA query_only=1")
    with pytest.raises(Exception, match="cannot be stored"):
        shipper.run_once()
    assert await journal.append(decision(number=9)).durable()  # the journal does not care
    shelves._db.execute("PRAGMA query_only=0")
    assert shipper.drain() == decisions(folder)
    await journal.close()


async def test_shipping_goes_on_where_segments_were_pruned(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    folder = tmp_path / "journal"
    clock = Clock()
    journal = await filled(folder, 20, clock=clock, limits=Limits(segment_bytes=3000))
    shipper = Shipper(folder, store)
    shipper.drain()
    clock.move(1)
    assert await journal.prune(store.settled(journal.writer), clock.wall()) > 0
    await journal.append(decision(number=55)).durable()
    shipper.drain()
    fresh = Shipper(folder, store)
    assert fresh.drain() == 0
    await journal.close()
    fresh.drain()
    assert len(newest(shelves)) == 21


def test_an_empty_folder_ships_nothing(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    assert Shipper(tmp_path / "none", store).drain() == 0


async def test_a_line_of_another_writer_is_left_out_and_moves_nobody_s_cursor(
    tmp_path: Path, store: Intake, shelves: SqliteShelves
) -> None:
    """A folder that was copied together must not make the shipper skip what it never saw."""
    folder = tmp_path / "journal"
    one, two = await filled(folder, 9, clock=Clock()), await filled(folder, 2, clock=Clock())
    await one.close()
    await two.close()
    foreign = segments(one.folder)[0].path.read_bytes().splitlines(keepends=True)[8]
    path = segments(two.folder)[0].path
    path.write_bytes(path.read_bytes() + foreign)
    shutil.move(one.folder, tmp_path / "aside")
    shipper = Shipper(folder, store)
    assert shipper.run_once().broken == 1
    assert store.cursor(one.writer) == (0, "")
    shutil.move(tmp_path / "aside", one.folder)
    shipper.drain()
    assert len(newest(shelves)) == 11


async def test_a_segment_that_grew_while_it_was_read_is_not_left_behind(
    tmp_path: Path, store: Intake, shelves: SqliteShelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal"
    journal = await filled(folder, 20, limits=Limits(segment_bytes=3000))
    await journal.close()
    first, second = segments(journal.folder)[:2]
    whole, later = first.path.read_bytes(), second.path.read_bytes()
    cut = whole.rfind(b"\n", 0, -1) + 1
    first.path.write_bytes(whole[:cut])
    second.path.unlink()
    for segment in segments(journal.folder)[1:]:
        segment.path.unlink()
    shipper = Shipper(folder, store)
    shipper.drain()
    real = shipping._read

    def read(*where: object) -> bytes:
        raw = real(*where)  # type: ignore[arg-type]
        first.path.write_bytes(whole)
        second.path.write_bytes(later)
        return raw

    monkeypatch.setattr(shipping, "_read", read)
    shipper.drain()
    assert len(newest(shelves)) == decisions(folder)


def test_a_lease_is_held_by_one_until_it_lets_go(tmp_path: Path) -> None:
    one, two = Lease(tmp_path / "data" / "records.lock"), Lease(tmp_path / "data" / "records.lock")
    assert one.take() and one.take() and not two.take()
    one.release()
    assert two.take() and not one.take()
    two.release()
