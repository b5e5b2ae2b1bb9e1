"""kill -9 at random moments: every record that was called durable is on the disk, the chain is whole."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.faults import harness

ROOT = Path(__file__).parents[2]
ROUNDS = 100


async def test_no_acknowledged_record_is_lost_at_a_hundred_random_kills(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = harness.seed()
    with capsys.disabled():
        print(f" [kill -9: GATEWARDEN_SEED={seed}]", end="", flush=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("journal_writer.py")),
        str(tmp_path / "journal"),
        str(ROUNDS),
        str(seed),
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(180):
        out, err = await process.communicate()
    assert process.returncode == 0, (out, err)
    report = json.loads(out)
    assert report["missing"] == [] and report["problems"] == []
    assert report["rounds"] == ROUNDS and report["promised"] > ROUNDS
    assert report["records"] >= report["promised"]


async def test_the_harness_notices_a_promise_that_was_not_kept(tmp_path: Path) -> None:
    assert harness.missing(tmp_path, ["0" * 26]) == ["0" * 26]
