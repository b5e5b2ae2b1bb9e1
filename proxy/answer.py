"""An upstream's answer as the gateway sees it, checked as it passes, whatever it came from.

`NetworkBody` is a socket, `LocalBody` an answer made in this process; `CheckedAnswer` puts the same
limits and the same honesty over both. `upstream_error` gives every failure its type. Made by
`proxy/outbound.py`, read by the data-plane handler.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Protocol

from proxy.connections import Connections, Target
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
from proxy.wire import BrokenBody, Connection, NotHttp

_BUFFERED = frozenset({"application/json", "application/problem+json", "text/plain", "text/html"})
_LARGE = 1 << 20  # a longer answer is passed on in chunks, whatever its type
_CREDENTIALS = frozenset(
    {"authorization", "api-key", "x-api-key", "x-goog-api-key", "x-amz-security-token"}
)
_SHORTEST = 8  # characters of a credential; a shorter one would cut up ordinary text

# How a call fails below this module; `upstream_error` gives each its type.
FAILURES = (OSError, ValueError, RuntimeError, NotHttp, BrokenBody)


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

    def whole(self) -> bytes | None:
        """All that is left, if it is here already; None if one must wait for `next`."""
        ...

    async def next(self) -> bytes:
        """The next chunk; empty at the end."""
        ...

    async def close(self) -> None: ...


class NetworkBody:
    """An answer that comes over a connection of the pool."""

    __slots__ = ("_connection", "_pool", "_reader", "_target", "raw_headers", "status")

    def __init__(self, pool: Connections, target: Target, connection: Connection) -> None:
        message = connection.message
        assert message is not None
        self._pool = pool
        self._target = target
        self._connection = connection
        self._reader = connection.body
        self.status = message.code
        self.raw_headers: Headers = list(message.headers.items())

    def whole(self) -> bytes | None:
        reader = self._reader
        return reader.read_nowait() if reader.is_eof() else None

    async def next(self) -> bytes:
        return await self._reader.readany()

    async def close(self) -> None:
        # A finished answer gives its connection back; an unfinished one closes it, which is what
        # cancels the upstream's work.
        self._pool.release(self._target, self._connection)


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

    def whole(self) -> bytes | None:
        return None

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
        "_hidden",
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
        self._hidden: list[str] = []
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

    def hide(self, sent: Headers) -> None:
        """Keeps the credential of the request `sent` out of an error: some upstreams quote it."""
        for name, value in sent:
            text = value.rpartition(" ")[2]
            if name.lower() in _CREDENTIALS and len(text) >= _SHORTEST:
                self._hidden.append(text)
        self.headers = [
            item for item in self.headers if not any(text in item[1] for text in self._hidden)
        ]

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self._next(self._limit):
            yield chunk

    async def read(self, limit: int | None = None) -> bytes:
        raw = await self._read(limit)
        for text in self._hidden:
            raw = raw.replace(text.encode(), b"***")
        return raw

    async def _read(self, limit: int | None) -> bytes:
        allowed = self._limit if limit is None else min(limit, self._limit)
        if self.length is not None and self.length > allowed:
            raise self._invalid(f"declared an answer of more than {allowed} bytes")
        parts: list[bytes] = []
        while True:
            try:
                chunk = self._body.whole()
            except FAILURES as exc:
                raise upstream_error(self._upstream, exc) from exc
            if chunk is not None:
                self._count(chunk, allowed, ended=True)
                return b"".join((*parts, chunk)) if parts else chunk
            chunk = await self._next(allowed)
            if not chunk:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            parts.append(chunk)

    async def _next(self, limit: int) -> bytes:
        try:
            chunk = await self._body.next()
        except FAILURES as exc:
            raise upstream_error(self._upstream, exc) from exc
        self._count(chunk, limit, ended=not chunk)
        return chunk

    def _count(self, chunk: bytes, limit: int, *, ended: bool) -> None:
        seen = self._seen = self._seen + len(chunk)
        if seen > limit:
            raise self._invalid(f"answered with more than {limit} bytes")
        length = self.length
        if length is not None and (seen > length or (ended and seen < length)):
            raise self._invalid("sent another length than it declared")

    def _invalid(self, what: str) -> UpstreamInvalid:
        return UpstreamInvalid(f"the upstream of `{self._upstream.account_name}` {what}")


def upstream_error(upstream: Upstream, exc: Exception) -> UpstreamError:
    """The typed error for a failure of the connection. Its public text names the account only."""
    return failure(f"the upstream of `{upstream.account_name}`", exc)


def failure(who: str, exc: Exception) -> UpstreamError:
    """The same for anything that is called; `who` begins the sentence."""
    if isinstance(exc, ForbiddenAddress):
        return UpstreamRefusedByGuard(
            f"{who} has an address that is internal and not allowed",
            hint="an operator may allow its network in `UPSTREAM__ALLOW_PRIVATE`",
        )
    if isinstance(exc, TimeoutError):
        return UpstreamTimeout(f"{who} did not answer in time")
    if isinstance(exc, BrokenBody):
        return UpstreamInvalid(f"{who} ended its answer early or broke its framing")
    if isinstance(exc, NotHttp):
        return UpstreamInvalid(f"{who} did not answer in HTTP, or with headers beyond the limits")
    if isinstance(exc, ssl.CertificateError):  # a ValueError as well
        return UpstreamUnreachable(f"{who} has a certificate that is not trusted")
    if isinstance(exc, ValueError):
        return UpstreamInvalid(f"{who} could not be called with these headers")
    return UpstreamUnreachable(f"{who} cannot be reached, or broke the connection")
