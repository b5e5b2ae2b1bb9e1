"""kill -9 of a whole gateway under load: no answer that a client received lacks its record, and no record fails to reach the monitor."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRIALS = 100


async def test_no_answer_lacks_its_record_and_no_record_is_left_out_of_the_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.server_kill",
        str(tmp_path / "var"),
        str(TRIALS),
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "GATEWARDEN_SEED": os.environ.get("GATEWARDEN_SEED", "")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(240):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-3000:]
    report = json.loads(out.splitlines()[-1])
    with capsys.disabled():
        print(f" [server kill -9: GATEWARDEN_SEED={report['seed']}]", end="", flush=True)
    assert report["lost"] == []
    assert report["faults"] == []
    assert report["trials"] == TRIALS
    assert report["records"] >= report["answers"] > TRIALS
    assert report["not_streamed"] == [] and report["kept"] >= report["answers"]
