"""The one guarded client: every byte that leaves for a provider passes here.

One pool of connections (`proxy/connections.py`) a process. It takes a decided request, cleans its headers (`proxy/hygiene.py`), lets
the provider's adapter add address and credential, calls only what `proxy/guard.py` allows, and turns every failure into an `UpstreamError`. The built-in echo provider answers through the
same door without a socket. It decides nothing and knows no route of ours.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy.answer import (
    FAILURES,
    Answer,
    Body,
    CheckedAnswer,
    LocalBody,
    NetworkBody,
    failure,
    upstream_error,
)
from proxy.connections import Connections, Target, tls_context
from proxy.fetching import DEADLINE, IDLE, Fetched
from proxy.guard import Guard
from proxy.hygiene import HeaderFilter
from proxy.providers.base import (
    Operation,
    Prepared,
    Secret,
    Upstream,
    UpstreamInvalid,
)
from proxy.wire import Limits

__all__ = ["Answer", "Client", "Limits", "Outbound", "SecretSource"]

_AUTHORITIES = 256  # pools with an authority of their own
_REMEMBERED = 10_000  # addresses that need no second check


class Outbound(Protocol):
    """Calls models. `deadline` is the seconds that the whole exchange may take (None = the setting)."""

    def call(
        self,
        upstream: Upstream,
        operation: Operation,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        *,
        deadline: float | None = None,
    ) -> AbstractAsyncContextManager[Answer]:
        """`async with outbound.call(…) as answer:`; leaving the block ends the upstream call.

        `headers` are the caller's own, unfiltered; `body` has the decided `model_id` already spliced in.

        Raises (on entering): any `UpstreamError`.
        """
        ...

    async def close(self) -> None: ...


class SecretSource(Protocol):
    """Where the account's credential comes from (`proxy/secrets.py`)."""

    def held(self, upstream: Upstream) -> Secret | None:
        """What `resolve` would answer, if that needs no waiting; None if it has to be asked."""
        ...

    async def resolve(self, upstream: Upstream) -> Secret | None: ...


class Client:
    """The `Outbound` of a process. Make it where a loop runs or will run; `close` it at the end."""

    def __init__(
        self,
        secrets: SecretSource,
        guard: Guard,
        now: Callable[[], datetime],
        *,
        limits: Limits | None = None,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`resolver` and `tls` stand in for the system's name service and trusted authorities."""
        self.secrets = secrets
        self._guard = guard
        self._now = now
        self.limits = limits or Limits()
        self._resolver = resolver
        self.filter = HeaderFilter()
        self._tls = tls
        self._pool: Connections | None = None
        self._trusting: dict[str, Connections] = {}  # by the authority that they trust
        self._targets: dict[URL, Target] = {}

    def call(
        self,
        upstream: Upstream,
        operation: Operation,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        *,
        deadline: float | None = None,
    ) -> AbstractAsyncContextManager[Answer]:
        return _Call(self, upstream, operation, headers, body, deadline or self.limits.total)

    def fetch(
        self,
        method: str,
        url: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        deadline: float = DEADLINE,
        idle: float = IDLE,
        authority: str | None = None,
    ) -> AbstractAsyncContextManager[Fetched]:
        """A request to what is no model (`proxy/fetching.py`)."""
        return _Fetch(self, method, url, headers, body, deadline, idle, authority)

    async def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        pool, self._pool = self._pool, None
        self._targets.clear()
        if pool is not None:
            await pool.close()
        trusting, self._trusting = self._trusting, {}
        for one in trusting.values():
            await one.close()

    def prepare(
        self,
        upstream: Upstream,
        operation: Operation,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        secret: Secret | None,
    ) -> Prepared:
        """The request as it will go out. Raises: what the provider's adapter does."""
        clean = self.filter.outgoing(headers)
        return upstream.provider.prepare(upstream, operation, clean, body, secret, self._now())

    @property
    def pool(self) -> Connections:
        """The connections to providers."""
        return self._pool or self._open()

    def target(self, url: URL) -> Target:
        """Where in the pool a request to `url` goes. Raises: as the guard does."""
        target = self._targets.get(url)
        if target is None:
            # Neither the guard nor an address ever changes, so one check is enough for each.
            self._guard.check_url(url)
            target = self.pool.target(url)
            if len(self._targets) < _REMEMBERED:
                self._targets[url] = target
        return target

    async def send_to(
        self,
        method: str,
        url: URL,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        deadline: float,
        idle: float,
        authority: str | None,
    ) -> NetworkBody:
        """Sends what is for no model; silence of the answer may last `idle` seconds.

        Failures come out as they are (`answer.FAILURES`).
        """
        self._guard.check_url(url)
        if authority is None:
            pool = self.pool
        else:
            pool = self._trusting.get(authority) or self._open_trusting(authority)
        target = pool.target(url, method)
        connection = await pool.send(target, headers, body, deadline)
        connection.limit = idle
        return NetworkBody(pool, target, connection)

    def _open(self) -> Connections:
        resolver = self._resolver or aiohttp.ThreadedResolver()
        self._pool = Connections(self._guard, resolver, self.limits, self._tls)
        return self._pool

    def _open_trusting(self, authority: str) -> Connections:
        tls = tls_context(authority)
        if len(self._trusting) >= _AUTHORITIES:
            raise RuntimeError("too many authorities of certificates")
        resolver = self._resolver or aiohttp.ThreadedResolver()
        pool = Connections(self._guard, resolver, self.limits, tls)
        self._trusting[authority] = pool
        return pool


class _Exchange:
    """Leaving the block ends the exchange: a finished answer gives its connection back."""

    __slots__ = ("_source",)

    _source: Body | None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._source is not None:
            await self._source.close()


class _Call(_Exchange):
    """One exchange, as a context manager; a class because a generator costs more per request."""

    __slots__ = ("_arguments", "_client", "_deadline", "_operation", "_upstream")

    def __init__(
        self,
        client: Client,
        upstream: Upstream,
        operation: Operation,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        deadline: float,
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._operation = operation
        self._arguments = (headers, body)
        self._deadline = deadline
        self._source = None

    async def __aenter__(self) -> Answer:
        client, upstream, operation = self._client, self._upstream, self._operation
        if upstream.problem is not None:
            # A fresh one each time: a shared exception would collect the tracebacks of all callers.
            problem = upstream.problem
            raise type(problem)(problem.message, hint=problem.hint)
        secret = None
        if upstream.auth is not None:
            secret = client.secrets.held(upstream) or await client.secrets.resolve(upstream)
        prepared = client.prepare(upstream, operation, *self._arguments, secret)
        source: Body
        if upstream.local:
            source = await LocalBody.start(upstream, prepared, operation, self._deadline)
        else:
            # The only coroutine between here and the socket: each one is resumed at every step.
            try:
                target, pool = client.target(prepared.url), client.pool
                connection = await pool.send(
                    target, prepared.headers, prepared.body, self._deadline
                )
            except FAILURES as exc:
                raise upstream_error(upstream, exc) from exc
            source = NetworkBody(pool, target, connection)
        self._source = source
        try:
            facts = client.filter.incoming(source.raw_headers)
            answer = CheckedAnswer(upstream, source, facts, client.limits.max_answer)
            if answer.status >= 400:
                answer.hide(prepared.headers)
            return answer
        except BaseException:
            await source.close()
            raise


class _Fetch(_Exchange):
    """One exchange with what is no model, as a context manager; it is its own answer."""

    __slots__ = ("_arguments", "_client", "_url", "_who", "headers", "status")

    def __init__(
        self,
        client: Client,
        method: str,
        url: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        deadline: float,
        idle: float,
        authority: str | None,
    ) -> None:
        self._client = client
        self._url = url
        self._who = "the address"
        self._arguments = (method, headers, body, deadline, idle, authority)
        self._source = None
        self.status = 0
        self.headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())

    async def __aenter__(self) -> _Fetch:
        method, headers, body, deadline, idle, authority = self._arguments
        asked = [*headers, ("accept-encoding", "identity")]
        try:
            url = URL(self._url)
            self._who = f"`{url.host or self._url[:80]}`"
            source = await self._client.send_to(method, url, asked, body, deadline, idle, authority)
        except FAILURES as exc:
            raise failure(self._who, exc) from exc
        self._source = source
        self.status = source.status
        self.headers = CIMultiDictProxy(CIMultiDict(source.raw_headers))
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            await source.close()
            raise UpstreamInvalid(f"{self._who} compressed its answer although it was asked not to")
        return self

    async def read(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise UpstreamInvalid(f"{self._who} answered with more than {limit} bytes")
            parts.append(chunk)
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        assert self._source is not None
        while True:
            try:
                chunk = await self._source.next()
            except FAILURES as exc:
                raise failure(self._who, exc) from exc
            if not chunk:
                return
            yield chunk
