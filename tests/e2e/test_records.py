"""Requests from the call to whoever may read of it: shipped by the process beside, on both stores."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from proxy import demo
from proxy.cli import main
from tests.e2e.test_mongo import installation
from tests.e2e.test_process import Served, environment, served

CHAT = {"model": "echo/small", "messages": [{"role": "user", "content": "canary-of-a-prompt"}]}


async def chat(gateway: Served, token: str) -> str:
    """The request id of a chat."""
    headers = {
        "authorization": f"Bearer {token}",
        "x-gatewarden-metadata": json.dumps({"stage": "test"}),
    }
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{gateway.url}/v1/chat/completions", json=CHAT) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return answer.headers["x-request-id"]


async def requests_of(gateway: Served, token: str, **query: str) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{gateway.url}/api/v1/requests", params=query) as answer,
    ):
        assert answer.status == 200, await answer.text()
        raw = await answer.text()
        assert "canary-of-a-prompt" not in raw
        found: list[dict[str, Any]] = json.loads(raw)["data"]
        return found


@pytest.mark.parametrize("store", ["sqlite", "mongo"])
async def test_a_request_is_seen_by_who_may_and_by_nobody_else(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    data = tmp_path / "var"
    more: dict[str, str] = {}
    if store == "mongo":
        more = {**installation(), "GATEWARDEN_STORE": request.getfixturevalue("mongo_uri")}
    async with served(data, GATEWARDEN_DEMO="true", **more) as gateway:
        tokens = demo.read(data / "demo.env")
        alice, bob, root = (
            tokens[name] for name in ("DEMO_TOKEN_ALICE", "DEMO_TOKEN_BOB", "GATEWARDEN_TOKEN")
        )
        asked = await chat(gateway, alice)
        async with asyncio.timeout(30):
            while not (found := await requests_of(gateway, alice, model="echo/small")):
                await asyncio.sleep(0.05)
        (seen,) = found
        assert (seen["request"], seen["status"], seen["model"]) == (asked, 200, "echo/small")
        assert seen["claimed"] == {"stage": "test"} and seen["teams"] == ["team:search"]
        assert await requests_of(gateway, bob) == []
        assert [one["id"] for one in await requests_of(gateway, root, request=asked)] == [
            seen["id"]
        ]
        assert (data / "request-records.db").exists() is (store == "sqlite")

        def cli(*arguments: str) -> Any:
            variables = {**environment(data, **more), "GATEWARDEN_URL": gateway.url}
            runner = CliRunner(env={**variables, "GATEWARDEN_TOKEN": root})
            done = runner.invoke(main, [*arguments, "--json"])
            assert done.exit_code == 0, done.output
            return json.loads(done.stdout)["data"]

        listed = await asyncio.to_thread(cli, "requests", "--user", "alice@example.com")
        assert [one["id"] for one in listed] == [seen["id"]]
        on_host = await asyncio.to_thread(
            cli, "log", "query", "--kind", "request", "--subject", "user:alice@example.com"
        )
        assert [one["id"] for one in on_host] == [seen["id"]]
        assert await gateway.ends() == 0


async def test_an_open_tail_does_not_hold_up_the_end(tmp_path: Path) -> None:
    data = tmp_path / "var"
    async with served(data, GATEWARDEN_DEMO="true") as gateway:
        root = demo.read(data / "demo.env")["GATEWARDEN_TOKEN"]
        async with (
            aiohttp.ClientSession(headers={"authorization": f"Bearer {root}"}) as session,
            session.get(f"{gateway.url}/api/v1/decisions/tail") as answer,
        ):
            assert answer.status == 200
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                ending = group.create_task(gateway.ends())
                rest = await answer.content.read()
        assert ending.result() == 0
        assert b'"code": "ended"' in rest


async def test_a_record_store_that_cannot_be_used_stops_no_request(tmp_path: Path) -> None:
    data = tmp_path / "var"
    (data / "request-records.db").mkdir(parents=True)
    async with served(data, GATEWARDEN_DEMO="true") as gateway:
        alice = demo.read(data / "demo.env")["DEMO_TOKEN_ALICE"]
        await chat(gateway, alice)
        assert (await gateway.get("/readyz"))[0] == 200
        async with (
            aiohttp.ClientSession(headers={"authorization": f"Bearer {alice}"}) as session,
            session.get(f"{gateway.url}/api/v1/requests") as answer,
        ):
            assert (answer.status, (await answer.json())["code"]) == (503, "store_unavailable")
        (data / "request-records.db").rmdir()  # mended: what was journaled meanwhile is shipped
        async with asyncio.timeout(30):
            while not await requests_of_or_none(gateway, alice):
                await asyncio.sleep(0.05)
        assert await gateway.ends() == 0


async def requests_of_or_none(gateway: Served, token: str) -> list[dict[str, Any]]:
    try:
        return await requests_of(gateway, token)
    except AssertionError:
        return []
