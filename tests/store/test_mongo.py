"""MongoDB: the log is first, and whoever comes next does what a process that ended left undone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from change_kit import ANN, NOW, Asker, account, put, team, user
from pymongo import MongoClient

from authz.conditions import Context
from policies.change import Person
from policies.loader import shipped
from store import mongo_effects, mongo_layout
from store.changes import ChangeLog
from store.errors import HeadMoved, LogDamaged, StoreTooNew, StoreUnavailable, UnsupportedStore
from store.mongo import MongoStore
from store.opening import entries_of, holds_data, stores
from store.port import Batch, Head, RawDocument, RawEntry, RawSecret
from store.schema import SCHEMA
from store.sealed import Sealer
from tests.peers import mongod
from tests.peers.certificates import self_signed

KEY = bytes(range(32))
MODEL = (Path(__file__).parents[2] / "conf" / "model.conf").read_text()
STEPS = ("entry", "documents", "rows", "mentions", "people", "secrets")


class Killed(Exception):
    """Stands for the end of the process."""


def at(step: str) -> Callable[[str], None]:
    def fault(found: str) -> None:
        if found == step:
            raise Killed(step)

    return fault


def batch(epoch: int, **fields: Any) -> Batch:
    raw = RawEntry(epoch, f"hash{epoch}", f"{epoch}".encode())
    return Batch(raw, digest=f"{epoch:064x}", **fields)


def head(epoch: int) -> Head:
    return Head(epoch, f"hash{epoch}", f"{epoch:064x}") if epoch else Head()


TEAM = RawDocument("team", "s", 1, "manual", 1, b"{}")
SECRET = RawSecret("id", "provider-account", "acme", "auth_data.api_key", b"sealed")
FULL: dict[str, Any] = {
    "documents": (TEAM,),
    "rows_added": ("a", "b"),
    "mentioned": (("t", TEAM.key),),
    "asserted": (("a", TEAM.key),),
    "people": (Person("u-1", ANN),),
    "secrets": (SECRET,),
}


@asynccontextmanager
async def opened(uri: str, **how: Any) -> AsyncIterator[MongoStore]:
    store = MongoStore(uri, **how)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def assert_full(store: MongoStore) -> None:
    """All that follows from `FULL` is there."""
    assert await store.documents([TEAM.key]) == [TEAM]
    assert await store.dependents(["t"]) == [("t", TEAM.key)]
    assert await store.assertions(["a"]) == [("a", TEAM.key)]
    assert await store.people_by_email([ANN]) == [Person("u-1", ANN)]
    assert await store.secret("id") == SECRET
    async with store.snapshot() as snapshot:
        assert await snapshot.rows(set) == {"a", "b"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("large", [False, True], ids=["", "large"])
async def test_a_commit_whose_process_ended_is_completed_by_the_next(
    mongo_uri: str, step: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(mongo_layout, "LARGE", 64)
    async with opened(mongo_uri, fault=at(step)) as one, opened(mongo_uri) as two:
        with pytest.raises(Killed):
            await one.commit(Head(), [batch(1, **FULL)])
        assert await two.head() == head(1)
        await assert_full(two)
        await two.commit(head(1), [batch(2)])
        await assert_full(one)


async def test_what_may_have_to_be_forgotten_does_not_stay_in_the_log(mongo_uri: str) -> None:
    async with opened(mongo_uri) as store:
        await store.commit(Head(), [batch(1, **FULL)])
        assert await store.erase_person("u-1")
        await store.commit(head(1), [batch(2, secrets_ended=("id",))])
    with MongoClient(mongo_uri) as client:
        database = client.get_default_database()
        kept = [
            str(one) for name in database.list_collection_names() for one in database[name].find()
        ]
    assert not [text for text in kept if ANN in text or "sealed" in text]
    assert [text for text in kept if "hash1" in text]


async def test_a_writer_who_was_paused_brings_nothing_back(mongo_uri: str) -> None:
    first = batch(1, **FULL)
    ended = batch(
        2,
        deleted=(TEAM.key,),
        rows_removed=("a", "b"),
        unmentioned=(("t", TEAM.key),),
        unasserted=(("a", TEAM.key),),
        left=("u-1",),
        people=(Person("u-2", ANN),),
        secrets_ended=("id",),
    )
    async with opened(mongo_uri) as store:
        await store.commit(Head(), [first])
        await store.commit(head(1), [ended])
        await store.erase_person("u-1")
        await store.commit(head(2), [batch(3, rows_added=("b",))])
        db = store.opened().db
        for late in (first, ended, first):
            await asyncio.to_thread(mongo_effects.materialise, db, late)
        assert await store.documents([TEAM.key]) == []
        assert await store.dependents(["t"]) == await store.assertions(["a"]) == []
        assert await store.people(["u-1"]) == []
        assert [p.id for p in await store.people_by_email([ANN])] == ["u-2"]
        assert await store.secret("id") is None
        async with store.snapshot() as snapshot:
            assert await snapshot.rows(sorted) == ["b"]
            assert await snapshot.ended() == [TEAM.key]
        assert await store.rows_at(1, sorted) == ["a", "b"]
        assert await store.rows_at(2, sorted) == []


async def test_a_large_commit_lies_in_chunks_and_reads_as_any(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_layout, "LARGE", 1000)
    bodies = [os.urandom(n) for n in (5000, 10, 2500)]
    entries = [RawEntry(n, f"hash{n}", body) for n, body in enumerate(bodies, 1)]
    wanted = [replace(batch(e.epoch, **(FULL if e.epoch == 1 else {})), entry=e) for e in entries]
    async with opened(mongo_uri) as store:
        await store.commit(Head(), wanted)
        assert await store.entries(0, 9) == entries
        assert await store.entries(1, 1) == entries[1:2]
        await assert_full(store)
        db = store.opened().db
        left = await asyncio.to_thread(lambda: db.chunks.distinct("part"))
        assert sorted(left) == ["1", "2", "3"]
        with pytest.raises(HeadMoved):
            await store.commit(Head(), wanted)
    assert await asyncio.to_thread(list, entries_of(mongo_uri)) == [
        (e.epoch, e.hash, e.body) for e in entries
    ]
    assert holds_data(mongo_uri)


async def test_chunks_of_a_commit_that_never_was_are_swept_when_they_are_old(
    mongo_uri: str,
) -> None:
    async with opened(mongo_uri) as store:
        db = store.opened().db
        ages = {"old": timedelta(days=2), "new": timedelta(0)}
        for token, age in ages.items():
            made = {"_id": f"{token}/1/0", "token": token, "at": datetime.now(UTC) - age}
            await asyncio.to_thread(db.chunks.insert_one, made)
    async with opened(mongo_uri) as store:
        db = store.opened().db
        assert await asyncio.to_thread(lambda: db.chunks.distinct("token")) == ["new"]


async def test_many_writers_make_one_chain(mongo_uri: str) -> None:
    async def write(store: MongoStore, mark: str, count: int) -> None:
        while count:
            found = await store.head()
            n = found.epoch + 1
            made = batch(n, rows_added=(f"{mark}{count}",), documents=(replace(TEAM, version=n),))
            try:
                await store.commit(found, [made])
            except HeadMoved:
                continue
            count -= 1

    async with opened(mongo_uri) as one, opened(mongo_uri) as two, opened(mongo_uri) as three:
        writers = {"a": one, "b": two, "c": three}
        await asyncio.gather(*(write(store, mark, 6) for mark, store in writers.items()))
        assert [e.epoch for e in await one.entries(0, 99)] == list(range(1, 19))
        async with two.snapshot() as snapshot:
            assert snapshot.head.epoch == 18
            assert len(await snapshot.rows(set)) == 18
        assert [d.version for d in await three.documents([TEAM.key])] == [18]


async def test_a_store_of_a_newer_version_is_refused(mongo_uri: str) -> None:
    async with opened(mongo_uri) as store:
        db = store.opened().db
        newer = {"$set": {"value": SCHEMA + 1}}
        await asyncio.to_thread(db.meta.update_one, {"_id": "schema"}, newer)
    store = MongoStore(mongo_uri)
    with pytest.raises(StoreTooNew):
        await store.open()
    await store.close()


def change_log(uri: str, **fields: Any) -> ChangeLog:
    store, _ = stores(uri)
    given: dict[str, Any] = {"model_text": MODEL, "shipped": shipped(), "sealer": Sealer(KEY)}
    return ChangeLog(store, clock=lambda: NOW, **given, **fields)


async def test_rows_that_do_not_match_the_log_are_rebuilt_with_an_alarm(mongo_uri: str) -> None:
    log = change_log(mongo_uri)
    await log.start()
    await log.commit(put(user(ANN), team("s", ANN)), None, NOW)
    digest = log.engine.digest
    await log.close()
    with MongoClient(mongo_uri) as client:
        rows = client.get_default_database().rows
        rows.insert_one(mongo_layout.of_row('["g","user:eve","role:tenant-admin"]', 1))
        assert rows.delete_one({"to": None, "from": 2}).deleted_count
    alarms: list[str] = []
    for expected in (1, 0):  # once: then they are as the log says
        alarms.clear()
        again = change_log(mongo_uri, alarm=alarms.append)
        await again.start()
        assert again.engine.digest == digest and len(alarms) == expected, alarms
        await again.close()


async def test_a_log_that_was_changed_does_not_start(mongo_uri: str) -> None:
    log = change_log(mongo_uri)
    await log.start()
    await log.commit(put(team("s")), None, NOW)
    await log.close()
    with MongoClient(mongo_uri) as client:
        entries = client.get_default_database().entries
        entries.update_one({"_id": 1}, {"$set": {"entries.0.body": b"{}"}})
        client.get_default_database().rows.delete_many({})  # so that the log is read
    again = change_log(mongo_uri)
    with pytest.raises(LogDamaged):
        await again.start()
    await again.close()


async def test_a_change_log_holds_here_elsewhere_and_after_a_restart(mongo_uri: str) -> None:
    def log() -> ChangeLog:
        return change_log(mongo_uri)

    async def use(log: ChangeLog) -> bool:
        person = await log.person_by_email(ANN)
        assert person is not None
        asker = Asker(f"user:{person.id}")
        return bool(log.engine.decide(asker, "model:use", "model:acme/mini", Context()))

    one, two = log(), log()
    await asyncio.gather(one.start(), two.start())
    await one.commit(
        put(user(ANN), team("s", ANN), account("acme", "team:s=provider-account-access")), None, NOW
    )
    await two.poll()
    assert await use(one) and await use(two)
    # `one` has not polled: what it does not touch is no conflict.
    await two.commit(put(team("t")), None, NOW)
    await one.commit(put(team("s")), None, NOW)
    await two.poll()
    assert not await use(one) and not await use(two)
    assert one.engine.digest == two.engine.digest
    await asyncio.gather(one.close(), two.close())
    again = log()
    await again.start()
    assert (again.head, again.engine.digest) == (one.head, one.engine.digest)
    await again.close()


# --- servers ----------------------------------------------------------------------------------------


async def refused(uri: str) -> StoreUnavailable:
    store = MongoStore(uri)
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    await store.close()
    return caught.value


async def test_a_server_that_is_no_replica_set_is_refused_with_a_hint(tmp_path: Path) -> None:
    mongod.require()
    server = mongod.start(tmp_path, replica_set=None)
    try:
        await asyncio.to_thread(mongod.wait, server)
        error = await refused(f"mongodb://{server.address}/x")
    finally:
        server.stop()
    assert "replica set" in str(error) and "--replSet" in (error.hint or "")


async def test_a_server_that_was_away_is_used_again_when_it_is_back(tmp_path: Path) -> None:
    mongod.require()
    server = mongod.start(tmp_path)
    try:
        await asyncio.to_thread(mongod.initiate, server)
        async with opened(f"mongodb://{server.address}/x") as store:
            await store.commit(Head(), [batch(1, **FULL)])
            server.process.kill()
            server.process.wait()
            with pytest.raises(StoreUnavailable):
                await store.changed()
            started = asyncio.get_running_loop().time()
            with pytest.raises(StoreUnavailable):
                await store.commit(head(1), [batch(2)])
            # Now it is known that nobody is there, which takes three seconds to find again.
            assert asyncio.get_running_loop().time() - started < 4.5
            server = mongod.start(tmp_path, port=server.port)
            await asyncio.to_thread(mongod.initiate, server)
            async with asyncio.timeout(20):
                while True:
                    try:
                        await store.commit(head(1), [batch(2, rows_added=("c",))])
                        break
                    except StoreUnavailable:
                        continue
            assert await store.rows_at(2, sorted) == ["a", "b", "c"]
    finally:
        server.stop()


async def test_nobody_there_and_a_wrong_uri_say_so_without_the_password() -> None:
    port = mongod.free_port()
    for uri in (
        f"mongodb://app:pass-canary@127.0.0.1:{port}/x",
        "mongodb://app:pass-canary@@127.0.0.1/x",
        "mongodb://app:pass-canary@127.0.0.1:no/x",
    ):
        error: BaseException | None = await refused(uri)
        assert "pass-canary" not in repr(MongoStore(uri))
        while error is not None:
            assert "pass-canary" not in f"{error} {error!r} {vars(error)}"
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_another_kind_of_url_is_refused_without_repeating_it() -> None:
    for url in ("postgres://app:pass-canary@host/x", "gatewarden.db", ""):
        with pytest.raises(UnsupportedStore) as caught:
            stores(url)
        assert "pass-canary" not in str(caught.value) and "mongodb://" in (caught.value.hint or "")


async def test_users_tls_and_the_name_of_the_set_come_with_the_uri(tmp_path: Path) -> None:
    mongod.require()
    self_signed(tmp_path, "localhost")
    pem = str(tmp_path / "localhost.pem")
    secret = tmp_path / "keyfile"
    secret.write_text("k" * 64)
    secret.chmod(0o600)
    server = mongod.start(
        tmp_path, "--auth", "--keyFile", str(secret), "--tlsMode", "requireTLS",
        "--tlsCertificateKeyFile", pem, "--tlsCAFile", pem,
        "--tlsAllowConnectionsWithoutCertificates",
    )  # fmt: skip
    trust = {"tls": True, "tlsCAFile": pem}
    try:
        await asyncio.to_thread(mongod.initiate, server, name="localhost", **trust)

        def make_users() -> None:
            place, root = f"localhost:{server.port}", {"username": "root", "password": "root"}
            with MongoClient(place, directConnection=True, **trust) as client:
                # The first user may be made without any; then nobody is let in without one.
                client.admin.command("createUser", "root", pwd="root", roles=["root"])
            with MongoClient(place, directConnection=True, **root, **trust) as client:
                roles = [{"role": "readWrite", "db": "estate"}]
                client.admin.command("createUser", "app", pwd="pass:canary", roles=roles)

        await asyncio.to_thread(make_users)
        place = f"localhost:{server.port}/estate?replicaSet=rs0&authSource=admin&tls=true"
        uri = f"mongodb://app:pass%3Acanary@{place}&tlsCAFile={pem}"
        async with opened(uri) as store:
            await store.commit(Head(), [batch(1, **FULL)])
            await assert_full(store)
            assert store.opened().db.name == "estate"
        error = await refused(uri.replace("canary", "wrong"))
        assert "password" in str(error) and "wrong" not in str(error)
        await refused(uri.replace("replicaSet=rs0", "replicaSet=other"))
    finally:
        server.stop()
