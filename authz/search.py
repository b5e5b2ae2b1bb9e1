"""The two searches: who may do something to a thing, and what somebody may do.

The rows name candidates, `Engine.decide` confirms each, so that a search never says more, or less, than
a question would. Both are in order of ids and go on `after` the last one of a page; both give others
their turn (None) at least every 200 questions. The engine must not change in the middle of a search.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from heapq import heapify, heappop
from typing import Final, NamedTuple

from authz.conditions import Context
from authz.decision import Asker, Decision, Reason, Somebody
from authz.engine import Engine
from authz.errors import AuthzError
from authz.leaves import leaves_of
from authz.population import ACCOUNT, Population
from authz.vocabulary import ACTIONS

QUESTIONS: Final = 200  # asked between two pauses
_LOOKS: Final = 5_000  # rows or things looked at between two pauses, without a question

BoundOf = Callable[[str], str | None]


class Holder(NamedTuple):
    """Somebody who may, by which membership chain and by which rules."""

    subject: str
    path: str
    rules: tuple[str, ...]


class Ability(NamedTuple):
    """Something that the asker may do, by which membership chain and by which rules."""

    action: str
    resource: str
    path: str
    rules: tuple[str, ...]


def who(
    engine: Engine,
    action: str,
    resource: str,
    context: Context,
    *,
    bound_of: BoundOf,
    acts: Callable[[str], bool] | None = None,
    after: str = "",
    limit: int = 100,
) -> Iterator[Holder | None]:
    """The users and virtual accounts that may do `action` to `resource`, ascending by id, after `after`.

    `bound_of` answers the `bound:<team>` of a virtual account, None when it is not bounded. `acts`
    says who may act at all, everyone when not given: rows of kinds (`any:virtualaccount`) know nothing of
    a suspension. Asked without a token: a restricted one may less.

    Raises:
        AuthzError: a decision failed; half a list is no answer.
    """
    if limit <= 0 or action not in ACTIONS or not engine.knows(resource):
        return
    holding: set[str] = set()
    for looked, subject in enumerate(_allowed_subjects(engine, action, resource), 1):
        holding.add(subject)
        if looked % _LOOKS == 0:
            yield None
    names: list[str] = []
    for name in Population(engine).below(holding):
        if name is None:
            yield None
        elif name > after and (acts is None or acts(name)):
            names.append(name)
    heapify(names)  # a page needs the first few of perhaps 100,000
    found = asked = 0
    while names and found < limit:
        name = heappop(names)
        bound = bound_of(name) if name.startswith(ACCOUNT) else None
        decision = _sure(engine.decide(Somebody(name, bound), action, resource, context))
        asked += 1
        if decision:
            found += 1
            yield Holder(name, decision.path, decision.rules)
        if asked % QUESTIONS == 0:
            yield None


def _allowed_subjects(engine: Engine, action: str, resource: str) -> Iterator[str]:
    """The subjects of the allow rows that the question could match by."""
    enforcer = engine.enforcer
    actions = enforcer.actions.closure(action)
    for obj in enforcer.objects.closure(resource):
        for row in enforcer.index.rows_at(obj):
            if row[3] == "allow" and row[2] in actions:
                yield row[0]


def can(
    engine: Engine,
    asker: Asker,
    context: Context,
    *,
    actions: Collection[str] | None = None,
    after: tuple[str, str] = ("", ""),
    limit: int = 100,
) -> Iterator[Ability | None]:
    """What `asker` may do, as (action, thing) in ascending order, after `after`; of `actions` when given.

    Things are those that an action is asked on (`leaves`), so groups are listed for creations only.

    Raises:
        AuthzError: a decision failed; half a list is no answer.
    """
    wanted = sorted(ACTIONS if actions is None else ACTIONS & set(actions))
    objects_of = _allowed_objects(engine, asker)
    found = asked = looked = 0
    for action in wanted:
        if action < after[0] or found >= limit:
            continue
        held = set[str]().union(
            *(objects_of.get(one, ()) for one in engine.enforcer.actions.closure(action))
        )
        if not held:
            continue
        leaves = leaves_of(engine, action)
        start = bisect_right(leaves, after[1]) if action == after[0] else 0
        for resource in leaves[start:]:
            looked += 1
            if looked % _LOOKS == 0:
                yield None
            if held.isdisjoint(engine.enforcer.objects.closure(resource)):
                continue
            decision = _sure(engine.decide(asker, action, resource, context))
            asked += 1
            if decision:
                found += 1
                yield Ability(action, resource, decision.path, decision.rules)
                if found >= limit:
                    break
            if asked % QUESTIONS == 0:
                yield None


def _allowed_objects(engine: Engine, asker: Asker) -> dict[str, set[str]]:
    """By action or bundle, the objects of the allow rows that the asker's memberships reach."""
    made: dict[str, set[str]] = {}
    groups = engine.enforcer.subjects.closure(asker.id)
    for row in engine.enforcer.index.of_subjects(groups.keys()):
        if row[3] == "allow":
            made.setdefault(row[2], set()).add(row[1])
    return made


def _sure(decision: Decision) -> Decision:
    if decision.reason is Reason.ERROR:
        raise AuthzError("a decision failed")
    return decision
