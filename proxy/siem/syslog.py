"""Syslog, RFC 5424, over UDP (RFC 5426), TCP (RFC 6587, octet counting) or TLS (RFC 5425).

No syslog transport acknowledges: over TCP and TLS what was on its way when a connection broke may be lost, over
UDP anything may. Who needs every event takes `http`, `otlp` or `file`. The address is a setting of the host, so
that it may be internal; nothing that a document says reaches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from authz.errors import GatewardenError
from proxy.siem.event import CHANGE, Event
from proxy.siem.sinks import SinkError

FACILITY: Final = 13  # log audit
PORTS: Final = {"udp": 514, "tcp": 601, "tls": 6514}
SECONDS: Final = 10.0  # for a connection, and for a batch
MOST_DATAGRAM: Final = 60_000
_WARNING, _NOTICE, _INFO = 4, 5, 6


class BadSyslogAddress(GatewardenError):
    """The address of the syslog server is not one."""

    code = "invalid_settings"


def message(event: Event, host: str, process: int) -> bytes:
    """The event as a syslog message."""
    severity = _WARNING if event.severe else _NOTICE if event.type == CHANGE else _INFO
    stamp = datetime.fromtimestamp(event.at / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    head = f"<{FACILITY * 8 + severity}>1 {stamp} {host} gatewarden {process} {event.type[:32] or '-'} - "
    return head.encode("ascii", "replace") + event.line


class SyslogSink:
    """One server. A connection is kept, and made anew after a failure."""

    def __init__(self, url: str, *, ca: Path | None = None, host: str | None = None) -> None:
        """`url` is `udp://host:port`, `tcp://…` or `tls://…`; `ca` holds the authorities to trust.

        Raises:
            BadSyslogAddress. OSError: `ca` cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/"):
            raise BadSyslogAddress(
                f"`{url[:120]}` is not the address of a syslog server",
                hint="write udp://host:514, tcp://host:601 or tls://host:6514",
            )
        self._scheme = parts.scheme
        self._to = (parts.hostname, parts.port or PORTS[parts.scheme])
        self._tls = ssl.create_default_context(cafile=ca) if parts.scheme == "tls" else None
        self._host = (host or socket.gethostname()).encode("ascii", "replace").decode() or "-"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, events: Sequence[Event]) -> None:
        process = os.getpid()
        messages = [message(event, self._host, process) for event in events]
        try:
            async with asyncio.timeout(SECONDS):
                if self._scheme == "udp":
                    await self._datagrams(events, messages)
                else:
                    await self._stream(messages)
        except (OSError, TimeoutError, ssl.SSLError) as error:
            await self.close()
            raise SinkError("the syslog server cannot be reached") from error

    async def _stream(self, messages: Sequence[bytes]) -> None:
        if self._streams is not None and self._streams[0].at_eof():
            await self.close()  # the other side has hung up meanwhile
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._to, ssl=self._tls)
        writer = self._streams[1]
        for one in messages:
            writer.write(b"%d %b" % (len(one), one))
        await writer.drain()

    async def _datagrams(self, events: Sequence[Event], messages: Sequence[bytes]) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=self._to
        )
        try:
            for event, one in zip(events, messages, strict=True):
                if len(one) > MOST_DATAGRAM:  # it would not leave at all
                    short = b'{"id":"%b","too_long":%d}' % (event.id.encode(), len(event.line))
                    one = one[: -len(event.line)] + short
                transport.sendto(one)
        finally:
            transport.close()

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(1):
                    await streams[1].wait_closed()
