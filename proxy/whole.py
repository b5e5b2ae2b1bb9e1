"""An answer that is there as a whole, sent in one write.

`web.Response` prepares for what such an answer never is: compressed, chunked, with cookies, a payload
object or a hook. Here the head is what it was given, and it leaves together with the body. What is out of
the ordinary (`fits` says so) still goes the general way.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

_BODILESS = frozenset({204, 205, 304})


class WholeAnswer(web.StreamResponse):
    """The answer to a request that it `fits`. The connection stays open after it."""

    def __init__(self, status: int, headers: CIMultiDict[str], body: bytes) -> None:
        super().__init__(status=status, headers=headers)
        self._whole = body

    @staticmethod
    def fits(request: web.BaseRequest, status: int) -> bool:
        """Whether the answer needs nothing but a head with a length, and the body."""
        return (
            request.version == HttpVersion11
            and request.keep_alive
            and request.method != "HEAD"
            and status >= 200
            and status not in _BODILESS
        )

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Sends it all. Raises: ConnectionError, the caller is gone."""
        writer, headers, body = request.writer, self.headers, self._whole
        headers["content-length"] = str(len(body))
        headers["date"] = _date(int(time.time()))
        # The writer refuses a header that would be two lines.
        await writer.write_headers(f"HTTP/1.1 {self.status} {self.reason}", headers)
        await writer.write_eof(body)
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""


@lru_cache(maxsize=2)
def _date(seconds: int) -> str:
    """RFC 9110 5.6.7."""
    return formatdate(seconds, usegmt=True)
