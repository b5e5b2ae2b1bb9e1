"""The one guarded client: every byte that leaves for a provider passes here.

INTERFACE STUB: the Protocols are final, the client follows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from proxy.providers.base import Headers, Operation, Upstream


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
