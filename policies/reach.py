"""What the rows of a change reach: for each, the rules concerned, and whom and what they bind.

A rule decides otherwise only where the change touches one of the links between a question and it: the
rule itself, a membership of the subject (or of the team that bounds an account), a group of the thing or
of the action, the rule's condition, what an alias stands for. A link is followed in the state that has it:
rows that go, before the change; rows that come, after it. So nothing that turns is outside of what is
found here; whether it does turn, the engine is asked (`difference`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from typing import NamedTuple

from authz.engine import Engine
from authz.index import Candidate
from authz.leaves import is_leaf
from authz.population import ACCOUNT, IMPLICIT, is_person
from authz.rows import Row
from authz.vocabulary import ACTIONS, WILD_ACTION, Kind

BoundOf = Callable[[str], str | None]
_WITH_ALIASES = (f"{Kind.MODEL.value}:", f"{Kind.MCP_TOOL.value}:")


class Headline(NamedTuple):
    """What a person is told: this subject, action or bundle, thing or group of things, by this rule."""

    subject: str
    action: str
    resource: str
    rule: str


class Spot(NamedTuple):
    """Where answers may turn: everyone of `people` on every (action, thing) of `targets`.

    `gains` says which way an answer can turn here, None when both ways.
    """

    headline: Headline
    gains: bool | None
    people: tuple[str, ...]
    targets: tuple[tuple[str, str], ...]


class Reach:
    """One state of the engine: what is below a subject, an action, an object. Not after the next change.

    `everyone` are the people and accounts of before and after: the members of `any:user` and its like.
    """

    def __init__(self, engine: Engine, bound_of: BoundOf, everyone: Collection[str]) -> None:
        self._engine = engine
        self._everyone = everyone
        self._bounded: dict[str, list[str]] = {}
        for name in everyone:
            if name.startswith(ACCOUNT) and (bound := bound_of(name)) is not None:
                self._bounded.setdefault(bound, []).append(name)
        self._aliases: dict[str, list[str]] = {}
        for thing in (one for start in _WITH_ALIASES for one in engine.resources_of(start)):
            if (target := engine.alias_of(thing)) is not None:
                self._aliases.setdefault(target, []).append(thing)
        self.people = cache(self._people)
        self.targets = cache(self._targets)
        self.rows_of_subjects = cache(self._rows_of_subjects)

    def _people(self, subject: str) -> tuple[str, ...]:
        """Whose answers hang on what binds `subject`: its members, and accounts that a member bounds."""
        graph = self._engine.enforcer.subjects
        seen = {subject: True}
        todo = [subject]
        for one in todo:
            below: list[str] = [*graph.children(one), *self._bounded.get(one, ())]
            if one in IMPLICIT:
                below += [name for name in self._everyone if name.startswith(IMPLICIT[one])]
            for name in below:
                if name not in seen:
                    seen[name] = True
                    todo.append(name)
        return tuple(sorted(filter(is_person, seen)))

    def _targets(self, action: str, obj: str, aliases: bool) -> tuple[tuple[str, str], ...]:
        """The questions that a row on this action (or bundle) and object could match, ascending.

        With `aliases` also what stands for such a thing: a deny of the target refuses the alias.
        """
        enforcer = self._engine.enforcer
        below = enforcer.actions.children
        actions = ACTIONS if action == WILD_ACTION else ACTIONS & set(_below(action, below))
        things = set(_below(obj, enforcer.objects.children))
        if aliases:
            things |= {name for thing in things for name in self.aliases_of(thing)}
        return tuple(
            sorted((act, thing) for act in actions for thing in things if is_leaf(act, thing))
        )

    def aliases_of(self, thing: str) -> list[str]:
        """The aliases that stand for `thing`, directly or through others."""
        return _below(thing, lambda name: self._aliases.get(name, ()))[1:]

    def _rows_of_subjects(self, subject: str) -> tuple[Candidate, ...]:
        """The rows that bind `subject`, its groups' included."""
        closure = self._engine.enforcer.subjects.closure(subject)
        return tuple(self._engine.enforcer.index.of_subjects(closure.keys()))

    def rows_over(self, obj: str) -> Iterator[Candidate]:
        """The rows on `obj` or on a group that it is in."""
        enforcer = self._engine.enforcer
        for group in tuple(enforcer.objects.closure(obj)):
            yield from enforcer.index.rows_at(group)

    # --- spots --------------------------------------------------------------------------------------

    def spots(
        self, rows: Iterable[Row], *, come: bool, switched: Collection[str]
    ) -> Iterator[Spot]:
        """Where the rows that come (after the change) or go (before it) may turn answers.

        `switched` are the things that are in the catalogue in this state and not in the other.
        """
        links: dict[str, list[tuple[str, str]]] = {"g": [], "g2": [], "g3": [], "a": [], "c": []}
        own: set[tuple[str, ...]] = set()
        for ptype, values in rows:
            if ptype == "p":
                own.add(values)
                yield self._spot(values, come)
            elif ptype in links:
                links[ptype].append((values[0], values[1]))
        # A row that comes or goes itself has its line: its members, things and actions need none.
        for member, group in links["g"]:
            for row in self.rows_of_subjects(group):
                if row not in own:
                    yield self._spot(row, come, subject=member)
        for thing, group in links["g2"]:
            for row in self.rows_over(group):
                if row not in own:
                    yield self._spot(row, come, obj=thing)
        yield from self._of_switched(switched, come)
        for alias, _ in links["a"]:
            for name in (alias, *self.aliases_of(alias)):
                yield from self._either_way(name)
        yield from self._of_actions_and_conditions(links, own, come)

    def _spot(
        self,
        row: tuple[str, ...],
        come: bool | None,
        *,
        subject: str = "",
        action: str = "",
        obj: str = "",
    ) -> Spot:
        subject, action, obj = subject or row[0], action or row[2], obj or row[1]
        denies = row[3] == "deny"
        return Spot(
            Headline(subject, action, obj, row[5]),
            None if come is None else come is not denies,
            self.people(subject),
            self.targets(action, obj, denies),
        )

    def _of_switched(self, switched: Collection[str], come: bool) -> Iterator[Spot]:
        """A thing outside of the catalogue is refused whatever rows say, and so is an alias of it."""
        for thing in sorted(switched):
            for row in self._engine.enforcer.index.rows_at(thing):
                yield self._spot(row, come)
            for alias in self.aliases_of(thing):
                yield from self._either_way(alias)

    def _either_way(self, alias: str) -> Iterator[Spot]:
        for row in self.rows_over(alias):
            if row[3] == "allow":
                yield self._spot(row, None, obj=alias)

    def _of_actions_and_conditions(
        self, links: dict[str, list[tuple[str, str]]], own: set[tuple[str, ...]], come: bool
    ) -> Iterator[Spot]:
        conditions = {name for name, _ in links["c"]}
        bundles: dict[str, list[str]] = {}
        for action, bundle in links["g3"]:
            for wider in self._engine.enforcer.actions.closure(bundle):
                bundles.setdefault(wider, []).append(action)
        if not (conditions or bundles):
            return
        for row in self._engine.enforcer.index.rows():
            if row in own:
                continue
            for action in bundles.get(row[2], ()):
                yield self._spot(row, come, action=action)
            if row[4] in conditions:
                yield self._spot(row, None)

    def of_account(self, account: str) -> Iterator[Spot]:
        """Where answers to an account may turn, either way, when another team bounds it."""
        for row in self.rows_of_subjects(account):
            if row[3] == "allow":
                yield self._spot(row, None, subject=account)


def _below(name: str, children: Callable[[str], Iterable[str]]) -> list[str]:
    """`name` and everything below it."""
    seen = {name: True}
    todo = [name]
    for one in todo:
        for child in children(one):
            if child not in seen:
                seen[child] = True
                todo.append(child)
    return todo
