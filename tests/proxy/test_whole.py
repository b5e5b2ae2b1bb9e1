"""Answers that leave in one write, read as bytes from a socket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import pytest
from aiohttp import web
from multidict import CIMultiDict

from proxy.whole import WholeAnswer

Send = Callable[[bytes], Awaitable[bytes]]
BODY = b'{"ok":true}'


@asynccontextmanager
async def served(status: int, headers: dict[str, str], body: bytes) -> AsyncIterator[Send]:
    """One connection to a server that always answers this; gives what comes within a moment's silence."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if WholeAnswer.fits(request, status):
            return WholeAnswer(status, CIMultiDict(headers), body)
        return web.Response(status=status, headers=headers, body=body)

    server = web.Server(handle, access_log=None)
    socket = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = socket.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send(request: bytes) -> bytes:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head, re.I)
        if found is None or request.startswith(b"HEAD"):
            return head
        return head + await reader.readexactly(int(found[1]))

    try:
        yield send
    finally:
        writer.close()
        socket.close()
        await server.shutdown(1)


def request(method: str = "POST", version: str = "1.1", more: str = "") -> bytes:
    return f"{method} / HTTP/{version}\r\nHost: a\r\n{more}\r\n".encode()


async def test_the_head_says_what_it_was_given_and_the_length_and_the_date() -> None:
    async with served(200, {"content-type": "application/json", "x-a": "é"}, BODY) as send:
        head, _, body = (await send(request())).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    fields = dict(line.split(": ", 1) for line in lines[1:])
    assert parsedate_to_datetime(fields.pop("date")).tzinfo is not None
    assert fields == {
        "content-type": "application/json",
        "x-a": "é",
        "content-length": str(len(BODY)),
    }
    assert body == BODY


@pytest.mark.parametrize("body", [b"", BODY, b"x" * (1 << 20)])
async def test_the_next_request_on_the_connection_is_answered_as_well(body: bytes) -> None:
    async with served(200, {}, body) as send:
        for _ in range(3):
            assert (await send(request())).partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize("status", [400, 404, 429, 500, 599])
async def test_an_error_of_an_upstream_is_such_an_answer(status: int) -> None:
    async with served(status, {}, BODY) as send:
        got = await send(request())
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert got.endswith(BODY)


async def test_of_an_answer_with_a_header_that_would_be_two_lines_nothing_is_sent() -> None:
    async with served(200, {"x-a": "b\r\nset-cookie: c"}, BODY) as send:
        with pytest.raises(asyncio.IncompleteReadError) as ended:
            await send(request())
    assert ended.value.partial == b""


async def test_a_length_that_came_with_the_headers_is_replaced() -> None:
    async with served(200, {"Content-Length": "3"}, BODY) as send:
        got = await send(request())
    assert got.lower().count(b"content-length") == 1
    assert got.endswith(BODY)


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (200, request("HEAD")),
        (200, request(version="1.0")),
        (200, request(version="1.0", more="Connection: keep-alive\r\n")),
        (200, request(more="Connection: close\r\n")),
        (204, request()),
        (304, request()),
    ],
)
async def test_what_is_out_of_the_ordinary_goes_the_general_way(
    status: int, asked: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(WholeAnswer, "prepare", never)
    async with served(status, {}, BODY if status == 200 else b"") as send:
        assert (await send(asked)).split(b" ")[1] == str(status).encode()
