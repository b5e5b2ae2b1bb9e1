"""The control plane as one aiohttp application: the whole route table, guarded, below `/api/v1`.

`build_api(runtime)` is all that `proxy/app.py` needs. Every route of the table gets its handler from the
guard, so none can be reached around it. The application's paths are whole (`/api/v1/…`): it may serve
alone or be the root of others.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from aiohttp import web

from authz.vocabulary import Action
from identity.kept_tokens import KeptTokens
from proxy.api import (
    access,
    access_review,
    account_tokens,
    apply,
    changes,
    decisions,
    documents,
    erasures,
    explain,
    first_admin,
    log_replay,
    mcp,
    metrics,
    metrics_truefoundry,
    openapi,
    records_spans,
    requests,
    rows,
    tokens,
    whoami,
)
from proxy.api.models import OpenApiAnswer
from proxy.api.routes import PREFIX, SELF, Answer, Call, Route, checked, gate
from proxy.errors import Unavailable
from proxy.mcp.auth.api import routes as mcp_auth_routes
from proxy.mcp.auth.parts import AuthParts
from proxy.middleware.access import Guard
from proxy.middleware.problems import problems
from proxy.middleware.request_id import request_ids
from proxy.refusals import Refusals

if TYPE_CHECKING:
    from proxy.runtime import Runtime


@cache
def _openapi() -> OpenApiAnswer:
    return OpenApiAnswer.model_validate(openapi.build(ROUTES))


def _mcp_auth(call: Call) -> AuthParts:
    parts = call.runtime.mcp_auth
    if parts is None:
        raise Unavailable("MCP servers are not served by this process")
    return parts


async def show_openapi(call: Call) -> Answer:
    """The OpenAPI document of this very table."""
    return Answer(_openapi())


ROUTES: tuple[Route, ...] = checked(
    (
        *documents.ROUTES,
        *mcp.ROUTES,
        *mcp_auth_routes(_mcp_auth),
        *apply.ROUTES,
        *changes.ROUTES,
        *tokens.ROUTES,
        *account_tokens.ROUTES,
        *first_admin.ROUTES,
        *whoami.ROUTES,
        *explain.ROUTES,
        *access.ROUTES,
        *rows.ROUTES,
        *requests.ROUTES,
        *records_spans.ROUTES,
        *metrics.ROUTES,
        *metrics_truefoundry.ROUTES,
        *decisions.ROUTES,
        *access_review.ROUTES,
        *log_replay.ROUTES,
        *erasures.ROUTES,
        Route(
            "GET",
            "/openapi.json",
            "openapi",
            "This document",
            "questions",
            (Action.SELF_READ,),
            show_openapi,
            OpenApiAnswer,
            gates=gate(Action.SELF_READ, SELF),
        ),
    )
)


def build_api(
    runtime: Runtime,
    *,
    refusals: Refusals | None = None,
    kept_tokens: KeptTokens | None = None,
) -> web.Application:
    """The application.

    `refusals` are shared with the data plane where there is one; without `kept_tokens` the tokens of
    virtual accounts are shown once and cannot be read again.
    """
    counted = refusals or Refusals(
        runtime.journal.note, runtime.settings.limits.refusals_per_minute
    )
    guard = Guard(runtime, counted, kept_tokens)
    app = web.Application(
        middlewares=[
            request_ids(lambda: runtime.changes.engine.epoch, runtime.metrics),
            problems,
        ],
        client_max_size=0,  # bodies are read by the guard, each route with its own limit
    )
    # Paths without a variable first: `/virtual-accounts/{name}` must not shadow a fixed neighbour.
    for route in sorted(ROUTES, key=lambda item: item.path.count("{")):
        app.router.add_route(route.method, PREFIX + route.path, guard.endpoint(route))
    return app
