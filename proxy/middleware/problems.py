"""Turns everything that is not 2xx into `application/problem+json`, whichever layer refused.

Errors that were raised on purpose keep their code and hint. aiohttp's own refusals (no route, wrong
method, body too large) get the same form. What nobody expected is logged with its cause and answered as
500 without a word of it: the cause never leaves the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Middleware

from authz.errors import GatewardenError
from proxy import logs
from proxy.api.problem import problem_response, response_of
from proxy.middleware.request_id import DECISION_ID, REQUEST_ID, Next

log = logs.get("api")

# status -> (code, detail, hint) of aiohttp's own refusals
_OWN: Mapping[int, tuple[str, str, str]] = {
    404: ("not_found", "there is no such route", "`GET /api/v1/openapi.json` lists the routes"),
    405: ("method_not_allowed", "the route does not take this method", "see the `allow` header"),
    413: ("body_too_large", "the body is too large", ""),
    417: ("expectation_failed", "the expectation cannot be met", "leave out `expect`"),
}


@web.middleware
async def problems(request: web.Request, handler: Next) -> web.StreamResponse:
    """The middleware."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        return _own(request, error)
    except Exception as error:
        return answer_of(request, error)


def answer_of(request: web.Request, error: Exception) -> web.Response:
    """The answer for an error that a handler raised; one that nobody expected is logged."""
    if isinstance(error, GatewardenError):
        return response_of(
            error, request_id=request[REQUEST_ID], decision_id=request.get(DECISION_ID)
        )
    log.error(
        "unexpected_error",
        request_id=request[REQUEST_ID],
        route=_route(request),
        exc_info=error,
    )
    return problem_response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "something went wrong on our side",
        hint="tell your platform team the request id",
        request_id=request[REQUEST_ID],
        decision_id=request.get(DECISION_ID),
    )


def _own(request: web.Request, error: web.HTTPException) -> web.Response:
    code, detail, hint = _OWN.get(error.status, ("bad_request", "the request is malformed", ""))
    allow = error.headers.get("Allow")
    return problem_response(
        error.status,
        code,
        detail,
        hint=hint,
        request_id=request[REQUEST_ID],
        headers={"Allow": allow} if allow else None,
    )


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""


_: Middleware = problems
