"""The outermost middleware of the control plane: the request id and the headers of every answer.

A caller's `x-request-id` is kept when it is plain and sent once; anything else gets a new one. The id is
set before anything can fail, so that every answer carries it. `cache-control: no-store` goes on every
answer: all of them depend on who asks, and some show a secret once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from proxy.headers import request_id as request_id_of
from proxy.metrics import Metrics

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID = web.RequestKey("gatewarden_request_id", str)
DECISION_ID = web.RequestKey("gatewarden_decision_id", str)
ROUTE = web.RequestKey("gatewarden_route", str)  # the operation's name: a label of metrics
EPOCH = web.RequestKey("gatewarden_epoch", int)


def new_request_id() -> str:
    """A request id of our own."""
    return f"req-{secrets.token_hex(12)}"


def request_ids(epoch: Callable[[], int], metrics: Metrics) -> Middleware:
    """The middleware; `epoch` reads the epoch that this process decides by."""

    @web.middleware
    async def middleware(request: web.Request, handler: Next) -> web.StreamResponse:
        started = time.perf_counter()
        request[REQUEST_ID] = request_id_of(request.headers, new_request_id)
        response = await handler(request)
        headers = response.headers
        headers["x-request-id"] = request[REQUEST_ID]
        headers["x-policy-epoch"] = str(request.get(EPOCH, epoch()))
        decision = request.get(DECISION_ID)
        if decision:
            headers["x-decision-id"] = decision
        seconds = time.perf_counter() - started
        headers["server-timing"] = f"total;dur={seconds * 1000:.1f}"
        route = request.get(ROUTE)
        if route is not None:
            metrics.count("gatewarden_requests", route, f"{response.status // 100}xx")
            metrics.observe("gatewarden_request_seconds", seconds, route)
        headers["cache-control"] = "no-store"
        headers["x-content-type-options"] = "nosniff"
        return response

    return middleware
