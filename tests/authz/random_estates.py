"""Small random estates as rows, with what they may lose and gain, for properties of searches and differences."""

from __future__ import annotations

import random

from authz.conditions import Condition, Item, Operator, encode, name_of
from authz.rows import Row, row

USERS = [f"user:u-{n}" for n in range(4)]
ACCOUNTS = ["virtualaccount:v-0", "virtualaccount:v-1"]
TEAMS = ["team:t0", "team:t1", "team:t2"]
BOUNDS = ["bound:t0", "bound:t1"]
MODELS = ["model:a/x", "model:a/y", "model:b/x", "model:virt/x", "model:virt/y"]
GROUPS = ["open-models:a", "provider-account:a", "provider-account:b", "any:model", "any:object"]
ACTIONS = ["model:use", "access:grant", "provider-account:read"]
BUNDLES = ["role:user", "role:wide"]
CONDITIONS = [
    Condition((Item("body.stream", Operator.EQUAL, True),)),
    Condition((Item("time.now", Operator.LESS_THAN, "2027-01-01T00:00:00+00:00"),)),
    Condition((Item("time.now", Operator.LESS_THAN, "2025-01-01T00:00:00+00:00"),)),
]
DEFINITIONS = [row("c", name_of(one), encode(one)) for one in CONDITIONS]


def bound_of(account: str) -> str | None:
    """The second account is bounded by a team."""
    return "bound:t0" if account == "virtualaccount:v-1" else None


def random_row(rnd: random.Random) -> Row:
    """One row; links lead from earlier to later names only, so that there is no cycle."""
    pick = rnd.choice
    match rnd.randrange(9):
        case 0 | 1 | 2:
            chain = [*USERS, *ACCOUNTS, *BOUNDS, "any:user", *TEAMS]
            child = rnd.randrange(len(chain) - 1)
            parents = [name for name in chain[child + 1 :] if name in TEAMS]
            return row("g", chain[child], pick(parents))
        case 3 | 4:
            chain = [*MODELS, *GROUPS]
            child = rnd.randrange(len(chain) - 1)
            return row("g2", chain[child], pick(chain[max(child + 1, len(MODELS)) :]))
        case 5:
            return row("g3", pick([*ACTIONS, BUNDLES[0]]), BUNDLES[1])
        case 6:
            return row("g3", pick(ACTIONS), BUNDLES[0])
        case _:
            deny = rnd.random() < 0.3
            return row(
                "p",
                pick([*USERS, *ACCOUNTS, *TEAMS, *TEAMS, "any:user", "any:subject"]),
                pick([*MODELS, *GROUPS, *GROUPS]),
                "*" if deny and rnd.random() < 0.3 else pick([*ACTIONS, *BUNDLES, *BUNDLES]),
                "deny" if deny else "allow",
                pick(DEFINITIONS).values[0] if rnd.random() < 0.3 else "",
                f"rule-{rnd.randrange(1000)}",
            )


def random_rows(rnd: random.Random) -> list[Row]:
    """An estate of some fifty rows, each once."""
    rows = {random_row(rnd) for _ in range(rnd.randrange(20, 80))} | set(DEFINITIONS)
    for number, alias in enumerate(("model:virt/x", "model:virt/y")):
        if rnd.random() < 0.5:
            rows.add(row("a", alias, rnd.choice([*MODELS[:3], *MODELS[4 : 5 - number]])))
    return sorted(rows)


def random_change(rnd: random.Random, rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Rows to add and rows to remove."""
    removed = rnd.sample(rows, min(len(rows), rnd.randrange(8)))
    added = {random_row(rnd) for _ in range(rnd.randrange(8))} - set(rows)
    for alias in ("model:virt/x",):
        if rnd.random() < 0.2 and not any(one.values[0] == alias for one in rows):
            added.add(row("a", alias, rnd.choice(MODELS[:3])))
    return sorted(added), sorted(removed)
