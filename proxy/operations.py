"""The operator's routes: alive, ready, metrics. No credential, nothing that a caller wrote.

They stand beside the API in the same application and need no action, so the list is closed: `OPEN_PATHS`,
checked by a test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from proxy.health import Health
from proxy.metrics import Snapshot, exposition

OPEN_PATHS = ("/healthz", "/readyz", "/metrics")
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def add_operations(
    app: web.Application,
    health: Health,
    snapshots: Callable[[], Awaitable[list[Snapshot]]],
) -> None:
    """Add the routes to the application."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        checks = health.checks()
        ready = all(check.ok for check in checks)
        body = {
            "status": "ready" if ready else "not ready",
            "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks],
        }
        return web.json_response(body, status=200 if ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=exposition(await snapshots()), headers={"Content-Type": EXPOSITION}
        )

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
