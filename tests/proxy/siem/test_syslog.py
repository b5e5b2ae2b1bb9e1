"""Syslog as a server on loopback receives it: framing, severity, connections that break."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.siem.event import Event
from proxy.siem.sinks import SinkError
from proxy.siem.syslog import MOST_DATAGRAM, BadSyslogAddress, SyslogSink, message
from tests.peers.certificates import self_signed
from tests.peers.raw import raw_server

AT = 1_795_564_800_123_456  # 2026-11-25
LINE = b'{"seq":1,"text":"a\\nb"}'


def event(effect: str = "allow", kind: str = "decision", line: bytes = LINE) -> Event:
    return Event("i", AT, kind, effect, "", line)


class Server:
    """Takes octet-counted frames of TCP connections."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.connections = 0
        self.more = asyncio.Event()
        self.hang_up = False

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            length = int(await reader.readuntil(b" "))
            self.frames.append(await reader.readexactly(length))
            self.more.set()
            if self.hang_up:
                return

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.frames) < count:
                self.more.clear()
                await self.more.wait()


def test_a_message_is_rfc_5424_and_says_how_grave_it_is() -> None:
    raw = message(event(), "host", 7)
    assert raw == b"<110>1 2026-11-25T00:00:00.123456Z host gatewarden 7 decision - " + LINE
    assert message(event("deny"), "host", 7).startswith(b"<108>1 ")
    assert message(event("", "change"), "host", 7).startswith(b"<109>1 ")
    assert message(event("", "gap"), "host", 7).startswith(b"<108>1 ")


async def test_events_arrive_over_tcp_one_frame_each_on_one_connection() -> None:
    server = Server()
    async with raw_server(server.play) as port:
        sink = SyslogSink(f"tcp://127.0.0.1:{port}", host="h")
        await sink.send([event(), event("deny")])
        await sink.send([event()])
        await server.until(3)
        await sink.close()
    assert server.connections == 1 and all(frame.endswith(LINE) for frame in server.frames)


async def test_a_connection_that_the_server_closed_is_made_anew() -> None:
    server = Server()
    server.hang_up = True
    async with raw_server(server.play) as port:
        sink = SyslogSink(f"tcp://127.0.0.1:{port}")
        await sink.send([event()])
        await server.until(1)
        assert sink._streams is not None
        await sink._streams[0].read()  # until the end of it has come
        await sink.send([event()])
        await server.until(2)
        await sink.close()
    assert server.connections == 2


async def test_a_server_that_is_not_there_is_a_failure_of_the_sink() -> None:
    async with raw_server(Server().play) as port:
        pass
    with pytest.raises(SinkError):
        await SyslogSink(f"tcp://127.0.0.1:{port}").send([event()])


async def test_tls_is_checked_against_the_authorities_that_are_named(tmp_path: Path) -> None:
    server = Server()
    context = self_signed(tmp_path, "localhost")
    async with raw_server(server.play, tls=context) as port:
        trusted = SyslogSink(f"tls://localhost:{port}", ca=tmp_path / "localhost.pem")
        await trusted.send([event()])
        await server.until(1)
        await trusted.close()
        with pytest.raises(SinkError):
            await SyslogSink(f"tls://localhost:{port}").send([event()])
    assert len(server.frames) == 1


async def test_datagrams_hold_one_event_each_and_say_of_one_that_is_too_long() -> None:
    found: asyncio.Queue[bytes] = asyncio.Queue()

    class Taking(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            found.put_nowait(data)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Taking, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    long = b'{"x":"%b"}' % (b"y" * MOST_DATAGRAM)
    await SyslogSink(f"udp://127.0.0.1:{port}").send([event(), event(line=long)])
    async with asyncio.timeout(5):
        assert (await found.get()).endswith(LINE)
        assert b'"too_long"' in (await found.get())
    transport.close()


@pytest.mark.parametrize("url", ["", "host:514", "http://h:1", "tcp://", "tcp://h:1/path"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadSyslogAddress):
        SyslogSink(url)
