"""When servers are asked what they offer, and that a server is asked by one process and in nobody's name."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from policies.documents import McpServer, parse
from proxy.mcp.primitive import Primitive
from proxy.mcp.refreshing import SPACE, lives_here
from store import opening
from tests.proxy.mcp.house import House, Scripted, house, policy, rule, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def serving(gate: House, name: str, **fields: Any) -> AsyncIterator[Scripted]:
    fields.setdefault("tools", [tool("a")])
    async with Scripted(**fields) as server:
        await gate.apply(server.manifest(name, ["team:search"]))
        yield server


def names(gate: House, name: str) -> set[str]:
    found = gate.process.servers.server(name)
    assert found is not None
    return {own for (kind, own), entry in found.entries.items() if entry.offered}


@pytest.mark.parametrize("generation", ["2025", "2026"])
async def test_a_new_server_is_asked_and_leaves_no_session_behind(
    shared: House, generation: str
) -> None:
    async with serving(shared, f"fresh{generation}", generation=generation) as server:
        assert names(shared, f"fresh{generation}") == {"a"}
        async with asyncio.timeout(10):
            while server.sessions:  # it is ended after the catalogue is written
                await asyncio.sleep(0.01)
        token = shared.token("operator")
        assert all(token not in str(dict(one.headers)) for one in server.asked)


async def test_what_was_found_does_not_have_the_server_asked_again(shared: House) -> None:
    async with serving(shared, "fickle") as server:
        number = itertools.count()

        async def says(body: Any, request: Any) -> Any:
            return {"tools": [tool("a", f"now {next(number)}")]}

        server.on["tools/list"] = says
        await shared.apply(server.manifest("fickle", ["team:search"], description="Other."))
        await shared.looked("fickle", lambda found: found.entries[Primitive.TOOL, "a"].seen)
        async with serving(shared, "meanwhile"):
            assert next(number) == 1


async def test_a_server_is_asked_again_when_its_document_changes(shared: House) -> None:
    async with serving(shared, "edited") as server:
        server.tools.append(tool("b"))
        await shared.apply(server.manifest("edited", ["team:search"], description="Has more."))
        await shared.looked("edited", lambda found: (Primitive.TOOL, "b") in found.entries)
        assert names(shared, "edited") == {"a", "b"}


async def test_a_glob_takes_in_what_a_server_gains(shared: House) -> None:
    async with serving(shared, "globbed", tools=[tool("get_a"), tool("set_a")]) as server:
        allow = rule("allow", "team:support", "mcp-tool:globbed/get_*")
        await shared.apply(policy("globbed-rules", allow))
        bob = await shared.session("bob", "globbed")
        assert await bob.names() == ["get_a"]
        server.tools += [tool("get_b"), tool("set_b")]
        assert await bob.names() == ["get_a", "get_b"]
        assert "result" in (await bob.call("get_b")).message


async def test_a_server_whose_principals_have_their_own_credentials_is_not_asked(
    shared: House,
) -> None:
    async with Scripted(tools=[tool("a")]) as server:
        auth = {"type": "header", "auth_level": "per_user", "headers": {"x-key": "{{KEY}}"}}
        document = server.manifest("personal", ["team:search"], auth_data=auth)
        await shared.apply(document, wait=False)
        async with serving(shared, "other"):  # by now it would have been asked
            assert server.asked == []


async def test_a_server_that_was_down_is_asked_at_the_next_look(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder: Path = tmp_path_factory.mktemp("looks")
    with pytest.MonkeyPatch.context() as patch:
        async with house(folder, patch, MCP__LOOK_SECONDS="1") as gate, Scripted() as server:
            refused = asyncio.Event()

            async def down(body: Any, request: Any) -> Any:
                refused.set()
                return web.Response(status=503)

            server.tools.append(tool("a"))
            server.on["initialize"] = down
            await gate.apply(server.manifest("later", ["team:search"]), wait=False)
            async with asyncio.timeout(10):
                await refused.wait()
            del server.on["initialize"]
            await gate.known("later")
            assert names(gate, "later") == {"a"}


async def test_one_process_asks_for_all(shared: House) -> None:
    async with serving(shared, "leased") as server:
        settings: Any = shared.process.runtime.settings
        store, state = opening.stores(settings.store_url)
        await store.open()
        now = datetime.now(UTC)
        try:
            assert await state.put_new(SPACE, "leased", b"", now + timedelta(minutes=1), now)
            server.asked.clear()
            server.tools.append(tool("b"))
            await shared.apply(server.manifest("leased", ["team:search"], description="x"))
            async with serving(shared, "after"):  # by now it would have been asked
                assert server.asked == []
        finally:
            await state.drop(SPACE, "leased")
            await store.close()


@pytest.mark.parametrize(
    ("fields", "here"),
    [
        ({"type": "mcp-server/echo"}, True),
        (
            {"type": "mcp-server/openapi", "openapi_spec_source": {"type": "inline", "spec": {}}},
            True,
        ),
        (
            {
                "type": "mcp-server/openapi",
                "openapi_spec_source": {
                    "type": "remote",
                    "url": "https://example.com/openapi.json",
                },
            },
            False,
        ),
        ({"type": "mcp-server/remote"}, False),
        ({"type": "mcp-server/virtual", "servers": []}, False),
    ],
)
async def test_a_start_waits_for_nobody_elses_address(fields: dict[str, Any], here: bool) -> None:
    url = (
        {}
        if fields["type"] in ("mcp-server/echo", "mcp-server/virtual")
        else {"url": "https://a.b"}
    )
    document = parse({"name": "one", **url, **fields})
    assert isinstance(document, McpServer)
    assert lives_here(document) is here
