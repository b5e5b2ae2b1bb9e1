"""The change log and the decision log vouch for each other: what is taken from one shows in the other."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.checkpoint import key_id
from policies.change import Change, Source
from policies.documents import LogWriter
from store.crosscheck import crosscheck
from store.journal import Journal
from store.verify import VerifyReport, verify
from tests.store.change_kit import NOW, change_log, team
from tests.store.journal_kit import PUBLIC, decision, open_journal


@pytest.fixture
async def host(tmp_path: Path) -> Path:
    """A data folder: two chains that the change log knows, and a change after each checkpoint."""
    log = change_log(tmp_path)
    await log.start()

    def journal() -> Journal:
        return open_journal(
            tmp_path / "journal", change_head=lambda: (log.head, log.head_hash), copy_to=None
        )

    one, two = journal(), journal()
    for opened in (one, two):
        writer = LogWriter(name=opened.writer, key_id=key_id(PUBLIC))
        await log.commit(Change("host", Source.HOST, "r", puts=(writer,)), None, NOW)
        await opened.append(decision()).durable()
    await log.commit(Change("host", Source.HOST, "r", puts=(team("a"),)), None, NOW)
    await one.close()
    await two.close()
    await log.commit(Change("host", Source.HOST, "r", puts=(team("b"),)), None, NOW)
    await log.close()
    assert check(tmp_path).ok and not check(tmp_path).notes
    return tmp_path


def check(host: Path) -> VerifyReport:
    return crosscheck(verify(host / "journal", PUBLIC), host / "gatewarden.db")


def messages(host: Path) -> list[str]:
    return [fault.message for fault in check(host).faults]


def chains(host: Path) -> list[Path]:
    return sorted(path for path in (host / "journal").iterdir() if path.is_dir())


def entries(host: Path, sql: str, *values: object) -> None:
    db = sqlite3.connect(host / "gatewarden.db")
    with db:
        assert db.execute(sql, values).rowcount
    db.close()


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def emptied(folder: Path) -> None:
    for path in folder.glob("*.jsonl"):
        path.unlink()


@pytest.mark.parametrize("take", [gone, emptied])
async def test_a_chain_that_vanished_with_its_copies_is_missed(
    host: Path, take: Callable[[Path], None]
) -> None:
    take(chains(host)[1])
    for checkpoints in (host / "journal").glob("*/checkpoints.jsonl"):
        checkpoints.unlink()  # nobody else speaks of it
    report = check(host)
    (fault,) = [
        fault for fault in report.faults if fault.message.startswith("the chain is missing")
    ]
    assert fault.writer == chains(host)[-1].name or fault.writer.endswith("@1")


async def test_the_only_chain_cannot_vanish_either(host: Path) -> None:
    shutil.rmtree(host / "journal")
    assert sum(text.startswith("the chain is missing") for text in messages(host)) == 2


async def test_an_entry_that_was_edited_is_found(host: Path) -> None:
    entries(
        host,
        "UPDATE entries SET body = CAST(replace(CAST(body AS TEXT), 'host', 'hose') AS BLOB)"
        " WHERE epoch = 3",
    )
    assert messages(host) == ["entry 3 of the change log is not what was written"]


async def test_a_change_log_that_was_cut_before_a_checkpoint_is_found(host: Path) -> None:
    entries(host, "DELETE FROM entries WHERE epoch >= 4")
    found = messages(host)
    assert len(found) == 2  # each chain's last checkpoint names entry 4
    assert all("entry 4" in text and "is not there" in text for text in found)


async def test_a_change_log_that_was_written_anew_is_found(host: Path) -> None:
    (host / "gatewarden.db").unlink()
    for suffix in ("-wal", "-shm"):
        (host / f"gatewarden.db{suffix}").unlink(missing_ok=True)
    log = change_log(host)
    await log.start()
    for place in chains(host):
        writer = LogWriter(name=place.name, key_id=key_id(PUBLIC))
        await log.commit(Change("host", Source.HOST, "r", puts=(writer,)), None, NOW)
    await log.commit(Change("host", Source.HOST, "r", puts=(team("other"),)), None, NOW)
    await log.close()
    assert all("entry 4" in text and "is another one" in text for text in messages(host))
    assert len(messages(host)) == 2


async def test_an_entry_in_the_middle_that_is_gone_is_found(host: Path) -> None:
    entries(host, "DELETE FROM entries WHERE epoch = 2")
    assert "entry 3 of the change log does not continue the entry before it" in messages(host)


async def test_a_store_that_cannot_be_read_is_a_fault(host: Path) -> None:
    for suffix in ("-wal", "-shm"):
        (host / f"gatewarden.db{suffix}").unlink(missing_ok=True)
    (host / "gatewarden.db").write_bytes(b"nonsense" * 600)
    assert "cannot be read" in messages(host)[0]


async def test_without_a_store_the_log_alone_is_judged_and_that_is_said(host: Path) -> None:
    report = crosscheck(verify(host / "journal", PUBLIC), host / "elsewhere.db")
    assert report.ok and "no change log" in report.notes[0]


async def test_a_chain_that_the_change_log_does_not_know_is_noted(host: Path) -> None:
    other = open_journal(host / "journal", installation="other")
    await other.close()
    report = check(host)
    assert report.ok and report.notes == (
        f"{other.writer}: the change log does not know this writer",
    )
