"""Lists as principals see them: filtered, walked, filled, in order, with cursors of the gateway's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.proxy.mcp.house import Client, House, Said, Scripted, policy, rule, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")

LETTERS = [tool(name) for name in "abcdefghij"]


@asynccontextmanager
async def serving(
    gate: House, name: str, *seen: str, users: tuple[str, ...] = ("team:search",), **fields: Any
) -> AsyncIterator[Scripted]:
    """A server of this name; `seen` are the tools of it that team support may call."""
    more = fields.pop("manifest", {})
    async with Scripted(**fields) as server:
        await gate.apply(server.manifest(name, list(users), **more))
        if seen:
            things = [f"mcp-tool:{name}/{one}" for one in seen]
            await gate.apply(policy(f"{name}-rules", rule("allow", "team:support", *things)))
        yield server


async def walked(client: Client, method: str = "tools/list", key: str = "tools") -> list[list[str]]:
    """The names on each page."""
    pages: list[list[str]] = []
    cursor: str | None = None
    while True:
        said = await client.ask(method, {} if cursor is None else {"cursor": cursor})
        member = "uri" if key == "resources" else "name"
        pages.append([one[member] for one in said.result[key]])
        cursor = said.result.get("nextCursor")
        if cursor is None:
            return pages


def refused(said: Said) -> bool:
    return said.status == 200 and said.error["code"] == -32602


# --- filtering, walking, filling --------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["2025", "2026"])
@pytest.mark.parametrize("events", [False, True])
async def test_pages_are_walked_filled_and_in_the_order_of_the_server(
    shared: House, generation: str, events: bool
) -> None:
    name = f"walk{generation}{'e' if events else ''}"
    fields: dict[str, Any] = {"generation": generation, "events": events, "page": 3}
    async with serving(shared, name, "f", "h", "b", "j", tools=LETTERS[::-1], **fields):
        legacy, modern = await shared.session("bob", name), shared.modern("bob", name)
        for client in (legacy, modern):
            assert await walked(client) == [["j", "h", "f"], ["b"]]
        alice = await shared.session("alice", name)
        assert await walked(alice) == [["j", "i", "h"], ["g", "f", "e"], ["d", "c", "b"], ["a"]]


async def test_a_first_page_is_not_empty_because_nothing_on_the_servers_first_one_is_seen(
    shared: House,
) -> None:
    async with serving(shared, "late", "j", tools=LETTERS, page=2):
        assert await walked(await shared.session("bob", "late")) == [["j"]]


async def test_a_server_with_an_empty_first_page_does_not_make_pages_of_one(shared: House) -> None:
    async with serving(shared, "hollow", tools=LETTERS) as server:

        async def paged(body: Any, request: Any) -> Any:
            cursor = body["params"].get("cursor")
            if cursor is None:
                return {"tools": [], "nextCursor": "0"}
            start = int(cursor)
            more = {"nextCursor": "5"} if start == 0 else {}
            return {"tools": server.tools[start : start + 5], **more}

        server.on["tools/list"] = paged
        pages = await walked(await shared.session("alice", "hollow"))
        assert [len(page) for page in pages] == [5, 5]


async def test_prompts_resources_and_templates_are_filtered_too(shared: House) -> None:
    prompts = [{"name": "greet"}, {"name": "part"}]
    resources = [{"uri": "demo://a", "name": "a"}, {"uri": "demo://b", "name": "b"}]
    templates = [
        {"uriTemplate": "demo://n/{id}", "name": "n"},
        {"uriTemplate": "x://{y}", "name": "x"},
    ]
    fields: dict[str, Any] = {"prompts": prompts, "resources": resources, "templates": templates}
    async with serving(shared, "kinds", **fields):
        await shared.apply(
            policy(
                "kinds-rules",
                rule("allow", "team:support", "mcp-prompt:kinds/part"),
                rule("allow", "team:support", "mcp-resource:kinds/demo://b"),
                rule("allow", "team:support", "mcp-resource:kinds/demo://n/%7Bid%7D"),
            )
        )
        bob, alice = await shared.session("bob", "kinds"), await shared.session("alice", "kinds")
        assert await bob.names("prompts") == ["part"]
        assert await bob.names("resources") == ["demo://b"]
        said = await bob.ask("resources/templates/list")
        assert [one["name"] for one in said.result["resourceTemplates"]] == ["n"]
        assert await bob.names("tools") == []
        assert await alice.names("resources") == ["demo://a", "demo://b"]
        for uri, allowed in (
            ("demo://b", True),
            ("demo://a", False),
            ("demo://n/1", True),
            ("x://1", False),
            ("demo://n/../b", False),
        ):
            read = await bob.ask("resources/read", {"uri": uri})
            assert ("result" in read.message) is allowed, uri
        assert "result" in (await bob.ask("prompts/get", {"name": "part"})).message
        assert refused(await bob.ask("prompts/get", {"name": "greet"}))


async def test_a_list_as_events_is_filtered_and_stays_events(shared: House) -> None:
    async with serving(shared, "flow", "b", tools=LETTERS, events=True):
        bob = await shared.session("bob", "flow")
        said = await bob.ask("tools/list")
        assert said.headers["content-type"].startswith("text/event-stream")
        assert [one["name"] for one in said.result["tools"]] == ["b"]
        assert b"\nid:" not in said.raw  # nothing that could be resumed into an unfiltered list


async def test_what_the_result_says_beside_the_list_is_kept_and_never_public(shared: House) -> None:
    async with serving(shared, "beside", tools=LETTERS, generation="2026"):
        result = (await shared.modern("alice", "beside").ask("tools/list")).result
        assert result["resultType"] == "complete"
        assert result["cacheScope"] == "private" and result["ttlMs"] <= 1000


# --- definitions ------------------------------------------------------------------------------------


async def test_hidden_characters_are_taken_out_and_a_description_may_be_replaced(
    shared: House,
) -> None:
    tools = [tool("sneaky", "Reads\u200b\U000e0041 files."), tool("told", "Says anything.")]
    more = {"tool_metadata": {"told": {"description": "Says what we say."}}}
    async with serving(shared, "texts", tools=tools, manifest=more):
        listed = (await (await shared.session("alice", "texts")).ask("tools/list")).result["tools"]
        assert [one["description"] for one in listed] == ["Reads files.", "Says what we say."]
        flags = await shared.control("GET", "/mcp-servers/texts/catalogue")
        assert [e["flags"] for e in flags["entries"] if e["name"] == "sneaky"] == [
            ["hidden_characters"]
        ]


async def test_of_two_definitions_of_one_name_the_first_is_the_one(shared: House) -> None:
    tools = [tool("twice", "first"), tool("twice", "second"), tool("once")]
    async with serving(shared, "twins", tools=tools):
        said = await (await shared.session("alice", "twins")).ask("tools/list")
        assert [one["description"] for one in said.result["tools"]] == ["first", "once"]


async def test_a_changed_definition_vanishes_until_it_is_approved(shared: House) -> None:
    async with serving(shared, "rug", tools=[tool("a"), tool("b")]) as server:
        alice = await shared.session("alice", "rug")
        assert await alice.names() == ["a", "b"]
        server.tools = [tool("a", "now with more"), tool("b")]
        assert await alice.names() == ["b"]
        called = await alice.call("a")
        assert refused(called) and server.called("tools/call") == []
        await shared.control("POST", "/mcp-servers/rug/catalogue/approve", {"tools": ["a"]})
        assert await alice.names() == ["a", "b"]
        assert "result" in (await alice.call("a")).message


async def test_a_new_tool_waits_where_new_ones_are_not_offered_by_themselves(shared: House) -> None:
    more = {"tool_policy": {"enable_tools_by_default": False, "enabled_tools": ["a"]}}
    async with serving(shared, "careful", tools=[tool("a"), tool("b")], manifest=more) as server:
        alice = await shared.session("alice", "careful")
        assert await alice.names() == ["a"]
        assert refused(await alice.call("b"))
        await shared.control("POST", "/mcp-servers/careful/catalogue/approve", {"tools": ["b"]})
        assert await alice.names() == ["a", "b"]
        assert "result" in (await alice.call("b")).message
        assert [body["params"]["name"] for body in server.called("tools/call")] == ["b"]


async def test_a_disabled_tool_is_nobodys(shared: House) -> None:
    more = {"tool_policy": {"disabled_tools": ["b"]}}
    async with serving(shared, "shut", tools=[tool("a"), tool("b")], manifest=more):
        alice = await shared.session("alice", "shut")
        assert await alice.names() == ["a"]
        assert refused(await alice.call("b"))


async def test_a_tool_that_appears_is_listed_at_once_and_can_be_called(shared: House) -> None:
    async with serving(shared, "grows", tools=[tool("a")]) as server:
        alice = await shared.session("alice", "grows")
        server.tools.append(tool("b"))
        assert await alice.names() == ["a", "b"]
        assert "result" in (await alice.call("b")).message


async def test_names_that_hold_the_separator_are_not_offered(shared: House) -> None:
    async with serving(shared, "parted", tools=[tool("x__y"), tool("z")]):
        alice = await shared.session("alice", "parted")
        assert await alice.names() == ["z"]
        assert refused(await alice.call("x__y"))


# --- cursors ----------------------------------------------------------------------------------------


async def cursor_of(client: Client, method: str = "tools/list") -> str:
    return str((await client.ask(method)).result["nextCursor"])


async def test_a_cursor_is_its_principals_in_one_list_of_one_server(shared: House) -> None:
    prompts = [{"name": name} for name in "abcd"]
    async with (
        serving(shared, "left", tools=LETTERS, prompts=prompts, page=2),
        serving(shared, "right", tools=LETTERS, page=2),
    ):
        await shared.apply(
            policy("left-rules", rule("allow", "team:support", "mcp-tool:left/*")),
        )
        alice, bob = await shared.session("alice", "left"), await shared.session("bob", "left")
        other = await shared.session("alice", "right")
        cursor = await cursor_of(alice)
        assert len((await alice.ask("tools/list", {"cursor": cursor})).result["tools"]) == 2
        again = await shared.session("alice", "left")  # a cursor is no session's
        assert "result" in (await again.ask("tools/list", {"cursor": cursor})).message
        answers = [
            await bob.ask("tools/list", {"cursor": cursor}),
            await other.ask("tools/list", {"cursor": cursor}),
            await alice.ask("prompts/list", {"cursor": cursor}),
            await alice.ask("tools/list", {"cursor": cursor[:-2] + "AA"}),
            await alice.ask("tools/list", {"cursor": "2"}),
            await alice.ask("tools/list", {"cursor": 2}),
            await alice.ask("tools/list", {"cursor": ""}),
        ]
        assert all(refused(said) for said in answers)
        assert len({said.error["message"] for said in answers}) == 1


async def test_a_cursor_ends_when_the_view_changes_and_not_otherwise(shared: House) -> None:
    async with serving(shared, "moves", *"abcdef", tools=LETTERS, page=2):
        bob = await shared.session("bob", "moves")
        cursor = await cursor_of(bob)
        await shared.apply(
            policy("unrelated", rule("deny", "team:support", "mcp-tool:moves/j")),
        )
        said = await bob.ask("tools/list", {"cursor": cursor})
        assert [one["name"] for one in said.result["tools"]] == ["c", "d"]
        await shared.apply(
            policy("unrelated", rule("deny", "team:support", "mcp-tool:moves/f")),
        )
        assert refused(await bob.ask("tools/list", {"cursor": cursor}))
        assert await walked(bob) == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_list_is_one_record_that_counts_what_was_shown(shared: House) -> None:
    async with serving(shared, "noted", "a", "b", tools=LETTERS):
        bob = await shared.session("bob", "noted")
        await bob.names()
        found = [
            one
            for one in await shared.records()
            if one["action"] == "mcp-tool:call" and one["resource"] == "mcp-server:noted"
        ]
        assert [one["count"] for one in found] == [2]


async def test_an_unlisted_kind_of_answer_is_an_error_and_never_a_list(shared: House) -> None:
    async with serving(shared, "odd", tools=[tool("a")]) as server:
        alice = await shared.session("alice", "odd")

        async def nonsense(body: Any, request: Any) -> Any:
            return {"tools": "all of them"}

        server.on["tools/list"] = nonsense
        said = await alice.ask("tools/list")
        assert said.error["code"] == -31502


async def test_a_server_that_names_the_same_cursor_again_is_at_its_end(shared: House) -> None:
    async with serving(shared, "circles", tools=[tool("a")]) as server:

        async def circles(body: Any, request: Any) -> Any:
            return {"tools": server.tools, "nextCursor": "again"}

        server.on["tools/list"] = circles
        alice = await shared.session("alice", "circles")
        server.asked.clear()
        assert await walked(alice) == [["a"], ["a"]]
        assert len(server.called("tools/list")) == 2


async def test_a_cursor_that_is_too_long_to_keep_is_the_servers_fault(shared: House) -> None:
    async with serving(shared, "lengthy", tools=[tool("a")]) as server:

        async def lengthy(body: Any, request: Any) -> Any:
            return {"tools": server.tools, "nextCursor": "x" * 20_000}

        server.on["tools/list"] = lengthy
        said = await (await shared.session("alice", "lengthy")).ask("tools/list")
        assert (said.status, said.error["code"]) == (200, -31502)
