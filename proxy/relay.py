"""A model request: body, decision, upstream, answer.

The decided model is what goes upstream: it is spliced in at its place and nothing else of the body
changes. No byte reaches the caller before the decision is on the disk. An answer passes through as it
is; what is read from it (usage, a response's id) is read beside it.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from aiohttp import web
from multidict import CIMultiDict

from authz.errors import GatewardenError
from identity.errors import Refusal
from identity.principal import Principal
from proxy import answers, body, multipart, stateful
from proxy.errors import GatewayError, Unavailable, status_of
from proxy.exchange import Exchange
from proxy.intake import check_json_type, read_body
from proxy.judge import Judge
from proxy.outbound import Answer
from proxy.parts import Parts
from proxy.providers.base import Operation, Upstream, UpstreamError, UpstreamTimeout
from proxy.routes import ModelIn, Route
from proxy.stream import OpenStreams, Relay
from proxy.usage import Meter, of_json, response_id, response_id_in
from proxy.whole import WholeAnswer

MAX_ERROR = 1 << 20  # bytes of an upstream's error that are passed on
_EVENTS = "text/event-stream"


class Asked(NamedTuple):
    """A body, read strictly and judged for what it refers to."""

    raw: bytes
    found: body.Scan | multipart.Form
    references: list[stateful.Reference]


class ModelRelay:
    """Serves the routes that name a model in their body."""

    def __init__(self, parts: Parts, judge: Judge, streams: OpenStreams) -> None:
        self._parts = parts
        self._judge = judge
        self._streams = streams
        self._stateful = stateful.Stateful(parts.state)

    async def serve(
        self, exchange: Exchange, route: Route, principal: Principal
    ) -> web.StreamResponse:
        """The answer to a model request.

        Raises:
            GatewardenError: refused, unreadable, or the upstream failed before its first byte.
        """
        operation = route.operation
        assert operation is not None
        asked = await self._read(exchange, route, operation)
        found = asked.found
        upstream = self._judge.decide(exchange, principal, route.action, found.model, found.fields)
        if upstream is None:  # policy knows the model and the catalogue does not: ours to mend
            raise Unavailable("the model cannot be reached at the moment")
        exchange.model = upstream.id.partition(":")[2]  # as it was decided
        exchange.upstream = upstream
        if asked.references:
            await self._stateful.check(
                principal.id, upstream.account, asked.references, exchange.now
            )
        headers = exchange.request.headers
        if isinstance(found, body.Scan):
            outgoing = body.splice(asked.raw, found, upstream.model_id)
        else:
            outgoing = multipart.splice(
                asked.raw, found, upstream.model_id, headers["content-type"]
            )
        if self._parts.payloads is not None:
            self._parts.payloads.begin(exchange, principal, self._parts.policy.engine, asked.raw)
        if route.side_effect:
            await exchange.settle()
        exchange.upstream_at = self._parts.timer()
        async with self._parts.outbound.call(
            upstream, operation, headers.items(), outgoing
        ) as answer:
            status = exchange.upstream_status = answer.status
            if status in (401, 407):
                # Its text may quote our key, and a 401 would send the caller to change a good one.
                raise answers.UpstreamCredentialRejected(
                    f"the upstream of `{upstream.account_name}` refused the account's credential"
                )
            if answer.stream:
                return await self._streamed(exchange, operation, principal, upstream, answer)
            return await self._whole(exchange, operation, principal, upstream, answer)

    async def _read(self, exchange: Exchange, route: Route, operation: Operation) -> Asked:
        request, limits = exchange.request, self._parts.limits
        content_type = request.headers.get("content-type", "")
        if route.model_in is ModelIn.FORM:
            multipart.boundary_of(content_type)
            limit = min(route.body_limit, limits.form_bytes)
            raw = await read_body(request, limit, limits.body_seconds)
            return Asked(raw, multipart.read_form(raw, content_type), [])
        check_json_type(content_type)
        limit = min(route.body_limit, limits.body_bytes)
        raw = await read_body(request, limit, limits.body_seconds)
        found = body.scan(raw, limits.body_depth)
        return Asked(raw, found, stateful.references(operation, found.fields, found.watched))

    async def _whole(
        self,
        exchange: Exchange,
        operation: Operation,
        principal: Principal,
        upstream: Upstream,
        answer: Answer,
    ) -> web.StreamResponse:
        """An answer that is sent in one piece; every error of an upstream is one."""
        failed = answer.status >= 400
        raw = await answer.read(MAX_ERROR if failed else None)
        if exchange.capture is not None:
            exchange.capture.whole(raw, _type_of(answer))
        if not failed:
            exchange.usage = of_json(raw)
            if operation is Operation.RESPONSES:
                await self._remember(exchange, principal, upstream, response_id(raw))
        await exchange.settle()
        at = exchange.first_byte = self._parts.timer()
        headers = self._headers(exchange, answer, at)
        if failed:
            headers[answers.SOURCE] = "upstream"
            exchange.error = "upstream_status"
        status = exchange.status = answer.status
        if WholeAnswer.fits(exchange.request, status):
            return WholeAnswer(status, headers, raw)
        return web.Response(status=status, body=raw, headers=headers)

    async def _streamed(
        self,
        exchange: Exchange,
        operation: Operation,
        principal: Principal,
        upstream: Upstream,
        answer: Answer,
    ) -> web.StreamResponse:
        """An answer that is passed on as it comes."""
        chunks = answer.chunks()
        first = await anext(chunks, b"")  # until here, a failure still has a status of its own
        if operation is Operation.RESPONSES:
            await self._remember(exchange, principal, upstream, response_id_in(first))
        await exchange.settle()
        at = exchange.first_byte = self._parts.timer()
        headers = self._headers(exchange, answer, at)
        events = headers.get("content-type", "").startswith(_EVENTS)
        if answer.length is not None:
            headers["content-length"] = str(answer.length)
        response = web.StreamResponse(status=answer.status, headers=headers)
        exchange.status = answer.status
        exchange.stream = True
        capture = exchange.capture
        meter = Meter() if capture is None else capture.meter(_type_of(answer))
        relay = Relay(exchange.request, response, meter, events)
        longest = self._parts.limits.stream_seconds
        seconds = longest
        if principal.expires_at is not None:
            # From now, not from when the request came: the first byte may have been long in coming.
            left = principal.expires_at - self._parts.clock()
            seconds = min(seconds, left.total_seconds())
        broken: GatewardenError
        with self._streams.opened(principal) as opened:
            try:
                async with asyncio.timeout(seconds):
                    await relay.run(first, chunks)
                return response
            except UpstreamError as error:
                broken = error
            except TimeoutError:
                broken = (
                    _ended(Refusal.EXPIRED)
                    if seconds < longest
                    else UpstreamTimeout("the stream has reached its longest life")
                )
            except asyncio.CancelledError:
                if not opened.was_cut():
                    raise
                broken = _ended(opened.reason)
            finally:
                exchange.usage = meter.usage()
        exchange.error = broken.code
        if isinstance(broken, UpstreamError):
            self._parts.metrics.count("gatewarden_upstream_errors", broken.code)
        fault = exchange.fault(status_of(broken.code), broken.code, broken.message)
        await relay.fail(exchange.voice.error_event(fault))
        return response

    def _headers(self, exchange: Exchange, answer: Answer, at: float) -> CIMultiDict[str]:
        headers = CIMultiDict(answer.headers)
        answers.stamp(headers, exchange, 0, at)
        return headers

    async def _remember(
        self, exchange: Exchange, principal: Principal, upstream: Upstream, id: str | None
    ) -> None:
        if id is not None:
            await self._stateful.remember(principal.id, upstream.account, id, exchange.now)


def _type_of(answer: Answer) -> str:
    return next((value for name, value in answer.headers if name.lower() == "content-type"), "")


def _ended(reason: str) -> GatewayError:
    """What a caller is told in mid-stream whose credential has ended; `reason` is a code of a 401."""
    return GatewayError("the credential of this stream has ended", code=reason)
