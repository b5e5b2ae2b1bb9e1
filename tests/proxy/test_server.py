"""Both planes on one port."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.server import Server
from tests.proxy.world import world


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"path": request.path, "body": (await request.text())})


async def test_each_plane_gets_its_own_paths(tmp_path: Path) -> None:
    app = web.Application()
    app.router.add_route("*", "/api/{rest:.*}", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    async with world(tmp_path) as w:
        assert runner.server is not None
        server = Server(w.gateway, runner.server)
        socket = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{socket.sockets[0].getsockname()[1]}"
        async with aiohttp.ClientSession() as session:
            async with session.post(url + "/api/v1/whoami", data="x") as response:
                assert (await response.json()) == {"path": "/api/v1/whoami", "body": "x"}
            async with session.get(url + "/nothing") as response:
                assert response.status == 404
                assert "x-policy-epoch" not in response.headers
            for path in ("/v1/nothing", "/v1", "/v1/"):
                async with session.get(url + path) as response:
                    assert response.status == 404
                    assert response.headers["x-policy-epoch"] == "1"
        socket.close()
        await server.shutdown(1)
    await runner.cleanup()


async def test_a_body_that_comes_faster_than_it_is_read_arrives_whole(tmp_path: Path) -> None:
    slept = 0

    async def slow(request: web.Request) -> web.Response:
        nonlocal slept
        size = 0
        while chunk := await request.content.readany():
            size += len(chunk)
            slept += 1
            await asyncio.sleep(0)  # the socket is read meanwhile, until it is paused
        return web.json_response({"size": size})

    app = web.Application()
    app.router.add_post("/api/slow", slow)
    runner = web.AppRunner(app)
    await runner.setup()
    async with world(tmp_path) as w:
        server = Server(w.gateway, runner.server)
        socket = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{socket.sockets[0].getsockname()[1]}"
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.post(
                    url + "/api/slow", data=io.BytesIO(b"x" * (8 << 20))
                ) as response:
                    assert await response.json() == {"size": 8 << 20}
        socket.close()
        await server.shutdown(1)
    await runner.cleanup()
    assert slept > 2  # it came in more than one piece


async def test_a_caller_who_is_gone_when_the_answer_ends_is_no_error_of_ours(
    tmp_path: Path,
) -> None:
    async def late(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        assert request.transport is not None
        request.transport.abort()
        raise aiohttp.ClientConnectionResetError("nobody reads this")

    app = web.Application()
    app.router.add_get("/api/late", late)
    runner = web.AppRunner(app)
    await runner.setup()
    async with world(tmp_path) as w:
        assert runner.server is not None
        server = Server(w.gateway, runner.server)
        socket = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{socket.sockets[0].getsockname()[1]}"
        with capture_logs() as logs:
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.ClientError):
                    async with session.get(url + "/api/late") as response:
                        await response.read()
            socket.close()
            await server.shutdown(1)
        assert [entry for entry in logs if entry["event"] == "unexpected_error"] == []
    await runner.cleanup()
