"""Rows into the enforcer: all of them at a start, a delta in one step, or a large delta built aside.

A delta is all or nothing: a row that cannot be taken undoes those before it. The digest moves with the
rows, so that a process can compare what it holds with what was committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import itemgetter

from authz.collector import paused
from authz.conditions import decode
from authz.enforcer import Enforcer
from authz.errors import InvalidRow
from authz.rows import (
    ARITY,
    Row,
    digest_after,
    digest_of,
    digest_sum,
    in_parts,
    read_texts,
)
from authz.table import Table

_WIDTH = {ptype: count + 1 for ptype, count in ARITY.items()}  # with the type itself
_values = itemgetter(slice(1, None))
_COPIED_FOR_A_ROW = 100  # copying so many entries takes as long as taking one row


class Delta:
    """What rows change: the enforcer's graphs, indexes and conditions, aliases, messages, the digest."""

    def __init__(self, enforcer: Enforcer) -> None:
        self.enforcer = enforcer
        self.aliases = Table()
        self.messages = Table()
        self.digest = 0
        graphs = {"g": enforcer.subjects, "g2": enforcer.objects, "g3": enforcer.actions}
        self._add: dict[str, Callable[..., None]] = {
            "p": enforcer.index.add,
            "p2": enforcer.shadow.add,
            **{ptype: graph.add_link for ptype, graph in graphs.items()},
            "a": self.aliases.add,
            "c": enforcer.conditions.add,
            "m": self.messages.add,
        }
        self._remove: dict[str, Callable[..., None]] = {
            "p": enforcer.index.remove,
            "p2": enforcer.shadow.remove,
            **{ptype: graph.delete_link for ptype, graph in graphs.items()},
            "a": self.aliases.remove,
            "c": enforcer.conditions.remove,
            "m": self.messages.remove,
        }

    def load(self, rows: Iterable[Row]) -> None:
        """Takes many rows at once; what a failure leaves behind is of no use.

        Raises:
            InvalidRow, InvalidCondition: a row cannot be taken.
        """
        self._load(
            ([(ptype, *values) for ptype, values in part], digest_sum(part))
            for part in in_parts(rows)
        )

    def load_texts(self, texts: Iterable[str]) -> None:
        """The same from the texts of the rows, as the log holds them.

        Raises:
            InvalidRow, InvalidCondition: a row cannot be taken.
        """
        self._load(read_texts(texts))

    def _load(self, parts: Iterable[tuple[list[tuple[str, ...]], int]]) -> None:
        """Takes parts: the type of each row with its values, and the sum of their digests."""
        enforcer = self.enforcer
        bulk: dict[str, Callable[[Iterable[tuple[str, ...]]], None]] = {
            "p": enforcer.index.load,
            "p2": enforcer.shadow.load,
            "g": enforcer.subjects.load,
            "g2": enforcer.objects.load,
            "g3": enforcer.actions.load,
        }
        waiting: dict[str, list[tuple[str, ...]]] = {ptype: [] for ptype in ARITY}
        digest = self.digest
        with paused():
            for part, share in parts:
                digest += share
                for row in part:
                    if len(row) != _WIDTH.get(row[0]):
                        raise InvalidRow(_misshapen(row[0], len(row) - 1))
                    waiting[row[0]].append(row)
                for ptype, batch in waiting.items():
                    if take := bulk.get(ptype):
                        take(map(_values, batch))
                    else:
                        for values in map(_values, batch):
                            self._add[ptype](*values)
                    batch.clear()
        self.digest = digest_after(digest, (), ())

    def apply(self, added: list[Row], removed: list[Row]) -> None:
        """One synchronous step. What may fail comes first, and is undone when it does.

        Raises:
            InvalidRow: a removed row is not there or a row cannot be taken; everything is as before.
        """
        _check(removed)
        _check(added)
        digest = digest_after(self.digest, added, removed)
        waiting: dict[str, list[tuple[str, ...]]] = {ptype: [] for ptype in ARITY}
        for ptype, values in added:
            waiting[ptype].append(values)
        definitions = waiting.pop("c")
        defined = gone = 0
        try:
            for values in definitions:
                self._add["c"](*values)
                defined += 1
            for ptype, values in removed:
                self._remove[ptype](*values)
                gone += 1
        except Exception:
            for ptype, values in reversed(removed[:gone]):
                self._add[ptype](*values)
            for values in definitions[:defined]:
                self._remove["c"](*values)
            raise
        self.enforcer.index.load(waiting.pop("p"))
        for ptype, batch in waiting.items():
            add = self._add[ptype]
            for values in batch:
                add(*values)
        self.digest = digest


class Staged:
    """A large delta, built aside of the graphs and indexes in use."""

    def __init__(self, delta: Delta) -> None:
        enforcer = delta.enforcer
        self._delta = delta
        self._indexes = {"p": enforcer.index.staged(), "p2": enforcer.shadow.staged()}
        self._graphs = {
            "g": enforcer.subjects.staged(),
            "g2": enforcer.objects.staged(),
            "g3": enforcer.actions.staged(),
        }
        # Aliases, conditions and messages are few and cheap: they are applied in the last step.
        self._late: tuple[list[Row], list[Row]] = ([], [])
        self._digest = delta.digest
        self._replaced: list[object] = []

    def take(self, added: Iterable[Row], removed: Iterable[Row], step: int) -> Iterator[None]:
        """Builds, pausing after each `step` rows. Raises: InvalidRow, InvalidCondition."""
        changes = chain(((row, False) for row in removed), ((row, True) for row in added))
        done = 0
        for row, adds in changes:
            _check((row,))
            ptype, values = row
            self._digest += digest_of(row) if adds else -digest_of(row)
            copied = 0
            if ptype in self._indexes:
                index = self._indexes[ptype]
                copied = (index.add if adds else index.remove)(*values)
            elif ptype in self._graphs:
                graph = self._graphs[ptype]
                copied = (graph.add_link if adds else graph.delete_link)(*values)
            else:
                if ptype == "c" and adds:
                    decode(values[1])
                self._late[0 if adds else 1].append(row)
            # A popular object has tens of thousands of rows: the step that copies them is full with them.
            done += 1 + copied // _COPIED_FOR_A_ROW
            if done >= step:
                done = 0
                yield

    def commit(self) -> None:
        """Puts everything in place in one synchronous step. Raises: InvalidRow; nothing has changed."""
        self._delta.apply(*self._late)  # the only part that may fail comes first
        for index in self._indexes.values():
            self._replaced += index.commit()
        for graph in self._graphs.values():
            self._replaced += graph.commit()
        self._delta.digest = digest_after(self._digest, (), ())

    def let_go(self, step: int) -> Iterator[None]:
        """Takes apart what was replaced: freed at once, a million entries would stall the loop."""
        replaced = self._replaced
        while replaced:
            last = replaced[-1]
            if isinstance(last, dict):
                for _ in range(min(step, len(last))):
                    last.popitem()
            if not last:
                replaced.pop()
                if len(replaced) % 16:
                    continue
            yield


def _check(rows: Iterable[Row]) -> None:
    for ptype, values in rows:
        if len(values) != ARITY.get(ptype):
            raise InvalidRow(_misshapen(ptype, len(values)))


def _misshapen(ptype: str, count: int) -> str:
    return f"a row of type `{ptype}` cannot have {count} values"
