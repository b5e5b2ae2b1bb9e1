"""A full disk: strict refuses, nothing acknowledged is lost, it recovers by itself with the space."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.journal import JournalUnavailable
from store.verify import verify
from tests.faults import harness
from tests.store.journal_kit import PUBLIC, Clock, decision, lines, open_journal

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mode", ["strict", "available"])
async def test_a_file_size_limit_is_survived(tmp_path: Path, mode: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("journal_full.py")),
        str(tmp_path / "journal"),
        mode,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode == 0, err
    report = json.loads(out)
    journal = tmp_path / "journal"
    assert report["full"] and report["writable"] and report["late"] == 0
    assert 0 < report["before"] < 300
    assert report["refused"] == (300 - report["before"] if mode == "strict" else 0)
    assert harness.missing(journal, report["told"]) == []
    assert verify(journal, PUBLIC).ok
    gaps = [line.body for line in lines(journal) if line.type == "gap"]
    assert all((gap["phase"], gap["cause"]) == ("end", "EFBIG") for gap in gaps)
    lost = sum(gap.get("allowed", 0) + gap.get("denied", 0) for gap in gaps)
    kept = len([line for line in lines(journal) if line.type == "decision"])
    assert lost + kept == 321  # every record is either there or counted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip(
            "mounting a small file system needs root; the file-size limit is tested instead"
        )
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("mounting is refused here; the file-size limit is tested instead")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_file_system_is_survived(small_disk: Path) -> None:
    clock = Clock()
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 600_000)
    journal = open_journal(small_disk / "journal", clock)
    told: list[str] = []
    refused: list[str] = []
    for number in range(1000):
        clock.move(150_000)
        ticket = journal.append(decision("deny" if number % 2 else "allow", number))
        try:
            await ticket.durable()
            told.append(ticket.id)
        except JournalUnavailable as error:
            assert "ENOSPC" in error.message
            refused.append(ticket.id)
        if len(refused) == 10:
            break
    assert len(refused) == 10 and told
    begin = [line.body for line in lines(small_disk / "journal") if line.type == "gap"]
    assert begin and begin[0]["phase"] == "begin"  # written into the reserved space
    assert harness.missing(small_disk / "journal", told) == []
    assert verify(small_disk / "journal", PUBLIC).ok
    ballast.unlink()
    clock.move(150_000)
    assert await journal.append(decision()).durable()
    assert journal.writable
    assert harness.missing(small_disk / "journal", refused) == []  # kept in memory meanwhile
    await journal.close()
    assert verify(small_disk / "journal", PUBLIC).ok


async def test_a_start_on_a_full_file_system_recovers_by_itself(small_disk: Path) -> None:
    clock = Clock()
    journal = open_journal(small_disk / "journal", clock)
    await journal.append(decision()).durable()
    await journal.close()
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4096)
    segment = next((small_disk / "journal").rglob("0*.jsonl"))
    assert segment.stat().st_size < 4096  # the rest of its page is still ours
    journal = open_journal(small_disk / "journal", clock)
    with pytest.raises(JournalUnavailable):
        for number in range(20):
            await journal.append(decision(number=number)).durable()
    ballast.unlink()
    clock.move(150_000)
    assert await journal.append(decision()).durable()
    await journal.close()
    assert verify(small_disk / "journal", PUBLIC).ok
