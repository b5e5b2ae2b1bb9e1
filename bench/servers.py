"""The servers that `relay.py` and `mcp.py` put side by side, each a process of its own that says when it serves.

A bench names its servers in a table of roles, starts each with `launch`, and in that process serves with
`run_role`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

THRESHOLDS = (20_000, 20, 50)  # as `authz/collector.py` sets them for the gateway
_DROPPED = {"host", "connection", "content-length", "transfer-encoding", "authorization"}

Roles = Mapping[str, Callable[[int, argparse.Namespace], Coroutine[Any, Any, None]]]


# --- starting and ending them ---------------------------------------------------------------------------


@dataclass
class Server:
    name: str
    port: int
    process: subprocess.Popen[bytes]

    def rss(self) -> int:
        """Resident memory in KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        return int(found[1]) if found else 0


def launch(module: str, role: str, name: str, loop: str, tuned: bool, **more: object) -> Server:
    """Starts a server and waits until it says that it is ready, with the pid that serves."""
    port = free_port()
    command = [sys.executable, "-m", module, "--role", role]
    command += ["--port", str(port), "--loop", loop]
    command += ["--tuned"] if tuned else []
    for key, value in more.items():
        command += [f"--{key}", str(value)]
    environment = {**os.environ, "GATEWARDEN_SECRET_BENCH": "sk-bench"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    line: list[bytes] = []
    while not line or line[0] != b"ready":  # the gateway logs before it is ready
        text = process.stdout.readline()
        if not text:
            break
        line = text.split()
    if line != [b"ready", str(process.pid).encode()]:
        raise SystemExit(f"{name} did not start")
    return Server(name, port, process)


def end(servers: Iterable[Server]) -> None:
    for server in servers:
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- inside such a process ------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser, roles: Roles) -> None:
    """What `launch` passes on; not for people."""
    parser.add_argument("--role", choices=roles, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--loop", default="asyncio", help=argparse.SUPPRESS)
    parser.add_argument("--upstream", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    parser.add_argument("--tuned", action="store_true", help=argparse.SUPPRESS)


def run_role(roles: Roles, options: argparse.Namespace) -> None:
    """Serves until the process is killed."""
    if options.loop == "uvloop":
        import uvloop

        uvloop.run(_serve(roles, options))
    else:
        asyncio.run(_serve(roles, options))


async def _serve(roles: Roles, options: argparse.Namespace) -> None:
    await roles[options.role](options.port, options)
    if options.tuned:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
    print("ready", os.getpid(), flush=True)
    await asyncio.Event().wait()


_held = contextlib.AsyncExitStack()


async def hold(running: AbstractAsyncContextManager[Any]) -> None:
    """Enters it and never leaves: it runs until the process is killed."""
    await _held.enter_async_context(running)


class Upstream(asyncio.Protocol):
    """An HTTP server that answers as fast as Python can."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop has a class of its own
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            found = re.search(rb"content-length: *(\d+)", head, re.I)
            total = end + 4 + (int(found[1]) if found else 0)
            if len(self.buffer) < total:
                return
            body, self.buffer = self.buffer[end + 4 : total], self.buffer[total:]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Writes the answer to one request, now or later."""
        raise NotImplementedError


async def serve_relay(port: int, path: str, url: str, **more: str) -> None:
    """The relay that one would write: no authentication, no policy, no record, no filter.

    What comes to `path` goes to `url`, with the headers `more`.
    """
    import aiohttp
    from aiohttp import web

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )

    async def relay(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _DROPPED} | more
        async with session.request(request.method, url, data=body, headers=headers) as answer:
            passed = {k: v for k, v in answer.headers.items() if k.lower() not in _DROPPED}
            if answer.content_type == "text/event-stream":
                response = web.StreamResponse(status=answer.status, headers=passed)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
            return web.Response(status=answer.status, body=await answer.read(), headers=passed)

    app = web.Application(client_max_size=32 << 20)
    app.router.add_route("*", path, relay)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
