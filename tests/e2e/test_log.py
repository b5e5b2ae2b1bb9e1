"""The decision log over starts and stops: the process that ships, the chains, the signing key, retention."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from conf.settings import Settings
from proxy import app, demo, installation
from proxy.cli import main
from proxy.host import Places
from proxy.runtime import Clock
from store.errors import StoreUnavailable
from store.request_records import Shelf
from store.shelving import Place
from tests.e2e.conftest import Demo
from tests.e2e.test_process import served


@contextlib.asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[Demo]:
    """A start in this process, as `serve` makes one."""
    keys = installation.keys_of(settings)
    await installation.bootstrap(settings, keys, Clock())
    async with app.running(settings, keys) as process:
        yield Demo(process, settings, demo.read(Places(settings.data).demo))


async def cli(settings: Settings, *arguments: str) -> tuple[int, dict[str, Any]]:
    runner = CliRunner(env={"GATEWARDEN_DATA": str(settings.data)})
    done = await asyncio.to_thread(runner.invoke, main, [*arguments, "--json"])
    return done.exit_code, json.loads(done.output)


async def chat(url: str, token: str) -> str:
    """The decision id of a chat."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{url}/v1/chat/completions",
            json={"model": "echo/small", "messages": [{"role": "user", "content": "hi"}]},
            headers={"authorization": f"Bearer {token}"},
        ) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return answer.headers["x-decision-id"]


def found(data: Path, decision: str) -> bool:
    try:
        store = Place(data / "request-records.db").open(read_only=True)
    except StoreUnavailable:
        return False
    try:
        return store.get(Shelf.DECISIONS, decision) is not None
    finally:
        store.close()


def shippers(data: Path) -> list[int]:
    """The processes that ship into this data folder."""
    wanted = f"--records={data}/request-records.db".encode()
    alive = []
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdigit() and wanted in (place / "cmdline").read_bytes().split(b"\0"):
                alive.append(int(place.name))
    return alive


@pytest.mark.parametrize("workers", [1, 2])
async def test_records_reach_the_store_from_one_process_beside_those_that_serve(
    tmp_path: Path, workers: int
) -> None:
    data = tmp_path / "var"
    async with served(data, workers=workers, GATEWARDEN_DEMO="true") as running:
        token = demo.read(data / "demo.env")["DEMO_TOKEN_ALICE"]
        first = await chat(running.url, token)
        async with asyncio.timeout(20):
            while not found(data, first):
                await asyncio.sleep(0.01)
        (one,) = shippers(data)
        os.kill(one, signal.SIGKILL)  # it comes back, and nobody who serves notices
        second = await chat(running.url, token)
        async with asyncio.timeout(20):
            while not found(data, second):
                await asyncio.sleep(0.01)
        assert "gatewarden_records_behind" in (await running.get("/metrics"))[1]
        last = [await chat(running.url, token) for _ in range(20)]
        assert await running.ends() == 0
    # What was written while it drained is there, too, when `serve` has ended.
    assert all(found(data, decision) for decision in last)
    assert not shippers(data)


async def test_a_gateway_that_is_killed_takes_its_shipper_along(tmp_path: Path) -> None:
    data = tmp_path / "var"
    async with served(data) as running:
        async with asyncio.timeout(20):
            while not shippers(data):
                await asyncio.sleep(0.01)
        running.process.kill()
        async with asyncio.timeout(20):
            while shippers(data):
                await asyncio.sleep(0.01)


async def test_a_chain_is_known_to_the_change_log_from_its_first_start_and_only_once(
    settings: Settings,
) -> None:
    async with gateway(settings) as first:
        (known,) = await first.process.runtime.changes.documents("log-writer", "", 10)
        assert known.document.name == first.process.runtime.journal.writer
    async with gateway(settings) as second:
        (again,) = await second.process.runtime.changes.documents("log-writer", "", 10)
        assert again == known
    code, report = await cli(settings, "log", "verify")
    assert code == 0 and not report["notes"]


async def test_verify_misses_a_chain_that_is_gone(settings: Settings) -> None:
    async with gateway(settings), app.running(settings, installation.keys_of(settings), slot=1):
        pass
    (_, other) = sorted(path for path in Places(settings.data).journal.iterdir())
    shutil.rmtree(other)
    code, report = await cli(settings, "log", "verify")
    assert code == 1
    assert any(
        fault["writer"] == other.name and "the chain is missing" in fault["message"]
        for fault in report["faults"]
    )


async def test_a_signing_key_is_exchanged_and_the_first_public_key_still_verifies(
    settings: Settings,
) -> None:
    keys = settings.data / "keys"
    async with gateway(settings) as running:
        await chat(running.url, running.token("alice"))
    public = Places(settings.data).public_key.read_bytes()
    (keys / "signing.key").rename(keys / "signing.previous.key")
    fresh = Ed25519PrivateKey.generate()
    (keys / "signing.key").write_bytes(
        fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (keys / "signing.key").chmod(0o600)
    async with gateway(settings) as running:
        await chat(running.url, running.token("alice"))
    (keys / "signing.previous.key").unlink()
    async with gateway(settings) as running:
        await chat(running.url, running.token("alice"))
    assert Places(settings.data).public_key.read_bytes() == public
    code, report = await cli(settings, "log", "verify")
    assert code == 0, report["faults"]


async def test_old_segments_go_by_themselves_when_days_are_set(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = settings.journal.model_copy(update={"segment_bytes": 4096, "keep_days": 1})
    settings = settings.model_copy(update={"journal": small})
    async with gateway(settings) as running:
        for _ in range(12):
            last = await chat(running.url, running.token("alice"))
        async with asyncio.timeout(20):
            while not found(settings.data, last):
                await asyncio.sleep(0.01)
        folder = running.process.runtime.journal.folder
    before = len(list(folder.glob("0*.jsonl")))
    assert before > 2
    later = Clock(lambda: Clock().now().replace(year=Clock().now().year + 1))
    async with app.running(settings, installation.keys_of(settings), clock=later):
        async with asyncio.timeout(20):
            while len(list(folder.glob("0*.jsonl"))) >= before:
                await asyncio.sleep(0.01)
    code, report = await cli(settings, "log", "verify")
    assert code == 0, report["faults"]
    assert found(settings.data, last)
