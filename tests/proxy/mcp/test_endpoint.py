"""One client, one server, one gateway: what is said over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.proxy.mcp.house import House, Scripted, house, tool


@pytest.fixture
async def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    async with house(tmp_path, monkeypatch) as made:
        yield made


async def test_a_list_shows_what_a_call_would_allow(gate: House) -> None:
    async with Scripted(tools=[tool("list_issues"), tool("close_issue")]) as server:
        policy = {
            "type": "policy",
            "name": "one",
            "rules": [
                {
                    "id": "reads",
                    "effect": "allow",
                    "subjects": ["team:support"],
                    "actions": ["mcp-tool:call"],
                    "resources": ["mcp-tool:github/list_*"],
                }
            ],
        }
        await gate.apply(server.manifest("github", ["team:search"]))
        await gate.apply(policy)
        alice, bob = await gate.session("alice", "github"), await gate.session("bob", "github")
        assert await alice.names() == ["list_issues", "close_issue"]
        assert await bob.names() == ["list_issues"]
        assert (await bob.call("list_issues")).result["content"]
        hidden, unknown = await bob.call("close_issue"), await bob.call("never_was")
        assert hidden.status == unknown.status == 200
        assert hidden.error["code"] == unknown.error["code"] == -32602
        assert [body["params"]["name"] for body in server.called("tools/call")] == ["list_issues"]
