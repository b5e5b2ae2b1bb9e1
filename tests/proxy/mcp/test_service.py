"""One message of a client: decided, on the disk before it goes on, refused without telling what there is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from store.tickets import JournalUnavailable, Ticket
from tests.proxy.mcp.house import Client, House, Said, Scripted, policy, rule, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def serving(gate: House, name: str, **fields: Any) -> AsyncIterator[Scripted]:
    """A server of this name with the tools `read` and `wipe`, all of it for team search."""
    fields.setdefault("tools", [tool("read"), tool("wipe")])
    async with Scripted(**fields) as server:
        await gate.apply(server.manifest(name, ["team:search"]))
        yield server


async def both(gate: House, who: str, name: str) -> list[Client]:
    return [await gate.session(who, name), gate.modern(who, name)]


def hidden(said: Said) -> bool:
    return said.status == 200 and said.error["code"] == -32602


# --- what is not the caller's -----------------------------------------------------------------------


async def raw(client: Client, id: int, method: str, params: dict[str, Any]) -> Said:
    """Asks with this very id."""
    client.numbers = iter([id])
    return await client.ask(method, params)


@pytest.mark.parametrize(
    ("method", "field", "mine", "theirs", "never"),
    [
        ("tools/call", "name", "read", "wipe", "wxyz"),
        ("prompts/get", "name", "greet", "part", "pxyz"),
        ("resources/read", "uri", "demo://a", "demo://b", "demo://x"),
        ("resources/read", "uri", "demo://a", "demo://n/5", "demo://x/5"),
        ("resources/subscribe", "uri", "demo://a", "demo://b", "demo://x"),
    ],
)
async def test_hidden_and_unknown_are_the_same_bytes(
    shared: House, method: str, field: str, mine: str, theirs: str, never: str
) -> None:
    name = "veil"
    fields: dict[str, Any] = {
        "prompts": [{"name": "greet"}, {"name": "part"}],
        "resources": [{"uri": "demo://a", "name": "a"}, {"uri": "demo://b", "name": "b"}],
        "templates": [{"uriTemplate": "demo://n/{id}", "name": "n"}],
    }
    async with serving(shared, name, **fields) as server:
        grants = [
            rule("allow", "team:support", "mcp-tool:veil/read"),
            rule("allow", "team:support", "mcp-prompt:veil/greet"),
            rule("allow", "team:support", "mcp-resource:veil/demo://a"),
        ]
        await shared.apply(policy("veil-rules", *grants))
        for client in await both(shared, "bob", name):
            if client.modern and method == "resources/subscribe":
                continue
            server.asked.clear()
            one = await raw(client, 7, method, {field: theirs})
            other = await raw(client, 7, method, {field: never})
            assert hidden(one) and hidden(other)
            assert one.raw.replace(theirs.encode(), never.encode()) == other.raw
            same = {"x-request-id", "x-decision-id", "date", "server-timing"}
            assert {h.lower() for h in one.headers} == {h.lower() for h in other.headers}
            for header in one.headers:
                if header.lower() not in same:
                    assert one.headers.get(header) == other.headers.get(header), header
            assert server.called(method) == []
            assert "result" in (await raw(client, 8, method, {field: mine})).message
        denied = [r for r in await shared.records() if r["effect"] == "deny"]
        assert denied


async def test_unsubscribing_tells_nothing_either(shared: House) -> None:
    resources = [{"uri": "demo://a", "name": "a"}, {"uri": "demo://b", "name": "b"}]
    async with serving(shared, "mute", resources=resources):
        await shared.apply(
            policy("mute-rules", rule("allow", "team:support", "mcp-resource:mute/demo://a"))
        )
        bob = await shared.session("bob", "mute")
        one = await raw(bob, 7, "resources/unsubscribe", {"uri": "demo://b"})
        other = await raw(bob, 7, "resources/unsubscribe", {"uri": "demo://x"})
        assert one.raw.replace(b"demo://b", b"demo://x") == other.raw


async def test_a_rule_that_refuses_says_so_with_its_reason_and_decision(shared: House) -> None:
    async with serving(shared, "firm") as server:
        no = rule("deny", "team:search", "mcp-tool:firm/wipe", message="nothing is wiped here")
        await shared.apply(policy("firm-rules", no))
        for client in await both(shared, "alice", "firm"):
            said = await client.call("wipe", path="/")
            assert said.status == 200
            assert said.error["code"] == -31403
            assert said.error["message"] == "nothing is wiped here"
            assert said.error["data"]["reason"] == "denied_by_rule"
            assert said.error["data"]["decision"] == said.headers["x-decision-id"]
            records = {one["id"]: one for one in await shared.records()}
            assert records[said.error["data"]["decision"]]["effect"] == "deny"
        assert server.called("tools/call") == []


# --- conditions on arguments ------------------------------------------------------------------------


async def test_conditions_read_what_will_run(shared: House) -> None:
    async with serving(shared, "argue") as server:
        when = [
            {"field": "tool.args.to.kind", "operator": "EQUAL", "value": "draft"},
            {"field": "tool.args.count", "operator": "LESS_THAN", "value": 3},
        ]
        allow = rule("allow", "team:support", "mcp-tool:argue/read", when=when)
        await shared.apply(policy("argue-rules", allow))
        for client in await both(shared, "bob", "argue"):
            server.asked.clear()
            assert await client.names() == ["read"]
            cases: list[tuple[dict[str, Any], bool]] = [
                ({"to": {"kind": "draft"}, "count": 1}, True),
                ({"to": {"kind": "draft"}, "count": 3}, False),
                ({"to": {"kind": "final"}, "count": 1}, False),
                ({"to.kind": "draft", "count": 1}, False),
                ({"to.kind": "draft", "to": {"kind": "final"}, "count": 1}, False),
                ({"to.kind": "final", "to": {"kind": "draft"}, "count": 1}, True),
                ({"to": {"kind": None}, "count": 1}, False),
                ({"to": [{"kind": "draft"}], "count": 1}, False),
                ({"to": {"kind": "draft"}}, False),
                ({"to": {"kind": "draft"}, "count": "1"}, False),
                ({}, False),
            ]
            for arguments, allowed in cases:
                said = await client.ask("tools/call", {"name": "read", "arguments": arguments})
                assert ("result" in said.message) is allowed, arguments
                if not allowed:
                    assert said.error["code"] == -31403, arguments
            ran = [body["params"]["arguments"] for body in server.called("tools/call")]
            assert ran == [arguments for arguments, allowed in cases if allowed]


async def test_a_deny_on_an_argument_refuses_what_it_cannot_judge(shared: House) -> None:
    async with serving(shared, "wary"):
        when = [{"field": "tool.args.n", "operator": "GREATER_THAN", "value": 10}]
        no = rule("deny", "team:search", "mcp-tool:wary/read", when=when)
        await shared.apply(policy("wary-rules", no))
        alice = await shared.session("alice", "wary")
        assert await alice.names() == ["read", "wipe"]
        assert "result" in (await alice.call("read", n=3)).message
        assert (await alice.call("read", n=11)).error["code"] == -31403
        assert (await alice.call("read", n="11")).error["code"] == -31403


# --- records ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["2025", "2026"])
async def test_a_call_is_on_the_disk_before_it_goes_to_the_server(
    shared: House, generation: str
) -> None:
    name = f"durable{generation}"
    found: list[list[dict[str, Any]]] = []  # at each call, what the disk holds about the tool
    async with serving(shared, name, generation=generation) as server:

        async def looks(body: Any, request: Any) -> Any:
            lines = [
                line
                for path in shared.process.runtime.journal.folder.rglob("*.jsonl")
                for line in path.read_bytes().splitlines()
            ]
            wanted = f'"mcp-tool:{name}/read"'.encode()
            found.append([json.loads(one)["body"] for one in lines if wanted in one])
            return {"content": []}

        server.on["tools/call"] = looks
        for client in await both(shared, "alice", name):
            assert "result" in (await client.call("read", secret="s3cret-canary")).message
        assert [len(one) for one in found] == [1, 2]
        (record,) = found[0]
        assert (record["type"], record["effect"]) == ("decision", "allow")
        assert (record["action"], record["resource"]) == ("mcp-tool:call", f"mcp-tool:{name}/read")
        assert record["arguments"] == found[1][1]["arguments"] != ""
        assert "s3cret-canary" not in json.dumps(found)


async def test_a_call_whose_record_cannot_be_written_does_not_happen(
    shared: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(shared, "full") as server:
        clients = await both(shared, "alice", "full")
        for client in clients:
            await client.names()

        async def fails(ticket: Ticket) -> None:
            raise JournalUnavailable("the disk is full")

        monkeypatch.setattr(Ticket, "durable", fails)
        for client in clients:
            said = await client.call("read")
            assert said.status == 503 and "result" not in said.message
        assert server.called("tools/call") == []


async def test_the_digest_of_arguments_tells_whether_two_calls_were_the_same(shared: House) -> None:
    async with serving(shared, "same"):
        alice = await shared.session("alice", "same")
        for arguments in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3}):
            await alice.call("read", **arguments)
        digests = [
            one["arguments"]
            for one in await shared.records()
            if one["resource"] == "mcp-tool:same/read"
        ]
        assert digests[0] == digests[1] != digests[2]


async def test_an_argument_that_a_condition_read_stands_aside(shared: House) -> None:
    async with serving(shared, "aside"):
        when = [{"field": "tool.args.to", "operator": "EQUAL", "value": "ops"}]
        no = rule("deny", "team:search", "mcp-tool:aside/read", when=when)
        await shared.apply(policy("aside-rules", no))
        alice = await shared.session("alice", "aside")
        await alice.call("read", to="someone@example.com", more="nobody read this")
        (record,) = [r for r in await shared.records() if r["resource"] == "mcp-tool:aside/read"]
        assert record["masked"] == ["tool.args.to"]
        aside = record.pop("aside")
        assert "someone@example.com" in json.dumps(aside)
        assert "someone@example.com" not in json.dumps(record)
        assert "nobody read this" not in json.dumps([record, aside])


async def test_what_came_of_a_call_is_written_down(shared: House) -> None:
    async with serving(shared, "outcome") as server:

        async def fails(body: Any, request: Any) -> Any:
            return {"content": [], "isError": True}

        alice = await shared.session("alice", "outcome")
        await alice.call("read")
        server.on["tools/call"] = fails
        await alice.call("wipe")
        await alice.call("never")
        records = [r for r in await shared.records("request") if r.get("server") == "outcome"]
        calls = [r for r in records if r["method"] == "tools/call"]
        assert [r.get("tool", "") for r in calls] == ["outcome/read", "outcome/wipe", ""]
        assert [r.get("outcome", "") for r in calls] == ["result", "tool_error", ""]
        assert [r["upstream_ms"] is not None for r in calls[:2]] == [True, True]
        assert "upstream_ms" not in calls[2]
        assert calls[2]["error"] == "unknown"


# --- methods ----------------------------------------------------------------------------------------


async def test_a_method_that_nobody_allowed_for_is_not_served(shared: House) -> None:
    async with serving(shared, "methods") as server:
        legacy, modern = await both(shared, "alice", "methods")
        for method in ("tools/run", "server/discover", "subscriptions/listen", "Tools/call"):
            said = await legacy.ask(method)
            assert (said.status, said.error["code"]) == (200, -32601), method
        for method in ("tools/run", "ping", "logging/setLevel", "resources/subscribe", "tasks/get"):
            said = await modern.ask(method)
            assert (said.status, said.error["code"]) == (404, -32601), method
        assert not {"tools/run", "tasks/get"} & {
            one.body["method"]
            for one in server.asked
            if isinstance(one.body, dict) and one.body.get("method")
        }


async def test_notifications_that_the_protocol_does_not_have_are_dropped(shared: House) -> None:
    async with serving(shared, "notices") as server:
        alice = await shared.session("alice", "notices")
        for method in ("notifications/whatever", "notifications/tools/list_changed", "tools/call"):
            assert (await alice.tell({"method": method})).status == 202
            assert server.called(method) == []
        cancelled = {"method": "notifications/cancelled", "params": {"requestId": 1}}
        assert (await alice.tell(cancelled)).status == 202
        assert len(server.called("notifications/cancelled")) == 1


async def test_a_method_that_needs_the_server_as_such_is_not_for_who_may_use_one_tool(
    shared: House,
) -> None:
    async with serving(shared, "level") as server:
        await shared.apply(
            policy("level-rules", rule("allow", "team:support", "mcp-tool:level/read"))
        )
        bob = await shared.session("bob", "level")
        assert hidden(await bob.ask("logging/setLevel", {"level": "debug"}))
        assert server.called("logging/setLevel") == []
        assert "result" in (await bob.ask("ping")).message
        alice = await shared.session("alice", "level")
        assert "result" in (await alice.ask("logging/setLevel", {"level": "debug"})).message


async def test_completion_is_for_prompts_and_templates_that_the_caller_sees(shared: House) -> None:
    prompts = [{"name": "greet"}, {"name": "part"}]
    async with serving(shared, "fills", prompts=prompts) as server:
        await shared.apply(
            policy("fills-rules", rule("allow", "team:support", "mcp-prompt:fills/greet"))
        )
        bob = await shared.session("bob", "fills")
        argument = {"name": "x", "value": "a"}
        for name, allowed in (("greet", True), ("part", False), ("never", False)):
            ref = {"type": "ref/prompt", "name": name}
            said = await bob.ask("completion/complete", {"ref": ref, "argument": argument})
            assert ("result" in said.message) is allowed
        assert len(server.called("completion/complete")) == 1


@pytest.mark.parametrize(
    "params", [{}, {"name": 5}, {"name": ""}, {"name": ["read"]}, {"name": None}]
)
async def test_a_call_without_a_name_asks_for_nothing(shared: House, params: Any) -> None:
    async with serving(shared, "nameless") as server:
        alice = await shared.session("alice", "nameless")
        assert hidden(await alice.ask("tools/call", params))
        assert server.called("tools/call") == []


async def test_a_server_that_fails_is_an_error_of_the_server(shared: House) -> None:
    async with serving(shared, "failing") as server:
        alice = await shared.session("alice", "failing")

        async def broken(body: Any, request: Any) -> Any:
            return web.Response(status=500, text="stack trace with s3cret")

        server.on["tools/call"] = broken
        said = await alice.call("read")
        assert (said.status, said.error["code"]) == (200, -31502)
        assert b"s3cret" not in said.raw

        async def twice(body: Any, request: Any) -> Any:
            id = json.dumps(body["id"])
            text = f'{{"jsonrpc":"2.0","id":{id},"result":{{}},"result":{{"content":[]}}}}'
            return web.Response(text=text, content_type="application/json")

        server.on["tools/call"] = twice
        assert (await alice.call("read")).error["code"] == -31502


async def test_an_error_of_the_server_reaches_the_client_with_the_clients_id(shared: House) -> None:
    async with serving(shared, "says") as server:

        async def no(body: Any, request: Any) -> Any:
            error = {"code": -32000, "message": "not today", "data": {"when": "tomorrow"}}
            answer = {"jsonrpc": "2.0", "id": body["id"], "error": error}
            return web.json_response(answer, status=400)

        server.on["tools/call"] = no
        for client in await both(shared, "alice", "says"):
            said = await raw(client, 41, "tools/call", {"name": "read"})
            assert said.message["id"] == 41
            assert said.error["message"] == "not today"
            assert said.error["data"] == {"when": "tomorrow"}


async def test_the_callers_token_never_goes_to_the_server(shared: House) -> None:
    async with serving(shared, "private") as server:
        for client in await both(shared, "alice", "private"):
            await client.names()
            await client.call("read")
        token = shared.token("alice")
        assert server.asked
        for one in server.asked:
            assert token not in json.dumps([dict(one.headers), one.body])
            assert "authorization" not in {name.lower() for name in one.headers}
