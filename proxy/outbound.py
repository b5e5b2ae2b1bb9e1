"""The one guarded client: every byte that leaves for a provider passes here.

One aiohttp session a process. It takes a decided request, cleans its headers (`proxy/hygiene.py`), lets
the provider's adapter add address and credential, dials only what `proxy/guard.py` allows, follows no
redirect, and turns every failure into an `UpstreamError`. The built-in echo provider answers through the
same door without a socket. It decides nothing and knows no route of ours.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from proxy.answer import Answer, Body, CheckedAnswer, LocalBody, NetworkBody, upstream_error
from proxy.guard import Guard, GuardedConnector
from proxy.hygiene import HeaderFilter
from proxy.providers.base import (
    Operation,
    Prepared,
    Secret,
    Upstream,
)

_BUFFERED = frozenset({"application/json", "application/problem+json", "text/plain", "text/html"})
__all__ = ["Answer", "Client", "Limits", "Outbound", "SecretSource"]

_REMEMBERED = 10_000  # addresses that need no second check
_LARGE = (
    1 << 20
)  # a longer answer is passed on in chunks, whatever its type; aiohttp warns above it


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


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines in seconds and sizes in bytes; `conf/settings.py` has the same names and defaults."""

    connect: float = 10.0  # name, connection and TLS together
    answer: float = 600.0  # until the first byte of the answer
    idle: float = 120.0  # between two chunks of it
    total: float = 3600.0  # the whole exchange
    max_answer: int = 256 * 1024 * 1024
    max_header: int = 16 * 1024  # one header line of the answer
    max_headers: int = 128  # how many of them


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
    ) -> None:
        self._secrets = secrets
        self._guard = guard
        self._now = now
        self.limits = limits or Limits()
        self._resolver = resolver
        self.filter = HeaderFilter()
        self._session: aiohttp.ClientSession | None = None
        self._checked: set[URL] = set()
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

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
        """Closes the session and its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

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

    async def send(self, prepared: Prepared, deadline: float) -> aiohttp.ClientResponse:
        """Sends over the network; the session's own errors come out as they are."""
        if prepared.url not in self._checked:  # neither the guard nor an address ever changes
            self._guard.check_url(prepared.url)
            if len(self._checked) < _REMEMBERED:
                self._checked.add(prepared.url)
        session = self._session or self._open()
        body = prepared.body
        return await session.request(
            prepared.method,
            prepared.url,
            headers=prepared.headers,
            data=body if len(body) < _LARGE else io.BytesIO(body),
            allow_redirects=False,
            timeout=self._timeout(deadline),
        )

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=GuardedConnector(self._guard, self._resolver or aiohttp.ThreadedResolver()),
            cookie_jar=aiohttp.DummyCookieJar(),  # one caller's cookie must never reach another's call
            auto_decompress=False,
            trust_env=False,
            max_line_size=self.limits.max_header,
            max_field_size=self.limits.max_header,
            max_headers=self.limits.max_headers,
        )
        return self._session

    def _timeout(self, deadline: float) -> aiohttp.ClientTimeout:
        known = self._timeouts.get(deadline)
        if known is None:
            known = aiohttp.ClientTimeout(
                total=deadline, connect=self.limits.connect, sock_read=self.limits.answer
            )
            if len(self._timeouts) < 64:
                self._timeouts[deadline] = known
        return known


class _Call:
    """One exchange, as a context manager; a class because a generator costs more per request."""

    __slots__ = ("_arguments", "_client", "_deadline", "_operation", "_response", "_upstream")

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
        self._response: Body | None = None

    async def __aenter__(self) -> Answer:
        client, upstream = self._client, self._upstream
        prepared = await client.prepare(upstream, self._operation, *self._arguments)
        source: Body
        if upstream.local:
            source = await LocalBody.start(upstream, prepared, self._operation, self._deadline)
        else:
            try:
                response = await client.send(prepared, self._deadline)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
                raise upstream_error(upstream, exc) from exc
            source = NetworkBody(response, client.limits.idle)
        self._response = source
        try:
            facts = client.filter.incoming(source.raw_headers)
            return CheckedAnswer(upstream, source, facts, client.limits.max_answer)
        except BaseException:
            await source.close()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._response is not None:
            await self._response.close()
