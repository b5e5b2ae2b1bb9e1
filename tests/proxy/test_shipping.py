"""Shipping beside serving: a child that is always there, alone, and gone with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pymongo import MongoClient

from authz.filters import EVERYTHING
from proxy import children, shipping
from store import mongo_postings
from store.errors import StoreUnavailable
from store.request_records import Shelf, Window
from store.shelving import Place
from tests.store.journal_kit import decision, open_journal


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


async def write(journal: Path, count: int = 5) -> None:
    opened = open_journal(journal)
    for n in range(count):
        await opened.append(decision(number=n)).durable()
    await opened.close()


def stored(records: Path, uri: str = "") -> int:
    try:
        store = Place(records, uri).open(read_only=True)
    except StoreUnavailable:
        return 0
    try:
        found = store.scan(Shelf.DECISIONS, EVERYTHING, Window(0, 1 << 61), None, 1000, 60.0)
        return len(found.rows)
    finally:
        store.close()


async def until(count: int, records: Path) -> None:
    async with asyncio.timeout(20):
        while stored(records) < count:
            await asyncio.sleep(0.01)


def children_of(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def shipping_children(parent: int, records: Path) -> list[int]:
    """Those that ship into this store, as long as they live."""
    found = []
    for pid in children_of(parent):
        with contextlib.suppress(OSError):
            if f"--records={records}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


async def test_a_child_ships_while_the_block_runs_and_the_rest_at_its_end(
    journal: Path, records: Path
) -> None:
    await write(journal)
    async with shipping.kept(journal, records, "info"):
        await until(5, records)
        (child,) = shipping_children(os.getpid(), records)
        assert os.getpriority(os.PRIO_PROCESS, child) == shipping.NICE
        await write(journal, 7)
    assert stored(records) == 12
    assert not shipping_children(os.getpid(), records)


async def test_a_child_that_dies_is_started_again(
    journal: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "RESTARTS", (0.01,))
    await write(journal)
    async with shipping.kept(journal, records, "info"):
        await until(5, records)
        (child,) = shipping_children(os.getpid(), records)
        os.kill(child, signal.SIGKILL)
        await write(journal, 3)
        await until(8, records)


async def test_that_the_child_cannot_run_does_not_stop_who_serves(
    journal: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "command", lambda module: ["/nowhere/python"])
    async with shipping.kept(journal, records, "info"):
        await asyncio.sleep(0)


async def test_an_error_inside_the_block_comes_out_as_itself(journal: Path, records: Path) -> None:
    with pytest.raises(StoreUnavailable, match="ours"):
        async with shipping.kept(journal, records, "info"):
            raise StoreUnavailable("ours")


PARENT = """
import asyncio, sys
from pathlib import Path
from typing import Any
from proxy import shipping
async def main():
    async with shipping.kept(Path(sys.argv[1]), Path(sys.argv[2]), "info"):
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_child_whose_parent_was_killed_ends_and_another_one_goes_on(
    journal: Path, records: Path
) -> None:
    await write(journal)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(journal), str(records)],
        env=children.variables(private=False),
    )
    await until(5, records)
    (child,) = shipping_children(parent.pid, records)
    async with shipping.kept(journal, records, "info"):  # waits for the lease meanwhile
        parent.kill()
        parent.wait()
        await write(journal, 4)
        await until(9, records)
        async with asyncio.timeout(10):
            while Path(f"/proc/{child}").exists():
                await asyncio.sleep(0.01)


async def test_sigint_of_a_terminal_leaves_the_child_to_its_parent(
    journal: Path, records: Path
) -> None:
    await write(journal)
    async with shipping.kept(journal, records, "info"):
        await until(5, records)
        (child,) = shipping_children(os.getpid(), records)
        os.kill(child, signal.SIGINT)
        await write(journal, 2)
        await until(7, records)
        assert shipping_children(os.getpid(), records) == [child]


async def test_what_is_left_when_it_is_told_to_end_is_shipped(journal: Path, records: Path) -> None:
    await write(journal, 9)
    stop = threading.Event()
    stop.set()
    shipping.ship(journal, Place(records), stop, lambda: False)
    assert stored(records) == 9


async def test_a_store_that_fails_is_opened_anew(journal: Path, records: Path) -> None:
    await write(journal)
    records.mkdir()  # nothing that SQLite can open
    work = shipping._Work(journal, Place(records))
    assert work.once() == shipping.TROUBLE_SECONDS
    records.rmdir()
    while work.once() != shipping.QUIET_SECONDS:
        pass
    assert stored(records) == 5
    work.close()


async def test_a_process_without_a_child_ships_by_itself_unless_another_does(
    journal: Path, records: Path
) -> None:
    await write(journal)
    lease = shipping.lease_of(records)
    assert lease.take()
    inline = shipping.Inline(journal, records)
    await inline.step()
    assert stored(records) == 0
    lease.release()
    await inline.step()
    assert stored(records) == 5
    await inline.close()
    assert shipping.lease_of(records).take()


def test_a_store_is_there_from_the_start_and_its_absence_stops_nothing(tmp_path: Path) -> None:
    shipping.prepare(tmp_path / "data" / "records.db")
    Place(tmp_path / "data" / "records.db").open(read_only=True).close()
    (tmp_path / "file").touch()
    shipping.prepare(tmp_path / "file" / "records.db")


async def test_records_go_to_a_server_whose_address_no_argument_tells(
    journal: Path, records: Path, mongo_uri: str
) -> None:
    await write(journal)
    async with shipping.kept(journal, records, "info", mongo_uri):
        async with asyncio.timeout(30):
            while await asyncio.to_thread(stored, records, mongo_uri) < 5:
                await asyncio.sleep(0.05)
        (child,) = shipping_children(os.getpid(), records)
        told = Path(f"/proc/{child}/cmdline").read_bytes()
        told += Path(f"/proc/{child}/environ").read_bytes()
        assert b"mongodb" not in told and mongo_uri.encode() not in told
        await write(journal, 7)
    assert await asyncio.to_thread(stored, records, mongo_uri) == 12
    assert not records.exists()
    inline = shipping.Inline(journal, records, mongo_uri)
    await write(journal, 2)
    await inline.step()
    await inline.step()
    assert await asyncio.to_thread(stored, records, mongo_uri) == 14
    await inline.close()


async def test_a_server_that_does_not_answer_stops_nobody(journal: Path, records: Path) -> None:
    await write(journal)
    nobody = "mongodb://127.0.0.1:1/x?replicaSet=rs0&serverSelectionTimeoutMS=50"
    work = shipping._Work(journal, Place(records, nobody))
    assert work.once() == shipping.TROUBLE_SECONDS
    inline = shipping.Inline(journal, records, nobody)
    work.close()
    await inline.step()  # says so, and no more
    await inline.close()


@pytest.mark.parametrize("inline", [False, True])
async def test_who_ships_seals_what_has_come_to_rest(
    journal: Path, records: Path, mongo_uri: str, monkeypatch: pytest.MonkeyPatch, inline: bool
) -> None:
    monkeypatch.setattr(mongo_postings, "BLOCK_BITS", 2)
    monkeypatch.setattr(mongo_postings, "PIECE_BITS", 0)
    await write(journal, 18)
    if inline:
        shipper = shipping.Inline(journal, records, mongo_uri)
        for _ in range(4):
            await shipper.step()
        await shipper.close()
    else:
        work = shipping._Work(journal, Place(records, mongo_uri))
        assert await asyncio.to_thread(work.once) == 0.0  # a block more may be full
        while await asyncio.to_thread(work.once) == 0.0:
            pass
        work.close()
    with MongoClient(mongo_uri) as client:  # type: MongoClient[dict[str, Any]]
        kept = client.get_default_database()["records_decisions_postings"]
        assert kept.count_documents({"whole": True}) == 4
