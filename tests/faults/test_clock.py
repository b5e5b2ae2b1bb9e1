"""A host whose clock is off: it says by how much and gets no traffic until the clock is right again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from conf.settings import load
from proxy import app, chores, installation
from proxy.runtime import Clock


class Wrong:
    """The host's clock, so many seconds off."""

    def __init__(self, off: float) -> None:
        self.off = off

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.off)


@pytest.fixture
def wrong() -> Wrong:
    return Wrong(5.0)


@pytest.fixture
async def client(
    tmp_path: Path, mongo_uri: str, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ClientSession]:
    monkeypatch.setenv("GATEWARDEN_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("GATEWARDEN_PORT", "0")
    monkeypatch.setenv("GATEWARDEN_STORE", mongo_uri)
    monkeypatch.setattr(chores, "CLOCK_SECONDS", 0.02)
    settings = load()
    keys = installation.keys_of(settings)
    installation.published(settings, keys)
    async with (
        app.running(settings, keys, clock=Clock(wrong), shows=lambda line: None) as process,
        ClientSession(f"http://127.0.0.1:{process.port}") as session,
    ):
        yield session


async def clock_of(client: ClientSession) -> tuple[int, dict[str, Any]]:
    async with client.get("/readyz") as got:
        body = await got.json()
    return got.status, next(check for check in body["checks"] if check["name"] == "clock")


async def test_it_is_not_ready_says_by_how_much_and_recovers(
    client: ClientSession, wrong: Wrong
) -> None:
    status, check = await clock_of(client)
    assert status == 503 and not check["ok"]
    assert check["detail"] in {"4.9 s ahead of the store", "5.0 s ahead of the store"}
    async with client.get("/metrics") as got:
        text = await got.text()
    (line,) = [one for one in text.splitlines() if one.startswith("gatewarden_clock_skew_seconds")]
    assert 4.5 < float(line.rpartition(" ")[2]) < 5.5

    wrong.off = 0.0
    while (await clock_of(client))[0] != 200:
        pass
    assert (await clock_of(client))[1]["ok"]


async def test_a_step_of_the_clock_while_it_runs_is_seen(
    client: ClientSession, wrong: Wrong
) -> None:
    wrong.off = 0.0
    while (await clock_of(client))[0] != 200:
        pass
    wrong.off = -60.0
    while (await clock_of(client))[1]["ok"]:
        pass
    assert "behind the store" in (await clock_of(client))[1]["detail"]
