"""The store is locked, damaged, gone or slow while it serves; parts fail. Numbers: docs/attacks.md 3.9 and 5.5.

What is ours is a 503 with `Retry-After`, never a 401 or a 403; what is known is served until it is too old;
and nothing needs a restart.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sqlite3
import sys
import threading
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import store.lane
import store.sqlite
from authz.engine import Engine
from authz.kleene import Reading
from conf.settings import load
from proxy import app, demo, installation
from proxy.host import Places
from proxy.runtime import Clock
from proxy.secrets import Secrets
from store.sqlite import SqliteStore
from tests.attacks.house import House, house_of
from tests.e2e.conftest import Demo
from tests.e2e.test_process import ROOT, environment
from tests.proxy.api.stack import stack_on
from tests.proxy.world import CHAT, World, pins_for, world

TEAM = {"type": "team", "name": "late", "members": []}


class Later:
    """A clock that a test moves on: the time of day, and more."""

    def __init__(self) -> None:
        self.more = timedelta()
        self._clock = Clock()

    def now(self) -> Any:
        return self._clock.now() + self.more


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.lane, "BUSY_MS", 100)
    monkeypatch.setattr(store.sqlite, "READ_SECONDS", 0.2)
    monkeypatch.setattr(store.sqlite, "WRITE_SECONDS", 0.4)
    monkeypatch.setattr("proxy.responses.SECONDS", 0.1)
    monkeypatch.setattr("proxy.chores.TICK_SECONDS", 0.05)


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
async def house(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, later: Later
) -> AsyncIterator[House]:
    """A demo gateway whose clock a test moves."""
    monkeypatch.setenv("GATEWARDEN_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("GATEWARDEN_PORT", "0")
    monkeypatch.setenv("GATEWARDEN_DEMO", "true")
    settings = load()
    keys = installation.keys_of(settings)
    await installation.bootstrap(settings, keys, Clock())
    async with app.running(settings, keys, clock=Clock(later.now)) as process:
        made = Demo(process, settings, demo.read(Places(settings.data).demo))
        async with house_of(made) as house:
            yield house


def file_of(house: House) -> Path:
    return house.demo.settings.data / "gatewarden.db"


async def serves(house: House) -> None:
    """Model requests are decided as ever: allowed, refused, and unknown."""
    assert (await house.chat()).status == 200
    assert (await house.chat("echo/secret")).status == 404
    assert (await house.chat(who="gw_pat_" + "a" * 16)).status == 401
    assert "echo/small" in await house.models()


async def refuses_changes(house: House) -> None:
    """A change says that the store does not answer, and that one may try again."""
    for method, path, body in (
        ("PUT", "/api/v1/teams/late", TEAM),
        ("PUT", "/api/v1/apply", {"manifest": TEAM}),
        ("POST", "/api/v1/personal-access-tokens/for-user", {"name": "laptop", "email": "bob@example.com"}),
    ):  # fmt: skip
        got = await house.call(method, path, body, who="operator")
        assert (got.status, got.code) == (503, "store_unavailable"), got.raw
        assert got.headers["retry-after"]


async def recovers(house: House) -> None:
    """Without a restart: changes are made, and hold."""
    async with asyncio.timeout(10):
        while (
            got := await house.call("PUT", "/api/v1/teams/late", TEAM, who="operator")
        ).status == 503:
            await asyncio.sleep(0.02)
    assert got.status in (200, 201), got.raw
    await serves(house)
    assert (await house.call("GET", "/readyz", who=None)).status == 200


async def ready(house: House) -> int:
    return (await house.call("GET", "/readyz", who=None)).status


async def becomes_old(house: House, later: Later) -> None:
    """Beyond `max_stale` everything that would be decided is a 503, in the words of who asks."""
    await asyncio.sleep(0)
    later.more += timedelta(seconds=601)
    for who in ("alice", "operator", None):
        chat = {"model": "echo/small", "messages": [], "max_tokens": 5}
        for path in ("/v1/chat/completions", "/v1/responses"):
            got = await house.call("POST", path, chat, who=who)
            assert (got.status, got.code) == (503, "policy_stale"), got.raw
            assert got.headers["retry-after"]
        got = await house.call("POST", "/v1/messages", chat, who=who)  # D7
        assert (got.status, got.json["type"]) == (503, "error")
        assert got.json["error"]["type"] in ("api_error", "overloaded_error")
        for path in ("/v1/models", "/api/v1/whoami", "/api/v1/teams"):
            got = await house.call("GET", path, who=who)
            assert (got.status, got.code) == (503, "policy_stale"), (path, got.raw)
    # D3, D5: and it is seen from outside
    assert await ready(house) == 503
    assert (await house.call("GET", "/healthz", who=None)).status == 200
    text = (await house.call("GET", "/metrics", who=None)).raw.decode()
    found = re.search(r"^gatewarden_policy_age_seconds(?:{[^}]*})? (\S+)", text, re.MULTILINE)
    assert found is not None and float(found[1]) > 600
    assert re.search(r"^gatewarden_up(?:{[^}]*})? 0", text, re.MULTILINE)


# --- D1-D6: the store -------------------------------------------------------------------------------


async def test_d1_a_locked_store_stops_changes_and_nothing_else(house: House) -> None:
    """D1, D2: another process holds the store's lock."""
    other = sqlite3.connect(file_of(house), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await refuses_changes(house)
    await serves(house)
    assert await ready(house) == 200  # it reads
    other.execute("ROLLBACK")
    other.close()
    await recovers(house)


async def test_d1_d4_a_damaged_store_is_served_from_memory_until_it_is_too_old(
    house: House, later: Later
) -> None:
    """D1, D4, D5: the file is overwritten; put back, it is read again without a restart."""
    file = file_of(house)
    opened: Any = house.runtime.changes._feed._store
    for use in (opened.read, opened.write):  # what is read is read from the file
        await use(lambda db: db.execute("PRAGMA cache_size = 0"))
    other = sqlite3.connect(file)
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    good = file.read_bytes()
    with file.open("r+b") as stream:
        stream.write(b"\x00garbage" * (len(good) // 8))
    house.runtime.changes._feed.look_again()
    await fails_to_poll(house)
    await refuses_changes(house)
    got = await house.call("GET", "/api/v1/teams", who="operator")
    assert (got.status, got.code) == (503, "store_unavailable"), got.raw
    await serves(house)
    await becomes_old(house, later)
    with file.open("r+b") as stream:
        stream.write(good)
    later.more = timedelta()
    await recovers(house)


async def fails_to_poll(house: House) -> None:
    """Returns once a poll has failed, or none has succeeded for a while."""
    feed = house.runtime.changes._feed
    async with asyncio.timeout(10):
        seen = feed._last_poll
        while True:
            await asyncio.sleep(0.25)
            if feed._last_poll == seen:
                return
            seen = feed._last_poll
            feed.look_again()


@pytest.mark.parametrize("how", ["removed", "replaced", "a folder"])
async def test_d1_a_store_that_is_no_longer_there_takes_no_change(
    house: House, later: Later, how: str
) -> None:
    """D1: SQLite writes on into a file without a name, and what is acknowledged would be gone."""
    file, aside = file_of(house), file_of(house).with_name("aside.db")
    before = house.runtime.changes.head
    file.rename(aside)
    if how == "replaced":
        sqlite3.connect(file).close()
        file.touch()
    elif how == "a folder":
        file.mkdir()
    await refuses_changes(house)
    await serves(house)
    assert house.runtime.changes.head == before
    await becomes_old(house, later)
    if how == "replaced":
        file.unlink()
    elif how == "a folder":
        file.rmdir()
    aside.rename(file)
    later.more = timedelta()
    await recovers(house)


async def test_d2_d6_a_slow_store_holds_up_nobody(
    house: House, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D6: slow is worse than dead. Requests do not wait for it, changes for no longer than the deadline,
    and after the first nobody queues behind it."""
    slow = threading.Event()
    opened: Any = house.runtime.changes._feed._store
    assert isinstance(opened, SqliteStore)
    stuck = [lane._thread.submit(slow.wait) for lane in (opened._reader, opened._writer)]
    ticks: list[object] = []
    monkeypatch.setattr(type(house.demo.process.gateway), "tick", lambda _, now: ticks.append(now))
    try:
        async with asyncio.timeout(15):
            while len(ticks) < 5:  # what is to be written regularly is written
                await asyncio.sleep(0.01)
            await serves(house)
            reads = [
                house.call("GET", path, who="operator")
                for path in ("/api/v1/teams", "/api/v1/users", "/api/v1/teams/search")
            ]
            for got in await asyncio.gather(*reads):
                assert (got.status, got.code) == (503, "store_unavailable"), got.raw
            await refuses_changes(house)
            await serves(house)
            await becomes_old(house, later)
    finally:
        slow.set()
    for one in stuck:
        await asyncio.wrap_future(one)
    later.more = timedelta()
    await recovers(house)


async def test_d6_an_id_that_cannot_be_looked_up_is_a_503_and_not_a_404(house: House) -> None:
    """D6: the one question that a model request asks the store has a deadline of its own."""
    first = {"model": "echo/small", "input": "hi"}
    made = await house.call("POST", "/v1/responses", first)
    then = {**first, "previous_response_id": made.json["id"]}
    assert (await house.call("POST", "/v1/responses", then)).status == 200
    slow = threading.Event()
    opened: Any = house.runtime.changes._feed._store
    stuck = [lane._thread.submit(slow.wait) for lane in (opened._reader, opened._writer)]
    try:
        async with asyncio.timeout(10):
            got = await house.call("POST", "/v1/responses", then)
    finally:
        slow.set()
    assert (got.status, got.code) == (503, "store_unavailable"), got.raw
    for one in stuck:
        await asyncio.wrap_future(one)
    async with asyncio.timeout(10):
        while (await house.call("POST", "/v1/responses", then)).status == 503:
            await asyncio.sleep(0.02)


async def test_d4_zero_tolerance_fails_closed_and_does_not_lock_the_administrator_out(
    tmp_path: Path,
) -> None:
    """D4: `max_stale` 0 is one missed poll, on both planes alike."""
    async with stack_on(tmp_path, policy={"max_stale": 0}) as stack:
        stack.now[0] += timedelta(seconds=0.9)
        assert (await stack.call("GET", "/whoami")).status == 200
        stack.now[0] += timedelta(seconds=0.2)
        assert (await stack.call("GET", "/whoami")).status == 503
        await stack.runtime.changes.poll()
        assert (await stack.call("GET", "/whoami")).status == 200


@pytest.mark.parametrize("what", ["garbage", "folder", "empty table"])
async def test_d3_a_store_that_cannot_be_read_at_the_start_is_said_plainly(
    tmp_path: Path, what: str
) -> None:
    """D3: it does not begin to serve, and whoever restarts it finds out why."""
    data = tmp_path / "var"
    data.mkdir(mode=0o700)
    file = data / "gatewarden.db"
    if what == "garbage":
        file.write_bytes(b"this is no database, and it is long enough to be looked at" * 100)
    elif what == "folder":
        file.mkdir()
    else:
        db = sqlite3.connect(file)
        db.execute("CREATE TABLE entries (x)")
        db.commit()
        db.close()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy.cli", "serve", "--port", "0"),
        cwd=ROOT,
        env=environment(data),
        stdout=PIPE,
        stderr=STDOUT,
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    assert process.returncode == 1, output.decode()
    assert b"store" in output
    assert b"Traceback" not in output, output.decode()


# --- I10: the journal --------------------------------------------------------------------------------


async def test_i10_a_journal_that_stands_still_bounds_what_waits_and_tells_nobody_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10: nobody gets an answer whose record is not on the disk; what waits is bounded, then a 503."""
    gate = threading.Event()
    real = os.fdatasync
    async with world(tmp_path) as w:
        assert (await w.call()).status == 200

        def waits(descriptor: int) -> None:
            gate.wait()
            real(descriptor)

        monkeypatch.setattr(w.journal._writer._file, "_sync", waits)
        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(w.call()) for _ in range(30)]
                async with asyncio.timeout(10):
                    while w.journal.depth < 30:
                        await asyncio.sleep(0.01)
                assert not any(task.done() for task in asked)
                gate.set()
        finally:
            gate.set()
        assert {task.result().status for task in asked} == {200}
        ids = {record["id"] for record in await w.records("decision")}
        assert {task.result().header("x-decision-id") for task in asked} <= ids


async def test_i10_a_full_disk_stops_the_control_plane_too(tmp_path: Path) -> None:
    """I10: strict is for every decision, also that somebody may look at himself; nothing is changed."""
    async with stack_on(tmp_path) as stack:
        head = stack.runtime.changes.head
        stack.full[0] = True
        for method, path, body in (
            ("GET", "/whoami", None),
            ("PUT", "/teams/late", TEAM),
            ("POST", "/personal-access-tokens", {"name": "laptop"}),
        ):
            got = await stack.call(method, path, body)
            assert (got.status, got.code) == (503, "journal_unavailable"), got.raw
        assert stack.runtime.changes.head == head
        stack.full[0] = False
        async with asyncio.timeout(10):
            while (await stack.call("GET", "/whoami")).status == 503:
                await asyncio.sleep(0.02)


# --- I11: each dependency of a decision fails ---------------------------------------------------------


def broken(*_: object, **__: object) -> Any:
    raise RuntimeError("canary-inner-cause")


def full(*_: object, **__: object) -> Any:
    raise OSError(errno.EIO, "canary-inner-cause")


Break = Callable[[World, pytest.MonkeyPatch], None]
FAULTS: dict[str, Break] = {
    "matching": lambda w, m: m.setattr(w.policy.engine.enforcer, "judge", broken),
    "a condition": lambda w, m: m.setattr(Reading, "value", broken, raising=False),
    "the graph": lambda w, m: m.setattr(w.policy.engine.enforcer.subjects, "closure", broken),
    "the catalogue's rows": lambda w, m: m.setattr(Engine, "knows", broken),
    "aliases": lambda w, m: m.setattr(Engine, "_parts", broken),
    "the verdict": lambda w, m: m.setattr(Engine, "verdict", broken),
    "the message": lambda w, m: m.setattr(Engine, "message_of", broken),
    "the directory": lambda w, m: m.setattr(w.directory, "authenticate", broken),
    "the catalogue": lambda w, m: m.setattr(
        type(w.gateway.judge._parts.catalogue), "model", broken
    ),
    "pins": lambda w, m: m.setattr(w.gateway._parts.pins, "pinned", broken),
    "the age of policy": lambda w, m: m.setattr(w.policy, "age", broken),
    "the journal": lambda w, m: m.setattr(w.journal, "append", broken),
    "the journal's disk": lambda w, m: m.setattr(w.journal._writer, "_put", full),
    "the way out": lambda w, m: m.setattr(w.gateway._relay._parts.outbound, "call", broken),
    "the credential": lambda w, m: m.setattr(Secrets, "resolve", broken),
    "metrics": lambda w, m: m.setattr(w.metrics, "decided", broken),
}


DECIDING = (
    "matching",
    "a condition",
    "the catalogue's rows",
    "aliases",
    "the verdict",
)
RARELY_ASKED = ("the message",)  # of a rule that refuses


@pytest.fixture
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert "gw_pat" not in caplog.text


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("what", FAULTS)
async def test_i11_whatever_fails_is_a_refusal_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """I11: never an allow, never a 401 or a 403, never the cause; nothing goes upstream undecided."""
    async with world(tmp_path, documents=[pins_for("team:search", cost="42")]) as w:
        with monkeypatch.context() as patch:
            FAULTS[what](w, patch)
            statuses = []
            failed: set[str | None] = set()
            for body in (CHAT, {**CHAT, "model": "acme/streams", "stream": True}):
                got = await w.call(json_body=body, who="ben" if "stream" in body else "ann")
                statuses.append(got.status)
                if got.status == 503 and got.error["code"] == "decision_failed":
                    failed.add(got.header("x-decision-id"))
                assert b"canary" not in got.body
                if got.status != 200:
                    assert got.status in (500, 503), got.body
                    assert got.error["code"] in (
                        "decision_failed",
                        "internal_error",
                        "journal_unavailable",
                        "policy_stale",
                    )
            got = await w.call("/v1/models", method="GET")
            assert b"canary" not in got.body
            assert got.status in (200, 500, 503)
        assert any(status != 200 for status in statuses) or what in RARELY_ASKED, statuses
        if what not in ("the way out", "the journal's disk"):  # the record is written meanwhile
            assert len(w.seen) == statuses.count(200)
        w.now[0] += timedelta(seconds=1)  # after which the journal tries its disk again
        reasons = {r["id"]: r["reason"] for r in await w.records("decision")}
        assert {reasons[one or ""] for one in failed} <= {"error"}
        assert failed or what not in DECIDING
        assert (await w.call()).status == 200  # and it is over when it is over
