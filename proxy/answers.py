"""Makes the answers of the data plane: the headers that each one carries, and errors in the dialect.

Every answer says which request it answers, which decision and which policy epoch it stands on, and how
long it took; an error also says whose it is. The cause of an error never goes out.
"""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDict

from authz.errors import GatewardenError
from identity.errors import Unauthenticated
from proxy.errors import GatewayError, status_of
from proxy.exchange import Exchange
from proxy.providers.base import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)

JSON = "application/json"
SOURCE = "x-gatewarden-error-source"
CHALLENGE = 'Bearer realm="gatewarden"'

_UPSTREAMS_OWN = (UpstreamInvalid, UpstreamTimeout, UpstreamUnreachable)


class UpstreamCredentialRejected(UpstreamError):
    """The provider took our credential for wrong: not the caller's fault, so never a 401."""

    code = "upstream_credential_rejected"


def stamp(headers: CIMultiDict[str], exchange: Exchange, epoch: int, at: float) -> None:
    """Adds the headers that every answer carries; `at` is the `perf_counter` of now."""
    headers["server"] = "gatewarden"
    headers["x-content-type-options"] = "nosniff"
    headers["x-request-id"] = exchange.id
    decision = exchange.decision
    if exchange.ticket is not None:
        headers["x-decision-id"] = exchange.ticket.id
    headers["x-policy-epoch"] = str(epoch if decision is None else decision.epoch)
    if exchange.upstream_at:
        ours = (exchange.upstream_at - exchange.started) * 1000
        theirs = (at - exchange.upstream_at) * 1000
        headers["server-timing"] = f"gateway;dur={ours:.2f}, upstream;dur={theirs:.2f}"
    else:
        headers["server-timing"] = f"gateway;dur={(at - exchange.started) * 1000:.2f}"


def source_of(error: GatewardenError) -> str:
    """Whose error it is: `upstream` if the provider failed, else `gateway`."""
    if isinstance(error, (*_UPSTREAMS_OWN, UpstreamCredentialRejected)):
        return "upstream"
    return "gateway"


def refusal(
    error: GatewardenError, exchange: Exchange, epoch: int, at: float, retry_after: int = 1
) -> web.Response:
    """The answer for an error that was raised on purpose."""
    code = error.public_code if isinstance(error, Unauthenticated) else error.code
    status = status_of(error.code)
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    param = error.param if isinstance(error, GatewayError) else None
    headers: CIMultiDict[str] = CIMultiDict(exchange.headers)
    headers["content-type"] = JSON
    headers[SOURCE] = source_of(error)
    stamp(headers, exchange, epoch, at)
    if status == 401:
        headers["www-authenticate"] = exchange.challenge or CHALLENGE
    elif status in (429, 503):
        headers["retry-after"] = str(retry_after)
    exchange.status = status
    exchange.error = error.code
    fault = exchange.fault(status, code, message, param)
    response = web.Response(status=status, body=exchange.voice.error(fault), headers=headers)
    if isinstance(error, GatewayError) and error.close:
        response.force_close()
    return response


def json_answer(body: bytes, exchange: Exchange, epoch: int, at: float) -> web.Response:
    """A 200 of our own."""
    headers: CIMultiDict[str] = CIMultiDict({"content-type": JSON})
    stamp(headers, exchange, epoch, at)
    exchange.status = 200
    return web.Response(body=body, headers=headers)
