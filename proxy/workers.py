"""Several processes on one port: the supervisor, and how siblings show their metrics to each other.

`serve --workers N` starts N children that share the port (`SO_REUSEPORT`); the kernel spreads
connections over them. The supervisor serves nothing itself: it starts a child again when it dies, and
passes SIGTERM on. Each child answers a snapshot of its metrics on an abstract Unix socket, so that the
one which is scraped can sum them.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy import logs
from proxy.metrics import Snapshot

ASK_SECONDS = 1.0
RESTARTS_ALLOWED = 5  # of one child, within RESTART_WINDOW; more means that it cannot start at all
RESTART_WINDOW = 30.0


def socket_name(installation: str, slot: int) -> str:
    """The abstract socket of one worker (no file to clean up, no path limit to hit)."""
    return f"\0gatewarden/{installation}/{slot}"


def reserve_port(host: str, port: int) -> tuple[socket.socket, int]:
    """Hold `port` (0 = any) without listening, so that children can share it; (socket, number).

    Raises:
        OSError: somebody listens there already, whether or not he would share.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if port:
        # Two installations on one shared port would each get some of the requests: ask without sharing.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        held.bind((host, port))
    except OSError:
        held.close()
        raise
    return held, held.getsockname()[1]


async def offer_snapshot(name: str, snapshot: Callable[[], Snapshot]) -> asyncio.Server:
    """Answer each connection on `name` with this process's snapshot."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(snapshot()).encode())
        writer.write_eof()
        await writer.drain()
        writer.close()

    # Bound here and not by the loop: uvloop cuts an abstract name at its leading NUL.
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(name)
    return await asyncio.start_unix_server(answer, sock=listening)


async def sibling_snapshots(installation: str, workers: int, own_slot: int) -> list[Snapshot]:
    """What the other workers count; one that does not answer within a second is left out."""

    loop = asyncio.get_running_loop()

    async def ask(slot: int) -> Snapshot | None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.setblocking(False)
            parts: list[bytes] = []
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await loop.sock_connect(asking, socket_name(installation, slot))
                    while part := await loop.sock_recv(asking, 1 << 16):
                        parts.append(part)
                found: Snapshot = json.loads(b"".join(parts))
                return found
            except (OSError, TimeoutError, ValueError):
                return None

    answers = await asyncio.gather(*(ask(s) for s in range(workers) if s != own_slot))
    return [answer for answer in answers if answer is not None]


class Supervisor:
    """Keeps `workers` children running until SIGTERM or SIGINT."""

    def __init__(
        self,
        arguments: Sequence[str],
        environments: Sequence[Mapping[str, str]],
        *,
        drain_seconds: float,
    ) -> None:
        self._arguments = list(arguments)
        self._environments = environments
        self._drain = drain_seconds + 5
        self._stopping = asyncio.Event()
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._log: Any = logs.get("supervisor")
        self.failed = False

    async def run(self) -> int:
        """Run until told to stop; the exit code (1 when a child could not be kept alive)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        async with asyncio.TaskGroup() as group:
            for slot in range(len(self._environments)):
                group.create_task(self._keep(slot))
            group.create_task(self._pass_on())
        return 1 if self.failed else 0

    async def _keep(self, slot: int) -> None:
        loop = asyncio.get_running_loop()
        starts: list[float] = []
        while not self._stopping.is_set():
            starts = [t for t in starts if loop.time() - t < RESTART_WINDOW]
            if len(starts) > RESTARTS_ALLOWED:
                self._log.error("a worker does not stay alive", slot=slot)
                self.failed = True
                self._stopping.set()
                return
            starts.append(loop.time())
            child = await asyncio.create_subprocess_exec(
                sys.executable, *self._arguments, env=dict(self._environments[slot])
            )
            self._children[slot] = child
            if self._stopping.is_set():
                child.terminate()
            code = await child.wait()
            if not self._stopping.is_set():
                self._log.error("a worker died and is started again", slot=slot, code=code)

    async def _pass_on(self) -> None:
        await self._stopping.wait()
        for child in self._children.values():
            if child.returncode is None:
                child.terminate()
        try:
            async with asyncio.timeout(self._drain):
                await asyncio.gather(*(child.wait() for child in self._children.values()))
        except TimeoutError:
            for child in self._children.values():
                if child.returncode is None:
                    child.kill()
