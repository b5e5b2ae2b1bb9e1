"""Takes the body of a request in: its type, its size, and in time.

A body that is refused by its declared size or type is never read; the connection then ends, because what
follows on it is the rest of that body.
"""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

from proxy.errors import (
    BodyTooLarge,
    GatewayError,
    InvalidBody,
    RequestTimeout,
    UnsupportedMediaType,
)

_JSON = re.compile(r'application/(?:[a-z0-9.+-]+\+)?json\s*(?:;\s*charset="?utf-?8"?\s*)?\Z', re.I)
_USUAL = "application/json"


class ExpectationFailed(GatewayError):
    """An expectation other than `100-continue`."""

    code = "expectation_failed"
    close = True


def check_json_type(content_type: str) -> None:
    """Passes for JSON in UTF-8.

    Raises:
        UnsupportedMediaType: anything else; a body without a type is nothing that we may guess.
    """
    if content_type != _USUAL and not _JSON.match(content_type):
        raise UnsupportedMediaType(
            "this route takes JSON in UTF-8", hint="send `content-type: application/json`"
        )


async def read_body(request: web.BaseRequest, limit: int, seconds: float) -> bytes:
    """The whole body, as it was sent.

    Raises:
        BodyTooLarge: more than `limit` bytes. RequestTimeout: not whole after `seconds`.
        UnsupportedMediaType: it is compressed, by whatever header. ExpectationFailed. InvalidBody: its framing broke.
    """
    headers = request.headers
    if headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("a compressed body is not served", hint="send it as it is")
    if headers.get("transfer-encoding", "chunked").lower() != "chunked":
        # The parser would pass `gzip, chunked` on as it is, where another would decompress it.
        raise UnsupportedMediaType("the only transfer coding that is served is `chunked`")
    length = headers.get("content-length")
    if length is not None and int(length) > limit:  # the parser lets digits only through
        raise _too_large(limit)
    content = request.content
    if "expect" in headers:
        await _continue(request)
    if content.is_eof():  # the usual case: it came together with the head
        body = content.read_nowait()
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while chunk := await content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                parts.append(chunk)
    except TimeoutError as error:
        raise RequestTimeout("the body did not arrive in time") from error
    except web.RequestPayloadError as error:
        refusal = InvalidBody("the body's framing is broken")
        refusal.close = True
        raise refusal from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _continue(request: web.BaseRequest) -> None:
    """RFC 9110 10.1.1: the caller waits for our word before it sends the body."""
    if request.headers.get("expect", "").lower() != "100-continue":
        raise ExpectationFailed("the only expectation that is served is `100-continue`")
    if not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes")
