"""Requests to what is no model: any method, streams, limits, and authorities of certificates of one's own."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.guard import Guard
from proxy.outbound import Client
from proxy.providers.base import Secret, Upstream, UpstreamError
from tests.peers.certificates import self_signed


class _NoSecrets:
    def held(self, upstream: Upstream) -> Secret | None:
        return None

    async def resolve(self, upstream: Upstream) -> Secret | None:
        raise AssertionError("nothing of a model is asked here")


class _Loopback(AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def _client(*allow: str) -> AsyncIterator[Client]:
    client = Client(_NoSecrets(), Guard.of(allow), lambda: datetime.now(UTC), resolver=_Loopback())
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _server(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def echo(request: web.Request) -> web.StreamResponse:
        if request.path == "/moved":
            return web.Response(status=302, headers={"location": "http://169.254.169.254/"})
        if request.path == "/events":
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            for number in range(3):
                await response.write(f"data: {number}\n\n".encode())
            return response
        body = await request.text()
        return web.json_response(
            {"method": request.method, "body": body, "headers": dict(request.headers)}
        )

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
async def test_any_method_goes_out_with_its_own_headers_alone(method: str) -> None:
    async with (
        _server() as port,
        _client("127.0.0.1") as client,
        client.fetch(method, f"http://127.0.0.1:{port}/x", [("x-own", "1")], b"{}") as answer,
    ):
        assert answer.status == 200
        seen = await answer.read(4096)
    assert f'"method": "{method}"'.encode() in seen
    assert b'"x-own": "1"' in seen
    assert b'"accept-encoding": "identity"' in seen.lower()


async def test_a_stream_comes_as_it_is_written() -> None:
    async with (
        _server() as port,
        _client("127.0.0.1") as client,
        client.fetch("GET", f"http://127.0.0.1:{port}/events") as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        assert b"".join([chunk async for chunk in answer.chunks()]).count(b"data: ") == 3


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with (
        _server() as port,
        _client("127.0.0.1") as client,
        client.fetch("GET", f"http://127.0.0.1:{port}/moved") as answer,
    ):
        assert answer.status == 302


async def test_an_answer_beyond_the_limit_is_refused() -> None:
    async with (
        _server() as port,
        _client("127.0.0.1") as client,
        client.fetch("POST", f"http://127.0.0.1:{port}/x", (), b"a" * 1000) as answer,
    ):
        with pytest.raises(UpstreamError, match="more than 100 bytes"):
            await answer.read(100)


async def test_a_private_address_is_refused_unless_allowed() -> None:
    async with _server() as port, _client() as client:
        with pytest.raises(UpstreamError):
            async with client.fetch("GET", f"http://127.0.0.1:{port}/"):
                pass


async def test_an_authority_of_ones_own_is_trusted_for_that_request_only(tmp_path: Path) -> None:
    tls = self_signed(tmp_path, "mcp.example")
    pem = (tmp_path / "mcp.example.pem").read_text()
    authority = pem[: pem.index("-----BEGIN PRIVATE")]
    async with _server(tls) as port, _client("127.0.0.1") as client:
        url = f"https://mcp.example:{port}/"
        async with client.fetch("GET", url, authority=authority) as answer:
            assert answer.status == 200
        with pytest.raises(UpstreamError, match="certificate"):
            async with client.fetch("GET", url):
                pass
        with pytest.raises(UpstreamError):
            async with client.fetch("GET", f"https://other.example:{port}/", authority=authority):
                pass


async def test_what_is_no_certificate_is_an_error_of_that_address() -> None:
    async with _client("127.0.0.1") as client:
        with pytest.raises(UpstreamError):
            async with client.fetch("GET", "https://mcp.example/", authority="nothing"):
                pass
