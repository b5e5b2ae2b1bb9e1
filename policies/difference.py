"""Who gains and who loses what by a change: lines for a person to read, and the pairs that prove them.

What could turn is found by `reach`; every pair is asked of the engine before and after the change, and a
line stands only when one of its pairs turns. The context says what is known of a request, such as the
time; what the caller sends is left open, as in `Engine.visible`: somebody has what some request would be
allowed. A change that reaches more pairs than are asked is `truncated`: its lines are still confirmed by
pairs spread over them, but counts then say what the rows reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from authz.conditions import Context
from authz.decision import Reason, Somebody
from authz.engine import Engine
from authz.errors import AuthzError
from authz.population import ACCOUNT, Population, is_person
from authz.rows import Row
from policies.moving import moved
from policies.reach import BoundOf, Headline, Reach, Spot

Sense = Literal["gains", "loses"]
Question = tuple[str, str, str]  # subject, action, resource

_OPEN: Final = frozenset({"body.", "header.", "metadata."})
_WITNESSES: Final = 64  # pairs of every line that are asked, fewer where there are very many lines
_WITNESSES_IN_ALL: Final = 20  # of them, for each pair that may be asked


@dataclass(frozen=True, slots=True)
class AccessLine:
    """A subject gains or loses an action (or bundle) on a thing (or group of things), by a rule.

    Counted are the people, virtual accounts and things whose answer turns.
    """

    subject: str
    effect: Sense
    action: str
    resource: str
    rule: str
    people: int
    accounts: int
    things: int


@dataclass(frozen=True, slots=True)
class AccessPair:
    """One user or virtual account, and one thing on which the answer turns."""

    subject: str
    effect: Sense
    action: str
    resource: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What a change does to access: lines with groups first, and the first pairs in order of their ids.

    `pairs_total` is `gains` and `losses` together; when `truncated`, all three are what could turn at most.
    """

    lines: tuple[AccessLine, ...]
    pairs: tuple[AccessPair, ...]
    pairs_total: int
    gains: int
    losses: int
    truncated: bool


def difference(
    engine: Engine,
    added: Sequence[Row],
    removed: Sequence[Row],
    context: Context,
    *,
    bound_of: BoundOf,
    bound_after: BoundOf,
    most: int = 10_000,
) -> Difference:
    """Who gains and loses what by these rows. `engine` is the caller's own: it is moved, and back.

    `bound_of` and `bound_after` answer the `bound:<team>` of a virtual account before and after. Lines are
    asked whole while that comes to no more than `most` pairs, and each by a few pairs in any case; of
    lines and of pairs the first `most` are told.

    Raises:
        InvalidRow: the rows do not fit the engine's.
        AuthzError: a decision failed; half a difference is no answer.
    """
    open_context = Context(context.values, context.lazy, context.unbound | _OPEN)
    lines = _Lines()
    things = {name for ptype, values in (*added, *removed) if ptype == "g2" for name in values}
    known = {thing for thing in things if engine.knows(thing)}
    everyone = Population(engine).known() | _newcomers(added)
    with moved(engine, added, removed):
        known_after = {thing for thing in things if engine.knows(thing)}
        rebound = sorted(
            name
            for name in everyone
            if name.startswith(ACCOUNT) and bound_of(name) != bound_after(name)
        )
        reach = Reach(engine, bound_after, everyone)
        lines.take(reach.spots(added, come=True, switched=known_after - known))
        for account in rebound:
            lines.take(reach.of_account(account))
    reach = Reach(engine, bound_of, everyone)
    lines.take(reach.spots(removed, come=False, switched=known - known_after))
    for account in rebound:
        lines.take(reach.of_account(account))
    lines.choose(most)
    before = _answers(engine, lines.asked, open_context, bound_of)
    with moved(engine, added, removed):
        after = _answers(engine, lines.asked, open_context, bound_after)
    turned: dict[Question, Sense] = {
        question: "gains" if after[question] else "loses"
        for question in sorted(lines.asked)
        if before[question] != after[question]
    }
    return lines.told(turned, most)


def _newcomers(added: Sequence[Row]) -> set[str]:
    """Those whom these rows make known (`Population`)."""
    return {
        values[0]
        for ptype, values in added
        if (ptype in ("p", "g") and is_person(values[0]))
        or (ptype == "g2" and values[0].startswith(ACCOUNT))
    }


def _answers(
    engine: Engine, questions: dict[Question, bool], context: Context, bound_of: BoundOf
) -> dict[Question, bool]:
    made: dict[Question, bool] = {}
    askers: dict[str, Somebody] = {}
    for question in questions:
        name, action, resource = question
        asker = askers.get(name)
        if asker is None:
            bound = bound_of(name) if name.startswith(ACCOUNT) else None
            asker = askers[name] = Somebody(name, bound)
        decision = engine.decide(asker, action, resource, context)
        if decision.reason is Reason.ERROR:
            raise AuthzError("a decision failed")
        made[question] = bool(decision)
    return made


class _Lines:
    """The lines that there may be, each with the spots that it stands for, and the pairs to be asked."""

    def __init__(self) -> None:
        # By what they hold, not by its value: the people of a spot may be 100,000, and are shared.
        self._spots: dict[tuple[Headline, Sense], dict[tuple[int, int], Spot]] = {}
        self.asked: dict[Question, bool] = {}
        self._partly: set[tuple[Headline, Sense]] = set()

    def take(self, spots: Iterator[Spot]) -> None:
        """Sorts spots under their lines; one that can turn either way is under both."""
        for spot in spots:
            if spot.people and spot.targets:
                for sense in _SENSES[spot.gains]:
                    held = id(spot.people), id(spot.targets)
                    self._spots.setdefault((spot.headline, sense), {})[held] = spot

    def choose(self, most: int) -> None:
        """Picks the pairs to be asked: some of every line, then all of each while there is room."""
        count = sum(len(spots) for spots in self._spots.values())
        few = max(1, min(_WITNESSES, _WITNESSES_IN_ALL * most // max(1, count)))
        for spots in self._spots.values():
            for spot in spots.values():
                self._ask(spot, few)
        for key in sorted(self._spots, key=_order):
            for spot in self._spots[key].values():
                if _size(spot) > few and not self._ask_all(spot, most):
                    self._partly.add(key)

    def _ask(self, spot: Spot, count: int) -> None:
        size = _size(spot)
        for at in range(0, size, max(1, -(-size // count))):
            self.asked[_question(spot, at)] = True

    def _ask_all(self, spot: Spot, most: int) -> bool:
        for at in range(_size(spot)):
            question = _question(spot, at)
            # What is asked already takes no room: spots overlap.
            if question not in self.asked:
                if len(self.asked) >= most:
                    return False
                self.asked[question] = True
        return True

    def told(self, turned: dict[Question, Sense], most: int) -> Difference:
        """The lines that stand, given the pairs that turned."""
        made: list[AccessLine] = []
        could: dict[Sense, int] = {"gains": 0, "loses": 0}
        counted: set[tuple[int, int, Sense]] = set()
        for key in sorted(self._spots, key=_order):
            headline, sense = key
            spots = self._spots[key].values()
            partly = key in self._partly
            hits = _hits(spots, turned, sense)
            if not hits:
                continue
            people, things = {name for name, _ in hits}, {thing for _, thing in hits}
            if partly:
                for spot in spots:
                    people.update(spot.people)
                    things.update(thing for _, thing in spot.targets)
                    # The same people and targets under several rules are the same pairs.
                    same = id(spot.people), id(spot.targets), sense
                    if same not in counted:
                        counted.add(same)
                        could[sense] += _size(spot)
            accounts = sum(1 for name in people if name.startswith(ACCOUNT))
            made.append(
                AccessLine(
                    headline.subject,
                    sense,
                    headline.action,
                    headline.resource,
                    headline.rule,
                    len(people) - accounts,
                    accounts,
                    len(things),
                )
            )
        pairs = tuple(
            AccessPair(name, sense, action, thing)
            for (name, action, thing), sense in turned.items()
        )
        gains = sum(1 for pair in pairs if pair.effect == "gains")
        losses = len(pairs) - gains
        gains, losses = max(gains, could["gains"]), max(losses, could["loses"])
        truncated = bool(self._partly) or max(len(pairs), len(made)) > most
        return Difference(
            tuple(made[:most]), pairs[:most], gains + losses, gains, losses, truncated
        )


_SENSES: Final[dict[bool | None, tuple[Sense, ...]]] = {
    True: ("gains",),
    False: ("loses",),
    None: ("gains", "loses"),
}


def _size(spot: Spot) -> int:
    return len(spot.people) * len(spot.targets)


def _question(spot: Spot, at: int) -> Question:
    person, target = divmod(at, len(spot.targets))
    return spot.people[person], *spot.targets[target]


def _order(key: tuple[Headline, Sense]) -> tuple[bool, Headline, Sense]:
    """Groups first: a person's own line says less."""
    return is_person(key[0].subject), *key


def _hits(
    spots: Iterable[Spot], turned: dict[Question, Sense], sense: Sense
) -> set[tuple[str, str]]:
    """The (person, thing) of the spots whose answer turned this way."""
    found: set[tuple[str, str]] = set()
    for spot in spots:
        if _size(spot) <= len(turned):
            questions: Iterator[Question] = (_question(spot, at) for at in range(_size(spot)))
            found |= {(one[0], one[2]) for one in questions if turned.get(one) == sense}
        else:
            people, targets = set(spot.people), set(spot.targets)
            found |= {
                (name, thing)
                for (name, action, thing), way in turned.items()
                if way == sense and name in people and (action, thing) in targets
            }
    return found
