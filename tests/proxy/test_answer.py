"""The checks over an answer, whichever body it has."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

import pytest

from proxy.answer import CheckedAnswer, upstream_error
from proxy.guard import ForbiddenAddress
from proxy.hygiene import HeaderFilter
from proxy.providers.base import (
    Headers,
    UpstreamInvalid,
    UpstreamRefusedByGuard,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.wire import BrokenBody, ConnectionBroken, NotHttp
from tests.peers.estate import upstream_of

UPSTREAM = upstream_of("echo")


class Said:
    """A body of given chunks."""

    def __init__(
        self, chunks: Iterable[bytes | Exception], headers: Headers | None = None, status: int = 200
    ) -> None:
        self.status = status
        self.raw_headers = list(headers or [])
        self._chunks = iter(chunks)

    def whole(self) -> bytes | None:
        return None

    async def next(self) -> bytes:
        chunk = next(self._chunks, b"")
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def close(self) -> None:
        pass


def checked(body: Said, limit: int) -> CheckedAnswer:
    return CheckedAnswer(UPSTREAM, body, HeaderFilter().incoming(body.raw_headers), limit)


def answer(*chunks: bytes | Exception, limit: int = 100, **headers: str) -> CheckedAnswer:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return checked(Said(chunks, named), limit)


async def test_a_body_is_read_whole_and_streamed_as_it_came() -> None:
    assert await answer(b"a", b"bc").read() == b"abc"
    assert await answer().read() == b""
    assert [chunk async for chunk in answer(b"a", b"bc").chunks()] == [b"a", b"bc"]


async def test_what_is_here_already_is_read_at_once_and_checked_all_the_same() -> None:
    class Here(Said):
        def whole(self) -> bytes | None:
            return b"abc"

    for length in ("2", "4"):
        with pytest.raises(UpstreamInvalid, match="another length"):
            await checked(Here([], [("content-length", length)]), 100).read()
    with pytest.raises(UpstreamInvalid, match="more than 2 bytes"):
        await checked(Here([]), 2).read()
    assert await checked(Here([], [("content-length", "3")]), 100).read() == b"abc"


@pytest.mark.parametrize("length", ["2", "4"])
async def test_a_length_that_is_not_kept_is_an_error(length: str) -> None:
    with pytest.raises(UpstreamInvalid, match="another length"):
        await answer(b"abc", content_length=length).read()
    with pytest.raises(UpstreamInvalid, match="another length"):
        [chunk async for chunk in answer(b"ab", b"c", content_length=length).chunks()]


async def test_a_kept_length_is_fine() -> None:
    assert await answer(b"ab", b"c", content_length="3").read() == b"abc"


async def test_more_than_the_limit_is_an_error_declared_or_not() -> None:
    with pytest.raises(UpstreamInvalid, match="more than 3 bytes"):
        await answer(b"ab", b"cd").read(limit=3)
    with pytest.raises(UpstreamInvalid, match="more than 3 bytes"):
        await answer(b"abcd", content_length="4").read(limit=3)
    with pytest.raises(UpstreamInvalid, match="more than 3 bytes"):
        answer(content_length="4", limit=3)
    with pytest.raises(UpstreamInvalid, match="more than 3 bytes"):
        [chunk async for chunk in answer(b"ab", b"cd", limit=3).chunks()]


@pytest.mark.parametrize("status", [100, 101, 199, 301, 302, 304, 307, 308, 600, 999])
def test_a_status_that_is_no_answer_is_an_error(status: int) -> None:
    with pytest.raises(UpstreamInvalid):
        checked(Said([], status=status), 100)


def test_a_compressed_answer_is_an_error() -> None:
    with pytest.raises(UpstreamInvalid, match="compressed"):
        answer(content_encoding="gzip")


def test_a_large_answer_is_streamed_whatever_its_type() -> None:
    big = str((1 << 20) + 1)
    headers = {"content_type": "application/json", "content_length": big}
    assert answer(limit=1 << 30, **headers).stream


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (TimeoutError(), UpstreamTimeout),
        (ConnectionBroken(), UpstreamUnreachable),
        (ConnectionResetError(), UpstreamUnreachable),
        (ssl.SSLCertVerificationError(), UpstreamUnreachable),
        (ssl.SSLError(), UpstreamUnreachable),
        (RuntimeError(), UpstreamUnreachable),
        (NotHttp(), UpstreamInvalid),
        (BrokenBody(), UpstreamInvalid),
        (ForbiddenAddress("x"), UpstreamRefusedByGuard),
        (ValueError("x"), UpstreamInvalid),
    ],
)
async def test_each_failure_has_its_type(raised: Exception, becomes: type[Exception]) -> None:
    assert type(upstream_error(UPSTREAM, raised)) is becomes
    if not isinstance(raised, ForbiddenAddress):
        with pytest.raises(becomes) as caught:
            await answer(b"a", raised).read()
        assert caught.value.__cause__ is raised
