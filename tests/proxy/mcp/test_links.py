"""Which way a request takes to a server, and how often the gateway has to find that out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.proxy.mcp.house import House, Scripted, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def serving(
    gate: House, name: str, generation: str, **fields: Any
) -> AsyncIterator[Scripted]:
    async with Scripted(generation=generation, tools=[tool("a")], **fields) as server:
        await gate.apply(server.manifest(name, ["team:search"]))
        yield server


async def test_the_generation_of_a_server_is_found_out_once(shared: House) -> None:
    async with serving(shared, "once", "2025") as server:
        alice = shared.modern("alice", "once")
        await alice.names()
        server.asked.clear()
        for _ in range(3):
            assert "result" in (await alice.call("a")).message
        methods = [one.body["method"] for one in server.asked]
        assert methods == ["tools/call"] * 3


async def test_a_client_of_2025_does_not_knock_at_a_server_of_2026_each_time(shared: House) -> None:
    async with serving(shared, "knocks", "2026") as server:
        alice = await shared.session("alice", "knocks")
        await alice.names()
        server.asked.clear()
        for _ in range(3):
            assert "result" in (await alice.call("a")).message
        assert [one.body["method"] for one in server.asked] == ["tools/call"] * 3


async def test_a_server_that_learns_the_other_generation_is_asked_anew_once_its_document_changes(
    shared: House,
) -> None:
    async with serving(shared, "learns", "2025") as server:
        modern = shared.modern("alice", "learns")
        assert await modern.names() == ["a"]
        server.generation = "2026"
        await shared.apply(server.manifest("learns", ["team:search"], description="Renewed."))
        assert await modern.names() == ["a"]
        # The gateway itself is looking at the server at the same time.
        assert "tools/list" in {one.headers.get("mcp-method") for one in server.asked}


async def test_a_server_in_this_process_speaks_both(shared: House) -> None:
    for client in (await shared.session("alice", "tools"), shared.modern("alice", "tools")):
        assert await client.names() == ["say", "add", "clock"]
        said = await client.call("add", a=1, b=2)
        assert said.result["structuredContent"] == {"sum": 3}
        assert await client.names("resources") == ["demo://readme"]
        read = await client.ask("resources/read", {"uri": "demo://readme"})
        assert read.result["contents"][0]["uri"] == "demo://readme"
    bob = await shared.session("bob", "tools")
    assert await bob.names() == ["say"]
    said = await bob.call("say", text="4111 1111")
    assert said.error["code"] == -31403


async def test_a_server_without_sessions_is_one_too(shared: House) -> None:
    async with serving(shared, "plain", "2025") as server:

        async def hello(body: Any, request: web.Request) -> Any:
            return {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "plain", "version": "1"},
            }

        async def lists(body: Any, request: web.Request) -> Any:
            assert "mcp-session-id" not in request.headers
            assert request.headers["mcp-protocol-version"] == "2025-06-18"
            return {"tools": server.tools}

        server.on["initialize"], server.on["tools/list"] = hello, lists
        alice = await shared.session("alice", "plain")
        assert alice.hello["protocolVersion"] == "2025-06-18"
        assert await alice.names() == ["a"]


async def test_a_server_that_wants_a_login_is_not_taken_for_one_of_the_other_generation(
    shared: House,
) -> None:
    async with serving(shared, "locked", "2025") as server:

        async def refuses(body: Any, request: web.Request) -> web.Response:
            return web.json_response({"error": "login"}, status=401)

        server.on["initialize"] = server.on["server/discover"] = refuses
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}},
        }
        said = await shared.send("alice", "/mcp/locked", body)
        assert said.status == 200 and said.error["code"] == -31502
        assert "www-authenticate" not in {name.lower() for name in said.headers}
        assert "login" not in json.dumps(said.message)
