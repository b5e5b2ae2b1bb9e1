"""What a record costs: `python bench/journal.py [--callers 1,32,128] [--json FILE]`.

Each round measures the journal (append, wait until durable) and, right after it on the same disk, plain
`write` + `fdatasync` of the same bytes in the same batches: the ratio is the price of everything else
(thread, encoding, chain, wake-up). CPU is that of all threads of the process, the callers' loop included.
Figures are of this machine, this disk and this run: compare ratios, not digits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.chain import Link, seal
from authz.decision import Decision, Effect, Part, Question, Reason, Verdict
from authz.recording import decision_record
from authz.records import DecisionRecord
from store.journal import Journal

ROUNDS = 5
RECORDS = 20_000
PATH = "user:u-1 > team:ml | model:acme/mini > open-models:acme"
BUDGET_US = 15.0  # CPU of a decision record


def record() -> DecisionRecord:
    """A decision record as the gateway makes it: one question, no condition."""
    rules = ("provider-account/acme#collaborator/team:ml/provider-account-access",)
    question = Question(Part.SUBJECT, "user:u-1", "model:use", "model:acme/mini")
    verdict = Verdict(question, Effect.ALLOW, Reason.ALLOWED, rules, PATH)
    made = Decision(Effect.ALLOW, Reason.ALLOWED, 7, "ab" * 32, (verdict,), rules, PATH)
    return decision_record(
        made,
        principal="user:u-1",
        credential="credential:c-1",
        request_id="0123456789abcdef",
        trace_id="ab" * 16,
        client="10.0.0.1",
        route="/v1/chat/completions",
        us=9,
    )


async def journal_round(folder: Path, callers: int, records: int) -> dict[str, float]:
    """Latency, rate, CPU and batch sizes of `records` records by so many callers at once."""
    syncs = 0

    def sync(handle: int) -> None:
        nonlocal syncs
        syncs += 1
        os.fdatasync(handle)

    journal = Journal.open(folder, signing_key=Ed25519PrivateKey.generate(), sync=sync)
    waits: list[float] = []

    async def caller() -> None:
        for _ in range(records // callers):
            begun = time.perf_counter()
            await journal.append(record()).durable()
            waits.append(time.perf_counter() - begun)

    syncs = 0
    wall, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    commits = syncs
    await journal.close()
    done = len(waits)
    return {
        "records": done,
        "commits": commits,
        "wall_us": wall / done * 1e6,
        "cpu_us": cpu / done * 1e6,
        "wait_p50_us": statistics.median(waits) * 1e6,
        "wait_p99_us": statistics.quantiles(waits, n=100)[98] * 1e6,
        "commits_s": commits / wall,
        "batch": done / commits,
    }


def plain_round(folder: Path, commits: int, batch: int, line: bytes) -> dict[str, float]:
    """The same number of bytes in the same batches, with nothing round it."""
    handle = os.open(folder / "plain", os.O_RDWR | os.O_CREAT, 0o600)
    data, offset, waits = line * batch, 0, []
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(commits):
        begun = time.perf_counter()
        offset += os.pwrite(handle, data, offset)
        os.fdatasync(handle)
        waits.append(time.perf_counter() - begun)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    os.close(handle)
    return {
        "wall_us": wall / (commits * batch) * 1e6,
        "cpu_us": cpu / (commits * batch) * 1e6,
        "wait_p50_us": statistics.median(waits) * 1e6,
        "wait_p99_us": statistics.quantiles(waits, n=100)[98] * 1e6,
    }


def parts(line: bytes) -> dict[str, float]:
    """What the pieces cost alone, in a hot loop."""

    def each(work: Any, count: int = 20_000) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            work()
        return (time.perf_counter() - begun) / count * 1e6

    made, link = record(), Link()
    return {
        "build_us": each(record),
        "seal_us": each(lambda: seal(made, link, writer="a@b@0", at=1, record_id="0" * 26)),
        "line_bytes": len(line),
    }


def measure(callers: int, folder: Path | None, records: int) -> dict[str, Any]:
    line, _ = seal(record(), Link(), writer="gatewarden@localhost@0", at=1, record_id="0" * 26)
    ours, plain = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            found = asyncio.run(journal_round(Path(place) / "journal", callers, records))
            ours.append(found)
            batch = max(1, round(found["batch"]))
            plain.append(plain_round(Path(place), int(found["commits"]), batch, line))

    def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
        return {key: round(statistics.median(r[key] for r in rounds), 2) for key in rounds[0]}

    ratios = {
        key: round(statistics.median(a[key] / b[key] for a, b in zip(ours, plain, strict=True)), 2)
        for key in plain[0]
    }
    return {
        "callers": callers,
        "journal": middle(ours),
        "plain": middle(plain),
        "ratio": ratios,
        "parts": {key: round(value, 2) for key, value in parts(line).items()},
    }


def table(results: list[dict[str, Any]]) -> str:
    rows: list[tuple[str, Any]] = [
        ("records a commit", lambda r: r["journal"]["batch"]),
        ("commits a second", lambda r: round(r["journal"]["commits_s"])),
        ("CPU a record, us", lambda r: r["journal"]["cpu_us"]),
        (f"  budget {BUDGET_US:g}", lambda r: f"x {r['journal']['cpu_us'] / BUDGET_US:.2f}"),
        ("  building it, us", lambda r: r["parts"]["build_us"]),
        ("  JSON and chain, us", lambda r: r["parts"]["seal_us"]),
        ("  of it plain write + fdatasync, us", lambda r: r["plain"]["cpu_us"]),
        ("wait until durable, p50 us", lambda r: r["journal"]["wait_p50_us"]),
        ("  p99 us", lambda r: r["journal"]["wait_p99_us"]),
        ("plain write + fdatasync, p50 us", lambda r: r["plain"]["wait_p50_us"]),
        ("  p99 us", lambda r: r["plain"]["wait_p99_us"]),
        ("ratio of the waits, p50", lambda r: r["ratio"]["wait_p50_us"]),
        ("ratio of the time in all", lambda r: r["ratio"]["wall_us"]),
    ]
    width = max(len(name) for name, _ in rows) + 2
    head = f"{'callers at once':<{width}}" + "".join(f"{r['callers']:>12}" for r in results)
    body = [f"{name:<{width}}" + "".join(f"{of(r)!s:>12}" for r in results) for name, of in rows]
    return "\n".join([head, *body])


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="cost of a record in the journal")
    parser.add_argument("--callers", default="1,32,128", help="callers at once, comma-separated")
    parser.add_argument("--records", type=int, default=RECORDS, help="records of a round")
    parser.add_argument("--folder", type=Path, help="on which disk (default: the temporary folder)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE (`-` = stdout)")
    given = parser.parse_args(arguments)
    results = []
    for callers in map(int, given.callers.split(",")):
        records = given.records if callers > 1 else given.records // 10
        results.append(measure(callers, given.folder, records))
    machine = f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}"
    report = json.dumps({"machine": machine, "callers": results}, indent=2)
    if given.json == "-":
        print(report)
        return
    print(f"a decision record in the journal ({machine})\n\n{table(results)}")
    if given.json:
        Path(given.json).write_text(report + "\n")


if __name__ == "__main__":
    main()
