"""One connection, fed by hand: however an answer is cut, and whatever follows it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire import BrokenBody, Connection, Limits

ANSWERS = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    (b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", b""),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
    (b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
    # a body that looks like the end of a head, and like an answer
    (b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n\r\n\r\n\n\n\r\n", b"\r\n\r\n\n\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n\r\n"),
    (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    (b"HTTP/1.1 200 OK\nContent-Length: 5\n\r\nhello", b"hello"),
]  # fmt: skip


class Transport(asyncio.Transport):
    """A transport that only knows whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.unsent = 0

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.closed = True


def made() -> tuple[Connection, Transport]:
    connection, transport = Connection(asyncio.get_running_loop(), Limits()), Transport()
    connection.connection_made(transport)
    return connection, transport


def feed(connection: Connection, data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            connection.data_received(data[start:end])


@given(
    picks=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
@settings(max_examples=200, deadline=None)
async def test_answers_are_read_one_after_the_other_however_they_are_cut(
    picks: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    connection, _ = made()
    for said, body in picks:
        waiter = connection.begin(0.0, 1.0, 1.0)
        feed(connection, said, cuts)
        assert waiter.done()
        assert await connection.body.read() == body
        if not connection.reusable():
            assert cuts or b"103" in said or b"\n" in said.replace(b"\r\n", b"")
            connection, _ = made()
        else:
            connection.rest()


@given(
    pick=st.sampled_from(ANSWERS),
    surplus=st.one_of(
        st.binary(min_size=1, max_size=30),
        st.builds(lambda answer, n: answer[0][: n + 1], st.sampled_from(ANSWERS), st.integers(0, 99)),
    ),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    taken=st.booleans(),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
async def test_a_connection_with_surplus_bytes_is_never_used_again(
    pick: tuple[bytes, bytes], surplus: bytes, cuts: list[int], taken: bool
) -> None:
    connection, transport = made()
    waiter = connection.begin(0.0, 1.0, 1.0)
    if taken:  # the surplus comes after the connection went to rest
        feed(connection, pick[0], cuts)
        await connection.body.read()
        if not connection.reusable():
            return
        connection.rest()
        feed(connection, surplus, cuts)
        assert transport.closed and not connection.alive(0.0)
        return
    feed(connection, pick[0] + surplus, cuts)
    if waiter.done() and waiter.exception() is not None:
        assert transport.closed
        return
    with contextlib.suppress(BrokenBody):
        assert await connection.body.read() == pick[1]
    assert not connection.reusable()


async def test_the_reader_asks_of_its_protocol_what_we_give() -> None:
    # Semi-private: aiohttp's parser hands us to its StreamReader (docs/adr/0006). A release that asks
    # for more fails here or in tests/proxy/both_loops.
    connection, _ = made()
    connection.begin(0.0, 1.0, 1.0)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n")
    while not connection.reading_paused:
        connection.data_received(bytes(100_000))
    assert connection.body.total_bytes < 400_000
    assert len(await connection.body.readany()) == connection.body.total_bytes
    assert not cast(bool, connection.reading_paused)


@pytest.mark.parametrize("framing", ["length", "chunks", "tiny chunks", "until the end"])
@pytest.mark.parametrize("closed", [False, True])
async def test_what_the_parser_held_back_is_read_though_nothing_more_comes(
    framing: str, closed: bool
) -> None:
    body = bytes(range(256)) * 8000
    pieces = [body[start : start + 1_000] for start in range(0, len(body), 1_000)]
    if framing == "tiny chunks":
        body = body[:20_000]
        pieces = [body[start : start + 1] for start in range(len(body))]
    head = {"length": b"Content-Length: %d\r\n\r\n" % len(body), "until the end": b"\r\n"}.get(
        framing, b"Transfer-Encoding: chunked\r\n\r\n"
    )
    if "chunk" in framing:
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        framed += b"0\r\n\r\n"
    else:
        framed = body
    said = b"HTTP/1.1 200 OK\r\n" + head + framed
    connection, transport = made()
    connection.begin(0.0, 1.0, 1.0)
    for start in range(0, len(said), 900_000):
        connection.data_received(said[start : start + 900_000])
    assert connection.reading_paused
    if closed:
        connection.connection_lost(None)
    elif framing == "until the end":
        return
    got = b""
    while chunk := await connection.body.readany():
        got += chunk
    assert got == body
    assert connection.reusable() is (not closed) and transport.closed is False


async def test_a_head_with_odd_line_ends_cannot_hide_the_start_of_another_answer() -> None:
    # Read as a head that ends with the blank line inside the body, the length would fit.
    connection, _ = made()
    connection.begin(0.0, 1.0, 1.0)
    connection.data_received(b"HTTP/1.1 200 OK\nContent-Length: 5\n\n\n\r\n12HTT")
    assert await connection.body.read() == b"\n\r\n12"
    assert not connection.reusable()


async def test_a_pause_between_two_chunks_that_ended_before_the_next_holds_nothing_back() -> None:
    # The parser remembers to pause, and does so in the next chunk although the reader has room again.
    connection, _ = made()
    connection.begin(0.0, 1.0, 1.0)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not connection.reading_paused:
        connection.data_received(b"1\r\nx\r\n")
    await connection.body.readany()
    assert not connection.reading_paused
    connection.data_received(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert await connection.body.read() == b"ab"
    assert connection.reusable()


async def test_a_connection_that_was_answered_before_all_was_sent_is_not_used_again() -> None:
    connection, transport = made()
    connection.begin(0.0, 1.0, 1.0)
    connection.data_received(ANSWERS[0][0])
    await connection.body.read()
    assert connection.reusable()
    transport.unsent = 1
    assert not connection.reusable()
