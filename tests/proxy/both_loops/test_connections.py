"""The pool of connections, on both kinds of loop: reuse, deadlines, flow control, cancellation."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from proxy.connections import Connections, tls_context
from proxy.guard import Guard
from proxy.wire import BrokenBody, Connection, ConnectionBroken, Limits, NotHttp
from tests.peers.certificates import self_signed
from tests.peers.raw import Play, raw_server, read_request, saying

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BIG = 24 << 20  # more than all buffers of loopback sockets together


class Pool:
    """A pool and one place that it calls."""

    def __init__(
        self,
        port: int,
        limits: Limits,
        resolver: AbstractResolver,
        host: str,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.made = Connections(Guard.of(["127.0.0.1"]), resolver, limits, tls)
        scheme = "http" if tls is None else "https"
        self.target = self.made.target(URL(f"{scheme}://{host}:{port}/v1/x?y=z"))

    async def send(self, body: bytes = b"{}", seconds: float = 30.0) -> Connection:
        return await self.made.send(self.target, [("x-a", "b")], body, seconds)

    def release(self, connection: Connection) -> None:
        self.made.release(self.target, connection)

    async def fetch(self, body: bytes = b"{}", seconds: float = 30.0) -> bytes:
        connection = await self.send(body, seconds)
        try:
            return await connection.body.read()
        finally:
            self.release(connection)

    @property
    def idle(self) -> int:
        return len(self.target.origin.idle)


@asynccontextmanager
async def pool(
    play: Play,
    limits: Limits | None = None,
    resolver: AbstractResolver | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[Pool]:
    async with raw_server(play) as port, asyncio.timeout(30):
        found = Pool(port, limits or Limits(), resolver or aiohttp.ThreadedResolver(), host)
        try:
            yield found
        finally:
            await found.made.close()


class Loopback(AbstractResolver):
    """Every name is this machine."""

    asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        return [
            ResolveResult(
                hostname=host, host=at, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for at in ("127.0.0.2", "127.0.0.1")  # the first may not be dialled
        ]

    async def close(self) -> None:
        pass


class Counted:
    """A peer that counts its connections and gives each request the same answer."""

    def __init__(self, answer: bytes = OK) -> None:
        self.connections = 0
        self.heads: list[bytes] = []
        self.answer = answer

    async def __call__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.connections += 1
        while True:
            self.heads.append(await read_request(reader))
            writer.write(self.answer)


# --- what is sent --------------------------------------------------------------------------------------


async def test_a_request_is_written_as_it_should_be() -> None:
    peer = Counted()
    async with pool(peer) as p:
        await p.fetch(b"12345")
        port = p.target.origin.port
    assert peer.heads == [
        b"POST /v1/x?y=z HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nx-a: b\r\nContent-Length: 5\r\n\r\n"
        % port
    ]


@pytest.mark.parametrize("header", [("x", "a\r\nb: c"), ("x", "a\nb"), ("x", "a\rb"), ("x", "\0"),
                                    ("x\r\ny", "b"), ("x", "\udcff")])  # fmt: skip
async def test_a_header_that_is_no_line_is_never_written(header: tuple[str, str]) -> None:
    peer = Counted()
    async with pool(peer) as p:
        with pytest.raises(ValueError):
            await p.made.send(p.target, [header], b"", 30)
    assert peer.connections == 0


def test_the_host_header_names_the_port_only_where_it_must() -> None:
    async def start(url: str) -> str:
        made = Connections(Guard(), aiohttp.ThreadedResolver(), Limits(), None)
        found = made.target(URL(url)).start
        await made.close()
        return found

    for url, host in [
        ("https://a.example/", "a.example"),
        ("https://a.example:443/", "a.example"),
        ("http://a.example:443/", "a.example:443"),
        ("http://[2001:db8::1]:81/", "[2001:db8::1]:81"),
        ("https://b\u00fccher.example/", "xn--bcher-kva.example"),
    ]:
        assert f"\r\nHost: {host}\r\n" in asyncio.run(start(url))


async def test_a_long_body_reaches_a_slow_reader_whole_and_is_not_copied_ahead() -> None:
    body = bytes(range(256)) * (BIG // 256)
    go = asyncio.Event()
    got: list[bytes] = []

    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        got.append(await reader.readexactly(BIG))
        writer.write(OK)

    async with pool(play) as p, asyncio.TaskGroup() as group:
        task = group.create_task(p.fetch(body))
        connection = await busy(p)
        await until(lambda: connection._writable is not None)
        assert connection.transport is not None
        assert connection.transport.get_write_buffer_size() < 1 << 20
        go.set()
        assert await task == b"{}"
    assert got == [body]


async def test_a_refusal_that_comes_before_the_body_was_sent_is_the_answer() -> None:
    done = asyncio.Event()

    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
        await done.wait()  # reads nothing more, and does not close

    async with pool(play) as p:
        connection = await p.send(bytes(BIG))
        assert connection.message is not None and connection.message.code == 413
        assert await connection.body.read() == b"{}"
        p.release(connection)
        assert (p.idle == 0 and connection.transport is None) or connection.transport.is_closing()


# --- reuse ----------------------------------------------------------------------------------------------

KEPT = [
    OK,
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
]
NOT_KEPT = [
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    # where these end is not certain enough
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    # the start of an answer that nobody asked for
    OK + b"HTTP/1.1 200 OK\r\nX",
    OK + OK,
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\nHTTP/1.1 ",
    b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200",
]


@pytest.mark.parametrize("answer", KEPT)
async def test_a_connection_is_used_again(answer: bytes) -> None:
    peer = Counted(answer)
    async with pool(peer) as p:
        for _ in range(3):
            await p.fetch()
            assert p.idle == 1
    assert peer.connections == 1 and len(peer.heads) == 3


@pytest.mark.parametrize("answer", NOT_KEPT)
async def test_a_connection_that_may_hold_more_is_not_used_again(answer: bytes) -> None:
    peer = Counted(answer)
    async with pool(peer) as p:
        for _ in range(2):
            assert await p.fetch() in (b"{}", b"")
            assert p.idle == 0
    assert peer.connections == 2


@pytest.mark.parametrize("pieces", [1, 3, 7])
async def test_a_head_in_pieces_is_read_and_its_connection_kept(pieces: int) -> None:
    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            await read_request(reader)
            for start in range(0, len(OK), pieces):
                writer.write(OK[start : start + pieces])
                await asyncio.sleep(0)

    async with pool(play) as p:
        assert await p.fetch() == b"{}"
        assert p.idle == 1


async def test_an_unread_answer_is_not_kept() -> None:
    async with pool(Counted()) as p:
        p.release(await p.send())
        assert p.idle == 0


@pytest.mark.parametrize("how", ["closes", "speaks"])
async def test_an_idle_connection_whose_peer_ends_it_is_replaced(how: str) -> None:
    done = asyncio.Event()
    connections = 0

    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        writer.write(OK)
        if connections == 1:
            await done.wait()
            if how == "speaks":
                writer.write(b"HTTP/1.1 408 Timeout\r\nContent-Length: 3\r\n\r\nbad")
                await reader.read()

    async with pool(play) as p:
        assert await p.fetch() == b"{}"
        (idle,) = p.target.origin.idle
        done.set()
        await until(lambda: idle.tainted)
        assert await p.fetch() == b"{}"
    assert connections == 2


async def test_a_peer_that_closed_since_the_loop_last_looked_is_found_out_before_writing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(True)
        p = Pool(server.getsockname()[1], Limits(), aiohttp.ThreadedResolver(), "127.0.0.1")
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            task = group.create_task(p.fetch())
            await until(lambda: bool(p.made._busy))
            peer, _ = server.accept()
            peer.recv(1000)
            peer.sendall(OK)
            assert await task == b"{}"
            (idle,) = p.target.origin.idle
            peer.close()  # and the loop does not run before the next look
            assert idle.alive(idle.heard), "a connection in use a moment ago is not asked"
            assert not idle.alive(idle.heard + 1)
        await p.made.close()


async def test_a_request_that_was_written_is_never_written_again() -> None:
    heads: list[bytes] = []

    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        heads.append(await read_request(reader))
        writer.write(OK)
        heads.append(await read_request(reader))  # read, perhaps acted on, and closed

    async with pool(play) as p:
        assert await p.fetch() == b"{}"
        with pytest.raises(ConnectionBroken):
            await p.fetch()
    assert len(heads) == 2


async def test_idle_connections_are_closed_after_a_while() -> None:
    async with pool(Counted()) as p:
        await p.fetch()
        (idle,) = p.target.origin.idle
        idle.heard -= 100
        p.made._sweep()
        assert p.idle == 0 and p.made._sweeper is None
        assert idle.tainted


async def test_a_name_is_looked_up_once_for_many_connections_at_once() -> None:
    names = Loopback()
    peer = Counted()
    async with (
        pool(peer, resolver=names, host="a.example") as p,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(50):
            group.create_task(p.fetch())
    assert names.asked == 1 and len(peer.heads) == 50


async def test_two_hundred_calls_at_once_and_then_again() -> None:
    peer = Counted()
    async with pool(peer) as p:
        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(p.fetch(b"%d" % n)) for n in range(200)]
            assert all(task.result() == b"{}" for task in tasks)
            assert not p.made._busy
    assert peer.connections <= 200 and len(peer.heads) == 600


# --- answers -----------------------------------------------------------------------------------------------

READ = [
    (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
    (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
    (CHUNKED + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nX-T: v\r\n\r\n", b"abc"),
    (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + OK, b"{}"),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
]


@pytest.mark.parametrize(("said", "body"), READ)
async def test_every_framing_is_read(said: bytes, body: bytes) -> None:
    async with pool(saying(said)) as p:
        assert await p.fetch() == body


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", ConnectionBroken),
        (b"HTTP/1.1 200 OK\r\nCont", ConnectionBroken),
        (b"SSH-2.0-x\r\n", NotHttp),
        (b"HTTP/1.1 102 P\r\n\r\n" * 100, NotHttp),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", BrokenBody),
        (CHUNKED + b"2\r\n{}\r\n", BrokenBody),
        (CHUNKED + b"2\r\n{}xx", (BrokenBody, NotHttp)),
    ],
)
async def test_a_broken_answer_has_its_error(
    said: bytes, error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    async with pool(saying(said)) as p:
        with pytest.raises(error):
            await p.fetch()
        assert p.idle == 0 and not p.made._busy


async def test_a_reset_in_a_body_without_a_length_is_no_end_of_it() -> None:
    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of")
        await writer.drain()
        await reader.readexactly(1)  # until the first half has arrived
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with pool(play) as p:
        connection = await p.send()
        assert await connection.body.readany() == b"half of"
        assert connection.transport is not None
        connection.transport.write(b"x")
        with pytest.raises(BrokenBody):
            await connection.body.readany()
        p.release(connection)


@pytest.mark.parametrize("framing", ["length", "chunks", "tiny chunks", "until the end"])
async def test_a_slow_caller_holds_the_upstream_back_and_gets_every_byte(framing: str) -> None:
    sent = 0
    size = 400_000 if framing == "tiny chunks" else BIG
    head = {"length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size,
            "until the end": b"HTTP/1.1 200 OK\r\n\r\n"}.get(framing, CHUNKED)  # fmt: skip

    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(head)
        piece = b"x" if framing == "tiny chunks" else b"x" * 100_000
        framed = b"%x\r\n%b\r\n" % (len(piece), piece) if "chunk" in framing else piece
        many = 1000 if framing == "tiny chunks" else 1
        while sent < size:
            count = min(many, -(-(size - sent) // len(piece)))
            if framing in ("length", "until the end"):
                framed = piece[: size - sent]
            writer.write(framed * count)
            sent += min(len(piece) * count, size - sent)
            await writer.drain()
        if "chunk" in framing:
            writer.write(b"0\r\n\r\n")

    async with pool(play) as p:
        connection = await p.send()
        await until(lambda: connection.reading_paused)
        for _ in range(100):
            await asyncio.sleep(0)
        held = connection.body.total_bytes
        assert held < 1 << 20, "memory is bounded"
        assert framing == "tiny chunks" or sent < size
        got = 0
        while chunk := await connection.body.readany():
            got += len(chunk)
        if "chunk" in framing:
            assert got >= size
        else:
            assert got == size
        p.release(connection)


# --- time and leaving ------------------------------------------------------------------------------------------


async def silent(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read()


async def half(reader: StreamReader, writer: StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    await reader.read()


@pytest.mark.parametrize(
    ("play", "limits", "seconds"),
    [
        (silent, Limits(answer=0.02), 30.0),
        (silent, Limits(), 0.02),
        (half, Limits(idle=0.02), 30.0),
        (half, Limits(), 0.02),
    ],
)
async def test_each_deadline_ends_the_call_and_closes_the_connection(
    play: Play, limits: Limits, seconds: float
) -> None:
    async with pool(play, limits) as p:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await p.fetch(seconds=seconds)
        assert time.monotonic() - begun < 0.9, "a short deadline is not rounded up to a sweep"
        assert p.idle == 0 and not p.made._busy


async def test_a_peer_that_takes_no_more_of_a_long_body_is_a_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = asyncio.Event()

    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await done.wait()

    async with pool(play, Limits(answer=0.05)) as p:
        try:
            await p.fetch(bytes(BIG))
        except TimeoutError:
            done.set()
    assert done.is_set()
    gc.collect()
    assert caplog.records == [], "no future is left with an error that nobody read"


async def test_a_slow_caller_is_no_silence_of_the_upstream() -> None:
    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG + bytes(BIG))

    async with pool(play) as p:
        connection = await p.send()
        await until(lambda: connection.reading_paused)
        connection.heard -= 10_000
        p.made._sweep()
        assert len(await connection.body.read()) == BIG
        p.release(connection)


async def test_an_unreachable_address_ends_at_the_deadline_of_connecting() -> None:
    class Slow(AbstractResolver):
        async def resolve(self, host, port=0, family=0):  # type: ignore[no-untyped-def]
            await asyncio.Event().wait()

        async def close(self) -> None:
            pass

    async with pool(silent, Limits(connect=0.02), Slow(), "a.example") as p:
        with pytest.raises(TimeoutError):
            await p.fetch()


@pytest.mark.parametrize("size", [2, BIG])
async def test_cancelling_closes_the_connection(
    size: int, caplog: pytest.LogCaptureFixture
) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        try:
            while await reader.read(1 << 16):
                pass
        finally:
            gone.set()

    async with pool(play) as p, asyncio.TaskGroup() as group:
        task = group.create_task(p.fetch(bytes(size)))
        await asked.wait()
        task.cancel()
        await gone.wait()
        assert not p.made._busy and p.idle == 0
    gc.collect()
    assert caplog.records == []


async def test_cancelling_while_connecting_leaves_nothing_open() -> None:
    async with pool(Counted()) as p:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(p.fetch()) for _ in range(20)]
            for turns, task in enumerate(tasks):
                for _ in range(turns % 4):
                    await asyncio.sleep(0)
                task.cancel()
        assert not p.made._busy
        assert await p.fetch() == b"{}"


async def test_connections_are_freed_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        async with pool(saying(NOT_KEPT[0])) as p:
            for _ in range(20):
                await p.fetch()
        for _ in range(5):
            await asyncio.sleep(0)
        left = [thing for thing in gc.get_objects() if isinstance(thing, Connection)]
    finally:
        gc.enable()
    assert len(left) <= 1


async def test_closing_ends_what_waits() -> None:
    async def call(p: Pool) -> None:
        with pytest.raises(ConnectionBroken):
            await p.fetch()

    async with pool(silent) as p, asyncio.TaskGroup() as group:
        group.create_task(call(p))
        await busy(p)
        await p.made.close()
    assert p.made._sweeper is None


# --- TLS --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def tls_pool(
    play: Play, folder: Path, certificate: str, host: str, **server: ssl.TLSVersion
) -> AsyncIterator[Pool]:
    context = self_signed(folder, certificate)
    for name, value in server.items():
        setattr(context, name, value)
    trusting = tls_context()
    trusting.load_verify_locations(folder / f"{certificate}.pem")
    async with raw_server(play, tls=context) as port, asyncio.timeout(30):
        found = Pool(port, Limits(), Loopback(), host, trusting)
        try:
            yield found
        finally:
            await found.made.close()


async def test_a_tls_connection_is_used_again_and_carries_long_bodies(tmp_path: Path) -> None:
    peer = Counted(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n")
    async with tls_pool(peer, tmp_path, "a.example", "a.example") as p:
        assert await p.fetch() == b"{}"
        (idle,) = p.target.origin.idle
        assert idle.alive(idle.heard + 1), "what TLS itself says while idle is no surplus"
        assert await p.fetch(bytes(1 << 20)) == b"{}"
    assert peer.connections == 1


@pytest.mark.parametrize("certificate", ["b.example", "a.example.b.example"])
async def test_a_tls_peer_of_another_name_gets_no_request(tmp_path: Path, certificate: str) -> None:
    peer = Counted()
    async with tls_pool(peer, tmp_path, certificate, "a.example") as p:
        with pytest.raises(ssl.SSLCertVerificationError):
            await p.fetch()
    assert peer.heads == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_an_old_tls_is_refused(tmp_path: Path) -> None:
    old = {"minimum_version": ssl.TLSVersion.TLSv1_1, "maximum_version": ssl.TLSVersion.TLSv1_1}
    async with tls_pool(Counted(), tmp_path, "a.example", "a.example", **old) as p:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await p.fetch()


async def test_cancelling_closes_a_tls_connection(tmp_path: Path) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        try:
            await reader.read()
        finally:
            gone.set()

    async with (
        tls_pool(play, tmp_path, "a.example", "a.example") as p,
        asyncio.TaskGroup() as group,
    ):
        task = group.create_task(p.fetch())
        await asked.wait()
        task.cancel()
        await gone.wait()


async def busy(p: Pool) -> Connection:
    """The connection that is in use, once there is one."""
    await until(lambda: bool(p.made._busy))
    return next(iter(p.made._busy))


async def until(true: object) -> None:
    assert callable(true)
    while not true():
        await asyncio.sleep(0)
