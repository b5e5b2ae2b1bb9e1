"""How long a change takes to hold everywhere, and what it costs.

Two gateways of one installation share a store (MongoDB where a mongod is found, else one SQLite file). A
token is revoked at the one and asked for at the other until that refuses it, again and again, while both
serve other callers. Then: a big apply with its progress, how much the change log has grown by each, and the
start of a process at many grants. Prints a table and JSON; each time stands beside the poll interval or a bare write of the same run.

    python -m bench.change [--revocations 1000] [--users 100000] [--grants 1000000] [--store sqlite]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from bench.servers import free_port
from bench.workload import Workload

POLL_SECONDS = {"sqlite": 0.1, "mongodb": 0.2}
API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Replica:
    """A gateway process."""

    url: str
    process: subprocess.Popen[bytes]
    data: Path


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# ------------------------------------------------------------------------------------------ processes


def start(data: Path, store: str, keys: dict[str, str], *, demo: bool) -> Replica:
    """A gateway on a data folder of its own; not yet ready."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GATEWARDEN")},
        **keys,
        "GATEWARDEN_DATA": str(data),
        "GATEWARDEN_STORE": store,
        "GATEWARDEN_PORT": str(port),
        "GATEWARDEN_DEMO": str(demo).lower(),
        "GATEWARDEN_LOG_LEVEL": "error",
        "GATEWARDEN_POLICY__POLL_SECONDS": str(POLL_SECONDS[store.partition(":")[0]]),
    }
    command = [sys.executable, "-m", "proxy.cli", "serve"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    return Replica(f"http://127.0.0.1:{port}", process, data)


async def ready(session: aiohttp.ClientSession, replica: Replica) -> None:
    """Returns once the process says that it is ready."""
    while replica.process.poll() is None:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(f"{replica.url}/readyz") as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.02)
    raise SystemExit("a gateway did not start")


@contextlib.contextmanager
def store_of(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty store."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'shared.db'}"
        return
    from tests.peers.mongod import replica_set

    with replica_set(folder / "mongod") as server:
        yield f"mongodb://{server.address}/gatewarden?replicaSet=rs0"


def shared_keys() -> dict[str, str]:
    """What makes several hosts one installation."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return {
        "GATEWARDEN_KEYS__SEALING": secrets.token_hex(32),
        "GATEWARDEN_KEYS__SIGNING": pem.decode(),
        "GATEWARDEN_KEYS__INSTALLATION": "benchchange",
    }


# ---------------------------------------------------------------------------------------- revocations


async def revocations(
    session: aiohttp.ClientSession, here: Replica, there: Replica, admin: str, count: int
) -> list[float]:
    """Milliseconds from the moment a revocation is sent until the other replica answers 401."""
    took: list[float] = []
    tokens: list[tuple[str, str]] = []
    holder = {"Authorization": f"Bearer {admin}"}
    for number in range(count):
        body = {"name": f"bench-{number}", "email": "alice@example.com"}
        path = f"{here.url}{API}/personal-access-tokens/for-user"
        async with session.post(path, json=body, headers=holder) as answer:
            made = await answer.json()
            assert answer.status == 201, made
        tokens.append((made["id"], made["token"]))
    await asyncio.sleep(1)  # the other has them all

    async def one() -> None:
        while tokens:
            token_id, token = tokens.pop()
            bearer = {"Authorization": f"Bearer {token}"}
            started = time.perf_counter()
            path = f"{here.url}{API}/personal-access-tokens/{token_id}"
            async with session.delete(path, headers=holder) as answer:
                assert answer.status == 200, await answer.text()
            while True:
                async with session.get(f"{there.url}/v1/models", headers=bearer) as answer:
                    if answer.status == 401:
                        break
                    assert answer.status == 200, await answer.text()
                await asyncio.sleep(0.005)
            took.append((time.perf_counter() - started) * 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(one())
    return took


@contextlib.asynccontextmanager
async def traffic(
    session: aiohttp.ClientSession, replicas: list[Replica], token: str, seen: list[float]
) -> AsyncIterator[None]:
    """Callers that go on all the while; `seen` gets what each call took, in ms."""
    bearer = {"Authorization": f"Bearer {token}"}
    done = asyncio.Event()

    async def caller(url: str) -> None:
        while not done.is_set():
            started = time.perf_counter()
            async with session.get(f"{url}/v1/models", headers=bearer) as answer:
                await answer.read()
                assert answer.status == 200, answer.status
            seen.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        for replica in replicas:
            group.create_task(caller(replica.url))
        try:
            yield
        finally:
            done.set()


# --------------------------------------------------------------------------------------------- applies


def estate(users: int) -> str:
    """An estate of so many users in teams of fifty, as YAML."""
    parts = [f"type: user\nname: u{n}@bench.example\n" for n in range(users)]
    for first in range(0, users, 50):
        members = "".join(f"  - u{n}@bench.example\n" for n in range(first, min(first + 50, users)))
        parts.append(f"type: team\nname: bench-{first // 50}\nmembers:\n{members}")
    return "---\n".join(parts)


@dataclass(frozen=True, slots=True)
class Grown:
    """What the store held at a moment: entries of the log, the bytes of their bodies, all bytes of the store."""

    entries: int
    bodies: int
    stored: int

    def since(self, before: Grown) -> dict[str, float]:
        """The growth, by entry."""
        entries = self.entries - before.entries
        return {
            "entries": entries,
            "log_bytes_per_entry": (self.bodies - before.bodies) / max(1, entries),
            "store_bytes_per_entry": (self.stored - before.stored) / max(1, entries),
        }


async def grown(url: str) -> Grown:
    """Reads the log, and how large the store is: the pages of the file, or what the server says."""
    from store.mongo import MongoStore
    from store.opening import file_of, stores

    store, _ = stores(url)
    await store.open()
    try:
        epoch = bodies = 0
        while read := await store.entries(epoch, 500):
            epoch = read[-1].epoch
            bodies += sum(len(one.body) for one in read)
        if isinstance(store, MongoStore):
            said = await store.opened().motor.command("dbStats")
            return Grown(epoch, bodies, int(said["dataSize"] + said["indexSize"]))
        path = file_of(url)
        assert path is not None
        with contextlib.closing(
            sqlite3.connect(path)
        ) as db:  # what is in the journal counts, and once
            pages, free, size = (
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return Grown(epoch, bodies, (pages - free) * size)
    finally:
        await store.close()


async def big_apply(
    session: aiohttp.ClientSession, replica: Replica, admin: str, users: int
) -> float:
    """Seconds that an apply of the estate takes as the command does it."""
    file = replica.data / "estate.yaml"
    file.write_text(estate(users))
    command = [sys.executable, "-m", "proxy.cli", "apply", "-f", str(file), "--json"]
    environment = {**os.environ, "GATEWARDEN_URL": replica.url, "GATEWARDEN_TOKEN": admin}
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise SystemExit("the apply failed")
    return time.perf_counter() - started


def fill(url: str, grants: int) -> float:
    """Writes a log of so many grants into an empty store, 50,000 rows an entry; the seconds it took."""
    return asyncio.run(_fill(url, grants))


async def _fill(url: str, grants: int) -> float:
    from policies.change import Change, Plan, Source
    from store.opening import stores
    from store.port import Head
    from store.preparing import prepare

    store, _ = stores(url)
    await store.open()
    head = Head()
    started = time.perf_counter()
    rows = sorted(set(Workload(grants).rows()))
    change = Change("host", Source.HOST, "bench")
    for first in range(0, len(rows), 50_000):
        plan = Plan(change, added=tuple(rows[first : first + 50_000]))
        made = prepare(plan, head, datetime.now(UTC), {})
        await store.commit(head, [made.batch])
        head = made.after
    took = time.perf_counter() - started
    await store.close()
    return took


# ------------------------------------------------------------------------------------------------- run


async def measure(options: argparse.Namespace, folder: Path, url: str) -> dict[str, Any]:
    """Everything about two replicas on one store."""
    keys = shared_keys()
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        here = start(folder / "one", url, keys, demo=True)
        try:
            await ready(session, here)
            there = start(folder / "two", url, keys, demo=False)
        except BaseException:
            here.process.terminate()
            raise
        try:
            await ready(session, there)
            variables = dict(
                line.removeprefix("export ").split("=", 1)
                for line in (here.data / "demo.env").read_text().splitlines()
                if "=" in line
            )
            admin = variables["GATEWARDEN_TOKEN"].strip("'\"")
            alice = variables["DEMO_TOKEN_ALICE"].strip("'\"")
            result: dict[str, Any] = {"store": url.partition(":")[0]}
            calm: list[float] = []
            async with traffic(session, [here, there], alice, calm):
                await asyncio.sleep(3)
            empty = await grown(url)
            busy: list[float] = []
            async with traffic(session, [here, there], alice, busy):
                took = await revocations(session, here, there, admin, options.revocations)
            poll = POLL_SECONDS[result["store"]] * 1000
            result["revoke"] = {
                "count": len(took),
                "p50_ms": statistics.median(took),
                "p99_ms": percentile(took, 0.99),
                "max_ms": max(took),
                "p99_over_poll_interval": percentile(took, 0.99) / poll,
            }
            result["live"] = {
                "calm_p99_ms": percentile(calm, 0.99),
                "under_changes_p99_ms": percentile(busy, 0.99),
                "ratio": percentile(busy, 0.99) / percentile(calm, 0.99),
                "calm_max_ms": max(calm),
                "under_changes_max_ms": max(busy),
            }
            small = await grown(url)
            result["growth"] = small.since(empty)  # half of them make a token, half revoke one
            if options.users:
                during: list[float] = []
                async with traffic(session, [here, there], alice, during):
                    result["apply"] = {
                        "users": options.users,
                        "seconds": await big_apply(session, here, admin, options.users),
                    }
                result["apply"]["live_p99_ms"] = percentile(during, 0.99)
                result["apply"]["live_max_ms"] = max(during)
                result["apply"]["growth"] = (await grown(url)).since(small)
            return result
        finally:
            for replica in (here, there):
                replica.process.terminate()
                replica.process.wait(30)


async def start_at(url: str, folder: Path) -> float:
    """Seconds from the start of a process to ready."""
    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        replica = start(folder / "late", url, shared_keys(), demo=False)
        try:
            await ready(session, replica)
            return time.perf_counter() - started
        finally:
            replica.process.terminate()
            replica.process.wait(30)


def table(result: dict[str, Any]) -> str:
    """What was measured, for people."""
    revoke, live = result["revoke"], result["live"]
    lines = [
        f"store {result['store']}, two replicas",
        f"revoke -> refused at the other ({revoke['count']}): p50 {revoke['p50_ms']:.0f} ms,"
        f" p99 {revoke['p99_ms']:.0f} ms, max {revoke['max_ms']:.0f} ms;"
        f" p99 is {revoke['p99_over_poll_interval']:.1f} poll intervals",
        f"live calls p99: {live['calm_p99_ms']:.1f} ms calm, {live['under_changes_p99_ms']:.1f} ms"
        f" under changes ({live['ratio']:.1f} times); longest {live['calm_max_ms']:.0f} ms calm,"
        f" {live['under_changes_max_ms']:.0f} ms under changes",
        _growth("change of a token", result["growth"]),
    ]
    if found := result.get("apply"):
        lines.append(
            f"apply of {found['users']:,} users: {found['seconds']:.0f} s;"
            f" live calls p99 {found['live_p99_ms']:.0f} ms, longest {found['live_max_ms']:.0f} ms"
        )
        lines.append(_growth("big apply", found["growth"]))
    if found := result.get("start"):
        lines.append(
            f"start to ready at {found['grants']:,} grants: {found['seconds']:.1f} s"
            f" (written in {found['written_seconds']:.0f} s; load {found['load_average']:.1f}"
            f" on {os.cpu_count()} cores)"
        )
    return "\n".join(lines)


def _growth(what: str, found: dict[str, float]) -> str:
    return (
        f"growth by a {what} ({found['entries']:.0f} entries): {found['log_bytes_per_entry']:,.0f} bytes"
        f" of log, {found['store_bytes_per_entry']:,.0f} bytes of store each"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", choices=["mongodb", "sqlite"], default="mongodb")
    parser.add_argument("--revocations", type=int, default=1000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--grants", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with store_of(options.store, folder) as url:
            result = asyncio.run(measure(options, folder, url))
        if options.grants:
            late = folder / "grants"
            late.mkdir()
            with store_of(options.store, late) as url:
                written = fill(url, options.grants)
                result["start"] = {
                    "grants": options.grants,
                    "seconds": asyncio.run(start_at(url, late)),
                    "written_seconds": written,
                    "load_average": os.getloadavg()[0],
                }
    print(table(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
