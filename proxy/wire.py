"""One HTTP/1.1 connection to an upstream: a request out, an answer in, and whether another may follow.

The answer is read by aiohttp's own response parser and stream reader, so their hardening (sizes of
lines and heads, lengths that lie, framing that smuggles) and their flow control are ours (docs/adr/0006).
It opens no socket and keeps no pool: `proxy/connections.py` does both.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
from aiohttp.http import HttpResponseParser, RawResponseMessage

ONE_WRITE = 64 * 1024  # bytes of a body that leaves with its head; a longer one goes in such slices
READ_BUFFER = (
    128 * 1024
)  # bytes of an answer that wait for the caller; at twice this the peer waits
_PEEK_AFTER = 0.5  # seconds of idleness after which the socket is asked whether the peer is there
_MAX_INTERIM = 64  # 1xx answers before the answer
_MAX_HEAD = 64 * 1024  # bytes of an unfinished head that are kept to find its end
_BODILESS = frozenset({204, 304})


class ConnectionBroken(ConnectionError):
    """The peer closed, or the connection failed, before an answer."""


class NotHttp(Exception):
    """What came is no HTTP answer, or one with a head beyond the limits."""


class BrokenBody(Exception):
    """The body ended early or broke its framing."""


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


class Connection(asyncio.Protocol):
    """One connection; at most one request is on its way on it.

    `connected`, `pause_reading` and `resume_reading` are what aiohttp's `StreamReader` asks of its
    protocol. The parser lives as long as the connection: `reusable` is true only if the answer is
    known to have ended with the very last byte that came, so nothing of one answer can reach the next.
    """

    __slots__ = (
        "_body",
        "_chunk_end",
        "_error",
        "_head",
        "_interim",
        "_left",
        "_loop",
        "_parser",
        "_paused_once",
        "_waiter",
        "_writable",
        "busy",
        "ends",
        "heard",
        "limit",
        "message",
        "reading_paused",
        "sock",
        "tainted",
        "transport",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self.sock: socket.socket | None = None
        self.transport: asyncio.Transport | None = None
        self._parser = _parser(self, loop, limits)
        self._waiter: asyncio.Future[None] | None = None  # of the answer's head
        self._writable: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._body: aiohttp.StreamReader | None = None
        self.message: RawResponseMessage | None = None
        self._head = b""  # what came of the head so far
        self._left: int | None = None  # bytes of the answer that are to come; None: not known
        self._chunk_end = False  # what came last ends as a chunked body does
        self._interim = 0
        self.busy = False
        self.tainted = False
        self.reading_paused = False
        self._paused_once = False
        self.ends = self.heard = self.limit = 0.0

    # --- a request --------------------------------------------------------------------------------

    def begin(self, now: float, ends: float, limit: float) -> asyncio.Future[None]:
        """Makes it ready for one request; the future is done when the answer's head is there."""
        self.busy = True
        self.message = None
        self._body = None
        self._head = b""
        self._left = None
        self._interim = 0
        self._paused_once = False
        self.heard = now
        self.ends = ends
        self.limit = limit
        waiter = self._waiter = self._loop.create_future()
        return waiter

    async def write_long(self, head: bytes, body: bytes) -> None:
        """Sends a request whose body is long, as fast as the peer takes it.

        An answer that comes before all is sent (a refusal, as a rule) ends the sending.

        Raises:
            ConnectionBroken | TimeoutError: the connection ended.
        """
        self.write(head)
        view = memoryview(body)
        for start in range(0, len(body), ONE_WRITE):
            if self._writable is not None:
                await self._writable
            if self._error is not None:
                raise self._error
            if self._waiter is None:  # answered already
                self.tainted = True
                return
            self.write(view[start : start + ONE_WRITE])
            self.heard = self._loop.time()

    def write(self, data: bytes | memoryview) -> None:
        """Sends a short request in one piece.

        Raises:
            ConnectionBroken: the connection is closed.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise self._error or ConnectionBroken("the connection is closed")
        transport.write(data)

    @property
    def body(self) -> aiohttp.StreamReader:
        """The body of the answer whose head is there."""
        assert self._body is not None
        return self._body

    def reusable(self) -> bool:
        """Whether another request may follow: all was read, in order, and nothing came after it."""
        message, body = self.message, self._body
        return (
            message is not None
            and body is not None
            and not self.tainted
            and not message.should_close
            and body.at_eof()
            and body.exception() is None
            and (self._chunk_end if message.chunked else self._left == 0)
            and self.transport is not None
            and not self.transport.is_closing()
            and not self.transport.get_write_buffer_size()  # answered before it was asked in full
        )

    def rest(self) -> None:
        """Ends a request; nobody waits for anything on it any more."""
        self.busy = False
        self._waiter = None
        self.message = None
        self._body = None

    def alive(self, now: float) -> bool:
        """Whether a request may be sent on this idle connection."""
        if self.tainted or self.transport is None or self.transport.is_closing():
            return False
        if now - self.heard < _PEEK_AFTER or self.sock is None:
            return True
        # The peer may have closed since the loop last looked. An idle peer has nothing to say, so
        # whatever can be read, be it the end, makes the connection useless.
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    def fail(self, error: Exception) -> None:
        """Ends whatever waits on it with `error`, and the connection."""
        if self._error is None:
            self._error = error
        self.tainted = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        body = self._body
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(error)
        self._wake_writer()
        self.abort()

    def abort(self) -> None:
        """Closes it without waiting for what was not sent."""
        self.tainted = True
        if self.transport is not None:
            self.transport.abort()

    # --- the transport's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop has a class of its own

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            # Nobody asked: a second answer, or a goodbye in words. None of it may be taken for the
            # answer to the next request.
            self.abort()
            return
        self.heard = self._loop.time()
        message = self.message
        if message is None:
            self._head = self._head + data if self._head else data
        elif self._left is not None:
            self._left -= len(data)
        if data:
            self._chunk_end = data.endswith(b"0\r\n\r\n")
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except Exception as exc:
            # In the head it is no HTTP; in the body it is a body that broke.
            error = NotHttp(str(exc)) if self.message is None else BrokenBody(str(exc))
            self.fail(error)
            return
        if upgraded:
            self.tainted = True
        for message, body in messages:
            self._answered(message, body)
        if len(self._head) > _MAX_HEAD:
            self._head = self._head[-3:]  # enough to find its end

    def _answered(self, message: RawResponseMessage, body: aiohttp.StreamReader) -> None:
        if self.message is not None:  # a second answer
            self.abort()
            return
        if message.code < 200 and message.code != 101:
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                self.fail(NotHttp("too many interim answers"))
            return
        self.message = message
        self._body = body
        self._left = None if self._interim else _left(self._head, message)
        self._head = b""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        self._wake_writer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.tainted = True
        body = self._body
        if self.busy and self._error is None:
            if body is None:
                self.fail(ConnectionBroken("the peer closed before it answered"))
            elif not body.is_eof() and body.exception() is None:
                try:
                    if exc is not None:
                        raise exc
                    self._finish(body)
                except Exception as error:
                    broken = BrokenBody(str(error))
                    broken.__cause__ = error
                    body.set_exception(broken)
        self._wake_writer()
        del self._parser  # which knows us: left to the collector, each would wait for its round

    def _finish(self, body: aiohttp.StreamReader) -> None:
        """Reads on to the end what the parser kept while the reader was full, then ends the body."""
        seen = -1
        while self._paused_once and seen != body.total_bytes and not body.is_eof():
            seen = body.total_bytes
            self._parser.feed_data(b"")
        if not body.is_eof():
            self._parser.feed_eof()  # raises unless the body is one that lasts until the peer closes

    # --- flow control -------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        self._wake_writer()

    def _wake_writer(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    @property
    def connected(self) -> bool:
        return self.transport is not None

    def pause_reading(self) -> None:
        """The reader is full: the parser keeps what it has, the socket waits."""
        self.reading_paused = self._paused_once = True
        self._parser.pause_reading()
        if self.transport is not None:
            with suppress(RuntimeError):  # it is closing
                self.transport.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """The reader has room, or has ended."""
        if not self._paused_once or self.transport is None:
            return  # it asks after each chunk, and nothing is held back
        was_paused, self.reading_paused = self.reading_paused, False
        if was_paused:
            self.heard = self._loop.time()  # it was us that kept silent
        if resume_parser and self.busy:
            self.data_received(b"")  # what the parser kept
        if was_paused and not self.reading_paused and self.connected:
            with suppress(RuntimeError):
                self.transport.resume_reading()


def _parser(
    connection: Connection, loop: asyncio.AbstractEventLoop, limits: Limits
) -> HttpResponseParser:
    # The parser hands its first argument on to the stream reader, which asks three things of it.
    return HttpResponseParser(
        cast(Any, connection),
        loop,
        READ_BUFFER,
        payload_exception=BrokenBody,
        read_until_eof=True,
        auto_decompress=False,
        max_line_size=limits.max_header,
        max_field_size=limits.max_header,
        max_headers=limits.max_headers,
    )


def _left(head: bytes, message: RawResponseMessage) -> int | None:
    """How many bytes of the body are still to come, if that is known for certain.

    `head` is all that came so far. The parser is lenient about line ends, so a head that may have ended
    before its first empty line makes it unknown.
    """
    end = head.find(b"\n\r\n") + 3
    if end < 3 or head.find(b"\n\n", 0, end) >= 0:
        return None
    if message.code in _BODILESS:
        return end - len(head)
    length = message.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return None
    return int(length) + end - len(head)


def request_head(start: str, headers: Iterable[tuple[str, str]], length: int) -> bytes:
    """The head of a request whose first two lines are `start`.

    Raises:
        ValueError: a name or value holds a line end or NUL, or cannot be encoded.
    """
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    text = f"{start}{''.join(lines)}Content-Length: {length}\r\n\r\n"
    # INVARIANT: as many line ends as lines, so no header holds one.
    ends = len(lines) + 4
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise ValueError("a header cannot be written as one line")
    return text.encode()
