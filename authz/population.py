"""Who there is: the people and virtual accounts that rows know, and those below a group.

A membership by kind (`any:user`) has no rows, so that its members are all who are known: a user by any
row as a subject (an active one is in `team:everyone`), an account also by standing in the catalogue.
Holds for the rows as they are when it is asked; after a change a new one is made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from authz.engine import Engine

USER: Final = "user:"
ACCOUNT: Final = "virtualaccount:"
IMPLICIT: Final = {
    "any:user": (USER,),
    "any:virtualaccount": (ACCOUNT,),
    "any:subject": (USER, ACCOUNT),
}
_STEPS: Final = 5_000  # names looked at between two pauses


def is_person(subject: str) -> bool:
    """Whether it is a user or a virtual account: who asks, as opposed to groups and bounds."""
    return subject.startswith((USER, ACCOUNT))


class Population:
    """The users and virtual accounts of one state of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, set[str]] | None = None

    def below(self, groups: Iterable[str]) -> Iterator[str | None]:
        """Every user and account among `groups` or below them, once, in no order; None is a pause."""
        graph = self._engine.enforcer.subjects
        seen = set(groups)
        todo = list(seen)
        for steps, one in enumerate(todo, 1):
            if is_person(one):
                yield one
            children: Iterable[str] = graph.children(one)
            if one in IMPLICIT:
                if self._known is None:
                    yield from self._find()
                children = [*children, *self._implied(one)]
            for child in children:
                if child not in seen:
                    seen.add(child)
                    todo.append(child)
            if steps % _STEPS == 0:
                yield None

    def known(self) -> frozenset[str]:
        """Every known user and account, in one go."""
        if self._known is None:
            deque(self._find(), maxlen=0)
        return frozenset().union(*(self._known or {}).values())

    def _implied(self, group: str) -> Iterator[str]:
        for kind in IMPLICIT[group]:
            yield from (self._known or {}).get(kind, ())

    def _find(self) -> Iterator[None]:
        engine = self._engine
        known: dict[str, set[str]] = {USER: set(), ACCOUNT: set(engine.resources_of(ACCOUNT))}
        steps = 0
        for names in (engine.enforcer.subjects.names(), engine.enforcer.index.subjects()):
            for name in names:
                if name.startswith(USER):
                    known[USER].add(name)
                elif name.startswith(ACCOUNT):
                    known[ACCOUNT].add(name)
                steps += 1
                if steps % _STEPS == 0:
                    yield None
        self._known = known
