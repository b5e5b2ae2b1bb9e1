"""Requests to addresses that are no model: MCP servers, authorization servers, OpenAPI services.

The port; `proxy/outbound.py`: `Client.fetch` is behind it, with the same guard as model calls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from multidict import CIMultiDictProxy

DEADLINE = 60.0  # seconds that an exchange may take unless its caller says otherwise
IDLE = 60.0  # seconds of silence in an answer


class Fetched(Protocol):
    """An answer whose head has come. No redirect was followed: a 3xx is an answer like any other."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> CIMultiDictProxy[str]: ...

    async def read(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes. Raises UpstreamError: longer, broken, too slow."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises UpstreamError."""
        ...


class Fetch(Protocol):
    def __call__(
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
        """`async with fetch("GET", url) as answer:`; leaving the block ends the exchange.

        `headers` go out as they are, so they hold no hop-by-hop header and no `Host`. `authority` is PEM text: who
        vouches for the other side's certificate, in place of the authorities that everybody trusts.

        Raises (on entering): UpstreamError. The address is refused, cannot be reached, is too slow, or
            is not HTTP.
        """
        ...
