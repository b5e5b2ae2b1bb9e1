"""The one guarded client: every byte that leaves for a provider passes here.

One pool of connections (`proxy/connections.py`) a process. It takes a decided request, cleans its headers (`proxy/hygiene.py`), lets
the provider's adapter add address and credential, calls only what `proxy/guard.py` allows, and turns every failure into an `UpstreamError`. The built-in echo provider answers through the
same door without a socket. It decides nothing and knows no route of ours.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from proxy.answer import (
    FAILURES,
    Answer,
    Body,
    CheckedAnswer,
    LocalBody,
    NetworkBody,
    upstream_error,
)
from proxy.connections import Connections, Target
from proxy.guard import Guard
from proxy.hygiene import HeaderFilter
from proxy.providers.base import (
    Operation,
    Prepared,
    Secret,
    Upstream,
)
from proxy.wire import Limits

__all__ = ["Answer", "Client", "Limits", "Outbound", "SecretSource"]

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
        self._secrets = secrets
        self._guard = guard
        self._now = now
        self.limits = limits or Limits()
        self._resolver = resolver
        self.filter = HeaderFilter()
        self._tls = tls
        self._pool: Connections | None = None
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

    async def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        pool, self._pool = self._pool, None
        self._targets.clear()
        if pool is not None:
            await pool.close()

    async def prepare(
        self,
        upstream: Upstream,
        operation: Operation,
        headers: Iterable[tuple[str, str]],
        body: bytes,
    ) -> Prepared:
        """The request as it will go out, or the `UpstreamError` that keeps it in."""
        if upstream.problem is not None:
            # A fresh one each time: a shared exception would collect the tracebacks of all callers.
            problem = upstream.problem
            raise type(problem)(problem.message, hint=problem.hint)
        secret = None if upstream.auth is None else await self._secrets.resolve(upstream)
        clean = self.filter.outgoing(headers)
        return upstream.provider.prepare(upstream, operation, clean, body, secret, self._now())

    async def send(self, prepared: Prepared, deadline: float) -> NetworkBody:
        """Sends over the network; failures come out as they are (`answer.FAILURES`)."""
        pool = self._pool or self._open()
        target = self._targets.get(prepared.url)
        if target is None:
            # Neither the guard nor an address ever changes, so one check is enough for each.
            self._guard.check_url(prepared.url)
            target = pool.target(prepared.url)
            if len(self._targets) < _REMEMBERED:
                self._targets[prepared.url] = target
        connection = await pool.send(target, prepared.headers, prepared.body, deadline)
        return NetworkBody(pool, target, connection)

    def _open(self) -> Connections:
        resolver = self._resolver or aiohttp.ThreadedResolver()
        self._pool = Connections(self._guard, resolver, self.limits, self._tls)
        return self._pool


class _Call:
    """One exchange, as a context manager; a class because a generator costs more per request."""

    __slots__ = ("_arguments", "_client", "_deadline", "_operation", "_source", "_upstream")

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
        self._source: Body | None = None

    async def __aenter__(self) -> Answer:
        client, upstream = self._client, self._upstream
        prepared = await client.prepare(upstream, self._operation, *self._arguments)
        source: Body
        if upstream.local:
            source = await LocalBody.start(upstream, prepared, self._operation, self._deadline)
        else:
            try:
                source = await client.send(prepared, self._deadline)
            except FAILURES as exc:
                raise upstream_error(upstream, exc) from exc
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._source is not None:
            await self._source.close()
