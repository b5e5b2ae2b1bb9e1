"""Starts MCP servers as processes of their own, and waits until they answer."""

from __future__ import annotations

import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.mcp import node
from tests.peers.mcp.recording import Received, received
from tests.peers.mongod import free_port

START_SECONDS = 30
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs; `record` is where it writes down what it gets, if it does."""

    port: int
    record: Path | None = None

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/mcp"

    def received(self) -> list[Received]:
        """All requests so far."""
        return [] if self.record is None else received(self.record)

    def forget(self) -> None:
        """Starts the record anew."""
        if self.record is not None:
            self.record.write_text("")


@contextmanager
def everything(
    folder: Path,
    *,
    name: str = "everything",
    json_response: bool = False,
    token_seconds: int | None = None,
    port: int | None = None,
) -> Iterator[Server]:
    """Our own everything-server, which records below `folder`, as long as the block lasts.

    With `token_seconds` it asks for tokens of its own authorization server, which is at its origin.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    record = folder / f"{name}-{port}.jsonl"
    command = [sys.executable, "-m", "tests.peers.mcp.everything", "--port", str(port)]
    command += ["--record", str(record), "--name", name]
    command += ["--json"] if json_response else []
    command += ["--oauth", str(token_seconds)] if token_seconds is not None else []
    with _running(command, port, folder):
        yield Server(port, record)


@contextmanager
def server_everything() -> Iterator[Server]:
    """The public `server-everything`: sessions only, no record."""
    port = free_port()
    command = node.command(f"{node.SCOPE}/server-everything/dist/index.js", "streamableHttp")
    with tempfile.TemporaryDirectory() as home, _running(command, port, Path(home)):
        yield Server(port)


@contextmanager
def _running(command: Sequence[str], port: int, home: Path) -> Iterator[None]:
    with (home / f"server-{port}.log").open("w+") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**node.environment(home), "PORT": str(port)},
        )
        try:
            _wait(process, port, log.name)
            yield
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: str) -> None:
    """Until it answers anything at all."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/nothing")
            connection.getresponse().read()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"did not start: {Path(log).read_text()}") from None
            time.sleep(0.05)
        finally:
            connection.close()
