"""A client of one generation on a server of the other: what is the same, what is put differently, what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.proxy.mcp.house import META, MODERN, House, Scripted, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT = {"content": [{"type": "text", "text": "done"}]}
ELICIT = {"method": "elicitation/create", "params": {"message": "Which?", "requestedSchema": {}}}
SAMPLE = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5}}


@asynccontextmanager
async def serving(
    gate: House, name: str, generation: str, **fields: Any
) -> AsyncIterator[Scripted]:
    fields.setdefault("tools", [tool("ask"), tool("other")])
    async with Scripted(generation=generation, **fields) as server:
        await gate.apply(server.manifest(name, ["team:search", "team:support"]))
        yield server


async def streamed(request: web.Request, *messages: Any) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for one in messages:
        await response.write(f"data: {json.dumps(one)}\n\n".encode())
    return response


# --- a client of 2025 on a server of 2026 -----------------------------------------------------------


async def test_a_client_of_2025_uses_a_server_of_2026(shared: House) -> None:
    prompts = [{"name": "p"}]
    async with serving(shared, "new", "2026", prompts=prompts) as server:
        alice = await shared.session("alice", "new")
        assert alice.hello["protocolVersion"] == "2025-11-25"
        assert "subscribe" not in alice.hello["capabilities"].get("resources", {})
        assert await alice.names() == ["ask", "other"]
        result = (await alice.call("ask", n=1)).result
        assert not {"resultType", "ttlMs", "cacheScope"} & set(result)
        sent = server.called("tools/call")[-1]
        meta = sent["params"]["_meta"]
        assert meta[f"{META}protocolVersion"] == MODERN
        assert meta[f"{META}clientInfo"]["name"] == "test"
        headers = next(a.headers for a in reversed(server.asked) if a.body == sent)
        assert headers["mcp-protocol-version"] == MODERN
        assert (headers["mcp-method"], headers["mcp-name"]) == ("tools/call", "ask")
        assert "mcp-session-id" not in {name.lower() for name in headers}


async def test_what_the_other_generation_does_not_have_is_said_to_be_missing(shared: House) -> None:
    resources = [{"uri": "demo://a", "name": "a"}]
    async with serving(shared, "lacks", "2026", resources=resources) as server:
        alice = await shared.session("alice", "lacks")
        said = await alice.ask("resources/subscribe", {"uri": "demo://a"})
        assert said.error["code"] == -32601
        assert server.called("resources/subscribe") == []


async def test_a_level_of_logging_goes_with_each_request(shared: House) -> None:
    async with serving(shared, "logs", "2026") as server:
        alice = await shared.session("alice", "logs")
        assert (await alice.ask("logging/setLevel", {"level": "debug"})).result == {}
        await alice.call("ask")
        assert server.called("tools/call")[-1]["params"]["_meta"][f"{META}logLevel"] == "debug"
        assert server.called("logging/setLevel") == []


async def test_input_that_is_required_is_asked_of_the_client_and_the_call_repeated(
    shared: House,
) -> None:
    async with serving(shared, "input", "2026") as server:

        async def wants(body: Any, request: web.Request) -> Any:
            given = body["params"].get("inputResponses")
            if given is None:
                return {
                    "resultType": "input_required",
                    "inputRequests": {"one": ELICIT, "two": SAMPLE},
                    "requestState": "s-1",
                }
            if body["params"].get("requestState") == "s-1":
                return {"resultType": "input_required", "inputRequests": {"three": ELICIT}}
            return {"content": [{"type": "text", "text": json.dumps(given)}]}

        server.on["tools/call"] = wants
        alice = await shared.session("alice", "input", capabilities={"elicitation": {}})
        params = {"name": "ask", "arguments": {"n": 1}}
        async with alice.open("tools/call", params) as stream:
            ids = []
            for number, method in enumerate(
                ("elicitation/create", "sampling/createMessage", "elicitation/create")
            ):
                message = await stream.message()
                assert message["method"] == method
                ids.append(message["id"])
                await alice.tell({"id": message["id"], "result": {"number": number}})
            final = await stream.message()
        assert len(set(ids)) == 3
        assert final["id"] == stream.id
        assert json.loads(final["result"]["content"][0]["text"]) == {"three": {"number": 2}}
        calls = [body["params"] for body in server.called("tools/call")]
        assert [one["arguments"] for one in calls] == [{"n": 1}] * 3
        assert calls[1]["inputResponses"] == {"one": {"number": 0}, "two": {"number": 1}}
        assert "requestState" not in calls[2]
        assert calls[0]["_meta"][f"{META}clientCapabilities"] == {"elicitation": {}}


async def test_a_client_that_refuses_a_question_ends_the_call(shared: House) -> None:
    async with serving(shared, "refuses", "2026") as server:

        async def wants(body: Any, request: web.Request) -> Any:
            return {"resultType": "input_required", "inputRequests": {"one": ELICIT}}

        server.on["tools/call"] = wants
        alice = await shared.session("alice", "refuses")
        async with alice.open("tools/call", {"name": "ask"}) as stream:
            message = await stream.message()
            error = {"code": -1, "message": "user said no"}
            await alice.tell({"id": message["id"], "error": error})
            final = await stream.message()
        assert final["error"]["message"] == "user said no"
        assert len(server.called("tools/call")) == 1


async def test_an_answer_of_somebody_else_is_no_answer(shared: House) -> None:
    async with serving(shared, "whose", "2026") as server:

        async def wants(body: Any, request: web.Request) -> Any:
            given = body["params"].get("inputResponses")
            if given is None:
                return {"resultType": "input_required", "inputRequests": {"one": ELICIT}}
            return {"content": [{"type": "text", "text": json.dumps(given)}]}

        server.on["tools/call"] = wants
        alice, bob = await shared.session("alice", "whose"), await shared.session("bob", "whose")
        async with alice.open("tools/call", {"name": "ask"}) as stream:
            message = await stream.message()
            await bob.tell({"id": message["id"], "result": {"from": "bob"}})
            await alice.tell({"id": message["id"], "result": {"from": "alice"}})
            final = await stream.message()
        assert json.loads(final["result"]["content"][0]["text"]) == {"one": {"from": "alice"}}


async def test_a_question_that_no_table_has_is_not_put_to_the_client(shared: House) -> None:
    async with serving(shared, "strange", "2026") as server:

        async def wants(body: Any, request: web.Request) -> Any:
            if "inputResponses" in body["params"]:
                return CONTENT
            odd = {"method": "secrets/list", "params": {}}
            return {"resultType": "input_required", "inputRequests": {"one": odd}}

        server.on["tools/call"] = wants
        alice = await shared.session("alice", "strange")
        async with alice.open("tools/call", {"name": "ask"}) as stream:
            message = await stream.message()
            assert message.get("method") is None
            assert message["id"] == stream.id and "error" in message


async def test_a_server_that_asks_for_ever_is_ended(shared: House) -> None:
    async with serving(shared, "forever", "2026") as server:

        async def wants(body: Any, request: web.Request) -> Any:
            return {"resultType": "input_required", "inputRequests": {}, "requestState": "again"}

        server.on["tools/call"] = wants
        alice = await shared.session("alice", "forever")
        said = await alice.call("ask")
        assert said.error["code"] == -32603
        assert len(server.called("tools/call")) == 16


# --- a client of 2026 on a server of 2025 -----------------------------------------------------------


async def test_a_client_of_2026_uses_a_server_of_2025(shared: House) -> None:
    async with serving(shared, "old", "2025") as server:
        alice = shared.modern("alice", "old")
        assert await alice.names() == ["ask", "other"]
        result = (await alice.ask("tools/list")).result
        assert (result["resultType"], result["cacheScope"]) == ("complete", "private")
        result = (await alice.call("ask", n=1)).result
        assert result["resultType"] == "complete"
        sent = server.called("tools/call")[-1]
        assert META not in json.dumps(sent["params"])
        (opened,) = [
            body for body in server.called("initialize") if "elicitation" not in str(body["params"])
        ]
        assert opened["params"]["capabilities"] == {}  # there is no way to ask such a client


async def test_calls_that_share_a_session_have_ids_of_their_own(shared: House) -> None:
    async with serving(shared, "ids", "2025") as server:
        one, other = shared.modern("alice", "ids"), shared.modern("alice", "ids")
        answers = await asyncio.gather(*(client.call("ask") for client in (one, other, one, other)))
        assert [said.message["id"] for said in answers] == [0, 0, 1, 1]
        ids = [body["id"] for body in server.called("tools/call")]
        assert len(set(ids)) == 4


async def test_progress_comes_back_under_the_token_of_the_client(shared: House) -> None:
    async with serving(shared, "progress", "2025") as server:

        async def progresses(body: Any, request: web.Request) -> web.StreamResponse:
            token = body["params"]["_meta"]["progressToken"]
            note = {"progressToken": token, "progress": 0.5}
            return await streamed(
                request,
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": note},
                {"jsonrpc": "2.0", "id": 5, "method": "elicitation/create", "params": {}},
                {"jsonrpc": "2.0", "id": body["id"], "result": CONTENT},
            )

        server.on["tools/call"] = progresses
        tokens = []
        for who in ("alice", "bob"):
            client = shared.modern(who, "progress")
            params = {"name": "ask", "_meta": {"progressToken": "mine"}}
            async with client.open("tools/call", params) as stream:
                note = await stream.message()
                assert note["params"] == {"progressToken": "mine", "progress": 0.5}
                final = await stream.message()
                assert (final["id"], final["result"]["content"]) == (stream.id, CONTENT["content"])
            tokens.append(server.called("tools/call")[-1]["params"]["_meta"]["progressToken"])
        assert len({*tokens, "mine"}) == 3


async def test_changes_are_told_to_a_client_of_2026_on_a_server_of_2025(shared: House) -> None:
    async with serving(shared, "hears", "2025") as server:
        client = shared.modern("alice", "hears")
        wanted = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["x://y"]}}
        async with client.open("subscriptions/listen", wanted) as stream:
            said = await stream.message()
            assert said["params"]["notifications"] == {"toolsListChanged": True}
            server.tools.append(tool("more"))
            await shared.modern("bob", "hears").names()
            assert (await stream.message())["method"] == "notifications/tools/list_changed"


@pytest.mark.parametrize("generation", ["2025", "2026"])
async def test_what_a_server_of_the_other_generation_says_of_its_lists_is_heard(
    shared: House, generation: str
) -> None:
    name = f"tells{generation}"
    told = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    queue: asyncio.Queue[Any] = asyncio.Queue()
    opened = asyncio.Event()

    async def says(body: Any, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        opened.set()
        while (message := await queue.get()) is not None:
            await response.write(f"data: {json.dumps(message)}\n\n".encode())
        return response

    async with serving(shared, name, generation) as server:
        server.on["GET" if generation == "2025" else "subscriptions/listen"] = says
        if generation == "2025":
            wanted = {"notifications": {"toolsListChanged": True}}
            asked = shared.modern("alice", name).open("subscriptions/listen", wanted)
        else:
            asked = (await shared.session("alice", name)).open()
        async with asked as stream:
            if generation == "2025":
                assert (await stream.message())["method"].endswith("acknowledged")
            async with asyncio.timeout(5):
                await opened.wait()
            queue.put_nowait({"jsonrpc": "2.0", "id": 1, "method": "ping"})
            queue.put_nowait({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
            server.tools.append(tool("more"))
            queue.put_nowait(told)
            message = await stream.message()
            assert message["method"] == "notifications/tools/list_changed"
            queue.put_nowait(None)  # that the server ends its stream does not end the client's
            await shared.apply(server.manifest(name, ["team:support"]))
            while (message := await stream.message()) is not None:
                assert message["method"] == "notifications/tools/list_changed"
