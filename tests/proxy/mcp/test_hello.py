"""What an endpoint says of itself: never refused by policy, and only what this principal may use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.proxy.mcp.house import META, MODERN, House, Scripted, policy, rule, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFERS: dict[str, Any] = {
    "tools": [tool("a")],
    "prompts": [{"name": "p"}],
    "resources": [{"uri": "demo://a", "name": "a"}],
}


@asynccontextmanager
async def serving(gate: House, name: str, **fields: Any) -> AsyncIterator[Scripted]:
    async with Scripted(**(OFFERS | fields)) as server:
        await gate.apply(server.manifest(name, ["team:search"]))
        yield server


async def capabilities(gate: House, who: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """As said to a client of 2025, and to one of 2026."""
    legacy = await gate.session(who, name)
    modern = await gate.modern(who, name).ask("server/discover")
    return legacy.hello["capabilities"], modern.result["capabilities"]


@pytest.mark.parametrize("generation", ["2025", "2026"])
async def test_what_would_be_refused_is_not_announced(shared: House, generation: str) -> None:
    name = f"caps{generation}"
    async with serving(shared, name, generation=generation):
        for said in await capabilities(shared, "alice", name):
            assert {"tools", "prompts", "resources", "completions", "logging"} <= set(said)
        await shared.apply(
            policy(f"{name}-rules", rule("allow", "team:support", f"mcp-tool:{name}/a"))
        )
        for said in await capabilities(shared, "bob", name):
            assert set(said) == {"tools"}
        await shared.apply(
            policy(f"{name}-rules", rule("allow", "team:support", f"mcp-prompt:{name}/p"))
        )
        for said in await capabilities(shared, "bob", name):
            assert set(said) == {"prompts", "completions"}


async def test_lists_say_that_they_change_whatever_the_server_says(shared: House) -> None:
    async with serving(shared, "changes"):
        for said in await capabilities(shared, "alice", "changes"):
            for name in ("tools", "prompts", "resources"):
                assert said[name]["listChanged"] is True


async def test_extensions_are_not_announced(shared: House) -> None:
    async with serving(shared, "extended") as server:

        async def hello(body: Any, request: Any) -> Any:
            server.sessions["x"] = {}
            return {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}, "extensions": {"x": {}}, "experimental": {"y": {}}},
                "serverInfo": {"name": "extended", "version": "3"},
                "instructions": "Use with care.",
            }

        server.on["initialize"] = hello
        alice = await shared.session("alice", "extended")
        assert set(alice.hello["capabilities"]) == {"tools"}
        assert alice.hello["serverInfo"] == {"name": "extended", "version": "3"}
        assert alice.hello["instructions"] == "Use with care."


async def test_who_may_use_one_tool_may_start(shared: House) -> None:
    async with serving(shared, "starts"):
        await shared.apply(
            policy(
                "starts-rules",
                rule("allow", "team:support", "mcp-tool:starts/a"),
                rule("deny", "team:support", "mcp-server:starts"),
            )
        )
        bob = await shared.session("bob", "starts")
        assert set(bob.hello["capabilities"]) == {"tools"}
        assert await bob.names() == ["a"]
        (record,) = [
            one
            for one in await shared.records()
            if (one["action"], one["resource"]) == ("mcp-server:use", "mcp-server:starts")
        ]
        assert (record["effect"], record["count"]) == ("allow", 1)


async def test_a_discover_result_has_what_its_generation_asks_for(shared: House) -> None:
    async with serving(shared, "discover", generation="2026"):
        said = (await shared.modern("alice", "discover").ask("server/discover")).result
        assert MODERN in said["supportedVersions"]
        assert said["resultType"] == "complete"
        assert said["cacheScope"] == "private"
        assert said["_meta"][f"{META}serverInfo"]["name"] == "scripted"


async def test_the_endpoint_of_all_says_what_is_left_of_all(shared: House) -> None:
    async with serving(shared, "among"):
        for said in await capabilities(shared, "carol", ""):
            assert set(said) <= {"logging"}
        legacy, modern = await capabilities(shared, "alice", "")
        assert {"tools", "prompts", "resources"} <= set(legacy) & set(modern)
        assert "subscribe" not in legacy["resources"]


async def test_a_server_that_cannot_be_reached_is_said_to_be_so(shared: House) -> None:
    async with serving(shared, "down"):
        pass
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "x"},
        },
    }
    said = await shared.send("alice", "/mcp/down", body)
    assert (said.status, said.error["code"]) == (200, -31502)
    assert "mcp-session-id" not in said.headers
