"""Reads token counts (and a response's id) out of an answer as it passes, without holding it up.

An answer is never parsed as a whole while it streams: the meter keeps its first and its last bytes and
reads them once, at the end. What cannot be read is unknown, never zero. Nothing read here decides
anything; it goes to the request record.
"""

from __future__ import annotations

import json
import re
from json import JSONDecoder
from typing import NamedTuple

import msgspec

HEAD = 8 << 10  # bytes kept of the start of a stream: its first events
TAIL = 16 << 10  # bytes kept of the end: the usage stands in the last events
WHOLE = 256 << 10  # a JSON answer up to this size is read exactly
MAX_COUNT = 1 << 53

_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_RESPONSE_ID = re.compile(rb'"id"\s*:\s*"(resp_[A-Za-z0-9_-]{1,250})"')


class Usage(NamedTuple):
    """Tokens as the provider counted them; None = it did not say."""

    input: int | None = None
    output: int | None = None


NO_USAGE = Usage()


class _Counts(msgspec.Struct):
    """The names that providers use, in both dialects."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Answer(msgspec.Struct):
    usage: _Counts | None = None


class _Stored(msgspec.Struct):
    id: str
    object: str


_answer = msgspec.json.Decoder(_Answer).decode
_stored = msgspec.json.Decoder(_Stored).decode
_any = JSONDecoder().raw_decode


def of_json(body: bytes) -> Usage:
    """The usage of a JSON answer that is there as a whole."""
    if len(body) > WHOLE:
        return _last(body[-TAIL:])
    try:
        found = _answer(body).usage
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return NO_USAGE
    return _usage(found) if found is not None else NO_USAGE


def response_id(body: bytes) -> str | None:
    """The id of a stored response, from the whole JSON answer of `/v1/responses`."""
    try:
        found = _stored(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found.id if found.object == "response" and len(found.id) <= 256 else None


def response_id_in(event: bytes) -> str | None:
    """The id of a stored response, from the first bytes of a streamed `/v1/responses`."""
    found = _RESPONSE_ID.search(event)
    return found[1].decode("ascii") if found else None


class Meter:
    """Watches one streamed answer."""

    __slots__ = ("_head", "_tail")

    def __init__(self) -> None:
        self._head = b""
        self._tail = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take note of a chunk that passes."""
        if len(self._head) < HEAD:
            self._head += chunk[: HEAD - len(self._head)]
        tail = self._tail
        tail += chunk
        if len(tail) > 4 * TAIL:
            del tail[:-TAIL]

    def usage(self) -> Usage:
        """What the stream said at its end, completed by what it said at its start."""
        last = _last(bytes(self._tail))
        if last.input is not None and last.output is not None:
            return last
        first = _first(self._head)
        return Usage(
            last.input if last.input is not None else first.input,
            last.output if last.output is not None else first.output,
        )


def _last(data: bytes) -> Usage:
    """The last usage object in `data`. Inside a JSON string its quotes are escaped, so it cannot match."""
    at = data.rfind(b'"usage"')
    while at >= 0:
        found = _USAGE.match(data, at)
        if found:
            return _read(data[found.end() :])
        at = data.rfind(b'"usage"', 0, at)
    return NO_USAGE


def _first(data: bytes) -> Usage:
    found = _USAGE.search(data)
    return _read(data[found.end() :]) if found else NO_USAGE


def _read(data: bytes) -> Usage:
    try:
        value, _ = _any(data.decode("utf-8", "replace"))
        return _usage(msgspec.convert(value, _Counts))
    except (json.JSONDecodeError, msgspec.MsgspecError, ValueError, RecursionError):
        return NO_USAGE


def _usage(counts: _Counts) -> Usage:
    taken = counts.prompt_tokens if counts.prompt_tokens is not None else counts.input_tokens
    made = (
        counts.completion_tokens if counts.completion_tokens is not None else counts.output_tokens
    )
    if taken is not None:
        # Anthropic counts cached input apart from `input_tokens`.
        taken += (counts.cache_creation_input_tokens or 0) + (counts.cache_read_input_tokens or 0)
    return Usage(_plausible(taken), _plausible(made))


def _plausible(count: int | None) -> int | None:
    """A provider may say anything; only a count is written down."""
    return count if count is not None and 0 <= count < MAX_COUNT else None
