"""A relay that adds headers: for peers that cannot be told to send any.

It keeps `Host` and `Origin` as they came, or checks of both would see the relay's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiohttp
from aiohttp import web
from yarl import URL

HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@asynccontextmanager
async def adding(url: str, headers: Mapping[str, str]) -> AsyncIterator[str]:
    """An address where `url` answers, and every request carries the headers."""
    upstream = URL(url)
    added = {name.lower() for name in headers}
    unlimited = aiohttp.ClientTimeout(total=None, sock_connect=10)

    async def relay(request: web.Request) -> web.StreamResponse:
        kept = [(k, v) for k, v in request.headers.items() if k.lower() not in HOP | added]
        async with session.request(
            request.method,
            upstream.origin().join(request.rel_url),
            headers=[*kept, *headers.items()],
            data=await request.read() or None,
            allow_redirects=False,
        ) as got:
            answer = web.StreamResponse(
                status=got.status,
                headers=[(k, v) for k, v in got.headers.items() if k.lower() not in HOP],
            )
            await answer.prepare(request)
            with suppress(aiohttp.ClientConnectionResetError):  # the caller has what it wanted
                async for chunk in got.content.iter_any():
                    await answer.write(chunk)
            return answer

    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", relay)
    # A caller that leaves ends the call behind it, as it would without the relay.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    async with aiohttp.ClientSession(
        auto_decompress=False,
        timeout=unlimited,
        connector=aiohttp.TCPConnector(limit=0),
        skip_auto_headers=("User-Agent", "Accept", "Content-Type", "Accept-Encoding"),
    ) as session:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            yield str(upstream.with_host("localhost").with_port(port).with_scheme("http"))
        finally:
            await runner.cleanup()
