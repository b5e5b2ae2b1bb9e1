"""An upstream's answer as the gateway sees it, checked as it passes, whatever it came from.

`NetworkBody` is a socket, `LocalBody` an answer made in this process; `CheckedAnswer` puts the same
limits and the same honesty over both. `upstream_error` gives every failure its type. Made by
`proxy/outbound.py`, read by the data-plane handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import aiohttp

from proxy.guard import ForbiddenAddress
from proxy.hygiene import AnswerFacts
from proxy.providers.base import (
    Headers,
    LocalAnswer,
    LocalProvider,
    Operation,
    Prepared,
    Upstream,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRefusedByGuard,
    UpstreamTimeout,
    UpstreamUnreachable,
)

_BUFFERED = frozenset({"application/json", "application/problem+json", "text/plain", "text/html"})
_LARGE = 1 << 20  # a longer answer is passed on in chunks, whatever its type


class Answer(Protocol):
    """An upstream's answer, valid inside the `async with` that made it.

    `headers` are already filtered (no hop-by-hop, no `content-length`, no cookie, no identity of the
    account). `stream` says that the body is to be passed on chunk by chunk; otherwise `read` it.
    """

    status: int
    headers: Headers
    stream: bool
    length: int | None  # the declared content-length
    upstream_request_id: str | None

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, byte for byte.

        Raises:
            UpstreamUnreachable | UpstreamTimeout | UpstreamInvalid
        """
        ...

    async def read(self, limit: int | None = None) -> bytes:
        """The whole body, at most `limit` bytes (None = the client's limit).

        Raises:
            UpstreamInvalid: longer than `limit`, or shorter than declared. And as `chunks`.
        """
        ...


class Body(Protocol):
    """Where an answer comes from: a socket or this process."""

    status: int
    raw_headers: Headers

    async def next(self) -> bytes:
        """The next chunk; empty at the end."""
        ...

    async def close(self) -> None: ...


class NetworkBody:
    __slots__ = ("_response", "raw_headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, idle: float) -> None:
        self._response = response
        self.status = response.status
        self.raw_headers: Headers = list(response.headers.items())
        connection = response.connection
        if connection is not None and connection.protocol is not None:
            # The first byte may take as long as a model thinks; from now on silence is a fault.
            connection.protocol.read_timeout = idle
            connection.protocol.start_timeout()

    async def next(self) -> bytes:
        return await self._response.content.readany()

    async def close(self) -> None:
        # A finished answer gives its connection back; an unfinished one closes it, which is what
        # cancels the upstream's work.
        self._response.release()


class LocalBody:
    __slots__ = ("_chunks", "_ends", "raw_headers", "status")

    def __init__(self, answer: LocalAnswer, ends: float) -> None:
        self.status = answer.status
        self.raw_headers = answer.headers
        self._chunks = answer.chunks
        self._ends = ends

    @classmethod
    async def start(
        cls, upstream: Upstream, prepared: Prepared, operation: Operation, deadline: float
    ) -> LocalBody:
        ends = asyncio.get_running_loop().time() + deadline
        provider = upstream.provider
        assert isinstance(provider, LocalProvider)
        try:
            async with asyncio.timeout_at(ends):
                return cls(await provider.serve(prepared, operation), ends)
        except (TimeoutError, OSError) as exc:
            raise upstream_error(upstream, exc) from exc

    async def next(self) -> bytes:
        async with asyncio.timeout_at(self._ends):
            return await anext(self._chunks, b"")

    async def close(self) -> None:
        closing = getattr(self._chunks, "aclose", None)
        if closing is not None:
            await closing()


class CheckedAnswer:
    """The `Answer` over either body: limits and honesty are checked here, once for both."""

    __slots__ = (
        "_body",
        "_limit",
        "_seen",
        "_upstream",
        "headers",
        "length",
        "status",
        "stream",
        "upstream_request_id",
    )

    def __init__(self, upstream: Upstream, body: Body, facts: AnswerFacts, limit: int) -> None:
        self._upstream = upstream
        self._body = body
        self._limit = limit
        self._seen = 0
        status = self.status = body.status
        self.headers = facts.headers
        self.length = facts.length
        self.upstream_request_id = facts.request_id
        if 300 <= status < 400:
            # Following it would carry the credential elsewhere; passing it on would send the caller there.
            raise self._invalid("answered with a redirect, which is never followed")
        if status < 200 or status > 599:
            raise self._invalid("answered with a status that is no answer")
        if facts.encoded:
            raise self._invalid("compressed its answer although it was asked not to")
        if facts.length is not None and facts.length > limit:
            raise self._invalid(f"declared an answer of more than {limit} bytes")
        self.stream = status < 300 and (
            facts.media not in _BUFFERED or (facts.length or 0) > _LARGE
        )

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self._next(self._limit):
            yield chunk

    async def read(self, limit: int | None = None) -> bytes:
        allowed = self._limit if limit is None else min(limit, self._limit)
        if self.length is not None and self.length > allowed:
            raise self._invalid(f"declared an answer of more than {allowed} bytes")
        first = await self._next(allowed)
        parts = [first]
        while chunk := await self._next(allowed):
            parts.append(chunk)
        return first if len(parts) == 1 else b"".join(parts)

    async def _next(self, limit: int) -> bytes:
        try:
            chunk = await self._body.next()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise upstream_error(self._upstream, exc) from exc
        self._seen += len(chunk)
        if self._seen > limit:
            raise self._invalid(f"answered with more than {limit} bytes")
        if self.length is not None and (
            self._seen > self.length or (not chunk and self._seen < self.length)
        ):
            raise self._invalid("sent another length than it declared")
        return chunk

    def _invalid(self, what: str) -> UpstreamInvalid:
        return UpstreamInvalid(f"the upstream of `{self._upstream.account_name}` {what}")


def upstream_error(upstream: Upstream, exc: Exception) -> UpstreamError:
    """The typed error for a failure of the session. Its public text names the account only."""
    who = f"the upstream of `{upstream.account_name}`"
    inner = getattr(exc, "os_error", None) or exc
    if isinstance(inner, ForbiddenAddress) or isinstance(exc, aiohttp.InvalidURL):
        return UpstreamRefusedByGuard(
            f"{who} has an address that is internal and not allowed",
            hint="an operator may allow its network in `UPSTREAM__ALLOW_PRIVATE`",
        )
    if isinstance(exc, TimeoutError):  # aiohttp's own timeouts derive from it
        return UpstreamTimeout(f"{who} did not answer in time")
    if isinstance(exc, aiohttp.ClientPayloadError):
        return UpstreamInvalid(f"{who} ended its answer early or broke its framing")
    if isinstance(exc, aiohttp.ClientResponseError):
        return UpstreamInvalid(f"{who} did not answer in HTTP, or with headers beyond the limits")
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return UpstreamUnreachable(f"{who} has a certificate that is not trusted")
    if isinstance(exc, ValueError) and not isinstance(exc, aiohttp.ClientError):
        return UpstreamInvalid(f"{who} could not be called with these headers")
    return UpstreamUnreachable(f"{who} cannot be reached, or broke the connection")
