"""What the records store costs: `python -m bench.logs [--records 100000] [--store sqlite,mongodb] [--json FILE]`.

So many requests of `--days` days, with a few planted among them that a hard reader looks for: somebody with
twelve old ones, teams that hardly work, a value of metadata that a rule leaves almost nothing of. Measured are
taking records in batches, their bytes, sealing columns, the first page and page 100 of each reader, figures
over 30 days, retention in small steps, and verifying a journal. Each reader's first page is compared with
what looking at every record finds. Figures are of this machine and this run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authz import keys
from authz.filters import EVERYTHING, Filter, all_of, either, has, lacks
from authz.keys import keys_of, stamp_of
from authz.records import canonical, request_record
from store.aggregates import ColumnStore, Grouping, TooManyGroups
from store.figures import aggregate
from store.journal import Journal
from store.mongo_aggregates import MongoColumns
from store.mongo_request_records import MongoShelves
from store.request_records import Entry, Shelf, Shelves, Window
from store.sqlite_aggregates import SqliteColumns
from store.sqlite_request_records import SqliteShelves
from store.verify import verify

DAY = 86_400_000_000
START = 1_790_000_000_000_000
BATCH = 500
PAGE = 50
REPEATS = 15
SECONDS = 60.0
MOST = 1000  # groups that a caller sees


class Reader(NamedTuple):
    """Somebody who asks, and what it comes to."""

    name: str
    filter: Filter


class Opened(NamedTuple):
    shelves: Shelves
    columns: ColumnStore
    size: Callable[[], int]


# --- what is in it ---------------------------------------------------------------------------------


def readers() -> list[Reader]:
    """The hard ones: each is hard for another kind of index."""
    forty = has(*(keys.team(f"team:t{n}") for n in range(20, 60)))
    dormant = has(*(keys.team(f"team:d{n}") for n in range(40)))
    retired = has(keys.plain("model", "acme/retired"))
    region, app = has(keys.pinned("region")), has(keys.pinned("app"))
    regions = lacks(*(keys.pinned("region", one) for one in ("emea", "apac", "na")))
    rare = (
        all_of(has(keys.creator("user:u-rare"))),
        all_of(dormant),
        all_of(has(keys.pinned("region", "rare"))),
        all_of(retired),
        all_of(region, regions),
    )
    return [
        Reader("own, 12 old", rare[0]),
        Reader("40 teams", all_of(forty)),
        Reader("40 dormant teams", all_of(dormant)),
        Reader("rare metadata value", rare[2]),
        Reader("one of 20,000 customers", all_of(has(keys.pinned("customer", "c-777")))),
        Reader("not in, much left", all_of(app, lacks(keys.pinned("app", "a0")))),
        Reader("not in, 25 left", all_of(region, regions)),
        Reader(
            "not by some", all_of(lacks(*(keys.creator(f"virtualaccount:v{n}") for n in range(5))))
        ),
        Reader(
            "union of five",
            either(
                all_of(forty, has(keys.pinned("region", "emea"))),
                all_of(has(keys.creator("user:u-5"))),
                all_of(has(keys.owner("team:t3"))),
                all_of(app, lacks(keys.pinned("app", "a0"), keys.pinned("app", "a1"))),
                all_of(has(keys.plain("model", "acme/m7")), has(keys.pinned("env", "prod"))),
            ),
        ),
        Reader("union of five rare", either(*rare)),
        Reader("admin", EVERYTHING),
        Reader("admin, retired model", all_of(retired)),
        Reader("40 teams, retired model", all_of(forty, retired)),
        Reader("40 teams, status 500", all_of(forty, has(keys.plain("status", "500")))),
        Reader(
            "40 teams, one conversation", all_of(forty, has(keys.claimed("conversation", "none")))
        ),
        Reader(
            "a big team, another's account",
            all_of(has(keys.team("team:t0")), has(keys.creator("virtualaccount:v1"))),
        ),
    ]


def entries(count: int, days: int) -> Iterator[Entry]:
    """Requests, oldest first; the same for every store."""
    draw = random.Random(6)
    users = [f"user:u-{n}" for n in range(20_000)]
    weights = [1 / (n + 1) for n in range(20_000)]
    who = draw.choices(users, list(weights), k=count)
    accounts = draw.choices(range(2000), [1 / (n + 1) for n in range(2000)], k=count)
    planted = _planted(draw, count)
    for n in range(count):
        account = draw.random() < 0.6
        principal = f"virtualaccount:v{accounts[n]}" if account else who[n]
        team = f"team:t{accounts[n] % 500 if account else hash_of(who[n]) % 500}"
        pinned = {"env": draw.choice(("prod", "prod", "dev"))}
        if draw.random() < 0.6:
            pinned["region"] = draw.choice(("emea", "apac", "na"))
        if draw.random() < 0.8:
            pinned["app"] = f"a{min(int(draw.expovariate(0.3)), 40)}"
        if draw.random() < 0.5:
            pinned["customer"] = f"c-{draw.randrange(20_000)}"
        status = 200 if draw.random() < 0.96 else draw.choice((400, 429, 500))
        said: dict[str, Any] = {
            "principal": principal,
            "teams": (team,),
            "owner_team": team if account else "",
            "model": f"acme/m{min(int(draw.expovariate(0.12)), 59)}",
            "pinned": pinned,
            **planted.get(n, {}),
        }
        record = request_record(
            request_id=f"r-{n:016x}",
            decision_id=f"{n:026x}",
            credential=f"credential:{principal[-8:]}",
            status=status,
            route="/v1/chat/completions",
            account="acme",
            dialect="openai",
            upstream_status=status,
            input_tokens=draw.randrange(20, 9000),
            output_tokens=draw.randrange(1, 2000),
            first_byte_ms=draw.randrange(80, 1500),
            total_ms=draw.randrange(200, 30_000),
            cost=draw.randrange(1000, 90_000_000),
            claimed={"conversation": f"{n // 4:x}"} if n % 3 else None,
            **said,
        )
        at = START + n * days * DAY // count
        aside = record.aside
        body = json.loads(canonical(record))
        body.pop("aside", None)
        line = {"at": at, "body": body, "hash": "ab" * 32, "id": f"{n:026x}", "prev": "cd" * 32}
        line |= {"seq": n + 1, "writer": "w"} | ({"aside": aside} if aside else {})
        stamp = keys_of(stamp_of(body, aside))
        yield Entry(Shelf.REQUESTS, "w", n + 1, f"{n:026x}", at, stamp, canonical(line))


def hash_of(text: str) -> int:
    """A number that is the same in every run."""
    return sum(text.encode()) * 2_654_435_761 % 1_000_003


def _planted(draw: random.Random, count: int) -> dict[int, dict[str, Any]]:
    made: dict[int, dict[str, Any]] = {}
    for n in range(12):
        made[n * 3] = {"principal": "user:u-rare", "owner_team": ""}
    for n in draw.sample(range(count), 30):
        made[n] = {"model": "acme/retired"}
    for n in draw.sample(range(count), 25):
        made[n] = {"pinned": {"region": "rare"}}
    for n in draw.sample(range(count), 200):
        made[n] = {"teams": (f"team:d{n % 40}",), "owner_team": ""}
    return made


# --- one store -------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(kind: str, folder: Path) -> Iterator[Opened]:
    """An empty store of one kind."""
    if kind == "sqlite":
        file = folder / "request-records.db"
        shelves: Shelves = SqliteShelves(file)
        columns: ColumnStore = SqliteColumns(file)

        def size() -> int:
            return sum(one.stat().st_size for one in folder.glob("request-records.db*"))

        yield Opened(shelves, columns, size)
    else:
        from pymongo import MongoClient

        from tests.peers.mongod import replica_set

        with replica_set(folder / "mongod") as server:
            uri = f"mongodb://{server.address}/gatewarden?replicaSet=rs0"
            shelves, columns = MongoShelves.open(uri), MongoColumns.open(uri)
            client: MongoClient[dict[str, Any]] = MongoClient(uri)

            def size() -> int:
                client.admin.command("fsync")
                found = client["gatewarden"].command("dbstats")
                return int(found["storageSize"] + found["indexSize"])

            yield Opened(shelves, columns, size)
            client.close()
            columns.close()
            shelves.close()
            return
    columns.close()
    shelves.close()


def measure(kind: str, count: int, days: int, folder: Path) -> dict[str, Any]:
    """Everything about one store."""
    with opened(kind, folder) as store:
        return {"store": kind, "records": count, "days": days, **_measured(store, count, days)}


def _measured(store: Opened, count: int, days: int) -> dict[str, Any]:
    asking = readers()
    newest: dict[str, list[int]] = {one.name: [] for one in asking}
    matches = dict.fromkeys(newest, 0)
    batches: list[float] = []
    batch: list[Entry] = []
    raw = 0
    for one in entries(count, days):
        batch.append(one)
        raw += len(one.body)
        for reader in asking:
            if reader.filter.matches(one.keys):
                matches[reader.name] += 1
                newest[reader.name] = [*newest[reader.name][1 - PAGE :], one.wseq]
        if len(batch) == BATCH or one.wseq == count:
            heads = {"w": (one.wseq, "hash")}
            batches.append(timed(lambda: store.shelves.take(batch, heads)))  # noqa: B023
            batch.clear()
    bare = store.size()
    sealing = timed(lambda: while_any(store.columns.seal))
    window = Window(START + max(0, days - 30) * DAY, START + days * DAY)
    result: dict[str, Any] = {
        "ingest_per_second": count / sum(batches) * 1000,
        "batch_ms": spread(batches),
        "body_bytes": raw / count,
        "bytes": bare / count,
        "column_bytes": (store.size() - bare) / count,
        "seal_us": sealing / count * 1000,
    }
    every = Window(START, START + days * DAY)
    before = count - count * min(30, days) // days  # places before the month's first
    result["pages"] = [
        _pages(store.shelves, one, (every, window), matches[one.name], newest[one.name], before)
        for one in asking
    ]
    result["figures"] = list(_figures(store.columns, asking, window))
    steps: list[float] = []
    floor = START + max(1, days // 30) * DAY
    gone = 1
    while gone:
        begun = time.perf_counter()
        gone = store.shelves.forget(Shelf.REQUESTS, floor)
        steps.append((time.perf_counter() - begun) * 1000)
    result["retention_step_ms"] = spread(steps)
    result["retention_steps"] = len(steps)
    return result


def _pages(
    shelves: Shelves,
    reader: Reader,
    windows: tuple[Window, Window],
    matches: int,
    newest: list[int],
    before: int,
) -> dict[str, Any]:
    """The first page of all there is and of the last month, and a late page of all."""

    def page(window: Window, last: int | None = None) -> list[int]:
        found = shelves.scan(Shelf.REQUESTS, reader.filter, window, last, PAGE, SECONDS)
        return [row.seq for row in found.rows]

    every, month = windows
    found = page(every)
    if found != newest[::-1] or page(month) != [seq for seq in found if seq > before]:
        raise SystemExit(f"`{reader.name}` finds something else than what is there")
    result: dict[str, Any] = {"reader": reader.name, "matches": matches}
    for name, window in (("first", every), ("month", month)):
        result[name] = spread([timed(lambda w=window: page(w)) for _ in range(REPEATS)])
    if matches > 100 * PAGE:
        for _ in range(98):
            found = page(every, found[-1])
        later = found[-1]
        result["page_100"] = spread([timed(lambda: page(every, later)) for _ in range(REPEATS)])
    return result


def _figures(
    columns: ColumnStore, asking: list[Reader], window: Window
) -> Iterator[dict[str, Any]]:
    by_name = {one.name: one.filter for one in asking}
    tokens = ("input_tokens", "output_tokens", "cost")
    three = ("model", "pin:app", "pin:region")
    model_day = Grouping(("model",), tokens, interval=DAY)
    cases = [
        ("admin", "day, model", model_day),
        ("admin", "hour, model", Grouping(("model",), tokens, interval=DAY // 24)),
        ("admin", "day, who", Grouping(("created_by",), tokens, interval=DAY)),
        ("admin", "model, p95 of the duration", Grouping(("model",), ("failed",), ("total_ms",))),
        ("admin", "day, team", Grouping(("team",), tokens, interval=DAY)),
        ("admin", "day, model, app, region", Grouping(three, tokens, interval=DAY)),
        ("40 teams", "day, model", model_day),
        ("union of five", "day, model", model_day),
        ("not by some", "day, model", model_day),
        ("union of five rare", "day, model", model_day),
    ]
    for name, what, grouping in cases:
        result: dict[str, Any] = {"reader": name, "by": what}
        times, cpu = [], []
        for _ in range(5):
            begun, busy = time.perf_counter(), time.process_time()
            try:
                found = aggregate(columns, by_name[name], window, grouping, SECONDS, MOST)
            except TooManyGroups:
                break
            times.append((time.perf_counter() - begun) * 1000)
            cpu.append((time.process_time() - busy) * 1000)
            result["groups"] = len(found.groups) + found.left_out
        yield {**result, "ms": spread(times), "cpu": spread(cpu)} if times else result


# --- the journal -----------------------------------------------------------------------------------


async def verifying(folder: Path, count: int) -> float:
    """Records of a journal that are verified in a second."""
    key = Ed25519PrivateKey.generate()
    journal = Journal.open(folder, signing_key=key)
    for n in range(count):
        ticket = journal.append(
            request_record(
                request_id=f"r-{n}",
                decision_id=f"{n:026x}",
                principal="user:u-1",
                credential="credential:c-1",
                status=200,
                model="acme/mini",
                pinned={"env": "prod"},
                claimed={"conversation": str(n)},
            )
        )
        if n % 200 == 199:
            await ticket.durable()
    await journal.close()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    begun = time.perf_counter()
    report = verify(folder, public)
    seconds = time.perf_counter() - begun
    if report.faults:
        raise SystemExit(f"the journal has faults: {report.faults[0]}")
    return count / seconds


# --- printing --------------------------------------------------------------------------------------


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def while_any(work: Callable[[], int]) -> None:
    """Calls until there is nothing left."""
    while work():
        pass


def spread(values: list[float]) -> dict[str, float]:
    """p50, p95 and the largest."""
    ordered = sorted(values)
    at = min(len(ordered) - 1, int(len(ordered) * 0.95))
    return {"p50": statistics.median(ordered), "p95": ordered[at], "max": ordered[-1]}


def text(result: dict[str, Any]) -> str:
    """The figures of one store."""

    def ms(said: dict[str, float] | None) -> str:
        return " / ".join(f"{said[one]:8.1f}" for one in ("p50", "p95", "max")) if said else ""

    lines = [
        f"{result['store']}, {result['records']:,} requests of {result['days']} days",
        f"  taken: {result['ingest_per_second']:,.0f}/s; a batch of {BATCH}, ms: {ms(result['batch_ms'])}",
        f"  bytes a record: {result['bytes']:.0f} (line {result['body_bytes']:.0f}),"
        f" columns {result['column_bytes']:.0f}; sealing {result['seal_us']:.1f} µs a record",
        f"  retention, {result['retention_steps']} steps, ms: {ms(result['retention_step_ms'])}",
        f"  {'ms, p50 / p95 / max':32}{'matches':>10}  {'first page of 30 days':32}  {'of all':32}  page 100",
    ]
    lines += [
        f"  {one['reader']:32}{one['matches']:>10,}  {ms(one['month']):32}"
        f"  {ms(one['first']):32}  {ms(one.get('page_100'))}"
        for one in result["pages"]
    ]
    lines.append(f"  {'figures over 30 days, ms':40}{'groups':>10}")
    told = [one for one in result["figures"] if "ms" in one]
    lines += [
        f"  {one['reader'] + ': ' + one['by']:40}{one['groups']:>10,}  {ms(one['ms'])}"
        f"  CPU {one['cpu']['p50']:.0f}"
        for one in told
    ]
    lines += [
        f"  {one['reader'] + ': ' + one['by']:40}   refused: too many groups"
        for one in result["figures"]
        if one not in told
    ]
    worst = max(one["month"]["p95"] for one in result["pages"])
    slowest = max(one["ms"]["p50"] for one in told)
    lines.append(
        f"  worst first page p95 {worst:.1f} ms (budget 100), slowest figures p50 {slowest:.0f} ms (budget 500)"
    )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="what the records store costs")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=30, help="over which they are spread")
    parser.add_argument("--store", default="sqlite,mongodb", help="comma-separated")
    parser.add_argument("--verify", type=int, default=20_000, help="records of the journal")
    parser.add_argument("--folder", type=Path, help="on which disk (default: the temporary folder)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE (`-` = stdout)")
    given = parser.parse_args(arguments)
    machine = f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}"
    results = []
    quiet = given.json == "-"
    for kind in given.store.split(","):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            results.append(measure(kind, given.records, given.days, Path(folder)))
        if not quiet:
            print(text(results[-1]), flush=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        rate = asyncio.run(verifying(Path(folder) / "journal", given.verify))
    report = json.dumps({"machine": machine, "stores": results, "verified": rate}, indent=2)
    if quiet:
        print(report)
        return
    print(f"a journal: {rate:,.0f} records verified a second ({machine})")
    if given.json:
        Path(given.json).write_text(report + "\n")


if __name__ == "__main__":
    main()
