"""A full disk under a serving gateway: strict refuses with 503, nothing is lost, it recovers by itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from identity.first_start import prepare
from proxy import demo, host
from store.verify import verify
from tests.e2e.test_process import Served, served
from tests.faults.harness import missing

SIZE = 2 << 20
BODY = {"model": "echo/small", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose journal lies on a file system of two megabytes."""
    data = tmp_path / "var"
    journal = data / "journal"
    prepare(data, established=False)  # keys are made before there is a journal
    journal.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(journal)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system here")
    try:
        yield data
    finally:
        subprocess.run(["umount", "-l", str(journal)], check=True)


async def ask(session: aiohttp.ClientSession, ids: list[str]) -> tuple[int, str | None]:
    """(status, retry-after) of one request; notes the decision id of an answer that is not our fault."""
    async with session.post("/v1/chat/completions", json=BODY) as answer:
        if answer.status != 503:
            ids.append(answer.headers["x-decision-id"])
        return answer.status, answer.headers.get("retry-after")


async def test_strict_answers_503_while_the_disk_is_full_and_recovers_by_itself(
    small_disk: Path,
) -> None:
    journal = small_disk / "journal"
    async with served(small_disk, GATEWARDEN_DEMO="true") as gateway:
        await _fill_and_free(gateway, journal)
        key = host.read_public_key(gateway.data / "log-public-key.pem")
        assert await gateway.ends() == 0
    report = verify(journal, key)
    assert report.ok, [str(fault) for fault in report.faults]


async def _fill_and_free(gateway: Served, journal: Path) -> None:
    token = demo.read(gateway.data / "demo.env")["DEMO_TOKEN_ALICE"]
    ids: list[str] = []
    headers = {"authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(gateway.url, headers=headers) as session:
        assert (await ask(session, ids))[0] == 200
        filler = journal / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass
        statuses = [await ask(session, ids) for _ in range(30)]
        assert statuses[-1][0] == 503
        assert statuses[-1][1] is not None
        assert all(status in (200, 503) for status, _ in statuses)
        async with session.get("/readyz") as ready:
            assert ready.status == 503
            assert "journal" in await ready.text()
        filler.unlink()
        async with asyncio.timeout(20):
            while (await ask(session, ids))[0] != 200:
                await asyncio.sleep(0.05)
        async with session.get("/readyz") as ready:
            assert ready.status == 200
    assert missing(journal, ids) == []
