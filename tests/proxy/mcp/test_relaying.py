"""What servers send in the course of a call: what passes, under which ids, and what never does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.proxy.mcp.house import META, Client, House, Said, Scripted, policy, rule, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT = {"content": [{"type": "text", "text": "done"}]}


def answer(body: Any, result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": body["id"], "result": result}


def note(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def question(id: Any, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    return response


async def send(response: web.StreamResponse, message: Any, id: str = "") -> None:
    head = f"id: {id}\n" if id else ""
    await response.write(f"{head}event: message\ndata: {json.dumps(message)}\n\n".encode())


def streams(*made: Callable[[Any], Any], id: bool = False) -> Any:
    """A handler that answers with these messages as events, each made from the request's body."""

    async def handler(body: Any, request: web.Request) -> web.StreamResponse:
        response = await events(request)
        for number, one in enumerate(made):
            await send(response, one(body), f"ev-{number}" if id else "")
        return response

    return handler


@asynccontextmanager
async def serving(gate: House, name: str, **fields: Any) -> AsyncIterator[Scripted]:
    fields.setdefault("tools", [tool("ask"), tool("other")])
    async with Scripted(**fields) as server:
        await gate.apply(server.manifest(name, ["team:search"]))
        yield server


@pytest.fixture(params=["one", "composed", "all"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the client speaks with the server: alone, as part of a composition, among all."""
    return str(request.param)


async def client_at(gate: House, place: str, name: str) -> tuple[Client, str]:
    """Alice there, and what the tool `ask` is called there."""
    if place == "one":
        return await gate.session("alice", name), "ask"
    if place == "all":
        return await gate.session("alice", ""), f"{name}__ask"
    grants = [{"subject": "team:search", "role_id": "mcp-server-user"}]
    await gate.apply(
        {
            "type": "mcp-server/virtual",
            "name": f"{name}-v",
            "servers": [{"name": name}],
            "collaborators": grants,
        }
    )
    return await gate.session("alice", f"{name}-v"), "ask"


# --- questions of servers ---------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["2025", "2026"])
async def test_a_question_of_a_server_reaches_the_client_and_its_answer_finds_the_way_back(
    shared: House, place: str, generation: str
) -> None:
    name = f"asks{generation}{place}"
    asked = {"message": "Which one?", "requestedSchema": {"type": "object"}}
    async with serving(shared, name, generation=generation) as server:
        answered = asyncio.Event()
        got: list[Any] = []

        async def legacy(body: Any, request: web.Request) -> web.StreamResponse:
            response = await events(request)
            await send(response, question("q-1", "elicitation/create", **asked))
            async with asyncio.timeout(5):
                await answered.wait()
            await send(response, answer(body, CONTENT))
            return response

        async def response_to(body: Any, request: web.Request) -> web.Response:
            got.append(body)
            answered.set()
            return web.Response(status=202)

        async def modern(body: Any, request: web.Request) -> Any:
            if "inputResponses" not in body["params"]:
                wanted = {"which": {"method": "elicitation/create", "params": asked}}
                return {
                    "resultType": "input_required",
                    "inputRequests": wanted,
                    "requestState": "st-1",
                }
            got.append(body["params"])
            return CONTENT

        server.on["tools/call"] = legacy if generation == "2025" else modern
        if generation == "2025":
            server.on["response"] = response_to
        client, called = await client_at(shared, place, name)
        async with client.open("tools/call", {"name": called, "arguments": {}}) as stream:
            message = await stream.message()
            assert message["method"] == "elicitation/create"
            assert message["params"] == asked
            said = {"action": "accept", "content": {"which": "b"}}
            assert (await client.tell({"id": message["id"], "result": said})).status == 202
            final = await stream.message()
            assert (final["id"], final["result"]) == (stream.id, CONTENT)
            assert await stream.message() is None
        if generation == "2025":
            assert got == [{"jsonrpc": "2.0", "id": "q-1", "result": said}]
        else:
            assert got[0]["inputResponses"] == {"which": said}
            assert got[0]["requestState"] == "st-1"


async def test_an_answer_goes_only_where_something_was_asked(shared: House) -> None:
    async with serving(shared, "silent") as server:
        carol = await shared.session("carol", "")
        server.asked.clear()
        for id in ("gw@silent@1", 'gw@silent@"x"', "gw@silent", "gw@never@1", 5):
            assert (await carol.tell({"id": id, "result": {}})).status == 202
        assert server.asked == []


async def test_a_question_that_the_protocol_does_not_have_is_answered_by_the_gateway(
    shared: House, place: str
) -> None:
    name = f"odd{place}"
    async with serving(shared, name) as server:
        server.on["tools/call"] = streams(
            lambda body: question(9, "secrets/list"), lambda body: answer(body, CONTENT)
        )
        client, called = await client_at(shared, place, name)
        async with client.open("tools/call", {"name": called}) as stream:
            assert (await stream.message())["result"] == CONTENT
        (told,) = [
            one.body for one in server.asked if isinstance(one.body, dict) and "error" in one.body
        ]
        assert (told["id"], told["error"]["code"]) == (9, -32601)


# --- notifications ----------------------------------------------------------------------------------


async def test_notifications_pass_if_the_protocol_has_them_and_they_are_the_clients(
    shared: House,
) -> None:
    resources = [{"uri": "demo://a", "name": "a"}, {"uri": "demo://b", "name": "b"}]
    async with serving(shared, "tells", resources=resources) as server:
        await shared.apply(
            policy(
                "tells-rules",
                rule("allow", "team:support", "mcp-tool:tells/ask"),
                rule("allow", "team:support", "mcp-resource:tells/demo://a"),
            )
        )
        server.on["tools/call"] = streams(
            lambda body: note("notifications/progress", progressToken=1, progress=0.5),
            lambda body: note("notifications/message", level="info", data="working"),
            lambda body: note("notifications/secret", anything="x"),
            lambda body: note("notifications/tools/list_changed"),
            lambda body: note("notifications/resources/updated", uri="demo://b"),
            lambda body: note("notifications/resources/updated", uri="demo://a"),
            lambda body: note("notifications/resources/updated", uri="demo://x"),
            lambda body: note("notifications/tasks/status", taskId="t-9", status="working"),
            lambda body: answer(body, CONTENT),
        )
        bob = await shared.session("bob", "tells")
        got = []
        async with bob.open("tools/call", {"name": "ask"}) as stream:
            while (message := await stream.message()) is not None:
                got.append(message)
        assert [one.get("method", "answer") for one in got] == [
            "notifications/progress",
            "notifications/message",
            "notifications/resources/updated",
            "answer",
        ]
        assert got[2]["params"] == {"uri": "demo://a"}


async def test_responses_to_what_was_not_asked_are_dropped(shared: House) -> None:
    async with serving(shared, "strays") as server:
        stray = {"tools": [tool("other")]}
        server.on["tools/call"] = streams(
            lambda body: {"jsonrpc": "2.0", "id": "gw-list-1", "result": stray},
            lambda body: {"jsonrpc": "2.0", "id": 4711, "result": stray},
            lambda body: answer(body, CONTENT),
        )
        alice = await shared.session("alice", "strays")
        async with alice.open("tools/call", {"name": "ask"}) as stream:
            assert (await stream.message())["result"] == CONTENT
            assert await stream.message() is None


# --- event ids and resuming -------------------------------------------------------------------------


async def test_a_stream_is_resumed_by_who_had_it_and_by_nobody_else(shared: House) -> None:
    async with serving(shared, "resume") as server:
        await shared.apply(
            policy("resume-rules", rule("allow", "team:support", "mcp-tool:resume/ask"))
        )
        progress = note("notifications/progress", progressToken=1, progress=1)
        asked: list[Any] = []

        async def breaks(body: Any, request: web.Request) -> web.StreamResponse:
            asked.append(body["id"])
            response = await events(request)
            await send(response, progress, "ev-1")
            return response

        async def resumed(body: Any, request: web.Request) -> web.StreamResponse:
            last = request.headers.get("last-event-id")
            if last is None:
                return web.Response(status=405)
            assert last == "ev-1"
            response = await events(request)
            await send(response, {"jsonrpc": "2.0", "id": 99, "result": {"tools": []}}, "ev-2")
            await send(response, {"jsonrpc": "2.0", "id": asked[-1], "result": CONTENT}, "ev-3")
            return response

        server.on["tools/call"], server.on["GET"] = breaks, resumed
        alice, bob = await shared.session("alice", "resume"), await shared.session("bob", "resume")
        again = await shared.session("alice", "resume")
        async with alice.open("tools/call", {"name": "ask"}) as stream:
            event = await stream.event()
        assert event is not None and event.id is not None and "ev-1" not in event.id
        gets = len([one for one in server.asked if one.method == "GET"])
        for client, id in (
            (bob, event.id),
            (again, event.id),  # another session of the same principal
            (alice, event.id[:-2] + "AA"),
            (alice, "ev-1"),
        ):
            async with client.open(last_event_id=id) as stream:
                assert stream.answer.status == 404
        assert len([one for one in server.asked if one.method == "GET"]) == gets
        async with alice.open(last_event_id=event.id) as stream:
            message = await stream.message()
            assert message["result"] == CONTENT
            assert await stream.message() is None


async def test_a_list_does_not_come_back_on_a_resumed_stream(shared: House) -> None:
    async with serving(shared, "replay", events=True) as server:
        await shared.apply(
            policy("replay-rules", rule("allow", "team:support", "mcp-tool:replay/ask"))
        )
        bob = await shared.session("bob", "replay")
        assert await bob.names() == ["ask"]
        lists = [body["id"] for body in server.called("tools/list")]
        everything = {"tools": [tool("ask"), tool("other")]}

        async def replays(body: Any, request: web.Request) -> web.StreamResponse:
            """As a server does that keeps one log for all streams of a session."""
            response = await events(request)
            for id in [*lists, *range(20)]:
                await send(response, {"jsonrpc": "2.0", "id": id, "result": everything}, f"e-{id}")
            return response

        server.on["tools/call"] = streams(
            lambda body: note("notifications/progress", progressToken=1, progress=1), id=True
        )
        async with bob.open("tools/call", {"name": "ask"}) as stream:
            event = await stream.event()
            assert event is not None and event.id is not None
            mine = stream.id
        server.on["GET"] = replays
        async with bob.open(last_event_id=event.id) as stream:
            got = []
            while (message := await stream.message()) is not None:
                got.append(message["id"])
        # Only what claims to be the answer to the call itself, which the server could have given at once.
        assert got == [mine]


async def test_the_ids_of_the_gateways_own_requests_cannot_be_guessed(shared: House) -> None:
    async with serving(shared, "guess") as server:
        alice = await shared.session("alice", "guess")
        await alice.names()
        own = [str(body["id"]) for body in server.called("tools/list")]
        assert all(len(id) > 24 for id in own if id.startswith("gw-list"))


# --- tasks ------------------------------------------------------------------------------------------


async def test_a_task_is_unknown_to_anybody_but_who_made_it(shared: House) -> None:
    async with serving(shared, "tasks") as server:
        await shared.apply(
            policy("tasks-rules", rule("allow", "team:support", "mcp-tool:tasks/ask"))
        )

        async def makes(body: Any, request: web.Request) -> Any:
            return {
                "task": {"taskId": f"t-{body['params']['arguments']['n']}", "status": "working"}
            }

        async def lists(body: Any, request: web.Request) -> Any:
            return {"tasks": [{"taskId": f"t-{n}"} for n in (1, 2, 3)]}

        server.on["tools/call"], server.on["tasks/list"] = makes, lists
        alice, bob = await shared.session("alice", "tasks"), await shared.session("bob", "tasks")
        await alice.call("ask", n=1)
        await bob.call("ask", n=2)

        async def get(client: Client, method: str, id: str) -> Said:
            return await client.ask(method, {"taskId": id})

        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            assert "result" in (await get(bob, method, "t-2")).message
            theirs, never = await get(bob, method, "t-1"), await get(bob, method, "t-9")
            assert theirs.error["code"] == never.error["code"] == -32602
            assert theirs.error["message"].replace("t-1", "t-9") == never.error["message"]
            assert [body["params"]["taskId"] for body in server.called(method)] == ["t-2"]
        listed = (await bob.ask("tasks/list")).result["tasks"]
        assert [one["taskId"] for one in listed] == ["t-2"]


async def test_a_task_goes_with_the_right_to_its_tool(shared: House) -> None:
    async with serving(shared, "revoked") as server:
        allow = rule("allow", "team:support", "mcp-tool:revoked/ask")
        more = rule("allow", "team:support", "mcp-tool:revoked/other")
        await shared.apply(policy("revoked-rules", allow, more))

        async def makes(body: Any, request: web.Request) -> Any:
            return {"task": {"taskId": "t-1", "status": "working"}}

        async def lists(body: Any, request: web.Request) -> Any:
            return {"tasks": [{"taskId": "t-1"}]}

        server.on["tools/call"], server.on["tasks/list"] = makes, lists
        bob = await shared.session("bob", "revoked")
        await bob.call("ask")
        assert len((await bob.ask("tasks/list")).result["tasks"]) == 1
        await shared.apply(policy("revoked-rules", more))
        assert (await bob.ask("tasks/get", {"taskId": "t-1"})).error["code"] == -32602
        assert (await bob.ask("tasks/list")).result["tasks"] == []


# --- request state (2026) ---------------------------------------------------------------------------


async def test_a_request_state_is_sealed_and_bound_to_principal_tool_and_server(
    shared: House,
) -> None:
    async with serving(shared, "state", generation="2026") as server:
        await shared.apply(policy("state-rules", rule("allow", "team:support", "mcp-tool:state/*")))

        async def wants(body: Any, request: web.Request) -> Any:
            if "requestState" in body["params"]:
                return {"content": [{"type": "text", "text": body["params"]["requestState"]}]}
            return {
                "resultType": "input_required",
                "requestState": "role=admin",
                "inputRequests": {
                    "ok": {"method": "elicitation/create", "params": {}},
                    "no": {"method": "secrets/list", "params": {}},
                },
            }

        server.on["tools/call"] = wants
        alice, bob = shared.modern("alice", "state"), shared.modern("bob", "state")
        wanted = (await alice.call("ask")).result
        assert "role=admin" not in json.dumps(wanted)
        assert list(wanted["inputRequests"]) == ["ok"]
        state = wanted["requestState"]

        async def again(client: Client, tool: str, state: Any) -> Said:
            params = {"name": tool, "arguments": {}, "requestState": state, "inputResponses": {}}
            return await client.ask("tools/call", params)

        server.asked.clear()
        for client, name, held in (
            (bob, "ask", state),
            (alice, "other", state),
            (alice, "ask", "role=admin"),
            (alice, "ask", state[:-2] + "AA"),
            (alice, "ask", 7),
        ):
            assert (await again(client, name, held)).error["code"] == -32602
        assert server.called("tools/call") == []
        final = (await again(alice, "ask", state)).result
        assert final["content"][0]["text"] == "role=admin"
        assert META not in json.dumps(final)


async def test_a_state_that_is_too_long_to_keep_is_the_servers_fault(shared: House) -> None:
    async with serving(shared, "lengthy", generation="2026") as server:

        async def wants(body: Any, request: web.Request) -> Any:
            return {"resultType": "input_required", "requestState": "x" * 300_000}

        server.on["tools/call"] = wants
        said = await shared.modern("alice", "lengthy").call("ask")
        assert (said.status, said.error["code"]) == (200, -31502)


async def test_a_stream_is_not_resumed_by_who_may_no_longer_use_its_tool(shared: House) -> None:
    async with serving(shared, "lapsed") as server:
        one, two = (rule("allow", "team:support", f"mcp-tool:lapsed/{t}") for t in ("ask", "other"))
        await shared.apply(policy("lapsed-rules", one, two))
        server.on["tools/call"] = streams(
            lambda body: note("notifications/progress", progressToken=1, progress=1), id=True
        )
        server.on["GET"] = streams(lambda body: note("notifications/message", level="info", data=1))
        bob = await shared.session("bob", "lapsed")
        async with bob.open("tools/call", {"name": "ask"}) as stream:
            event = await stream.event()
            assert event is not None and event.id is not None
        made = await shared.control(
            "POST",
            "/personal-access-tokens",
            {
                "name": "narrow",
                "restrictions": [
                    {"actions": ["mcp-tool:call"], "resources": ["mcp-tool:lapsed/other"]}
                ],
            },
            who="bob",
        )
        shared.variables["DEMO_TOKEN_NARROW"] = made["token"]
        narrow = Client(shared, "narrow", bob.path, session=bob.session)
        assert await narrow.names() == ["other"]
        assert (await narrow.call("ask")).error["code"] == -32602
        async with narrow.open(last_event_id=event.id) as stream:
            assert stream.answer.status == 404
        async with bob.open(last_event_id=event.id) as stream:
            assert (await stream.message())["method"] == "notifications/message"
        await shared.apply(policy("lapsed-rules", two))
        async with bob.open(last_event_id=event.id) as stream:
            assert stream.answer.status == 404
