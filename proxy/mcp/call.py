"""One MCP message on its way: what is known of it, and how it is answered, as one body or as events.

The first byte leaves only once the decision is on the disk. A stream belongs to a credential: it is cut when that ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict

from identity.principal import Principal
from proxy import answers
from proxy.exchange import Exchange
from proxy.mcp.era import Generation
from proxy.mcp.links import Caller
from proxy.mcp.scope import Scope
from proxy.mcp.sessions import Session
from proxy.mcp.sse import Event, encode
from proxy.mcp.view import McpFacts, View
from proxy.parts import Parts
from proxy.stream import OpenStreams

EVENTS = "text/event-stream"
SESSION_HEADER = "mcp-session-id"


@dataclass(slots=True)
class Call:
    """`facts` are what conditions read; `view` asks with them."""

    exchange: Exchange
    principal: Principal
    facts: McpFacts
    view: View
    generation: Generation
    version: str
    headers: CIMultiDict[str]  # that every answer carries, beside the usual ones
    session: Session | None = None

    @property
    def scope(self) -> Scope:
        """What the endpoint covers."""
        return self.view.scope

    @property
    def caller(self) -> Caller:
        return Caller(self.principal, self.generation, self.session, self.exchange.now)


class Answers:
    """Writes answers for calls."""

    def __init__(self, parts: Parts, streams: OpenStreams) -> None:
        self._parts = parts
        self._streams = streams

    async def body(self, call: Call, body: bytes, status: int = 200) -> web.Response:
        """An answer in one piece."""
        headers = await self._head(call, "application/json")
        call.exchange.status = status
        return web.Response(status=status, body=body, headers=headers)

    async def accepted(self, call: Call, status: int = 202) -> web.Response:
        """Nothing is said: a notification or a response was taken."""
        headers = await self._head(call, "")
        headers.pop("content-type", None)
        call.exchange.status = status
        return web.Response(status=status, headers=headers)

    def plain(self, exchange: Exchange, body: bytes, status: int) -> web.Response:
        """An answer about a message that nothing was decided on."""
        headers: CIMultiDict[str] = CIMultiDict(exchange.headers)
        headers["content-type"] = "application/json"
        headers["cache-control"] = "no-store"
        at = self._parts.timer()
        answers.stamp(headers, exchange, self._parts.policy.engine.epoch, at)
        exchange.status = status
        return web.Response(status=status, body=body, headers=headers)

    @asynccontextmanager
    async def events(self, call: Call) -> AsyncIterator[Events]:
        """A stream of events, from its head to its end."""
        exchange = call.exchange
        headers = await self._head(call, EVENTS)
        headers["x-accel-buffering"] = "no"
        response = web.StreamResponse(status=200, headers=headers)
        exchange.status = 200
        exchange.stream = True
        seconds = self._parts.limits.stream_seconds
        expires = call.principal.expires_at
        if expires is not None:
            seconds = min(seconds, (expires - self._parts.clock()).total_seconds())
        with self._streams.opened(call.principal) as opened:
            await response.prepare(exchange.request)
            try:
                async with asyncio.timeout(seconds):
                    yield Events(response)
            except TimeoutError:
                exchange.error = exchange.error or "stream_ended"
            except asyncio.CancelledError:
                if not opened.was_cut():
                    raise
                exchange.error = opened.reason
        await response.write_eof()

    async def _head(self, call: Call, content_type: str) -> CIMultiDict[str]:
        exchange = call.exchange
        await exchange.settle()
        at = self._parts.timer()
        if not exchange.first_byte:
            exchange.first_byte = at
        headers: CIMultiDict[str] = CIMultiDict(call.headers)
        headers["content-type"] = content_type
        headers["cache-control"] = "no-store"
        answers.stamp(headers, exchange, self._parts.policy.engine.epoch, at)
        if call.session is not None:
            headers[SESSION_HEADER] = call.session.id
        return headers


class Events:
    """A stream that is open."""

    __slots__ = ("response",)

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def send(self, event: Event) -> None:
        """Raises ConnectionError: the caller is gone."""
        await self.response.write(encode(event))


def said(data: bytes, id: str | None = None, retry: int | None = None) -> Event:
    """A message as an event."""
    return Event(data, id, "message", retry)
