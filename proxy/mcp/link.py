"""What the gateway needs of a server that it speaks with on somebody's behalf, whatever is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from authz.errors import GatewardenError
from proxy.mcp.jsonrpc import Message
from proxy.mcp.servers import Server

META = "io.modelcontextprotocol/"  # what begins the keys of `_meta` that belong to the protocol
CLIENT: Mapping[str, str] = {"name": "gatewarden", "version": "1"}


class UpstreamSaid(GatewardenError):
    """The server answered with a JSON-RPC error, `status` being that of HTTP beside it."""

    code = "upstream_said_no"

    def __init__(self, error: Mapping[str, Any], status: int = 200) -> None:
        super().__init__(str(error.get("message", ""))[:500])
        self.error = error
        self.status = status


@dataclass(frozen=True, slots=True)
class Received:
    """One message of a server, or an event without one (`message` None) that only carries an id."""

    message: Message | None
    id: str | None = None
    retry: int | None = None
    comment: bool = False


class Stream(Protocol):
    """An answer. `streams`: it comes as events; else as one message, or none (`status` 202)."""

    @property
    def status(self) -> int: ...

    @property
    def streams(self) -> bool: ...

    def received(self) -> AsyncIterator[Received]:
        """Everything that comes, in order. Raises UpstreamError."""
        ...


class Link(Protocol):
    """A server as one principal's session speaks with it, in the generation of the client."""

    @property
    def server(self) -> Server: ...

    async def hello(self) -> Mapping[str, Any]:
        """What the server says of itself, in the form of an initialize result.

        Raises:
            UpstreamError, UpstreamRefused, UpstreamSaid, AuthError.
        """
        ...

    def exchange(self, message: Message) -> AbstractAsyncContextManager[Stream]:
        """Sends a request. Raises (on entering): as `hello`."""
        ...

    async def tell(self, message: Message) -> None:
        """Sends a notification or a response (2025). Raises: as `hello`."""
        ...

    def listen(self, last_event_id: str | None) -> AbstractAsyncContextManager[Stream]:
        """The stream of what the server says unasked, or what follows an event of another stream (2025)."""
        ...

    async def close(self) -> None:
        """Ends what was opened. Raises: as `hello`."""
        ...


class OneMessage:
    """A `Stream` of one message that is here already."""

    __slots__ = ("_message", "status", "streams")

    def __init__(self, message: Message | None, status: int = 200) -> None:
        self._message = message
        self.status = status
        self.streams = False

    async def received(self) -> AsyncIterator[Received]:
        if self._message is not None:
            yield Received(self._message)
