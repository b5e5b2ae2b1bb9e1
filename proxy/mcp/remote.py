"""One exchange with an MCP server over HTTP: a request out, messages in, whatever the generation.

It adds the server's credential and never the caller's, asks for no compression, splits events, and reads every
message strictly, so that nothing goes on that could be read in two ways. It keeps no session; `legacy.py` and
`modern.py` do what a generation asks for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol

from multidict import CIMultiDictProxy

from authz.errors import GatewardenError
from proxy.fetching import Fetch, Fetched
from proxy.mcp.jsonrpc import InvalidMessage, Message, parse, parse_answer
from proxy.mcp.link import Received
from proxy.mcp.servers import Server
from proxy.mcp.sse import Event, Splitter
from proxy.providers.base import UpstreamInvalid

LISTS = frozenset({"prompts/list", "resources/list", "resources/templates/list", "tools/list"})
JSON = "application/json"
EVENTS = "text/event-stream"
MAX_MESSAGE = 16 << 20  # bytes of one message of an upstream
MAX_DEPTH = 64
MAX_ERROR = 64 * 1024
LONGEST = 3600.0  # seconds of one exchange
SILENCE = 600.0  # seconds between two events of a call
LISTENING = 24 * 3600.0  # a stream that waits for notifications may be silent for ever

Headers = Sequence[tuple[str, str]]


Reads = Callable[[bytes], Message]


def _strictly(raw: bytes) -> Message:
    return parse(raw, depth=MAX_DEPTH, anonymous_error=True)


def reader_of(method: str) -> Reads:
    """How the answers to a method are read: lists are written anew, everything else may pass as it came."""
    return parse_answer if method in LISTS else _strictly


class UpstreamRefused(GatewardenError):
    """The server answered with a status that carries no message."""

    code = "upstream_refused_request"

    def __init__(self, message: str, status: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Authorizes(Protocol):
    """`proxy.mcp.auth.ServerAuth`."""

    async def headers(
        self, server: Server, principal_id: str, method: str, url: str, body: bytes, now: datetime
    ) -> list[tuple[str, str]]: ...

    async def rejected(
        self, server: Server, principal_id: str, sent: list[tuple[str, str]]
    ) -> bool: ...


class Reply:
    """What a server answered. `streams`: as events; otherwise one message, or none at all (202)."""

    __slots__ = ("_answer", "_read", "headers", "status", "streams")

    def __init__(self, answer: Fetched, read: Reads) -> None:
        self._answer = answer
        self._read = read
        self.status = answer.status
        self.headers: CIMultiDictProxy[str] = answer.headers
        media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.streams = media == EVENTS and answer.status == 200

    async def received(self) -> AsyncIterator[Received]:
        """Everything that comes, in order.

        Raises:
            UpstreamInvalid: not a message, or one that could be read in two ways. UpstreamError.
        """
        if self.streams:
            splitter = Splitter()
            async for chunk in self._answer.chunks():
                for event in splitter.feed(chunk):
                    yield _of_event(event, self._read)
            return
        if self.status == 202 or self.status == 204:
            return
        raw = await self._answer.read(MAX_MESSAGE if self.status == 200 else MAX_ERROR)
        if raw.strip():
            yield Received(_message(raw, self._read))

    async def error(self) -> Message | None:
        """The JSON-RPC error that an answer beyond 2xx holds, if it does."""
        try:
            raw = await self._answer.read(MAX_ERROR)
            return parse(raw, depth=MAX_DEPTH, anonymous_error=True)
        except (GatewardenError, ValueError):
            return None


class Remote:
    """Speaks with one server for one principal."""

    __slots__ = ("_auth", "_fetch", "_now", "principal", "server", "url")

    def __init__(
        self,
        server: Server,
        url: str,
        principal: str,
        fetch: Fetch,
        auth: Authorizes,
        now: datetime,
    ) -> None:
        self.server = server
        self.url = url
        self.principal = principal
        self._fetch = fetch
        self._auth = auth
        self._now = now

    @asynccontextmanager
    async def send(
        self,
        method: str,
        headers: Headers,
        body: bytes = b"",
        *,
        listening: bool = False,
        read: Reads = _strictly,
    ) -> AsyncIterator[Reply]:
        """`async with remote.send("POST", headers, body) as reply:`; leaving the block ends the exchange.

        Raises (on entering): UpstreamError, UpstreamRefused, and what the server's credential may be missing.
        """
        begun = False
        for last in (False, True):
            own = await self._auth.headers(
                self.server, self.principal, method, self.url, body, self._now
            )
            deadline = LISTENING if listening else LONGEST
            idle = LISTENING if listening else SILENCE
            async with self._fetch(
                method,
                self.url,
                (*headers, *own),
                body,
                deadline=deadline,
                idle=idle,
                authority=self.server.authority,
            ) as answer:
                refused = answer.status in (401, 403) and not last
                if refused and await self._auth.rejected(self.server, self.principal, own):
                    continue
                if answer.status in (401, 407):
                    raise UpstreamRefused(
                        f"the MCP server `{self.server.name}` does not accept the credential that"
                        " this gateway has for it",
                        answer.status,
                    )
                begun = True
                yield Reply(answer, read)
            break
        assert begun


def _of_event(event: Event, read: Reads) -> Received:
    if event.data is None or not event.data.strip():
        comment = event.data is None and event.id is None and event.retry is None
        return Received(None, event.id, event.retry, comment)
    return Received(_message(event.data, read), event.id, event.retry)


def _message(raw: bytes, read: Reads) -> Message:
    try:
        return read(raw)
    except InvalidMessage as error:
        raise UpstreamInvalid(f"the MCP server sent what is no message: {error.message}") from error
