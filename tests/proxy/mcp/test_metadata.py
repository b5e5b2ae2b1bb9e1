"""Metadata of MCP requests: read, pinned, recorded and decided on as that of model requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.mcp.house import House, Scripted, policy, rule, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")

PINS = {
    "type": "gateway-metadata-config",
    "name": "metadata",
    "rules": [
        {"id": "cost", "subjects": ["team:search"], "metadata_override": {"cost": "c-1"}},
    ],
}
CLAIM = json.dumps({"cost": "c-9", "run": "7"})


def when(field: str, value: str) -> list[dict[str, Any]]:
    return [{"field": field, "operator": "EQUAL", "value": value}]


@pytest.mark.parametrize("header", ["x_gatewarden_metadata", "x_tfy_metadata"])
@pytest.mark.parametrize("modern", [False, True])
async def test_pinned_and_claimed_stand_apart_in_the_records_of_a_call(
    shared: House, header: str, modern: bool
) -> None:
    name = f"recorded-{header[2:5]}-{'new' if modern else 'old'}"
    generation = "2026" if modern else "2025"
    async with Scripted(generation=generation, tools=[tool("look")]) as server:
        await shared.apply(PINS, server.manifest(name, ["team:search"]))
        alice = shared.modern("alice", name) if modern else await shared.session("alice", name)
        said = await alice.ask("tools/call", {"name": "look", "arguments": {}}, **{header: CLAIM})
        assert said.status == 200 and said.result["content"]
        # The server behind is told nothing of it.
        last = server.asked[-1]
        assert not any("metadata" in one.lower() for one in last.headers)
    record = (await shared.records("request"))[-1]
    assert (record["server"], record["method"]) == (name, "tools/call")
    assert record["pinned"] == {"cost": "c-1"}
    assert record["aside"]["claimed"] == {"cost": "c-9", "run": "7"}
    decisions = await shared.records("decision")
    (asked,) = (one for one in decisions if one["id"] == record["decision"])
    assert asked["pinned"] == {"cost": "c-1"}


async def test_a_rule_on_a_tool_reads_what_is_pinned_and_not_a_claim_in_its_place(
    shared: House,
) -> None:
    tools = [tool(name) for name in ("pinned", "claimed", "free")]
    async with Scripted(tools=tools) as server:
        await shared.apply(PINS, server.manifest("decided", ["team:search"]))
        deny = ("deny", "any:subject")
        await shared.apply(
            policy(
                "costs",
                rule(*deny, "mcp-tool:decided/pinned", when=when("metadata.cost", "c-1")),
                rule(*deny, "mcp-tool:decided/claimed", when=when("metadata.cost", "c-9")),
                rule(*deny, "mcp-tool:decided/free", when=when("metadata.run", "7")),
            )
        )
        alice = await shared.session("alice", "decided")
        found = {}
        for one in ("pinned", "claimed", "free"):
            sent: dict[str, object] = {"name": one, "arguments": {}}
            said = await alice.ask("tools/call", sent, x_gatewarden_metadata=CLAIM)
            found[one] = "result" in said.message
        assert found == {"pinned": False, "claimed": True, "free": False}


async def test_metadata_that_cannot_be_read_stops_a_request_and_names_the_key(
    shared: House,
) -> None:
    async with Scripted(tools=[tool("look")]) as server:
        await shared.apply(server.manifest("strict", ["team:search"]))
        alice = await shared.session("alice", "strict")
        sent = {"name": "look", "arguments": {}}
        for bad in ('{"note": "' + "x" * 8000 + '"}', '{"note": 5}', '{"note": "a", "note": "b"}'):
            said = await alice.ask("tools/call", sent, x_gatewarden_metadata=bad)
            assert said.status == 400
            assert "`note`" in said.error["message"]
        both = {"x_gatewarden_metadata": '{"a": "b"}', "x_tfy_metadata": '{"a": "c"}'}
        said = await alice.ask("tools/call", sent, **both)
        assert said.status == 400 and "different values" in said.error["message"]
        assert server.called("tools/call") == []


async def test_a_page_may_send_either_header(shared: House) -> None:
    said = await shared.send("alice", "/mcp", b"", "OPTIONS", origin=shared.url)
    assert said.status == 204
    allowed = said.headers["access-control-allow-headers"]
    assert "x-gatewarden-metadata" in allowed and "x-tfy-metadata" in allowed
