"""What servers are found to offer becomes a catalogue in the change log, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from authz.errors import GatewardenError
from policies.change import Change, Source
from policies.estate import Stored
from policies.mcp_catalogue import EntryState, McpCatalogue
from proxy.mcp import jsonrpc
from proxy.mcp.discovery import PAUSE, Discovery
from proxy.mcp.jsonrpc import Message
from proxy.mcp.link import UpstreamSaid
from proxy.mcp.primitive import Primitive
from proxy.mcp.servers import Server, Servers
from tests.peers.estate import Snapshot
from tests.policies.estates import mcp
from tests.proxy.mcp.house import tool

NOW = datetime(2026, 5, 6, tzinfo=UTC)
Lists = Mapping[str, Sequence[Mapping[str, Any]]]


class Speaks:
    """A link to a server that says these lists, by method, in pages of two."""

    def __init__(self, capabilities: Mapping[str, Any], lists: Lists) -> None:
        self.capabilities = capabilities
        self.lists = dict(lists)
        self.asked: list[tuple[str, object]] = []

    async def hello(self) -> Mapping[str, Any]:
        return {"capabilities": self.capabilities}


async def ask(link: Any, method: str, params: Mapping[str, Any]) -> Message:
    link.asked.append((method, params.get("cursor")))
    if method not in link.lists:
        code = jsonrpc.METHOD_NOT_FOUND if method != "prompts/list" else -32000
        return jsonrpc.parse(jsonrpc.error("x", code, "no"))
    start = int(params.get("cursor", 0))
    key = "resourceTemplates" if "templates" in method else method.partition("/")[0]
    result: dict[str, Any] = {key: list(link.lists[method][start : start + 2])}
    if start + 2 < len(link.lists[method]):
        result["nextCursor"] = str(start + 2)
    return jsonrpc.parse(jsonrpc.result("x", result))


class Kept:
    """The change log, as far as discovery needs one: it keeps the catalogue and counts what was written."""

    def __init__(self) -> None:
        self.document_: McpCatalogue | None = None
        self.changes: list[Change] = []
        self.fails = False

    async def document(self, key: tuple[str, str]) -> Stored | None:
        return None if self.document_ is None else Stored(self.document_, 1, Source.DISCOVERY, 1)

    async def commit(self, change: Change, asker: None, now: datetime) -> Any:
        if self.fails:
            raise GatewardenError("somebody else was faster")
        self.changes.append(change)
        (self.document_,) = change.puts  # type: ignore[assignment]


class World:
    def __init__(self) -> None:
        self.kept = Kept()
        self.at = 100.0
        self.discovery = Discovery(self.kept, ask, lambda: NOW, lambda: self.at)
        self.later: list[str] = []
        self.discovery.tells(self.later.append)

    def server(self) -> Server:
        servers = Servers()
        held = self.kept.document_
        servers.load(Snapshot([mcp("git"), *([held] if held is not None else [])]))
        found = servers.server("git")
        assert found is not None
        return found

    async def refresh(self, speaks: Speaks) -> bool:
        link: Any = speaks
        return await self.discovery.refresh(self.server(), link)

    def states(self) -> dict[tuple[str, str], EntryState]:
        return {(str(kind), name): e.state for (kind, name), e in self.server().entries.items()}


def speaking(*tools: Mapping[str, Any], **more: Any) -> Speaks:
    lists = {"tools/list": tools, "prompts/list": (), "resources/list": (), **more}
    return Speaks({"tools": {}, "prompts": {}, "resources": {}}, lists)


async def test_all_pages_of_all_that_a_server_can_do_are_asked_for() -> None:
    world = World()
    resources = [{"uri": f"demo://{n}"} for n in range(3)]
    link = speaking(*(tool(name) for name in "abcde"), **{"resources/list": resources})
    assert await world.refresh(link)
    assert [name for kind, name in world.states() if kind == "tool"] == list("abcde")
    assert len([name for kind, name in world.states() if kind == "resource"]) == 3
    assert [cursor for method, cursor in link.asked if method == "tools/list"] == [None, "2", "4"]
    (change,) = world.kept.changes
    assert (change.actor, change.source.value) == ("host", "discovery")


async def test_what_a_server_cannot_do_is_not_asked_for() -> None:
    world = World()
    link = Speaks({"tools": {}}, {"tools/list": [tool("a")]})
    await world.refresh(link)
    assert link.asked == [("tools/list", None)]


async def test_nothing_is_written_when_nothing_changed() -> None:
    world = World()
    assert await world.refresh(speaking(tool("a")))
    assert not await world.refresh(speaking(tool("a")))
    assert len(world.kept.changes) == 1


async def test_changed_is_held_gone_is_gone_and_back_as_it_was_is_offered() -> None:
    world = World()
    await world.refresh(speaking(tool("a"), tool("b")))
    await world.refresh(speaking(tool("a", "else")))
    assert world.states() == {("tool", "a"): EntryState.HELD, ("tool", "b"): EntryState.GONE}
    await world.refresh(speaking(tool("a"), tool("b")))
    assert set(world.states().values()) == {EntryState.ENABLED}
    await world.refresh(speaking(tool("a")))
    await world.refresh(speaking(tool("a"), tool("b", "came back as something else")))
    assert world.states()["tool", "b"] is EntryState.HELD


async def test_an_error_of_the_server_writes_nothing() -> None:
    world = World()
    await world.refresh(speaking(tool("a")))
    link = speaking(tool("b"))
    del link.lists["prompts/list"]
    with pytest.raises(UpstreamSaid):
        await world.refresh(link)
    assert world.states() == {("tool", "a"): EntryState.ENABLED}


async def test_what_a_list_does_not_show_is_not_gone() -> None:
    world = World()
    await world.refresh(speaking(tool("a"), tool("b")))
    world.at += PAUSE
    assert not await world.discovery.saw(world.server(), Primitive.TOOL, [tool("a")])
    assert await world.discovery.saw(world.server(), Primitive.TOOL, [tool("c")])
    assert set(world.states()) == {("tool", "a"), ("tool", "b"), ("tool", "c")}
    assert set(world.states().values()) == {EntryState.ENABLED}


async def test_a_server_that_says_something_else_each_time_does_not_fill_the_log() -> None:
    world = World()
    await world.refresh(speaking(tool("a")))
    for number in range(20):
        await world.discovery.saw(world.server(), Primitive.TOOL, [tool("a", f"now {number}")])
    assert len(world.kept.changes) == 2
    assert world.later == ["git"] * 19  # it is looked at again once the pause is over
    world.at += PAUSE
    assert await world.discovery.saw(world.server(), Primitive.TOOL, [tool("a", "at last")])


async def test_a_change_that_cannot_be_written_is_no_failure_of_the_list() -> None:
    world = World()
    world.kept.fails = True
    assert not await world.discovery.saw(world.server(), Primitive.TOOL, [tool("a")])


async def test_the_schema_of_a_tool_is_asked_for_when_it_is_not_known() -> None:
    world = World()
    link: Any = speaking(tool("a", inputSchema={"type": "object", "title": "A"}))
    assert world.discovery.schema(world.server(), "a") is None
    assert await world.discovery.learnt(world.server(), "a", link) == {
        "type": "object",
        "title": "A",
    }
    await world.discovery.learnt(world.server(), "a", link)
    assert await world.discovery.learnt(world.server(), "never", link) is None
    await world.discovery.learnt(world.server(), "never", link)
    assert len(link.asked) == 2
