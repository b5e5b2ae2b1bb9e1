"""The proof that the index and the graphs change nothing: stock Casbin judges the same random policies.

Three answers to every question: stock `casbin.Enforcer` on the same model, a naive reading of the rows
written for this test, and the engine. Policies are edited in place; stock is built anew each time.

`GATEWARDEN_SEED` repeats a run, `GATEWARDEN_DIFFERENTIAL` sets how many decisions are compared.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import casbin
import pytest

from authz.conditions import Condition, Context, Item, Operator, encode, name_of
from authz.decision import Effect, Part, Reason, Verdict
from authz.engine import Engine
from authz.kleene import Reading
from authz.rows import Row, digest_after, digest_text, row

USERS = [f"user:u-{n}" for n in range(5)] + ["user:u-ghost"]
ACCOUNTS = ["virtualaccount:v-0", "virtualaccount:v-1"]
TEAMS = [f"team:t{n}" for n in range(4)]
ROLES = ["role:admin", "role:auditor"]
BOUNDS = ["bound:t0", "bound:t1"]
TOKENS = ["token:k0", "token:k1"]
IMPLICIT = ["any:user", "any:virtualaccount", "any:subject"]
MODELS = ["model:a/x", "model:a/y", "model:b/x", "model:virt/x", "model:b/unknown"]
OBJECT_GROUPS = [
    "open-models:a",
    "provider-account:a",
    "resource-group:r",
    "any:model",
    "any:object",
]
ACTIONS = ["model:use", "access:grant", "provider-account:read"]
BUNDLES = ["role:user", "bundle:more"]

CONDITIONS = [
    Condition((Item("body.stream", Operator.EQUAL, True),)),
    Condition((Item("body.max_tokens", Operator.LESS_THAN, 100),)),
    Condition(
        (
            Item("metadata.env", Operator.IN, ("dev", "test")),
            Item("time.hour", Operator.GREATER_THAN_EQUAL, 9),
        )
    ),
    Condition((Item("metadata.env", Operator.EXISTS, False),)),
    Condition((Item("resource.account", Operator.NOT_EQUAL, "b"),)),
]
NAMES = {name_of(one): one for one in CONDITIONS}
UNDEFINED = "c-00000000000000000000"
VALUES: dict[str, list[object]] = {
    "body.stream": [True, False, "yes", 1],
    "body.max_tokens": [10, 100, 99.5, True, "10"],
    "metadata.env": ["dev", "prod", 3],
    "time.hour": [8, 9, "9"],
}


# --- the naive reading ------------------------------------------------------------------------------


def reach(links: Iterable[tuple[str, str]], start: str) -> set[str]:
    """What `start` belongs to, by walking the links until nothing is new."""
    found = {start}
    while True:
        more = {b for a, b in links if a in found} - found
        if not more:
            return found
        found |= more


def naive_item(item: Item, values: Mapping[str, object]) -> bool | None:
    absent = item.field not in values
    if item.operator is Operator.EXISTS:
        return absent is not item.value
    if absent:
        return None
    value = values[item.field]
    wanted = item.value if isinstance(item.value, tuple) else (item.value,)

    def kind(one: object) -> str:
        return "number" if type(one) in (int, float) else type(one).__name__

    if all(kind(one) != kind(value) for one in wanted):
        return None
    match item.operator:
        case Operator.EQUAL | Operator.IN:
            return value in wanted
        case Operator.NOT_EQUAL:
            return value not in wanted
        case Operator.LESS_THAN:
            return value < wanted[0]  # type: ignore[operator]
        case Operator.GREATER_THAN_EQUAL:
            return value >= wanted[0]  # type: ignore[operator]
    raise AssertionError(item.operator)


def naive_when(
    defined: Iterable[str], name: str, effect: str, values: Mapping[str, object]
) -> bool:
    if name not in defined:
        return effect == "deny"
    outcomes = [naive_item(item, values) for item in NAMES[name].items]
    if False in outcomes:
        return False
    return effect == "deny" if None in outcomes else True


def account_of(resource: str) -> dict[str, object]:
    kind, _, name = resource.partition(":")
    named = kind in ("model", "provider-account", "open-models")
    return {"resource.account": name.split("/")[0]} if named else {}


# --- a random policy --------------------------------------------------------------------------------


@dataclass
class World:
    """The rows, as the engine has them and as stock Casbin gets them."""

    rnd: random.Random
    rows: list[Row]
    refused: int = 0
    count: int = 0

    def add(self, engine: Engine, rows: list[Row]) -> None:
        engine.apply(rows, [], engine.epoch + 1)
        self.rows += rows

    def links(self, ptype: str) -> list[tuple[str, str]]:
        return [(r.values[0], r.values[1]) for r in self.rows if r.ptype == ptype]

    def implied(self) -> list[tuple[str, str]]:
        made = []
        for kind, names in (("user", USERS), ("virtualaccount", ACCOUNTS)):
            made += [(name, f"any:{kind}") for name in names]
            made += [(name, "any:subject") for name in names]
        return made

    def of(self, ptype: str) -> list[tuple[str, ...]]:
        return [r.values for r in self.rows if r.ptype == ptype]

    def random_link(self) -> Row:
        pick = self.rnd.choice
        match self.rnd.randrange(6):
            case 0 | 1 | 2:
                child = pick([*USERS[:-1], *ACCOUNTS, *TEAMS, *BOUNDS, *ROLES, "any:user"])
                return row("g", child, pick([*TEAMS, *ROLES]))
            case 3 | 4:
                return row("g2", pick([*MODELS[:-1], *OBJECT_GROUPS]), pick(OBJECT_GROUPS))
            case _:
                return row("g3", pick([*ACTIONS[:2], *BUNDLES]), pick(BUNDLES))

    def usual_links(self) -> list[Row]:
        """Enough links that a good part of the questions finds rows."""
        pick, maybe = self.rnd.choice, lambda: self.rnd.random() < 0.8
        made = [row("g", name, pick(TEAMS)) for name in [*USERS[:-1], *ACCOUNTS] if maybe()]
        made += [row("g", bound, pick(TEAMS)) for bound in BOUNDS if maybe()]
        made += [row("g2", model, pick(OBJECT_GROUPS)) for model in MODELS[:-1] if maybe()]
        made += [row("g2", group, "any:object") for group in OBJECT_GROUPS[:-1] if maybe()]
        made += [row("g3", action, pick(BUNDLES)) for action in ACTIONS if maybe()]
        return made

    def random_rule(self) -> Row:
        pick, rnd = self.rnd.choice, self.rnd
        self.count += 1
        effect = "deny" if rnd.random() < 0.25 else "allow"
        action = pick([*ACTIONS, *BUNDLES, *BUNDLES])
        if effect == "deny" and rnd.random() < 0.3:
            action = "*"
        return row(
            "p2" if rnd.random() < 0.15 else "p",
            pick(
                [*USERS, *ACCOUNTS, *TEAMS, *TEAMS, *TEAMS, *ROLES, *IMPLICIT, *IMPLICIT, *TOKENS]
            ),
            pick([*MODELS, *OBJECT_GROUPS, *OBJECT_GROUPS, "any:object", "any:object"]),
            action,
            effect,
            pick([*NAMES, UNDEFINED]) if rnd.random() < 0.35 else "",
            f"rule-{self.count}",
        )


def first_rows(world: World) -> list[Row]:
    rnd = world.rnd
    rows = [row("c", name, encode(one)) for name, one in NAMES.items() if rnd.random() < 0.9]
    if rnd.random() < 0.5:
        rows.append(row("a", "model:virt/x", rnd.choice(MODELS[:3] + MODELS[4:])))
    rows += [world.random_rule() for _ in range(rnd.choice([0, 6, 10, 12, 14]))]
    return rows


def grow(engine: Engine, world: World, links: int) -> list[Row]:
    """Links that the check lets pass; a cycle or a chain too deep is refused as a plan would refuse it."""
    kept: list[Row] = []
    for _ in range(links):
        link = world.random_link()
        if link in world.rows or link in kept:
            continue
        if engine.link_problems([*kept, link]):
            world.refused += 1
        else:
            kept.append(link)
    return kept


def stock_of(model_text: str, world: World, rules: list[tuple[str, ...]]) -> Any:
    stock = casbin.Enforcer(casbin.Enforcer.new_model(text=model_text))
    defined = {values[0] for values in world.of("c")}
    stock.add_function(
        "when", lambda name, effect, values: naive_when(defined, name, effect, values)
    )
    stock.model["p"]["p"].policy = [list(values) for values in rules]
    for ptype in ("g", "g2", "g3"):
        links = world.links(ptype)
        links += {"g": world.implied(), "g2": [], "g3": [(a, "*") for a in ACTIONS]}[ptype]
        for child, parent in links:
            stock.rm_map[ptype].add_link(child, parent)
        stock.model["g"][ptype].rm = stock.rm_map[ptype]
    return stock


# --- the comparison ---------------------------------------------------------------------------------


class Judges:
    """Stock Casbin and the naive reading, on the rows as they are now."""

    def __init__(self, model_text: str, world: World) -> None:
        self.world = world
        self.stock = stock_of(model_text, world, world.of("p"))
        self.with_shadow = (
            stock_of(model_text, world, [*world.of("p"), *world.of("p2")])
            if world.of("p2")
            else None
        )
        self.asked = 0
        self.reasons: Counter[Reason] = Counter()
        self.defined = {values[0] for values in world.of("c")}
        self.subjects = [*world.links("g"), *world.implied()]
        self.objects = world.links("g2")
        self.actions = [*world.links("g3"), *((a, "*") for a in ACTIONS)]
        self.known = {name for link in self.objects for name in link}

    def matching(self, ptype: str, subject: str, obj: str, action: str) -> list[tuple[str, ...]]:
        """The rows that match, conditions aside."""
        subjects = reach(self.subjects, subject)
        objects = reach(self.objects, obj)
        actions = reach(self.actions, action)
        return [
            r
            for r in self.world.of(ptype)
            if r[0] in subjects and r[1] in objects and r[2] in actions
        ]

    def compare(self, verdict: Verdict, values: dict[str, object]) -> None:
        """One verdict of the engine against stock Casbin and the naive reading."""
        part, subject, action, resource = verdict.question
        if verdict.reason is Reason.UNKNOWN_RESOURCE:
            assert resource not in self.known
            return
        values = {**values, **account_of(resource)}
        allowed = self.stock.enforce(subject, resource, action, values)
        self.asked += 1
        rows = self.matching("p", subject, resource, action)
        met = [r for r in rows if not r[4] or naive_when(self.defined, r[4], r[3], values)]
        allows = sorted(r[5] for r in met if r[3] == "allow")
        denies = sorted(r[5] for r in met if r[3] == "deny")
        granted = [r for r in rows if r[3] == "allow"]
        if part is Part.TARGET:
            assert (verdict.effect is Effect.ALLOW) == (not denies)
            assert not (denies and allowed)
        else:
            assert (verdict.effect is Effect.ALLOW) == allowed
        if verdict.effect is Effect.ALLOW:
            expected = Reason.ALLOWED, allows
        elif denies:
            silent = not granted and part is not Part.TARGET
            reason = Reason.NO_GRANT if silent else Reason.DENIED_BY_RULE
            expected = reason, denies + allows
        elif granted:
            expected = Reason.CONDITION_NOT_MET, sorted(r[5] for r in granted)
        else:
            expected = Reason.NO_GRANT, []
        assert (verdict.reason, list(verdict.rules)) == expected
        self.reasons[verdict.reason] += 1
        self.compare_shadow(verdict, values)

    def compare_shadow(self, verdict: Verdict, values: dict[str, object]) -> None:
        _, subject, action, resource = verdict.question
        rows = self.matching("p2", subject, resource, action)
        assert (verdict.shadow is not None) == bool(rows)
        if rows and self.with_shadow is not None:
            allowed = self.with_shadow.enforce(subject, resource, action, values)
            self.asked += 1
            assert (verdict.shadow is Effect.ALLOW) == allowed
            met = [r for r in rows if not r[4] or naive_when(self.defined, r[4], r[3], values)]
            assert list(verdict.shadow_rules) == sorted(r[5] for r in met)


def edit(engine: Engine, world: World) -> None:
    """A few rows out and in, in place, by either way of applying."""
    rnd = world.rnd
    removed = rnd.sample(world.rows, min(len(world.rows), rnd.randrange(4)))
    before = list(world.rows)
    world.rows = [r for r in world.rows if r not in removed]
    if rnd.random() < 0.5:
        engine.apply([], removed, engine.epoch + 1)
        removed = []
    else:
        # The check looks at the rows that are loaded: links that leave and come back must not confuse it.
        world.rows = before
    added = [world.random_rule() for _ in range(rnd.randrange(3))]
    added += [one for one in grow(engine, world, rnd.randrange(4)) if one not in removed]
    if rnd.random() < 0.3:
        for _ in engine.apply_in_steps(added, removed, engine.epoch + 1, step=2):
            pass
    else:
        engine.apply(added, removed, engine.epoch + 1)
    world.rows = [r for r in world.rows if r not in removed] + added


def ask(engine: Engine, judges: Judges, rnd: random.Random, someone: Any) -> None:
    subject = rnd.choice([*USERS, *ACCOUNTS])
    action = rnd.choice(ACTIONS)
    resource = rnd.choice([*MODELS, *MODELS, *OBJECT_GROUPS])
    values = {field: rnd.choice(choices) for field, choices in VALUES.items() if rnd.random() < 0.6}
    asker = someone(
        subject,
        rnd.choice(BOUNDS) if rnd.random() < 0.15 else None,
        rnd.choice(TOKENS) if rnd.random() < 0.15 else None,
    )
    decision = engine.decide(asker, action, resource, Context(values))
    assert decision.reason is not Reason.ERROR
    if decision.reason is Reason.UNKNOWN_RESOURCE and not decision.verdicts:
        assert resource not in judges.known
        # The engine asks nothing about what it does not know; the bare enforcer is still compared.
        reading = Reading(Context(values), subject, resource)
        stock = judges.stock.enforce(subject, resource, action, {**values, **account_of(resource)})
        assert engine.enforcer.enforce(subject, resource, action, reading) == stock
        judges.asked += 1
        return
    for verdict in decision.verdicts:
        judges.compare(verdict, values)
    refusing = [v for v in decision.verdicts if v.effect is Effect.DENY]
    assert bool(decision) == (not refusing)
    assert decision.verdicts[0].question.part is Part.SUBJECT
    if decision:
        parts = {v.question.part for v in decision.verdicts}
        assert (Part.BOUND in parts) == (asker.bound is not None)
        assert (Part.TOKEN in parts) == (asker.token is not None)
        assert (Part.TARGET in parts) == (engine.alias_of(resource) is not None)


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("GATEWARDEN_SEED") or random.SystemRandom().randrange(1 << 32))


def test_the_engine_agrees_with_stock_casbin(
    model_text: str, someone: Any, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = int(os.environ.get("GATEWARDEN_DIFFERENTIAL") or 100_000)
    rnd = random.Random(seed)
    asked = states = refused = 0
    reasons: Counter[Reason] = Counter()
    start = time.perf_counter()
    try:
        while asked < wanted:
            world = World(rnd, [])
            world.rows = first_rows(world)
            engine = Engine.load(model_text, world.rows, 1)
            world.add(engine, world.usual_links())
            world.add(engine, grow(engine, world, 12))
            for _ in range(4):
                judges = Judges(model_text, world)
                for _ in range(30):
                    ask(engine, judges, rnd, someone)
                asked += judges.asked
                reasons += judges.reasons
                states += 1
                assert engine.digest == digest_text(digest_after(0, world.rows, ()))
                edit(engine, world)
            refused += world.refused
    except Exception as error:
        error.add_note(f"repeat with GATEWARDEN_SEED={seed}")
        raise
    seconds = time.perf_counter() - start
    with capsys.disabled():
        print(
            f"\ndifferential: seed {seed}, {asked} decisions compared in {states} states of policy,"
            f" {refused} cycles and chains refused, {seconds:.0f} s;"
            f" {', '.join(f'{reason} {n}' for reason, n in reasons.most_common())}",
            file=sys.stderr,
        )
    # A generator that hardly ever allows would prove little.
    assert refused
    assert all(
        reasons[reason] > asked / 100
        for reason in (
            Reason.ALLOWED,
            Reason.NO_GRANT,
            Reason.DENIED_BY_RULE,
            Reason.CONDITION_NOT_MET,
        )
    )
