"""An OpenAPI document as a server, in front of a real service on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from proxy.fetching import Fetch
from proxy.mcp.local import InvalidArguments, LocalServer
from proxy.mcp.openapi.pointers import OpenApiError
from proxy.mcp.openapi.server import OpenApiServer, open_server
from proxy.mcp.openapi.source import Inline, Remote
from proxy.mcp.primitive import Primitive
from proxy.providers.base import UpstreamError, UpstreamRefusedByGuard
from tests.peers.estate import client
from tests.proxy.mcp.openapi.shed import (
    ANN,
    SECRET,
    TEXT,
    Shed,
    document,
    nobody,
    serving,
    somebody,
)


@pytest.fixture
async def shed() -> AsyncIterator[Shed]:
    async with serving() as made:
        yield made


@pytest.fixture
async def fetch() -> AsyncIterator[Fetch]:
    async with client() as outbound:
        yield outbound.fetch


@pytest.fixture
async def server(shed: Shed, fetch: Fetch) -> OpenApiServer:
    source = Remote(shed.base + "/openapi.yaml")
    made = await open_server("shed", source, fetch, somebody, url=shed.base + "/")
    shed.seen.clear()
    return made


async def call(server: LocalServer, tool: str, **arguments: Any) -> dict[str, Any]:
    return dict(await server.call(tool, arguments, ANN))


async def test_it_says_what_it_is(server: OpenApiServer, shed: Shed) -> None:
    as_port: LocalServer = server
    assert as_port.info == {"name": "shed", "version": "1.2", "title": "The tool shed"}
    assert len(await server.definitions(Primitive.TOOL)) == 9
    for kind in (Primitive.PROMPT, Primitive.RESOURCE, Primitive.TEMPLATE):
        assert not await server.definitions(kind)
    assert server.origin == shed.base.removesuffix("/api")
    assert len(server.left_out) == 1
    assert await server.complete(Primitive.PROMPT, "a", "b", "c") == ()


async def test_a_read_reaches_the_service(server: OpenApiServer, shed: Shed) -> None:
    arguments = {
        "kind": ["saw", "drill & bit"], "tags": ["a", "b"], "filter": {"owner": "ann"}, "limit": 5,
        "X-Trace": "t-1",
    }  # fmt: skip
    result = await call(server, "listThings", **arguments)
    assert result == {"content": [{"type": "text", "text": '["saw", "hammer"]'}]}
    (seen,) = shed.seen
    assert (seen.method, seen.segments) == ("GET", ["api", "things"])
    assert seen.query == [
        ("kind", "saw"), ("kind", "drill & bit"), ("tags", "a|b"), ("filter[owner]", "ann"),
        ("limit", "5"),
    ]  # fmt: skip
    assert seen.headers["x-trace"] == "t-1"
    assert seen.headers["authorization"] == f"Bearer {SECRET}"


async def test_a_write_carries_its_body(server: OpenApiServer, shed: Shed) -> None:
    result = await call(server, "put_thing", id="saw 1", body={"name": None, "parts": []})
    assert result["structuredContent"] == {"method": "PUT", "id": "saw 1"}
    (seen,) = shed.seen
    assert (seen.method, seen.raw) == ("PUT", "/api/things/saw%201")
    assert seen.headers["content-type"] == "application/json"
    assert msgspec.json.decode(seen.body) == {"name": None, "parts": []}


async def test_a_deletion_without_content(server: OpenApiServer, shed: Shed) -> None:
    result = await call(server, "delete_things_id", id="saw")
    assert result == {"content": [{"type": "text", "text": "HTTP 204, without content"}]}
    assert shed.seen[0].method == "DELETE"


@pytest.mark.parametrize(
    ("tool", "arguments", "place"),
    [
        ("listThings", {"limit": 0}, "`limit`"),
        ("listThings", {"limit": "5"}, "`limit`"),
        ("listThings", {"Authorization": "Bearer mine"}, "`Authorization`"),
        ("listThings", {"offset": 1}, "`offset`"),
        ("get_thing", {}, "`id`"),
        ("get_thing", {"id": 7}, "`id`"),
        ("get_thing", {"id": "../things"}, "path"),
        ("addThing", {}, "`body`"),
        ("addThing", {"body": {"name": "saw", "number": 1}}, "`number`"),
        ("addThing", {"body": {"name": "saw", "parts": [{}]}}, "`body.parts[0]` lacks `name`"),
        ("addThing", {"body": {"name": "saw", "weight": 0}}, "`body.weight`"),
    ],
)
async def test_nothing_goes_out_that_does_not_fit(
    server: OpenApiServer, shed: Shed, tool: str, arguments: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidArguments) as caught:
        await server.call(tool, arguments, ANN)
    assert place in caught.value.message
    assert not shed.seen


@pytest.mark.parametrize("status", [302, 400, 401, 403, 500, 503])
async def test_a_failure_of_the_service_is_a_result(server: OpenApiServer, status: int) -> None:
    result = await call(server, "fails", status=status)
    assert result["isError"] is True
    text = result["content"][0]["text"]
    assert text.startswith(f"HTTP {status}")
    assert len(text) < 5_000
    assert "127.0.0.1" not in text
    assert "Basic" not in text


async def test_a_credential_never_comes_back(server: OpenApiServer) -> None:
    result = await call(server, "note")
    assert result["content"][0]["text"] == "called by ***"


async def test_an_image_is_one(server: OpenApiServer) -> None:
    assert (await call(server, "photo"))["content"][0]["type"] == "image"


async def test_an_answer_without_end_is_cut_off(server: OpenApiServer) -> None:
    result = await call(server, "long")
    assert result["isError"] is True
    assert "more than" in result["content"][0]["text"]


async def test_what_it_does_not_have_is_unknown(server: OpenApiServer) -> None:
    for tool in ("old", "staff", "upload", "nothing"):
        with pytest.raises(KeyError):
            await call(server, tool)
    with pytest.raises(KeyError):
        await server.prompt("a", {})
    with pytest.raises(KeyError):
        await server.read("a:b")


async def test_the_guard_stands_before_the_service(shed: Shed) -> None:
    async with client(allow=()) as outbound:
        made = OpenApiServer("s", document(get_a={}), outbound.fetch, nobody, url=shed.base)
        with pytest.raises(UpstreamRefusedByGuard):
            await call(made, "get_a")
    assert not shed.seen


async def test_a_service_that_is_away_is_an_upstream_error(fetch: Fetch) -> None:
    made = await open_server("shed", Inline(TEXT), fetch, nobody)
    assert made.origin == "http://127.0.0.1:1"  # the default of the variable
    with pytest.raises(UpstreamError):
        await call(made, "note")


@pytest.mark.parametrize(
    "address",
    [
        "", "/api", "shed.example", "ftp://shed.example", "http://", "http://a:b@shed.example/",
        "http://shed.example/?x=1", "http://shed.example/#x", "http://{host}/", "http://x:99999/",
        "http://shed.example/a b", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_an_address_must_be_whole(fetch: Fetch, address: str) -> None:
    spec = {**document(get_a={}), "servers": [{"url": address}]}
    with pytest.raises(OpenApiError):
        OpenApiServer("s", spec, fetch, nobody)


@pytest.mark.parametrize(
    "servers", [None, [], [7], [{}], [{"url": 7}], {"url": "http://a.example"}]
)
def test_a_document_without_server_needs_an_address(fetch: Fetch, servers: object) -> None:
    with pytest.raises(OpenApiError, match="names no server"):
        OpenApiServer("s", {**document(get_a={}), "servers": servers}, fetch, nobody)


async def test_its_own_headers_come_instead_of_the_callers(fetch: Fetch, shed: Shed) -> None:
    async def own(*_: object) -> list[tuple[str, str]]:
        return [("X-Tenant", "mine")]

    operation = {"parameters": [{"name": "x-tenant", "in": "header"}]}
    made = OpenApiServer("s", document(get_a=operation), fetch, own, url=shed.base)
    await call(made, "get_a", **{"x-tenant": "theirs"})
    assert shed.seen[0].headers["x-tenant"] == "mine"
