"""The data plane: one coroutine, from a request's first byte to the record of its last.

`Gateway.handle` walks a request through: route, credential (`admission.py`), then `relay.py` (a model
request), `listing.py` (what may be used) or `mcp/endpoint.py`. There is no chain of middleware; it waits for nothing but
the body, the journal and the upstream. The aiohttp server around it is `server.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Protocol

from aiohttp import web

from authz.errors import GatewardenError
from identity.errors import Unauthenticated
from proxy import answers, logs
from proxy.admission import Admission
from proxy.dialects import Voice
from proxy.dialects.anthropic import Anthropic
from proxy.dialects.openai import OpenAI, OpenAIResponses
from proxy.errors import GatewayError
from proxy.exchange import Exchange
from proxy.headers import request_id
from proxy.judge import Judge
from proxy.listing import Listing
from proxy.mcp.paths import is_mcp
from proxy.parts import Parts
from proxy.providers.base import Dialect, Operation, UpstreamError
from proxy.refusals import Refusals
from proxy.relay import ModelRelay
from proxy.routes import NoMatch, Route, RouteTable, Serves
from proxy.stream import OpenStreams

log = logs.get("gateway")

_OPENAI, _ANTHROPIC, _RESPONSES = OpenAI(), Anthropic(), OpenAIResponses()
_VOICES: Mapping[Dialect, Voice] = {Dialect.OPENAI: _OPENAI, Dialect.ANTHROPIC: _ANTHROPIC}
_STATUS_CLASS = ("0xx", "1xx", "2xx", "3xx", "4xx", "5xx")


class ServesMcp(Protocol):
    """`proxy.mcp.endpoint.McpEndpoint`."""

    async def serve(self, exchange: Exchange) -> web.StreamResponse: ...


class Gateway:
    """The data-plane handler of one process.

    Subscribe `streams` to the change log after the directory, and call `tick` about each second.
    """

    def __init__(self, parts: Parts, routes: RouteTable | None = None) -> None:
        self._parts = parts
        self._routes = routes or RouteTable()
        self.judge = Judge(parts)
        self.admission = Admission(parts)
        self.mcp: ServesMcp | None = None  # None: MCP is not served
        self.streams = OpenStreams(parts.directory, parts.clock)
        self._relay = ModelRelay(parts, self.judge, self.streams)
        self._listing = Listing(parts, self.judge)
        self._prefix = f"req-{secrets.token_hex(6)}"
        self._numbers = itertools.count(1)

    @property
    def refusals(self) -> Refusals:
        """The counts of refusals; the control plane counts in the same ones."""
        return self.judge.refusals

    def tick(self, now: datetime) -> None:
        """Writes the counts of refusals whose minute is over."""
        self.judge.refusals.tick(int(now.timestamp() * 1_000_000))

    def close(self) -> None:
        """Writes the counts that are left; before the journal closes."""
        self.judge.refusals.flush()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request. Raises only the cancellation of a caller who left."""
        parts = self._parts
        id = request_id(request.headers, self._new_id)
        exchange = Exchange(request, id, parts.timer(), parts.clock(), _OPENAI)
        try:
            try:
                serving = await self._admit(exchange)
                return await serving
            except GatewardenError as error:
                return await self._refuse(exchange, error)
            except ConnectionError:
                raise
            except Exception:
                log.exception("unexpected_error", request_id=id, route=exchange.route_name)
                return await self._refuse(exchange, _internal())
        except (asyncio.CancelledError, ConnectionError):
            exchange.error = exchange.error or "client_closed"
            raise
        finally:
            # Here, so that the record of a caller who left in mid-stream is not lost.
            self._finish(exchange)

    def malformed(self, request: web.BaseRequest, status: int) -> web.Response:
        """The answer to what is not HTTP, or beyond the limits of a head; nobody was asked anything.

        `status` 500: it was our own fault after all.
        """
        parts = self._parts
        exchange = Exchange(request, self._new_id(), parts.timer(), parts.clock(), _OPENAI)
        if status == 431:
            error = GatewayError("the head of the request is too large", code="headers_too_large")
        elif status >= 500:
            error = _internal()
        else:
            error = GatewayError("the request is malformed")
        response = self._refusal(exchange, error)
        self._finish(exchange)
        response.force_close()
        return response

    def _new_id(self) -> str:
        return f"{self._prefix}{next(self._numbers):08x}"

    async def _admit(self, exchange: Exchange) -> Awaitable[web.StreamResponse]:
        """What will serve the request, once it is known who asks.

        It is not awaited here: a coroutine between is resumed at each step of a request.
        """
        request = exchange.request
        if self.mcp is not None and is_mcp(request.raw_path):
            return self.mcp.serve(exchange)
        match = self._routes.find(request.method, request.raw_path)
        if isinstance(match, NoMatch):
            return self._no_route(exchange, match)
        route = exchange.route = match.route
        exchange.route_name = route.name
        dialect = _dialect(route, request.headers)
        exchange.voice = _RESPONSES if route.operation is Operation.RESPONSES else _VOICES[dialect]
        principal = await self.admission.admit(exchange)
        if principal.credential_kind not in route.credentials:
            raise GatewayError(
                "this route does not take this kind of credential", code="credential_not_accepted"
            )
        match route.serves:
            case Serves.RELAY:
                return self._relay.serve(exchange, route, principal)
            case Serves.MODELS:
                return self._listing.list(exchange, route.action, principal, dialect)
            case Serves.MODEL:
                return self._listing.show(exchange, route.action, principal, dialect, match.id)
            case Serves.NOT_SERVED:
                raise GatewayError(
                    f"`{route.method} {route.pattern}` is not served by this gateway",
                    hint="what it refers to belongs to the provider account, not to one caller",
                    code="not_served",
                )

    async def _no_route(self, exchange: Exchange, match: NoMatch) -> web.Response:
        exchange.voice = _VOICES[match.dialect]
        if not match.allow:
            raise GatewayError("there is no such route", code="route_not_found")
        error = GatewayError("the route does not take this method", code="method_not_allowed")
        response = self._refusal(exchange, error)
        response.headers["allow"] = ", ".join(match.allow)
        return response

    # --- how it ends ------------------------------------------------------------------------------------

    async def _refuse(self, exchange: Exchange, error: GatewardenError) -> web.Response:
        """The answer for an error. A decision that was taken must be on the disk before it is told."""
        if isinstance(error, Unauthenticated):
            self.judge.refusals.unauthenticated(exchange.client, error.code, exchange.now_us)
            self._parts.metrics.count("gatewarden_unauthenticated", error.code)
        elif isinstance(error, UpstreamError):
            self._parts.metrics.count("gatewarden_upstream_errors", error.code)
        try:
            await exchange.settle()
        except GatewardenError as unavailable:
            error = unavailable
        return self._refusal(exchange, error)

    def _refusal(self, exchange: Exchange, error: GatewardenError) -> web.Response:
        parts = self._parts
        wait = 1
        if error.code == "too_many_refusals":
            wait = self.judge.refusals.seconds_left(exchange.now_us)
        return answers.refusal(error, exchange, parts.policy.engine.epoch, parts.timer(), wait)

    def _finish(self, exchange: Exchange) -> None:
        """The request record and the counts. Synchronous: nothing can come between."""
        parts = self._parts
        ended = parts.timer()
        record = exchange.record(parts.policy.engine, ended)
        if record is not None:
            record_id = parts.journal.note(record)
            if exchange.capture is not None and parts.payloads is not None:
                parts.payloads.keep(record_id, exchange.now_us, exchange.capture)
        started, usage = exchange.started, exchange.usage
        parts.metrics.answered(
            exchange.route_name,
            _STATUS_CLASS[exchange.status // 100],
            ended - started,
            exchange.first_byte - started if exchange.first_byte else None,
            usage.input,
            usage.output,
        )


def _dialect(route: Route, headers: Mapping[str, str]) -> Dialect:
    """The dialect of a route; a list of models speaks that of its client."""
    if route.serves in (Serves.MODELS, Serves.MODEL) and "anthropic-version" in headers:
        return Dialect.ANTHROPIC
    return route.dialect


def _internal() -> GatewayError:
    return GatewayError("something went wrong on our side", code="internal_error")
