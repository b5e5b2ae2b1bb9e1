"""The spool: what is laid into it reaches the store once, or is refused where it would be too much."""

from __future__ import annotations

from pathlib import Path

import pytest

from store import payload_spool
from store.errors import StoreUnavailable
from store.payload_spool import Spool
from store.request_records import Payload
from store.sqlite_request_records import SqliteShelves

ANN, BOB = "user:u-1", "user:u-2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "payloads"


@pytest.fixture
def shelves(tmp_path: Path) -> SqliteShelves:
    return SqliteShelves(tmp_path / "records.db")


def payload(name: str, body: bytes = b"sealed") -> Payload:
    return Payload(name, 1000, body)


def spool(folder: Path, limit: int = 1 << 20, name: str = "w@h@0") -> Spool:
    return Spool(folder, name, limit)


def test_what_is_laid_in_is_shipped_and_removed(folder: Path, shelves: SqliteShelves) -> None:
    one = spool(folder)
    assert one.put([(payload("a"), ANN), (payload("b", b"other"), BOB)]) and one.put(
        [(payload("c"), ANN)]
    )
    assert payload_spool.ship(folder, shelves) == 3
    assert (shelves.payload("a"), shelves.payload("b")) == (b"sealed", b"other")
    assert list(folder.iterdir()) == [] and payload_spool.ship(folder, shelves) == 0


def test_a_store_that_stands_still_loses_nothing(folder: Path, shelves: SqliteShelves) -> None:
    spool(folder).put([(payload("a"), ANN)])

    class Still:
        def take(self, *_: object) -> int:
            raise StoreUnavailable("no")

    with pytest.raises(StoreUnavailable):
        payload_spool.ship(folder, Still())  # type: ignore[arg-type]
    assert payload_spool.ship(folder, shelves) == 1


def test_shipping_twice_is_shipping_once(folder: Path, shelves: SqliteShelves) -> None:
    spool(folder).put([(payload("a"), ANN)])
    (path,) = payload_spool.waiting(folder)
    raw = path.read_bytes()
    payload_spool.ship(folder, shelves)
    path.write_bytes(raw)  # as if the file had not gone before a crash
    assert payload_spool.ship(folder, shelves) == 1 and shelves.payload("a") == b"sealed"


def test_a_full_folder_refuses_and_takes_again_once_it_is_shipped(
    folder: Path, shelves: SqliteShelves
) -> None:
    one = spool(folder, limit=500)
    assert one.put([(payload("a", b"x" * 400), ANN)])
    assert not one.put([(payload("b", b"x" * 400), ANN)])
    payload_spool.ship(folder, shelves)
    assert one.put([(payload("b", b"x" * 400), ANN)])


def test_half_a_file_is_never_shipped_and_goes_at_the_next_start(
    folder: Path, shelves: SqliteShelves
) -> None:
    spool(folder)
    (folder / "w@h@0-1-00000001.part").write_bytes(b"half")
    (folder / "other-1-00000001.part").write_bytes(b"half")
    assert payload_spool.ship(folder, shelves) == 0
    spool(folder)
    assert [path.name for path in folder.iterdir()] == ["other-1-00000001.part"]


def test_a_file_that_cannot_be_read_is_set_aside(folder: Path, shelves: SqliteShelves) -> None:
    one = spool(folder)
    (folder / "x.spool").write_bytes(b"\xff nonsense")
    one.put([(payload("a"), ANN)])
    assert payload_spool.ship(folder, shelves) == 1
    assert [path.name for path in folder.iterdir()] == ["x.broken"]


def test_what_a_person_said_can_be_taken_out_on_the_way(
    folder: Path, shelves: SqliteShelves
) -> None:
    one = spool(folder)
    one.put([(payload("a"), ANN), (payload("b"), BOB)])
    one.put([(payload("c"), ANN)])
    assert payload_spool.forget(folder, ANN) == 2 and payload_spool.forget(folder, ANN) == 0
    assert payload_spool.ship(folder, shelves) == 1
    assert shelves.payload("a") is None and shelves.payload("b") == b"sealed"


def test_files_are_for_nobody_else(folder: Path) -> None:
    spool(folder).put([(payload("a"), ANN)])
    (path,) = payload_spool.waiting(folder)
    assert path.stat().st_mode & 0o077 == 0 and folder.stat().st_mode & 0o077 == 0


def test_a_folder_that_is_not_there_holds_nothing(folder: Path, shelves: SqliteShelves) -> None:
    assert payload_spool.ship(folder, shelves) == 0 and payload_spool.forget(folder, ANN) == 0
