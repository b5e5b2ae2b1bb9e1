"""What a decision costs: `python bench/decide.py [--sizes 10000,100000,1000000] [--json FILE]`.

Each size runs in a fresh process, so that memory and collector are its own. The workload is the full
model: teams and roles (`g`), accounts, groups and the catalogue (`g2`), actions in bundles (`g3`), 5 %
denies, 5 % conditions, Zipf popularity of models. Stock Casbin judges the same policy at the smallest
size. Figures are of this machine and this run: compare ratios, not digits.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import casbin

from authz.collector import settle
from authz.conditions import Condition, Context, Item, Operator, encode, name_of
from authz.engine import Engine
from authz.kleene import Reading
from authz.rows import Row, row

MODEL = (Path(__file__).resolve().parent.parent / "conf" / "model.conf").read_text()
SIZES = (10_000, 100_000, 1_000_000)
BUDGET_US = {10_000: 10, 100_000: 15, 1_000_000: 25}
STOCK_UP_TO = 10_000
ROLES = [f"role:r{n}" for n in range(50)]
BUNDLES = {
    "role:provider-account-access": ["model:use", "provider-account:read"],
    "role:provider-account-manager": [
        "model:use",
        "provider-account:read",
        "provider-account:write",
        "provider-account:delete",
        "access:grant",
    ],
}
CONDITIONS = [
    Condition((Item("time.hour", Operator.LESS_THAN, 24),)),
    Condition((Item("body.max_tokens", Operator.LESS_THAN, 4096),)),
    Condition((Item("client.ip", Operator.IN_NETWORK, ("10.0.0.0/8", "192.168.0.0/16")),)),
]


@dataclass(frozen=True, slots=True)
class Someone:
    """An asker without bound or token: one subject question."""

    id: str
    bound: None = None
    token: None = None


class Workload:
    """A policy of `grants` p rows and questions about it, the same for the same size."""

    def __init__(self, grants: int, seed: int = 7) -> None:
        self.rnd = random.Random(seed)
        self.grants = grants
        self.users = [f"user:u-{n:06x}" for n in range(max(20, grants // 10))]
        self.teams = [f"team:team-{n}" for n in range(max(5, grants // 100))]
        accounts = [f"acc{n}" for n in range(max(10, min(2000, grants // 100)))]
        self.models = [
            (account, f"model:{account}/m{n}")
            for n, account in zip(range(5 * len(accounts)), itertools.cycle(accounts), strict=False)
        ]
        weights = itertools.accumulate(1 / n for n in range(1, len(self.models) + 1))
        self.weights = list(weights)
        self.groups = [f"resource-group:g{n}" for n in range(max(2, len(self.models) // 20))]
        self.members: dict[str, list[str]] = {}
        self.granted: list[tuple[str, str]] = []
        self._seen: set[int] = set()

    def rows(self) -> Iterator[Row]:
        """Every row, structure first."""
        yield from self._structure()
        for n in range(self.grants):
            yield self.grant(n)

    def _structure(self) -> Iterator[Row]:
        rnd = self.rnd
        for bundle, actions in BUNDLES.items():
            for action in actions:
                yield row("g3", action, bundle)
        for one in CONDITIONS:
            yield row("c", name_of(one), encode(one))
        for kind in ("model", "provider-account", "team", "user", "resource-group"):
            yield row("g2", f"any:{kind}", "any:object")
        for user in self.users:
            yield row("g2", user, "any:user")
            yield row("g", user, "team:everyone")
            for team in rnd.sample(self.teams, rnd.randint(1, 3)):
                self.members.setdefault(team, []).append(user)
                yield row("g", user, team)
        for n, team in enumerate(self.teams):
            yield row("g2", team, "any:team")
            yield row("g", f"bound:{team[5:]}", team)
            yield row("g", team, ROLES[n % len(ROLES)])
        yield row("g", "team:everyone", "role:tenant-member")
        for group in self.groups:
            yield row("g2", group, "any:resource-group")
        for account in {account for account, _ in self.models}:
            yield row("g2", f"provider-account:{account}", "any:provider-account")
        for account, model in self.models:
            yield row("g2", model, f"open-models:{account}")
            yield row("g2", model, f"provider-account:{account}")
            yield row("g2", model, "any:model")
            if rnd.random() < 0.5:
                yield row("g2", model, rnd.choice(self.groups))
        # The shipped administrators' rights: every question finds `any:object` in its closure.
        for action in ("model:use", "access:grant", "team:read", "user:read"):
            yield row("p", "role:tenant-admin", "any:object", action, "allow", "", f"role/{action}")

    def grant(self, n: int) -> Row:
        """One grant that was not made before (a subject holds a role on a thing once)."""
        while True:
            made = self._draw(n)
            key = hash(made.values[:3])
            if key not in self._seen:
                self._seen.add(key)
                return made

    def _draw(self, n: int) -> Row:
        """60 % to teams, 35 % to users, 5 % to roles; models by Zipf."""
        rnd = self.rnd
        draw = rnd.random()
        pool = self.teams if draw < 0.6 else self.users if draw < 0.95 else ROLES
        subject = rnd.choice(pool)
        account, model = rnd.choices(self.models, cum_weights=self.weights)[0]
        draw = rnd.random()
        deny = draw < 0.05
        condition = name_of(rnd.choice(CONDITIONS)) if 0.05 <= draw < 0.10 else ""
        where = rnd.random()
        if where < 0.55:
            thing, action, kind = model, "model:use", "authorized-subject"
        elif where < 0.85:
            action = rnd.choice(tuple(BUNDLES))
            thing, kind = f"open-models:{account}", "collaborator"
        elif where < 0.95:
            thing, action, kind = f"provider-account:{account}", "model:use", "binding"
        else:
            thing, action, kind = rnd.choice(self.groups), "model:use", "group"
        if deny:
            action = rnd.choice(["*", "model:use"])
        if len(self.granted) < 200_000:
            self.granted.append((subject, model))
        rule = f"provider-account/{account}#{kind}/{subject}/{n}"
        effect = "deny" if deny else "allow"
        return row("p", subject, thing, action, effect, condition, rule)

    def questions(self, count: int) -> list[tuple[Someone, str]]:
        """(asker, model): half drawn from the grants, so that popular things are asked for more."""
        rnd = random.Random(11)
        asked = []
        for _ in range(count):
            subject, model = rnd.choice(self.granted)
            if rnd.random() < 0.5 or not subject.startswith(("user:", "team:")):
                subject = rnd.choice(self.users)
            elif subject.startswith("team:"):
                subject = rnd.choice(self.members.get(subject) or self.users)
            asked.append((Someone(subject), model))
        return asked


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


def changes(work: Workload, count: int, first: int) -> list[Row]:
    """A mixed change of `count` rows: grants, and one membership in five."""
    rnd = random.Random(first)
    made: dict[Row, None] = {}
    while len(made) < count:
        if rnd.random() < 0.2:
            made[row("g", f"user:u-new{rnd.randrange(1 << 30)}", rnd.choice(work.teams))] = None
        else:
            made[work.grant(first + len(made))] = None
    return list(made)


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
        [sys.executable, __file__, "--memory", str(grants)],
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
        [sys.executable, __file__, "--child", str(grants)],
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
