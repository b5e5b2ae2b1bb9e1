"""Passes a streamed answer on, byte for byte, and ends it in the caller's dialect when it breaks.

An event is passed on once it is whole, so that what follows a break starts a new line: the error event
is always readable. Streams that are open are known by their principal: when a credential ends, its
streams are cut. Nothing is decided here, and nothing is buffered beyond one event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from aiohttp import web

from identity.errors import Unauthenticated
from identity.principal import Principal
from policies.change import Entry
from proxy.ports import Authenticates
from proxy.usage import Meter

MAX_HELD = 4 << 20  # bytes of an event that is not whole yet; a longer one passes as it comes
LAST_WORDS = 2.0  # seconds that the error event may take to leave

_EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
_TOUCHING = frozenset({"credential", "user", "virtual-account"})


class Relay:
    """One streamed answer on its way to the caller."""

    __slots__ = ("_clean", "_events", "_held", "_meter", "_request", "_response")

    def __init__(
        self, request: web.BaseRequest, response: web.StreamResponse, meter: Meter, events: bool
    ) -> None:
        self._request = request
        self._response = response
        self._meter = meter
        self._events = events
        self._held = b""
        self._clean = True  # what was sent ends where an event may start

    async def run(self, first: bytes, chunks: AsyncIterator[bytes]) -> None:
        """Sends the head of the response, `first`, and all that follows.

        Raises:
            UpstreamError: as `chunks` does. ConnectionError: the caller is gone.
        """
        await self._response.prepare(self._request)
        await self._pass(first)
        async for chunk in chunks:
            await self._pass(chunk)
        if self._held:
            held, self._held = self._held, b""
            await self._response.write(held)
        await self._response.write_eof()

    async def _pass(self, chunk: bytes) -> None:
        self._meter.feed(chunk)
        if self._events:
            if self._held:
                chunk, self._held = self._held + chunk, b""
            if not chunk.endswith(_EVENT_ENDS):
                whole = max(chunk.rfind(end) + len(end) for end in _EVENT_ENDS)
                # An end that is not found gives at most 3, shorter than any event with its end.
                whole = whole if whole > 3 else 0
                if len(chunk) - whole > MAX_HELD:
                    self._clean = False
                    whole = len(chunk)
                chunk, self._held = chunk[:whole], chunk[whole:]
                if not chunk:
                    return
            else:
                self._clean = True
        await self._response.write(chunk)

    async def fail(self, event: bytes) -> None:
        """Ends a stream that broke: with `event` if it is one of events, else by closing on it.

        A body that ends without its last chunk, or short of its length, is seen as broken by any client.
        """
        transport = self._request.transport
        if not (self._events and self._clean):
            if transport is not None:
                transport.close()
            return
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self._response.write(event)
                await self._response.write_eof()
        except TimeoutError:  # the caller does not read
            if transport is not None:
                transport.abort()
        except ConnectionError:
            pass


class OpenStream:
    """A stream that may be cut; `reason` says why it was."""

    __slots__ = ("principal", "reason", "task")

    def __init__(self, principal: Principal, task: asyncio.Task[object]) -> None:
        self.principal = principal
        self.task = task
        self.reason = ""

    def cut(self, reason: str) -> None:
        """Ends the stream; its handler finds `reason` set."""
        if not self.reason:
            self.reason = reason
            self.task.cancel()

    def was_cut(self) -> bool:
        """Whether the cancellation that just arrived was ours alone; it is then taken back."""
        return bool(self.reason) and self.task.uncancel() == 0


class OpenStreams:
    """The streams of this process: an applier that must come after the directory.

    At each entry that touches a credential or an account, the streams of those concerned are looked at
    again (design 5.9). A change of grants ends no running completion.
    """

    def __init__(self, directory: Authenticates, clock: Callable[[], datetime]) -> None:
        self._directory = directory
        self._clock = clock
        self._streams: set[OpenStream] = set()

    def __len__(self) -> int:
        return len(self._streams)

    @contextmanager
    def opened(self, principal: Principal) -> Iterator[OpenStream]:
        """The current task's stream, known for as long as the block runs.

        Raises:
            Unauthenticated: the credential has ended while the upstream was silent.
        """
        # The upstream may have taken minutes until now, and no entry of them found this stream here.
        self._directory.recheck(principal, self._clock())
        task = asyncio.current_task()
        assert task is not None
        stream = OpenStream(principal, task)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    def load(self, snapshot: object) -> None:
        """Look at every stream again."""
        self._recheck()

    def apply(self, entry: Entry) -> None:
        """Look at the streams again if the entry ends or changes a credential or an account."""
        if self._streams and any(change.key[0] in _TOUCHING for change in entry.documents):
            self._recheck()

    def _recheck(self) -> None:
        now = self._clock()
        for stream in tuple(self._streams):
            try:
                self._directory.recheck(stream.principal, now)
            except Unauthenticated as error:
                stream.cut(error.code)
