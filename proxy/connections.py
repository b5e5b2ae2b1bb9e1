"""The pool of connections to upstreams: kept, reused, and ended when they take too long.

A lean client in place of aiohttp's, which costs more than the rest of the gateway (docs/adr/0006). There are
no cookies, redirects, proxies or decompression to turn off, and no timer a request: one sweep a second
ends what has taken too long. It knows no provider and no header rule; `proxy/outbound.py` uses it,
`proxy/wire.py` speaks HTTP for it, `proxy/guard.py` dials.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver
from yarl import URL

from proxy.guard import Dialer, Guard
from proxy.wire import ONE_WRITE, Connection, ConnectionBroken, Limits, request_head

KEEP = 15.0  # seconds that an idle connection is kept
IDLE_EACH = 512  # idle connections kept for each origin
SWEEP = 1.0  # seconds between two looks at what has taken too long, if nothing ends sooner
_FINEST = 0.005


class Origin:
    """A scheme, host and port, with the idle connections to it, the freshest last."""

    __slots__ = ("host", "idle", "port", "tls")

    def __init__(self, host: str, port: int, tls: bool) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.idle: list[Connection] = []


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: its origin, and the lines that its head starts with.

    Any method but HEAD, whose answer would be framed in another way.
    """

    origin: Origin
    start: str


class Connections:
    """The pool of a process; belongs to the loop that it was made in."""

    def __init__(
        self, guard: Guard, resolver: AbstractResolver, limits: Limits, tls: ssl.SSLContext | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._tls = tls
        self._dialer = Dialer(guard, resolver, self._context)
        self._origins: dict[tuple[str, int, bool], Origin] = {}
        self._busy: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_at = 0.0
        self._closed = False

    def _context(self) -> ssl.SSLContext:
        # Made when it is first needed: reading the authorities' certificates takes a while.
        if self._tls is None:
            self._tls = tls_context()
        return self._tls

    def target(self, url: URL, method: str = "POST") -> Target:
        """What requests to `url` have in common; the caller has had the guard check it."""
        key = (url.raw_host or "", url.port or 0, url.scheme == "https")
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = Origin(*key)
        host = url.host_subcomponent or ""
        if not url.is_default_port():
            host = f"{host}:{url.port}"
        return Target(origin, f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {host}\r\n")

    async def send(
        self, target: Target, headers: Iterable[tuple[str, str]], body: bytes, seconds: float
    ) -> Connection:
        """Sends a request; comes back with the head of the answer. `release` what it gives.

        `seconds` is what the whole exchange may take.

        Raises:
            ValueError: a header cannot be written as one line. OSError: no connection, or it broke
                (`TimeoutError`: in time). NotHttp: no usable answer.
        """
        head = request_head(target.start, headers, len(body))
        now = self._loop.time()
        ends = now + seconds
        connection = self._take(target.origin, now)
        if connection is None:
            connection = await self._open(target.origin, seconds)
            now = self._loop.time()
        self._busy.add(connection)
        limit = self._limits.answer
        due = now + limit
        if self._sweeper is None or due < self._sweep_at or ends < self._sweep_at:
            self._sweep_by(min(ends, due))
        waiter = connection.begin(now, ends, limit)
        try:
            if len(body) < ONE_WRITE:
                connection.write(head + body)
            else:
                await connection.write_long(head, body)
            await waiter
        except BaseException:
            self._drop(connection)
            waiter.cancel()  # its error, if it has one, was raised by the sending
            raise
        # The first byte may take as long as a model thinks; from now on silence is a fault.
        connection.limit = limit = self._limits.idle
        due = connection.heard + limit
        if self._sweeper is None or due < self._sweep_at:
            self._sweep_by(due)
        return connection

    def _take(self, origin: Origin, now: float) -> Connection | None:
        # INVARIANT: what is written on a connection that was used before is never written again on
        # another: the peer may have acted on it. So a peer that is gone must show before, not after.
        idle = origin.idle
        while idle:
            connection = idle.pop()
            if connection.alive(now):
                return connection
            connection.abort()
        return None

    async def _open(self, origin: Origin, seconds: float) -> Connection:
        def make() -> Connection:
            return Connection(self._loop, self._limits)

        async with asyncio.timeout(min(self._limits.connect, seconds)):
            sock, connection = await self._dialer.dial(
                make, origin.host, origin.port, tls=origin.tls
            )
        connection.sock = sock
        if self._closed:
            connection.abort()
            raise ConnectionBroken("the client is closed")
        return connection

    def release(self, target: Target, connection: Connection) -> None:
        """Takes a connection back: kept if its answer was read to the end, else closed.

        Closing is what cancels the upstream's work.
        """
        idle = target.origin.idle
        if connection.reusable() and len(idle) < IDLE_EACH and not self._closed:
            self._busy.discard(connection)
            connection.rest()
            idle.append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._busy.discard(connection)
        connection.rest()
        connection.abort()

    # --- time ---------------------------------------------------------------------------------------

    def _sweep_by(self, when: float) -> None:
        """Sees to it that there is a sweep at `when`, or sooner."""
        if self._sweeper is None:
            when = min(when, self._loop.time() + SWEEP)
        elif when >= self._sweep_at:
            return
        else:
            self._sweeper.cancel()
        self._sweep_at = max(when, self._loop.time() + _FINEST)
        self._sweeper = self._loop.call_at(self._sweep_at, self._sweep)

    def _sweep(self) -> None:
        """Ends exchanges that took too long, closes connections that were idle too long."""
        now = self._loop.time()
        soonest = now + SWEEP
        for connection in tuple(self._busy):
            due = connection.ends
            if not connection.reading_paused:  # else it is the caller who is slow
                due = min(due, connection.heard + connection.limit)
            if due <= now:
                connection.fail(TimeoutError("no answer in time"))
            else:
                soonest = min(soonest, due)
        kept = False
        for origin in self._origins.values():
            for connection in origin.idle:
                if connection.tainted or connection.heard + KEEP <= now:
                    connection.abort()
            origin.idle = [connection for connection in origin.idle if not connection.tainted]
            kept = kept or bool(origin.idle)
        self._sweeper = None
        if kept or self._busy:
            self._sweep_by(soonest)

    async def close(self) -> None:
        """Closes every connection for good; what waits on one ends with `ConnectionBroken`."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in tuple(self._busy):
            connection.fail(ConnectionBroken("the client is closing"))
        for origin in self._origins.values():
            while origin.idle:
                origin.idle.pop().abort()
        await self._dialer.close()
        await asyncio.sleep(0)  # lets the loop close the sockets


def tls_context(authority: str | None = None) -> ssl.SSLContext:
    """The TLS that providers are spoken to with: verified, 1.2 or newer, HTTP/1.1.

    `authority` (PEM) is trusted in place of the system's. Raises ssl.SSLError: it is no certificate.
    """
    context = ssl.create_default_context(cadata=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
