"""What a decision costs: `python -m bench.decide [--sizes 10000,100000,1000000] [--json FILE]`.

Each size runs in a fresh process, so that memory and collector are its own. The workload is the full
model: teams and roles (`g`), accounts, groups and the catalogue (`g2`), actions in bundles (`g3`), 5 %
denies, 5 % conditions, Zipf popularity of models. Stock Casbin judges the same policy at the smallest
size. Figures are of this machine and this run: compare ratios, not digits.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import casbin

from authz.collector import settle
from authz.conditions import Context
from authz.engine import Engine
from authz.kleene import Reading
from authz.rows import Row, row
from bench.workload import Someone, Workload, changes

MODEL = (Path(__file__).resolve().parent.parent / "conf" / "model.conf").read_text()
SIZES = (10_000, 100_000, 1_000_000)
BUDGET_US = {10_000: 10, 100_000: 15, 1_000_000: 25}
STOCK_UP_TO = 10_000


def context() -> Context:
    """A request's context, with a body that is read only when a rule asks."""
    return Context(
        {"time.now": datetime(2026, 1, 5, 12, tzinfo=UTC), "client.ip": "10.1.2.3"},
        {"body.max_tokens": 256}.get,
    )


def resident_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def percentiles(
    call: Callable[..., object], questions: list[tuple[Any, ...]], passes: int = 5
) -> dict[str, float]:
    """p50 and p99 in microseconds of single calls, each the median of its passes over all questions."""
    clock = time.perf_counter_ns
    empty = statistics.median(-(clock() - clock()) for _ in range(2000))
    p50, p99 = [], []
    for _ in range(passes):
        times = []
        for question in questions:
            start = clock()
            call(*question)
            times.append(clock() - start - empty)
        times.sort()
        p50.append(times[len(times) // 2] / 1000)
        p99.append(times[int(len(times) * 0.99)] / 1000)
    return {
        "p50_us": round(statistics.median(p50), 2),
        "p99_us": round(statistics.median(p99), 2),
        "p50_best_us": round(min(p50), 2),
    }


def longest(steps: Iterator[None]) -> tuple[float, float]:
    """(longest pause between two steps, all together) in milliseconds."""
    worst = total = 0.0
    while True:
        start = time.perf_counter()
        done = next(steps, steps) is steps
        took = (time.perf_counter() - start) * 1000
        worst, total = max(worst, took), total + took
        if done:
            return worst, total


def measure(grants: int) -> dict[str, Any]:
    """All figures of one size, in this process."""
    work = Workload(grants)
    rows = list(work.rows())
    count = 20_000 if grants > 1000 else 500
    questions = work.questions(count)
    settle()
    before = resident_mb()
    start = time.perf_counter()
    engine = Engine.load(MODEL, rows, 1)
    load_s = time.perf_counter() - start
    start = time.perf_counter()
    settle()
    settle_ms = (time.perf_counter() - start) * 1000
    result: dict[str, Any] = {
        "grants": grants,
        "rows": len(rows),
        "users": len(work.users),
        "teams": len(work.teams),
        "load_s": round(load_s, 2),
        "settle_ms": round(settle_ms, 1),
    }
    ctx = context()
    subjects = {asker.id for asker, _ in questions}
    candidates = [
        len(
            engine.enforcer.index.candidates(
                engine.enforcer.objects.closure(model),
                engine.enforcer.actions.closure("model:use"),
                engine.enforcer.subjects.closure(asker.id).keys(),
            )
        )
        for asker, model in questions[:2000]
    ]
    result["candidates_mean"] = round(statistics.mean(candidates), 1)
    engine.enforcer.subjects._retire()
    cold = [(a, "model:use", m, ctx) for a, m in questions]
    result["decide_cold"] = percentiles(engine.decide, cold, passes=1)
    result["decide"] = percentiles(engine.decide, cold)
    raw = [(a.id, m, "model:use", Reading(ctx, a.id, m)) for a, m in questions]
    result["enforce"] = percentiles(engine.enforcer.judge, raw)
    allowed = sum(bool(engine.decide(*one)) for one in cold)
    result["allowed_share"] = round(allowed / len(cold), 3)
    result["asked_subjects"] = len(subjects)
    if grants <= STOCK_UP_TO:
        result["stock_enforce"] = stock(rows, questions, engine, ctx)
    for user in work.users:
        engine.enforcer.subjects.closure(user)  # as if every user had asked: the steady state
    gc.collect()
    one_row(engine, work, result)
    stalls(engine, work, result, grants)
    rows_mb = resident_mb()
    del rows, cold, raw, questions, work
    gc.unfreeze()
    gc.collect()
    result["process_mb"] = round(rows_mb)
    result["policy_mb"] = round(memory_of_policy(grants), 1)
    result["before_mb"] = round(before)
    return result


def memory_of_policy(grants: int) -> float:
    """Resident growth of a process that holds the policy and nothing of the workload."""
    out = subprocess.run(
        [sys.executable, "-m", "bench.decide", "--memory", str(grants)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(out.stdout)


def memory_child(grants: int) -> None:
    """Loads from a stream, as a process at its start does, remembers every user's closure, tells its size."""
    work = Workload(grants)
    work.granted = [("", "")] * 200_000  # nothing is noted of the rows that pass
    engine = Engine.load(MODEL, work.rows(), 1)
    users = work.users
    del work
    for user in users:
        engine.enforcer.subjects.closure(user)
    del users
    settle()
    print(resident_mb())


def one_row(engine: Engine, work: Workload, result: dict[str, Any]) -> None:
    """The cost of a row in a delta of one, added and taken away."""
    times_p: list[int] = []
    times_g: list[int] = []
    for n in range(500):
        grant = work.grant(10_000_000 + n)
        link = row("g", f"user:u-one{n}", work.teams[n % len(work.teams)])
        for item, times in ((grant, times_p), (link, times_g)):
            start = time.perf_counter_ns()
            engine.apply([item], [], engine.epoch + 1)
            times.append(time.perf_counter_ns() - start)
            start = time.perf_counter_ns()
            engine.apply([], [item], engine.epoch + 1)
            times.append(time.perf_counter_ns() - start)
    result["delta_grant_us"] = round(statistics.median(times_p) / 1000, 2)
    result["delta_link_us"] = round(statistics.median(times_g) / 1000, 2)


def stalls(engine: Engine, work: Workload, result: dict[str, Any], grants: int) -> None:
    """The longest stall of a delta of 2,000 rows in one step, and of 20,000 built aside."""
    small, large = min(2_000, grants // 5), min(20_000, grants // 2)
    times = []
    for n in range(6):
        rows = changes(work, small, 20_000_000 + n * small)
        for added, removed in ((rows, []), ([], rows)):
            start = time.perf_counter()
            engine.apply(added, removed, engine.epoch + 1)
            times.append((time.perf_counter() - start) * 1000)
    result["small_change"] = {
        "rows": small,
        "stall_ms": round(statistics.median(times), 2),
        "worst_ms": round(max(times), 2),
    }
    worst, total = [], []
    for n in range(3):
        rows = changes(work, large, 40_000_000 + n * large)
        for added, removed in ((rows, []), ([], rows)):
            stall, whole = longest(engine.apply_in_steps(added, removed, engine.epoch + 1))
            worst.append(stall)
            total.append(whole)
    result["large_change"] = {
        "rows": large,
        "stall_ms": round(statistics.median(worst), 2),
        "worst_ms": round(max(worst), 2),
        "total_ms": round(statistics.median(total), 1),
    }
    # One row that concerns everyone: the closures of all users are void at once.
    start = time.perf_counter()
    engine.apply([row("g", "team:everyone", "role:r0")], [], engine.epoch + 1)
    result["everyone_link_ms"] = round((time.perf_counter() - start) * 1000, 2)


def stock(
    rows: list[Row], questions: list[tuple[Someone, str]], engine: Engine, ctx: Context
) -> dict[str, float]:
    """Stock Casbin on the same rows: the time of a call, and that it answers the same."""
    enforcer: Any = casbin.Enforcer(Engine(MODEL).enforcer.new_model(text=MODEL))  # type: ignore[no-untyped-call]
    enforcer.add_function("when", engine.enforcer.conditions.when)
    enforcer.model["p"]["p"].policy = [list(r.values) for r in rows if r.ptype == "p"]
    for ptype in ("g", "g2", "g3"):
        manager = enforcer.rm_map[ptype]
        for child, parent in (r.values for r in rows if r.ptype == ptype):
            manager.add_link(child, parent)
    for user in {r.values[0] for r in rows if r.ptype == "g" and r.values[0].startswith("user:")}:
        enforcer.rm_map["g"].add_link(user, "any:user")
        enforcer.rm_map["g"].add_link(user, "any:subject")
    enforcer.rm_map["g3"].add_link("model:use", "*")
    times = []
    few = questions[:40]
    for asker, model in few:
        start = time.perf_counter()
        answer = enforcer.enforce(asker.id, model, "model:use", Reading(ctx, asker.id, model))
        times.append((time.perf_counter() - start) * 1e6)
        if answer != bool(engine.decide(asker, "model:use", model, ctx)):
            raise SystemExit("stock Casbin answers otherwise")
    return {"p50_us": round(statistics.median(times), 0), "calls": len(few)}


def in_child(grants: int) -> dict[str, Any]:
    """The figures of one size, from a fresh process."""
    out = subprocess.run(
        [sys.executable, "-m", "bench.decide", "--child", str(grants)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, Any] = json.loads(out.stdout)
    return result


def table(results: list[dict[str, Any]]) -> str:
    """The figures, one column a size."""

    def over(result: dict[str, Any]) -> str:
        budget = BUDGET_US.get(result["grants"])
        return f"{budget}" if budget else "-"

    lines: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
        ("rows", lambda r: f"{r['rows']:,}"),
        ("users / teams", lambda r: f"{r['users']:,} / {r['teams']:,}"),
        ("candidates a question, mean", lambda r: r["candidates_mean"]),
        ("allowed", lambda r: f"{r['allowed_share']:.0%}"),
        ("question, p50 us", lambda r: r["enforce"]["p50_us"]),
        ("  budget, p50 us", over),
        ("question, p99 us", lambda r: r["enforce"]["p99_us"]),
        ("decide (with record), p50 us", lambda r: r["decide"]["p50_us"]),
        ("decide, p99 us", lambda r: r["decide"]["p99_us"]),
        ("decide, subjects not seen before, p50 us", lambda r: r["decide_cold"]["p50_us"]),
        ("stock Casbin, p50 us", lambda r: r.get("stock_enforce", {}).get("p50_us", "-")),
        ("load, s", lambda r: r["load_s"]),
        ("settle (collect, freeze), ms", lambda r: r["settle_ms"]),
        ("memory of the process, MB", lambda r: r["policy_mb"]),
        ("one grant applied, us", lambda r: r["delta_grant_us"]),
        ("one membership applied, us", lambda r: r["delta_link_us"]),
        ("small change: rows", lambda r: r["small_change"]["rows"]),
        ("  stall, median / worst ms", lambda r: _stall(r["small_change"])),
        ("large change: rows", lambda r: r["large_change"]["rows"]),
        ("  stall, median / worst ms", lambda r: _stall(r["large_change"])),
        ("  in all, ms", lambda r: r["large_change"]["total_ms"]),
        ("a role for everyone, ms", lambda r: r["everyone_link_ms"]),
    ]
    width = max(len(name) for name, _ in lines)
    head = " " * width + "".join(f"{r['grants']:>18,}" for r in results)
    body = [f"{name:<{width}}" + "".join(f"{of(r)!s:>18}" for r in results) for name, of in lines]
    return "\n".join([head, *body])


def _stall(change: dict[str, Any]) -> str:
    return f"{change['stall_ms']} / {change['worst_ms']}"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="cost of a decision")
    parser.add_argument(
        "--sizes", default=",".join(map(str, SIZES)), help="grants, comma-separated"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE (`-` = stdout)")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.memory:
        memory_child(given.memory)
        return
    if given.child:
        print(json.dumps(measure(given.child)))
        return
    results = [in_child(int(size)) for size in given.sizes.split(",")]
    machine = f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}"
    report = json.dumps({"machine": machine, "sizes": results}, indent=2)
    if given.json == "-":
        print(report)
        return
    print(f"one Casbin question, full model ({machine})\n\n{table(results)}")
    if given.json:
        Path(given.json).write_text(report + "\n")


if __name__ == "__main__":
    main()
