"""What is said to a tool: its arguments and its result are kept where a rule about the server says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.proxy.mcp.house import House, Scripted, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOGGING = {
    "type": "gateway-logging-config",
    "name": "logging",
    "rules": [
        {
            "id": "kept",
            "when": {"servers": {"in": ["kept*"]}},
            "log": "always",
            "redact_with": {"presets": ["email"]},
        }
    ],
}


async def said(gate: House, server: str) -> Any:
    """The last call of a tool of this server that can be read, with its payload."""
    async with asyncio.timeout(20):
        while True:
            page = await gate.control("GET", f"/requests?server={server}&limit=50")
            found = [one for one in page["data"] if one["tool"]]
            if found:
                path = f"/requests/{found[0]['id']}?payload=true"
                body = await gate.control("GET", path)
                if body["payload"] is not None or server == "silent":
                    return body["payload"]
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("modern", [False, True])
async def test_arguments_and_result_of_a_tool_are_kept_without_what_is_hidden(
    shared: House, events: bool, modern: bool
) -> None:
    name = f"kept-{events}-{modern}".lower()
    async with Scripted(tools=[tool("read")], events=events) as server:
        await shared.apply(server.manifest(name, ["team:search"]), LOGGING)
        client = shared.modern("alice", name) if modern else await shared.session("alice", name)
        arguments = {"name": "read", "arguments": {"to": "ann@example.com"}}
        assert (await client.ask("tools/call", arguments)).status == 200
        payload = await said(shared, name)
    assert payload["request"]["method"] == "tools/call"
    assert payload["request"]["params"]["arguments"] == {"to": "[email]"}
    assert "result" in payload["response"]


async def test_a_server_that_no_rule_names_keeps_nothing(shared: House) -> None:
    async with Scripted(tools=[tool("read")]) as server:
        await shared.apply(server.manifest("silent", ["team:search"]), LOGGING)
        client = await shared.session("alice", "silent")
        await client.ask("tools/call", {"name": "read", "arguments": {}})
        assert await said(shared, "silent") is None
