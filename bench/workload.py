"""The policy that `decide.py` measures, and questions about it: the same for the same size.

The full model: teams and roles (`g`), accounts, groups and the catalogue (`g2`), actions in bundles
(`g3`), 5 % denies, 5 % conditions. 60 % of the grants go to teams, 35 % to users, 5 % to roles; the
popularity of models follows Zipf.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from authz.conditions import Condition, Item, Operator, encode, name_of
from authz.rows import Row, row

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
