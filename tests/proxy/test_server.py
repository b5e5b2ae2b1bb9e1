"""Both planes on one port."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
from aiohttp import web

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
