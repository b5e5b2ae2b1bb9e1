"""A whole process with a stream and a second place: what it decides and what is changed arrives there."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from conf.settings import SettingsError, load
from proxy import app, installation
from proxy.runtime import Clock


async def until(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not found():
            await asyncio.sleep(0.02)


def get(url: str, token: str) -> Any:
    request = Request(url, headers={"authorization": f"Bearer {token}"})
    with urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "DATA": str(tmp_path / "var"),
        "PORT": "0",
        "DEMO": "true",
        "SIEM__SINK": "file",
        "SIEM__FILE": str(tmp_path / "siem.jsonl"),
        "UPSTREAM__ALLOW_PRIVATE": "127.0.0.1/32",
    }.items():
        monkeypatch.setenv(f"GATEWARDEN_{name}", value)


async def test_decisions_and_changes_reach_the_monitor_and_checkpoints_the_second_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked: list[dict[str, Any]] = []

    async def hook(request: web.Request) -> web.Response:
        hooked.append(json.loads(await request.read()))
        return web.Response()

    far = web.Application()
    far.router.add_post("/hook", hook)
    file = tmp_path / "siem.jsonl"

    def told() -> list[dict[str, Any]]:
        return [json.loads(raw) for raw in file.read_text().splitlines()] if file.exists() else []

    async with TestServer(far, host="127.0.0.1") as server:
        monkeypatch.setenv("GATEWARDEN_JOURNAL__COPY_URL", str(server.make_url("/hook")))
        settings = load()
        keys = installation.keys_of(settings)
        await installation.bootstrap(settings, keys, Clock())
        written = (settings.data / "demo.env").read_text()
        (token,) = re.findall(
            r"^(?:export )?GATEWARDEN_TOKEN=['\"]?([^'\"\n]+)", written, re.MULTILINE
        )
        async with app.running(settings, keys) as process:
            url = f"http://127.0.0.1:{process.port}/api/v1"
            await asyncio.to_thread(get, f"{url}/whoami", token)
            await until(lambda: any(one["body"]["type"] == "decision" for one in told()))
            await until(lambda: any(one["body"]["type"] == "change" for one in told()))
            await until(lambda: bool(hooked))
            async with asyncio.timeout(20):
                asked = 0
                while not asked:  # until its records have been shipped
                    found = await asyncio.to_thread(get, f"{url}/decisions/replay", token)
                    asked = found["asked"]
            assert found["data"] == []
    decided = [one for one in told() if one["body"]["type"] == "decision"]
    assert {one["body"]["action"] for one in decided} >= {"self:read"}
    assert [one["seq"] for one in decided] == sorted({one["seq"] for one in decided})
    assert all(one["body"]["type"] == "checkpoint" for one in hooked)
    assert "gw_pat_" not in file.read_text() and "gw_vat_" not in file.read_text()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SIEM__SINK", "syslog", "url"),
        ("SIEM__SINK", "otlp", "url"),
        ("SIEM__FILE", "", "file"),
        ("JOURNAL__COPY_URL", "ftp://x", "copy_url"),
        ("JOURNAL__COPY_URL", "s3://bucket", "copy_access_key"),
        ("JOURNAL__COPY_URL", "s3://bucket/../x y", "copy_url"),
    ],
)
def test_a_setting_that_cannot_work_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"GATEWARDEN_{name}", value)
    if not value:
        monkeypatch.delenv(f"GATEWARDEN_{name}")
    with pytest.raises(SettingsError, match=said):
        load()
