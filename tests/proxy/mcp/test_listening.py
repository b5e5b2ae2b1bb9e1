"""Streams that wait: told of a change when the principal's view changes and only then, ended when nothing is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from proxy.mcp.primitive import Primitive
from tests.proxy.mcp.house import MODERN, Client, House, Scripted, Stream, policy, rule, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOLS = "notifications/tools/list_changed"
PROMPTS = "notifications/prompts/list_changed"
RESOURCES = "notifications/resources/list_changed"
FLAGS = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
QUIET = 0.15  # seconds in which nothing is to come


@asynccontextmanager
async def serving(gate: House, name: str, **fields: Any) -> AsyncIterator[Scripted]:
    fields.setdefault("tools", [tool("a"), tool("b")])
    async with Scripted(**fields) as server:
        await gate.apply(server.manifest(name, ["team:search"]))
        yield server


@asynccontextmanager
async def listening(
    gate: House, who: str, name: str, generation: str, **wanted: Any
) -> AsyncIterator[Stream]:
    """An open stream of somebody; what acknowledges it has been read."""
    opens = len(gate.process.gateway.streams)
    if generation == "2025":
        client = await gate.session(who, name)
        asked = client.open()
    else:
        client = gate.modern(who, name)
        asked = client.open("subscriptions/listen", {"notifications": wanted or FLAGS})
    async with asked as stream:
        assert stream.answer.status == 200, await stream.answer.text()
        if generation == "2026":
            said = await stream.message()
            assert said["method"] == "notifications/subscriptions/acknowledged"
            own = said["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
            assert own == stream.id
        async with asyncio.timeout(5):
            while len(gate.process.gateway.streams) <= opens:
                await asyncio.sleep(0)
        yield stream


async def quiet(stream: Stream) -> bool:
    """Whether nothing comes for a moment."""
    try:
        await stream.message(QUIET)
    except TimeoutError:
        return True
    return False


@pytest.fixture(params=["2025", "2026"])
def generation(request: pytest.FixtureRequest) -> str:
    """Of the client."""
    return str(request.param)


# --- grants -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("everything", [False, True])
async def test_a_grant_that_changes_is_told_and_one_that_does_not_concern_is_not(
    shared: House, generation: str, everything: bool
) -> None:
    name = f"grants{generation}{'x' if everything else ''}"
    async with serving(shared, name):
        one, two = (rule("allow", "team:support", f"mcp-tool:{name}/{tool}") for tool in "ab")
        await shared.apply(policy(f"{name}-rules", one))
        async with listening(shared, "bob", "" if everything else name, generation) as stream:
            other = rule("allow", "user:carol@example.com", f"mcp-tool:{name}/b")
            await shared.apply(policy(f"{name}-carol", other))
            await shared.apply({"type": "team", "name": f"{name}-team", "members": []})
            assert await quiet(stream)
            await shared.apply(policy(f"{name}-rules", one, two))
            assert (await stream.message())["method"] == TOOLS
            await shared.apply(policy(f"{name}-rules", two))
            assert (await stream.message())["method"] == TOOLS
            assert await quiet(stream)


async def test_each_kind_of_list_is_told_apart(shared: House, generation: str) -> None:
    name = f"each{generation}"
    prompts, resources = [{"name": "p"}], [{"uri": "demo://a", "name": "a"}]
    async with serving(shared, name, prompts=prompts, resources=resources):
        rules = [rule("allow", "team:support", f"mcp-tool:{name}/a")]
        await shared.apply(policy(f"{name}-rules", *rules))
        async with listening(shared, "bob", name, generation) as stream:
            for thing, method in (("prompt", PROMPTS), ("resource", RESOURCES)):
                own = "p" if thing == "prompt" else "demo://a"
                rules.append(rule("allow", "team:support", f"mcp-{thing}:{name}/{own}"))
                await shared.apply(policy(f"{name}-rules", *rules))
                assert (await stream.message())["method"] == method
            assert await quiet(stream)


async def test_only_what_was_asked_for_is_told(shared: House) -> None:
    async with serving(shared, "flags", prompts=[{"name": "p"}]):
        allow = rule("allow", "team:support", "mcp-tool:flags/a")
        await shared.apply(policy("flags-rules", allow))
        async with listening(shared, "bob", "flags", "2026", promptsListChanged=True) as stream:
            more = rule("allow", "team:support", "mcp-tool:flags/b")
            await shared.apply(policy("flags-rules", allow, more))
            assert await quiet(stream)
            prompt = rule("allow", "team:support", "mcp-prompt:flags/p")
            await shared.apply(policy("flags-rules", allow, prompt))
            message = await stream.message()
            assert message["method"] == PROMPTS
            meta = message["params"]["_meta"]
            assert meta["io.modelcontextprotocol/subscriptionId"] == stream.id


async def test_a_stream_ends_when_nothing_is_left(shared: House, generation: str) -> None:
    name = f"left{generation}"
    async with serving(shared, name):
        allow = rule("allow", "team:support", f"mcp-tool:{name}/a")
        await shared.apply(policy(f"{name}-rules", allow))
        async with listening(shared, "bob", name, generation) as stream:
            deny = rule("deny", "team:support", f"mcp-tool:{name}/a")
            await shared.apply(policy(f"{name}-rules", allow, deny))
            while (message := await stream.message()) is not None:
                assert message["method"] == TOOLS
        assert (await shared.send("bob", f"/mcp/{name}", b"", method="GET")).status == 404


async def test_a_stream_ends_with_its_server(shared: House, generation: str) -> None:
    name = f"gone{generation}"
    async with serving(shared, name), listening(shared, "alice", name, generation) as stream:
        await shared.control("DELETE", f"/mcp-servers/{name}")
        while (message := await stream.message()) is not None:
            assert message["method"] == TOOLS


async def test_a_stream_is_cut_when_its_credential_ends(shared: House, generation: str) -> None:
    name = f"cut{generation}"
    async with serving(shared, name):
        made = await shared.control(
            "POST", "/personal-access-tokens", {"name": f"for-{name}"}, who="alice"
        )
        shared.variables[f"DEMO_TOKEN_{name.upper()}"] = made["token"]
        async with listening(shared, name, name, generation) as stream:
            await shared.control("DELETE", f"/personal-access-tokens/{made['id']}", who="alice")
            assert await stream.message() is None
        assert (await shared.send(name, f"/mcp/{name}", b"{}")).status == 401


# --- what the server says ---------------------------------------------------------------------------


@asynccontextmanager
async def speaking(
    gate: House, name: str, generation: str
) -> AsyncIterator[tuple[Scripted, asyncio.Queue[Any]]]:
    """A server that says on its own stream what is put into the queue."""
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def says(body: Any, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        while (message := await queue.get()) is not None:
            await response.write(f"data: {json.dumps(message)}\n\n".encode())
        return response

    async with serving(gate, name, generation=generation) as server:
        server.on["GET" if generation == "2025" else "subscriptions/listen"] = says
        yield server, queue
        queue.put_nowait(None)


def said(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


async def test_what_a_server_says_of_its_lists_is_told_only_if_it_is_so(
    shared: House, generation: str
) -> None:
    name = f"says{generation}"
    async with speaking(shared, name, generation) as (server, queue):
        await shared.apply(
            policy(f"{name}-rules", rule("allow", "team:support", f"mcp-tool:{name}/a"))
        )
        async with listening(shared, "alice", name, generation) as alice:
            queue.put_nowait(said(TOOLS))
            assert await quiet(alice)
            server.tools.append(tool("c"))
            queue.put_nowait(said(TOOLS))
            assert (await alice.message())["method"] == TOOLS
            assert await quiet(alice)
            found = shared.process.servers.server(name)
            assert found is not None and (Primitive.TOOL, "c") in found.entries


async def test_a_tool_that_somebody_does_not_see_is_no_news_for_them(
    shared: House, generation: str
) -> None:
    name = f"news{generation}"
    async with serving(shared, name) as server:
        await shared.apply(
            policy(
                f"{name}-rules",
                rule("allow", "team:support", *(f"mcp-tool:{name}/{one}" for one in "ab")),
            )
        )
        async with (
            listening(shared, "bob", name, generation) as bob,
            listening(shared, "alice", name, generation) as alice,
        ):
            server.tools.append(tool("c"))
            client = await shared.session("alice", name)
            assert await client.names() == ["a", "b", "c"]
            assert (await alice.message())["method"] == TOOLS
            assert await quiet(bob)
            server.tools[0] = tool("a", "something else")
            assert await client.names() == ["b", "c"]
            assert (await bob.message())["method"] == TOOLS


async def test_updates_and_messages_pass_if_they_concern_the_client(shared: House) -> None:
    async with speaking(shared, "updates", "2025") as (server, queue):
        server.resources = [{"uri": f"demo://{one}", "name": one} for one in "ab"]
        alice = await shared.session("alice", "updates")
        await alice.names("resources")
        await shared.apply(
            policy("updates-rules", rule("deny", "team:search", "mcp-resource:updates/demo://b"))
        )
        async with listening(shared, "alice", "updates", "2025") as stream:
            updated = "notifications/resources/updated"
            for uri in ("demo://b", "demo://x", "demo://a"):
                queue.put_nowait(said(updated, uri=uri))
            queue.put_nowait(said("notifications/strange"))
            queue.put_nowait(said("notifications/message", level="info", data="x"))
            assert (await stream.message())["params"] == {"uri": "demo://a"}
            assert (await stream.message())["method"] == "notifications/message"


async def test_a_subscription_names_only_resources_that_the_principal_sees(shared: House) -> None:
    async with speaking(shared, "subs", "2026") as (server, queue):
        server.resources = [{"uri": f"demo://{one}", "name": one} for one in "ab"]
        await shared.modern("alice", "subs").names("resources")
        await shared.apply(
            policy("subs-rules", rule("allow", "team:support", "mcp-resource:subs/demo://a"))
        )
        client = shared.modern("bob", "subs")
        wanted = {"resourceSubscriptions": ["demo://a", "demo://b", "demo://x"]}
        async with client.open("subscriptions/listen", {"notifications": wanted}) as stream:
            acknowledged = await stream.message()
            granted = acknowledged["params"]["notifications"]
            assert granted == {"resourceSubscriptions": ["demo://a"]}
            (sent,) = server.called("subscriptions/listen")
            assert sent["params"]["notifications"]["resourceSubscriptions"] == ["demo://a"]
            for uri in ("demo://b", "demo://a"):
                queue.put_nowait(said("notifications/resources/updated", uri=uri))
            assert (await stream.message())["params"]["uri"] == "demo://a"


async def test_the_end_of_the_servers_stream_is_the_end_of_the_clients(
    shared: House, generation: str
) -> None:
    name = f"over{generation}"
    async with (
        speaking(shared, name, generation) as (_, queue),
        listening(shared, "alice", name, generation) as stream,
    ):
        queue.put_nowait(None)
        assert await stream.message() is None


async def test_a_second_stream_that_the_server_refuses_is_refused_here(shared: House) -> None:
    async with serving(shared, "second") as server:

        async def conflict(body: Any, request: web.Request) -> web.Response:
            return web.Response(status=409)

        server.on["GET"] = conflict
        client = await shared.session("alice", "second")
        async with client.open() as stream:
            assert stream.answer.status == 409


async def test_a_client_that_leaves_is_forgotten(shared: House) -> None:
    async with serving(shared, "leaves"):
        before = len(shared.process.gateway.streams)
        async with listening(shared, "alice", "leaves", "2025"):
            assert len(shared.process.gateway.streams) == before + 1
        async with asyncio.timeout(5):
            while len(shared.process.gateway.streams) > before:
                await asyncio.sleep(0.01)


async def test_a_stateless_client_has_no_get(shared: House) -> None:
    async with serving(shared, "nogets"):
        headers = {"mcp_protocol_version": MODERN}
        got = await shared.send("alice", "/mcp/nogets", b"", method="GET", **headers)
        assert got.status == 405 and "POST" in got.headers["allow"]
        client: Client = await shared.session("alice", "nogets")
        headers = {"mcp_session_id": client.session, "accept": "application/json"}
        assert (await shared.send("alice", client.path, b"", method="GET", **headers)).status == 406
