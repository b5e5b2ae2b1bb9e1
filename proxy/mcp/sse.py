"""Server-sent events (WHATWG HTML 9.2): bytes in, events out, whatever the chunks; and events to bytes.

The gateway judges what a stream carries, so it must see the same events as the client behind it: LF, CRLF
and CR end a line, several data lines are one value, a field may have no data at all (the priming event of a
resumable stream has an id and empty data). Nothing is known of JSON here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from authz.errors import GatewardenError

MAX_EVENT = 16 << 20  # bytes

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"
_CR, _LF = 0x0D, 0x0A
_RETRY = re.compile(rb"[0-9]{1,9}\Z")


class EventTooLong(GatewardenError):
    """An event, or a line that does not end, is longer than is held; the stream cannot be read on."""

    code = "event_too_long"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, or one comment between events. A field that was not sent is None."""

    data: bytes | None = None
    id: str | None = None  # empty resets the last event id
    event: str | None = None
    retry: int | None = None  # milliseconds
    comment: str | None = None


class Splitter:
    """Takes the chunks of one stream and gives its events."""

    __slots__ = (
        "_after_cr",
        "_buffer",
        "_data",
        "_event",
        "_first",
        "_held",
        "_id",
        "_limit",
        "_retry",
        "_scanned",
        "_some",
    )

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._buffer = bytearray()  # the line that has not ended
        self._scanned = 0  # how much of it is known to hold no line end
        self._after_cr = (
            False  # a line ended on CR at the end of a chunk: LF may still belong to it
        )
        self._first = True
        self._clear()

    def _clear(self) -> None:
        self._data: list[bytes] = []
        self._id: str | None = None
        self._event: str | None = None
        self._retry: int | None = None
        self._some = False
        self._held = 0  # bytes of the lines of this event

    @property
    def pending(self) -> bool:
        """Whether the stream would end inside an event, which readers then drop."""
        return self._some or bool(self._buffer)

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes.

        Raises:
            EventTooLong: from then on the splitter must not be used.
        """
        if not chunk:
            return []
        if self._after_cr:
            self._after_cr = False
            if chunk[0] == _LF:
                chunk = chunk[1:]
        buffer = self._buffer
        buffer += chunk
        found: list[Event] = []
        start, size = 0, len(buffer)
        feed = carriage = -1  # the next LF and CR; `size` where there is none
        while True:
            at = max(start, self._scanned)
            if feed < at:
                feed = _found(buffer, b"\n", at)
            if carriage < at:
                carriage = _found(buffer, b"\r", at)
            end = min(feed, carriage)
            if end == size:
                break
            self._line(bytes(buffer[start:end]), found)
            start = end + (2 if carriage + 1 == feed < size else 1)
        if start and start == len(buffer):
            self._after_cr = buffer[-1] == _CR
        del buffer[:start]
        self._scanned = len(buffer)
        if self._held + len(buffer) > self._limit:
            raise self._too_long()
        return found

    def _line(self, line: bytes, found: list[Event]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._some:
                found.append(self._whole())
            self._clear()
            return
        if self._held + len(line) > self._limit:
            raise self._too_long()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not name:
            found.append(Event(comment=value.decode("utf-8", "replace")))
            return
        self._held += len(line)
        if name == b"data":
            self._data.append(value)
        elif name == b"id":
            if b"\0" in value:
                return
            self._id = value.decode("utf-8", "replace")
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"retry":
            if not _RETRY.match(value):
                return
            self._retry = int(value)
        else:
            return
        self._some = True

    def _whole(self) -> Event:
        data = b"\n".join(self._data) if self._data else None
        return Event(data, self._id, self._event or None, self._retry)

    def _too_long(self) -> EventTooLong:
        return EventTooLong(f"an event of the stream is longer than {self._limit} bytes")


def _found(buffer: bytearray, what: bytes, at: int) -> int:
    place = buffer.find(what, at)
    return len(buffer) if place < 0 else place


def encode(event: Event) -> bytes:
    """The event as bytes, its blank line included.

    A line break in the data makes several data lines, so that CR and CRLF arrive as LF.

    Raises:
        ValueError: a line break or NUL where the form has no place for it.
    """
    lines: list[bytes] = []
    if event.comment is not None:
        lines += [b": " + part for part in _LINE_END.split(event.comment.encode())]
    if event.id is not None:
        lines.append(b"id: " + _one_line(event.id))
    if event.event is not None:
        lines.append(b"event: " + _one_line(event.event))
    if event.retry is not None:
        if event.retry < 0:
            raise ValueError("a retry time is not negative")
        lines.append(b"retry: %d" % event.retry)
    if event.data is not None:
        lines += [b"data: " + part for part in _LINE_END.split(event.data)]
    return b"\n".join((*lines, b"", b""))


def _one_line(text: str) -> bytes:
    line = text.encode()
    if b"\0" in line or _LINE_END.search(line):
        raise ValueError("a field of an event holds a line break or NUL")
    return line
