"""The text of a person leaves the journal, and the chain proves what it proved."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from authz.recording import request_record
from authz.records import Erasure, PayloadRecord, RequestRecord
from store.erasing import Stripped, strip
from store.intake import Intake
from store.journal import Journal, Limits
from store.request_records import Shelf
from store.segments import segments
from store.shipper import Shipper
from store.sqlite_request_records import SqliteShelves
from store.verify import verify
from tests.store.journal_kit import PUBLIC, open_journal

ANN, BOB = "user:u-1", "user:u-12"
ALL_SHIPPED = 1 << 62


def said(who: str, text: str) -> RequestRecord:
    return request_record(
        request_id="r",
        decision_id="d",
        principal=who,
        credential="c",
        status=200,
        claimed={"project": text},
    )


async def filled(folder: Path, count: int = 40) -> Journal:
    """A journal of several segments, in which two people claim something in turns."""
    journal = open_journal(folder, limits=Limits(segment_bytes=4096, checkpoint_records=10))
    for number in range(count):
        who, text = ((ANN, "apollo"), (BOB, "gemini"))[number % 2]
        await journal.append(said(who, text)).durable()
    return journal


def text_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*.jsonl")))


async def test_one_person_s_text_goes_and_nothing_else(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    await journal.close()
    assert len(segments(journal.folder)) > 2
    before = text_of(tmp_path)
    assert strip(tmp_path, ANN, lambda _: ALL_SHIPPED) == Stripped(20, 0)
    after = text_of(tmp_path)
    assert b"apollo" in before and b"apollo" not in after
    assert after.count(b"gemini") == before.count(b"gemini") == 20
    report = verify(tmp_path, PUBLIC)
    assert report.ok and report.writers[0].erased == 20
    assert strip(tmp_path, ANN, lambda _: ALL_SHIPPED) == Stripped()


async def test_the_segment_that_is_written_stays_and_is_counted(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    found = strip(tmp_path, ANN, lambda _: ALL_SHIPPED)
    assert found.lines + found.left == 20 and found.left > 0
    await journal.append(said(BOB, "gemini")).durable()
    await journal.close()
    assert strip(tmp_path, ANN, lambda _: ALL_SHIPPED) == Stripped(found.left, 0)
    assert verify(tmp_path, PUBLIC).ok and b"apollo" not in text_of(tmp_path)


async def test_what_is_not_shipped_yet_waits(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    await journal.close()
    assert strip(tmp_path, ANN, lambda _: 0) == Stripped(0, 20)


async def test_no_writer_begins_in_a_segment_that_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await filled(tmp_path)
    await journal.close()
    seen: list[bool] = []

    def settled(_: str) -> int:
        return ALL_SHIPPED

    real = os.fsync

    def fsync(handle: int) -> None:
        lock = os.open(journal.folder / "lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            seen.append(True)
        finally:
            os.close(lock)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    strip(tmp_path, ANN, settled)
    assert seen


async def test_a_shipper_that_stands_in_such_a_segment_skips_nothing(tmp_path: Path) -> None:
    journal = await filled(tmp_path / "journal", 12)
    store = SqliteShelves(tmp_path / "records.db")
    shipper = Shipper(tmp_path / "journal", Intake(store))
    shipper.drain()
    for number in range(30):
        await journal.append(said(ANN, f"later-{number}")).durable()
    await journal.close()
    # Its place is in a segment that is now whole and closed.
    strip(tmp_path / "journal", ANN, lambda _: ALL_SHIPPED)
    assert shipper.drain() == 30
    assert store.head(Shelf.REQUESTS) == 42
    store.close()


async def test_a_line_that_is_broken_is_left_as_it_is(tmp_path: Path) -> None:
    journal = await filled(tmp_path, 4)
    await journal.close()
    path = segments(journal.folder)[0].path
    raw = path.read_bytes().replace(b"apollo", b"apolLo", 1)
    path.write_bytes(raw)
    assert strip(tmp_path, ANN, lambda _: ALL_SHIPPED) == Stripped(1, 0)
    assert b"apolLo" in path.read_bytes()


def test_a_folder_without_a_journal_has_nothing(tmp_path: Path) -> None:
    assert strip(tmp_path / "none", ANN, lambda _: 0) == Stripped()


async def test_records_of_payloads_and_erasures_are_links_of_the_chain(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await journal.append(
        PayloadRecord(request="id-1", digest="ab" * 32, size=7, redacted=1)
    ).durable()
    await journal.append(Erasure(subject=ANN, by=BOB, payloads=1, asides=2, person=True)).durable()
    await journal.close()
    report = verify(tmp_path, PUBLIC)
    assert report.ok
    assert b'"type":"erasure"' in text_of(tmp_path) and b'"type":"payload"' in text_of(tmp_path)
