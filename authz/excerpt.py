"""An engine as it will be once a change is made, of no more rows than its questions turn on.

The engine that is changed stays as it is: of it and of the change, those rows are taken that lie above who asks
and above what is asked for, and those that lie there. So a change of a hundred thousand rows is looked at
without applying it, and no request ever sees half of it. Tested to answer as the engine does afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from authz.decision import Asker, Part
from authz.engine import Engine
from authz.graph import Graph, Implied, no_groups, subject_groups
from authz.rows import ARITY, Row
from authz.table import Table

Values = tuple[str, ...]
_BY_OBJECT: Final = frozenset({"p", "p2"})  # rows that hang on their second value, not their first


class ChangedRows:
    """The rows of a change by what they hang on. Making it takes as long as the change is large."""

    def __init__(self, added: Iterable[Row], removed: Iterable[Row]) -> None:
        self._added = _by_place(added)
        self._removed = _by_place(removed)

    @property
    def removes(self) -> bool:
        """Whether any row goes."""
        return any(self._removed.values())

    @property
    def denies(self) -> bool:
        """Whether a deny is added."""
        return any(values[3] == "deny" for rows in self._added["p"].values() for values in rows)

    def after(self, ptype: str, place: str, before: Iterable[Values]) -> list[Values]:
        """The rows at a place once the change is made, of those that are there `before`."""
        gone = self._removed[ptype].get(place)
        new = self._added[ptype].get(place, ())
        if gone is None:
            return [*before, *new]
        left: list[Values] = []
        going = Counter(gone)
        for values in before:
            if going[values]:
                going[values] -= 1
            else:
                left.append(values)
        return [*left, *new]

    def places(self, ptype: str) -> Iterable[str]:
        """What added rows hang on."""
        return self._added[ptype].keys()


class Excerpt(Engine):
    """Answers what is asked about somebody and something; it cannot list what there is, nor has it the digest
    of all rows.
    """

    def __init__(self, engine: Engine, changed: ChangedRows, model_text: str) -> None:
        """Of an engine that does not move while this is used. Raises: AuthzError for an unusable model."""
        super().__init__(model_text)
        self._before = engine
        self._changed = changed
        self._subjects: set[str] = set()
        self._objects: set[str] = set()
        self._conditions: set[str] = set()
        actions = engine.enforcer.actions
        names = {name for name, _ in actions.links()} | {*changed.places("g3")}
        self._take(row for name in sorted(names) for row in self._links("g3", actions, name))
        self.epoch = engine.epoch

    # --- questions ----------------------------------------------------------------------------------

    def knows(self, resource: str) -> bool:
        self._admit_object(resource)
        return super().knows(resource)

    def alias_of(self, resource: str) -> str | None:
        self._admit_object(resource)
        return super().alias_of(resource)

    def groups_of(self, subject: str) -> tuple[str, ...]:
        self._admit_subject(subject)
        return super().groups_of(subject)

    def subject_closure(self, subject: str) -> frozenset[str]:
        self._admit_subject(subject)
        return super().subject_closure(subject)

    def _parts(self, asker: Asker, resource: str) -> list[tuple[Part, str, str]]:
        for subject in (asker.id, asker.bound, asker.token):
            if subject is not None:
                self._admit_subject(subject)
        self._admit_object(resource)
        return super()._parts(asker, resource)

    # --- rows that matter ---------------------------------------------------------------------------

    def _admit_subject(self, subject: str) -> None:
        if subject not in self._subjects:
            graph = self._before.enforcer.subjects
            self._take(self._upward("g", graph, subject, self._subjects, subject_groups))

    def _admit_object(self, thing: str) -> None:
        if thing in self._objects:
            return
        graph = self._before.enforcer.objects
        known = set(self._objects)
        rows = list(self._upward("g2", graph, thing, self._objects, no_groups))
        if not self._parents("g2", graph, thing):
            # It is known all the same while something is in it.
            rows += [Row("g2", (name, thing)) for name in self._first_within(thing)]
        for one in self._objects - known:
            rows += self._rows_at(one)
        self._take(rows)
        target = super().alias_of(thing)
        if target is not None:
            self._admit_object(target)

    def _upward(
        self, ptype: str, graph: Graph, name: str, admitted: set[str], implied: Implied
    ) -> Iterator[Row]:
        todo = [name]
        for one in todo:
            if one not in admitted:
                admitted.add(one)
                parents = self._parents(ptype, graph, one)
                yield from (Row(ptype, (one, parent)) for parent in parents)
                todo += (*parents, *implied(one))

    def _rows_at(self, thing: str) -> Iterator[Row]:
        """What is granted and denied on a thing, with the definitions and messages of those rows."""
        enforcer, changed = self._before.enforcer, self._changed
        aliases, messages = self._before._delta.aliases, self._before._delta.messages
        for ptype, index in (("p", enforcer.index), ("p2", enforcer.shadow)):
            for values in changed.after(ptype, thing, index.rows_at(thing)):
                yield Row(ptype, values)
                yield from self._definition(values[4])
                yield from self._values("m", messages, values[5])
        yield from self._values("a", aliases, thing)

    def _definition(self, name: str) -> Iterator[Row]:
        if not name or name in self._conditions:
            return
        self._conditions.add(name)
        conditions = self._before.enforcer.conditions
        # The same definition may stand in several rows; it is known as long as one is left.
        times = conditions._times.get(name, 0)
        known = [(name, conditions._texts[name])] * times if times else []
        yield from (Row("c", values) for values in self._changed.after("c", name, known)[:1])

    def _values(self, ptype: str, table: Table, name: str) -> Iterator[Row]:
        known = [(name, value) for value in table._values.get(name, ())]
        return (Row(ptype, values) for values in self._changed.after(ptype, name, known))

    def _links(self, ptype: str, graph: Graph, name: str) -> Iterator[Row]:
        return (Row(ptype, (name, parent)) for parent in self._parents(ptype, graph, name))

    def _parents(self, ptype: str, graph: Graph, name: str) -> list[str]:
        before = [(name, parent) for parent in graph.parents(name)]
        return [values[1] for values in self._changed.after(ptype, name, before)]

    def _first_within(self, group: str) -> list[str]:
        graph = self._before.enforcer.objects
        for name in chain(graph.children(group), self._changed.places("g2")):
            if group in self._parents("g2", graph, name):
                return [name]
        return []

    def _take(self, rows: Iterable[Row]) -> None:
        taken = list(rows)
        if taken:
            self.apply(taken, (), self.epoch)


def _by_place(rows: Iterable[Row]) -> dict[str, dict[str, list[Values]]]:
    found: dict[str, dict[str, list[Values]]] = {ptype: {} for ptype in ARITY}
    for ptype, values in rows:
        place = values[1] if ptype in _BY_OBJECT else values[0]
        of_type = found[ptype]
        had = of_type.get(place)
        if had is None:
            of_type[place] = [values]
        else:
            had.append(values)
    return found
