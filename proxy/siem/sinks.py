"""Where events go: the port, and the two places on this host, standard output and a file that rotates.

A sink takes a batch whole or raises; then the same batch comes again, so that it may hold events twice. The
others are `syslog.py` and `posting.py`. What blocks runs in a thread.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Protocol

from authz.errors import GatewardenError
from proxy.siem.event import Event
from store.checkpoints import append_after


class SinkError(GatewardenError):
    """The events could not be handed over; they are kept, and sent again."""

    code = "siem_failed"


class Sink(Protocol):
    """Takes events."""

    async def send(self, events: Sequence[Event]) -> None:
        """Returns once all of them are handed over. Raises: SinkError."""
        ...

    async def close(self) -> None: ...


def _joined(events: Sequence[Event]) -> bytes:
    return b"".join(event.line + b"\n" for event in events)


class StdoutSink:
    """JSON lines on standard output, for whoever collects what a container prints."""

    def __init__(self, out: BinaryIO | None = None) -> None:
        self._out = out

    async def send(self, events: Sequence[Event]) -> None:
        await asyncio.to_thread(self._write, _joined(events))

    def _write(self, raw: bytes) -> None:
        out = self._out or sys.stdout.buffer
        try:
            out.write(raw)
            out.flush()
        except (OSError, ValueError) as error:
            raise SinkError("standard output takes no events") from error

    async def close(self) -> None: ...


class FileSink:
    """JSON lines in a file; at `most` bytes it becomes `<name>.1`, and so on up to `keep` old ones."""

    def __init__(self, path: Path, *, most: int, keep: int) -> None:
        self._path = path
        self._most = most
        self._keep = keep

    async def send(self, events: Sequence[Event]) -> None:
        await asyncio.to_thread(self._write, _joined(events))

    def _write(self, raw: bytes) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            size = self._path.stat().st_size if self._path.exists() else 0
            if size and size + len(raw) > self._most:
                self._rotate()
            # Durable before the cursor moves on, and never after half a line.
            append_after(self._path, raw, sync=True)
        except OSError as error:
            raise SinkError(f"`{self._path}` takes no events: {error.strerror}") from error

    def _rotate(self) -> None:
        names = [self._path, *(self._numbered(n) for n in range(1, self._keep + 1))]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)
        if not self._keep:
            self._path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    async def close(self) -> None: ...
