"""MongoDB that is killed, stopped, cut off or replaced: no entry is lost or doubled, and all end alike."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from policies.change import Change
from store import mongo_client
from store.changes import ChangeLog
from store.errors import StoreError, StoreUnavailable
from store.rebuild import rebuild
from tests.faults.mongo_commit import change_log, joining
from tests.peers import mongod

HERE = Path(__file__).parent
# The steps of a commit at which a process may die; from `entry` on the commit was made.
STEPS = ("begun", "entry", "documents", "rows", "mentions", "people", "secrets", "written")


def now() -> datetime:
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def opened(*uris: str) -> AsyncIterator[list[ChangeLog]]:
    """A replica for each URI, started."""
    logs = [change_log(uri) for uri in uris]
    try:
        for log in logs:
            await log.start()
        yield logs
    finally:
        for log in logs:
            await log.close()


async def whole(log: ChangeLog) -> None:
    """The chain holds, and what is materialised is what it says."""
    head = await log._store.head()
    texts = await rebuild(log._store, head)
    async with log._store.snapshot() as snapshot:
        assert sorted(await snapshot.rows(list)) == texts
    assert log.head == head.epoch and log.engine.digest == head.digest


async def persistently(log: ChangeLog, change: Change, seconds: float) -> int:
    """Commits as a person does who tries again; the epoch."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return (await log.commit(change, None, now())).epoch
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise


@pytest.mark.parametrize("step", STEPS)
async def test_what_a_killed_process_left_undone_is_completed_by_another(
    mongo_uri: str, step: str
) -> None:
    async with opened(mongo_uri) as (survivor,):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "mongo_commit.py"),
            mongo_uri,
            step,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        )
        said, _ = await process.communicate()
        assert process.returncode == -signal.SIGKILL and b"survived" not in said
        before = int(said.split()[0])
        await survivor.poll()
        assert survivor.head == before + (step != "begun")
        await survivor.commit(joining(3), None, now())
        made = await survivor.person_by_email("p2@acme.com")
        assert (made is not None) == (step != "begun")
        await whole(survivor)
        async with opened(mongo_uri) as (late,):
            assert late.engine.digest == survivor.engine.digest
            # What a commit carries until it has followed is gone with it: it names people.
            headers = late._store.opened().db.entries.find({"effects": {"$exists": True}})
            assert list(headers) == []


async def test_fifty_writers_on_two_replicas_lose_and_double_nothing(mongo_uri: str) -> None:
    async with opened(mongo_uri, mongo_uri) as logs:
        start = logs[0].head
        made = await asyncio.gather(
            *(persistently(logs[number % 2], joining(number), seconds=60) for number in range(50))
        )
        assert sorted(made) == list(range(start + 1, start + 51))
        for log in logs:
            await log.poll()
            await whole(log)
        assert logs[0].engine.digest == logs[1].engine.digest


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[mongod.Mongod]:
    """A replica set of one that the test may hurt."""
    mongod.require()
    with mongod.replica_set(tmp_path / "mongod") as server:
        yield server


def uri_of(server: mongod.Mongod) -> str:
    return f"mongodb://{server.address}/gatewarden?replicaSet=rs0"


async def test_a_stopped_server_is_an_outage_and_not_an_answer(
    own_server: mongod.Mongod, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (
        "store.mongo_client",
        "store.mongo_layout",
        "store.mongo_effects",
        "store.mongo",
    ):
        for name in ("READ_SECONDS", "WRITE_SECONDS"):
            if hasattr(sys.modules[module], name):
                monkeypatch.setattr(f"{module}.{name}", 2.0)
    monkeypatch.setattr(mongo_client, "_SOCKET_MS", 2_000)
    async with opened(uri_of(own_server)) as (log,):
        await log.commit(joining(1), None, now())
        digest = log.engine.digest
        own_server.process.send_signal(signal.SIGSTOP)
        try:
            started = now()
            with pytest.raises(StoreError):
                await log.poll()
            with pytest.raises(StoreError):
                await log.commit(joining(2), None, now())
            assert log.engine.digest == digest  # decisions go on, on what is known
            assert log.age(now()) >= (now() - started).total_seconds() - 0.1
            # A minute of it, of which only the beginning is waited for: each poll fails as the first did.
            assert log.age(started + timedelta(minutes=1)) >= 60
            assert log.problem is None and log.doubt is None
        finally:
            own_server.process.send_signal(signal.SIGCONT)
        await persistently(log, joining(3), seconds=30)
        await log.poll()
        assert log.age(now()) < 5
        await whole(log)


async def test_a_killed_server_that_comes_back_has_all_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    mongod.require()
    folder = tmp_path / "mongod"
    server = mongod.start(folder)
    try:
        mongod.initiate(server)
        async with opened(uri_of(server)) as (log,):
            epochs = [(await log.commit(joining(n), None, now())).epoch for n in range(5)]
            server.process.kill()
            server.process.wait()
            with pytest.raises(StoreError):
                await log.poll()
            server = mongod.start(folder, port=server.port)
            epochs.append(await persistently(log, joining(9), seconds=60))
            assert epochs == sorted(set(epochs))
            assert [e.epoch for e in await log.entries(epochs[0] - 1, 5)] == epochs[:5]
            await log.poll()
            await whole(log)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def test_a_failover_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    mongod.require()
    servers = [mongod.start(tmp_path / f"m{n}") for n in range(3)]
    try:
        _initiate_three(servers)
        hosts = ",".join(server.address for server in servers)
        uri = f"mongodb://{hosts}/gatewarden?replicaSet=rs0"
        async with opened(uri, uri) as (one, two):
            acknowledged = {(await one.commit(joining(n), None, now())).epoch for n in range(5)}
            primary = _primary(servers)
            primary.process.kill()
            primary.process.wait()
            acknowledged.add(await persistently(two, joining(9), seconds=60))
            for log in (one, two):
                await _until_polled(log)
                await whole(log)
            assert acknowledged <= {e.epoch for e in await one.entries(0, 1000)}
            assert one.engine.digest == two.engine.digest
    finally:
        for server in servers:
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)


def _initiate_three(servers: list[mongod.Mongod]) -> None:
    members = [{"_id": n, "host": server.address} for n, server in enumerate(servers)]
    config = {"_id": "rs0", "members": members, "settings": {"electionTimeoutMillis": 1500}}
    deadline = time.monotonic() + mongod.START_SECONDS
    while True:
        try:
            with MongoClient(
                servers[0].address, directConnection=True, serverSelectionTimeoutMS=500
            ) as admin:
                if "setName" not in admin.admin.command("hello"):
                    admin.admin.command("replSetInitiate", config)
            _primary(servers)
            return
        except (PyMongoError, LookupError):
            if time.monotonic() > deadline:
                raise


def _primary(servers: list[mongod.Mongod]) -> mongod.Mongod:
    """Raises: LookupError, there is none now."""
    for server in servers:
        with (
            contextlib.suppress(PyMongoError),
            MongoClient(
                server.address, directConnection=True, serverSelectionTimeoutMS=500
            ) as admin,
        ):
            if admin.admin.command("hello").get("isWritablePrimary"):
                return server
    raise LookupError("no primary")


async def _until_polled(log: ChangeLog) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            await log.poll()
            return
        except StoreError:
            if time.monotonic() > deadline:
                raise


class Cut:
    """A way to the server that can be cut off: nothing is refused, nothing comes through."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.closed = False

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in list(self._writers):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers.add(back)
        with contextlib.suppress(ConnectionError):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back))
                group.create_task(self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if not self.closed:
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_a_replica_that_is_cut_off_says_how_old_it_is_and_catches_up(
    mongo_server: mongod.Shared, mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_client, "_SOCKET_MS", 1_500)
    monkeypatch.setattr("store.mongo_client.READ_SECONDS", 1.5)
    cut = Cut(int(mongo_server.address.rpartition(":")[2]))
    database = mongo_uri.partition("?")[0].rpartition("/")[2]
    async with cut.open() as port:
        through = f"mongodb://127.0.0.1:{port}/{database}?directConnection=true"
        async with opened(mongo_uri, through) as (whole_one, cut_off):
            await cut_off.poll()
            cut.closed = True
            started = now()
            entry = await whole_one.commit(joining(1), None, now())
            with pytest.raises(StoreError):
                await cut_off.poll()
            assert cut_off.head < entry.epoch
            assert cut_off.age(now()) >= (now() - started).total_seconds() - 0.1
            cut.closed = False
            await _until_polled(cut_off)
            assert cut_off.head == entry.epoch
            assert cut_off.engine.digest == whole_one.engine.digest
