"""What the records store costs: `python -m bench.logs [--records 100000] [--store sqlite,mongodb] [--json FILE]`.

So many requests of `--days` days (`log_workload.py`). Measured are taking records in batches, their bytes,
sealing, the first page and page 100 of each reader, figures over 30 days, retention in small steps, and
verifying a journal. Each reader's first page is compared with what looking at every record finds. Figures are
of this machine and this run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authz.recording import request_record
from bench.log_workload import DAY, START, Reader, entries, readers
from store.aggregates import ColumnStore, Grouping, TooManyGroups
from store.figures import aggregate
from store.journal import Journal
from store.mongo_aggregates import MongoColumns
from store.mongo_request_records import MongoShelves
from store.request_records import Entry, Shelf, Shelves, Window
from store.sqlite_aggregates import SqliteColumns
from store.sqlite_request_records import SqliteShelves
from store.verify import verify

BATCH = 500
PAGE = 50
REPEATS = 15
SECONDS = 60.0
MOST = 1000  # groups that a caller sees
CACHE_GB = 3  # of the server


class Opened(NamedTuple):
    shelves: Shelves
    columns: ColumnStore
    size: Callable[[], int]


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

        with replica_set(folder / "mongod", cache_gb=CACHE_GB) as server:
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
        filled = fill(store.shelves, count, days)
        said = {"store": kind, "records": count, "days": days}
        return said | asked(store, filled, count, days)


class Filled(NamedTuple):
    """What a store was filled with, and what that took."""

    batches: list[float]  # ms
    body_bytes: float  # a record
    matches: dict[str, int]  # by reader
    newest: dict[str, list[int]]  # the first page of each, the oldest first


def fill(shelves: Shelves, count: int, days: int) -> Filled:
    """Takes so many requests."""
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
            batches.append(timed(partial(shelves.take, batch, heads)))
            batch.clear()
    return Filled(batches, raw / count, matches, newest)


def asked(store: Opened, filled: Filled, count: int, days: int) -> dict[str, Any]:
    """What a filled store answers, and how long it takes; then a thirtieth of it is forgotten."""
    bare = store.size()
    sealing = timed(lambda: while_any(store.columns.seal))
    columns = store.size()
    posting = timed(lambda: while_any(store.shelves.seal))
    result: dict[str, Any] = {
        "ingest_per_second": count / sum(filled.batches) * 1000,
        "batch_ms": spread(filled.batches),
        "body_bytes": filled.body_bytes,
        "bytes": bare / count,
        "column_bytes": (columns - bare) / count,
        "seal_us": sealing / count * 1000,
        "posting_bytes": (store.size() - columns) / count,
        "posting_us": posting / count * 1000,
    }
    window = Window(START + max(0, days - 30) * DAY, START + days * DAY)
    every = Window(START, START + days * DAY)
    before = count - count * min(30, days) // days  # places before the month's first
    asking = readers()
    result["pages"] = [
        _pages(
            *(store.shelves, one, (every, window)),
            *(filled.matches[one.name], filled.newest[one.name], before),
        )
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
        f" columns {result['column_bytes']:.0f}, postings {result['posting_bytes']:.0f};"
        f" sealing {result['seal_us']:.1f} + {result['posting_us']:.1f} µs a record",
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
