"""MCP servers as callers name them, following the change log; what nothing touched stays the very object."""

from __future__ import annotations

from typing import Any

from authz.rows import Row
from policies.change import Change, Source
from policies.documents import Document, McpCatalogue, parse
from policies.estate import Estate
from policies.loader import shipped
from policies.mcp_catalogue import EntryState, merged
from policies.planning import plan
from proxy.mcp.primitive import Primitive
from proxy.mcp.servers import Servers
from tests.peers.estate import Snapshot, entry


def remote(name: str, **fields: Any) -> Document:
    url = f"https://{name}.example.com/mcp"
    return parse({"type": "mcp-server/remote", "name": name, "url": url, **fields})


def virtual(name: str, *parts: str) -> Document:
    servers = [{"name": part} for part in parts]
    return parse({"type": "mcp-server/virtual", "name": name, "servers": servers})


def catalogue(name: str, *tools: str, **more: list[dict[str, str]]) -> McpCatalogue:
    found = {"tool": [{"name": tool} for tool in tools], **more}
    return merged(name, None, found).catalogue


def servers(*documents: Document) -> Servers:
    made = Servers()
    made.load(Snapshot(documents))
    return made


def test_a_server_is_found_by_the_name_that_callers_write() -> None:
    found = servers(remote("a~2"), catalogue("a~2", "x")).server("a")
    assert found is not None
    assert (found.id, found.name, found.stored) == ("mcp-server:a~2", "a", "a~2")
    assert found.tool_id("x") == "mcp-tool:a~2/x"
    assert servers(remote("a~2")).server("a~2") is None


def test_entries_have_their_ids_and_states() -> None:
    document = remote(
        "a",
        tool_policy={"disabled_tools": ["y"]},
        tool_metadata={"x": {"description": "Said here."}},
    )
    held = catalogue("a", "x", "y", resource=[{"uri": "demo://a b"}])
    found = servers(document, held).server("a")
    assert found is not None and found.discovered
    x, y = found.entries[Primitive.TOOL, "x"], found.entries["tool", "y"]
    assert (x.id, x.state, x.offered) == ("mcp-tool:a/x", EntryState.ENABLED, True)
    assert x.description == "Said here." and len(x.accepted) == 64
    assert (y.state, y.offered) == (EntryState.DISABLED, False)
    assert found.entries["resource", "demo://a b"].id == "mcp-resource:a/demo://a%20b"


def test_a_server_that_was_never_asked_offers_nothing() -> None:
    found = servers(remote("a")).server("a")
    assert found is not None and not found.discovered and not found.entries


def test_untouched_servers_keep_their_very_objects() -> None:
    made = servers(remote("a"), remote("b"), catalogue("a", "x"), virtual("v", "a"))
    a, b, v = (made.server(name) for name in "abv")
    made.apply(entry((("mcp-catalogue", "b"), catalogue("b", "y"))))
    assert made.server("a") is a and made.server("v") is v
    assert made.server("b") is not b
    made.apply(entry((("team", "search"), None)))
    assert made.server("a") is a
    made.apply(entry((("mcp-catalogue", "a"), catalogue("a", "x", "z"))))
    now = made.server("v")
    assert now is not None and now is not v
    assert now.targets == {"x": ("a", "x"), "z": ("a", "z")}


def test_what_is_deleted_is_gone_and_a_name_may_be_taken_again_at_once() -> None:
    heard: list[str] = []
    made = Servers(heard.append)
    made.load(Snapshot((remote("a"), catalogue("a", "x"), virtual("v", "a"))))
    assert heard == ["a", "v"]
    made.apply(
        entry(
            (("mcp-catalogue", "a"), None),
            (("mcp-server", "a"), None),
            (("mcp-server", "a~2"), remote("a~2")),
        )
    )
    found = made.server("a")
    assert found is not None and found.stored == "a~2" and not found.entries
    assert made.stored("a") is None and made.catalogue("a") is None
    virtual_now = made.server("v")
    assert virtual_now is not None and not virtual_now.targets
    assert heard[2:] == ["a", "a~2"]
    assert [server.name for server in made.servers()] == ["a", "v"]


def test_the_servers_offer_what_has_rows() -> None:
    """The rows of the estate and the applier come from one rule: what one knows, the other knows."""
    estate = Estate()
    rows: set[Row] = set(estate.rows())
    made = Servers()
    made.load(Snapshot(()))
    steps: list[tuple[tuple[Document, ...], tuple[tuple[str, str], ...]]] = [
        (tuple(shipped()), ()),
        ((remote("a"), remote("b"), virtual("v", "a", "b")), ()),
        ((catalogue("a", "x", "y", prompt=[{"name": "p"}]), catalogue("b", "x")), ()),
        ((remote("a", tool_policy={"disabled_tools": ["x"]}),), ()),
        ((remote("b", tool_policy={"enable_tools_by_default": False}),), ()),
        ((), (("mcp-server", "a"),)),
        ((remote("a"), virtual("v", "a")), ()),
        ((catalogue("a~2", "z"),), ()),
    ]
    for puts, deletes in steps:
        change = plan(estate, Change("host", Source.HOST, "r", puts, deletes))
        rows = (rows - set(change.removed)) | set(change.added)
        estate.apply(change)
        made.apply(entry(*((d.key, parse(d.after) if d.after else None) for d in change.documents)))
        known = {r.values[0] for r in rows if r.ptype == "g2" and r.values[0].startswith("mcp-")}
        known -= {one for one in known if one.startswith("mcp-server:")}
        offered = {e.id for s in made.servers() for e in s.entries.values() if e.offered}
        offered |= {s.tool_id(name) for s in made.servers() for name in s.targets}
        assert known == offered
        stands_for = {
            (s.tool_id(name), f"mcp-tool:{target}/{tool}")
            for s in made.servers()
            for name, (target, tool) in s.targets.items()
        }
        assert {r.values for r in rows if r.ptype == "a"} == stands_for
