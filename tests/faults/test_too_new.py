"""An entry that only a newer version can read: the process stays at its epoch, is not ready, and says why."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from conf.settings import load
from proxy import app, installation
from proxy.runtime import Clock
from store.entries import READER, hash_of
from store.errors import StoreTooNew


def write_newer(database: Path) -> int:
    """Appends an entry as a newer version would; its epoch."""
    db = sqlite3.connect(database)
    epoch, made, digest, body = db.execute(
        "SELECT epoch, hash, digest, body FROM entries ORDER BY epoch DESC LIMIT 1"
    ).fetchone()
    entry = {
        **json.loads(body), "epoch": epoch + 1, "previous": made, "min_reader": READER + 1,
        "documents": [], "added": [], "removed": [],
    }  # fmt: skip
    raw = json.dumps(entry).encode()
    db.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (epoch + 1, hash_of(raw), digest, raw))
    db.commit()
    db.close()
    return int(epoch) + 1


@pytest.fixture
async def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[app.Process]:
    monkeypatch.setenv("GATEWARDEN_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("GATEWARDEN_PORT", "0")
    settings = load()
    keys = installation.keys_of(settings)
    await installation.bootstrap(settings, keys, Clock())
    async with app.running(settings, keys) as process:
        yield process


async def test_it_stops_there_and_readyz_says_what_to_do(
    process: app.Process, tmp_path: Path
) -> None:
    head = process.runtime.changes.head
    epoch = write_newer(tmp_path / "var" / "gatewarden.db")
    async with ClientSession(f"http://127.0.0.1:{process.port}") as client:
        async with asyncio.timeout(5):
            while True:
                async with client.get("/readyz") as got:
                    body = await got.json()
                if got.status == 503:
                    break
                await asyncio.sleep(0.02)
        detail = {check["name"]: check["detail"] for check in body["checks"]}["policy"]
        assert f"entry {epoch}" in detail and f"needs reader {READER + 1}" in detail
        assert process.runtime.changes.head == head
        async with client.get("/healthz") as got:
            assert got.status == 200


async def test_a_process_of_this_version_does_not_start_on_it(
    process: app.Process, tmp_path: Path
) -> None:
    write_newer(tmp_path / "var" / "gatewarden.db")
    settings = load()
    with pytest.raises(StoreTooNew, match="needs reader"):
        async with installation.on_host(settings):
            raise AssertionError("it started")
