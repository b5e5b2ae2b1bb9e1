"""Candidate rows: which rows can match a question at all.

The index answers `(object, action) -> {subject: row or rows}`. It is kept by object and subject, with the
action inside: a question has several actions (its own, the bundles that hold it, `*`), and one probe for
all of them costs what one probe for each would cost. It only picks witnesses: Casbin's matcher judges
every one. It is sound for a matcher that implies "the row's subject, object and action are in the closures
of the question's", which `enforcer` checks by the matcher's text.

A million grants have to fit: a plain allow of the action that is usual on its object is kept as its rule
id alone; all else about it is in the keys.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator, KeysView

from authz.errors import InvalidRow
from authz.overlay import Overlay

# A row as Casbin's `p` definition has it: subject, object, action, effect, condition, rule id.
Candidate = tuple[str, str, str, str, str, str]
# What stands at a subject: the id of a plain allow of the usual action, or (action, effect, condition,
# id), or several of these.
Slim = str | tuple[str, str, str, str]
Entry = Slim | list[Slim]


class Shelf:
    """The rows of one object."""

    __slots__ = ("entries", "usual")

    def __init__(self, usual: str, entries: dict[str, Entry]) -> None:
        self.usual = usual
        self.entries = entries

    def slim(self, values: tuple[str, ...]) -> Slim:
        """The row without what the keys say."""
        _, _, action, effect, condition, rule = values
        if effect == "allow" and not condition and action == self.usual:
            return rule
        # Rows come from a decoder: every "deny" would be a string of its own.
        return sys.intern(action), sys.intern(effect), sys.intern(condition), rule

    def row(self, subject: str, obj: str, slim: Slim) -> Candidate:
        """The row, written out."""
        if isinstance(slim, str):
            return subject, obj, self.usual, "allow", "", slim
        return subject, obj, *slim

    def add(self, values: tuple[str, ...]) -> None:
        """One row more."""
        had = self.entries.get(values[0])
        self.entries[sys.intern(values[0])] = self.with_row(had, values)

    def remove(self, values: tuple[str, ...]) -> None:
        """One row less. Raises: InvalidRow."""
        left = self.without_row(self.entries.get(values[0]), values)
        if left is None:
            del self.entries[values[0]]
        else:
            self.entries[values[0]] = left

    def with_row(self, had: Entry | None, values: tuple[str, ...]) -> Entry:
        """What stands at the row's subject once the row is added; `had` itself is not changed."""
        slim = self.slim(values)
        if had is None:
            return slim
        return [*had, slim] if isinstance(had, list) else [had, slim]

    def without_row(self, had: Entry | None, values: tuple[str, ...]) -> Entry | None:
        """What stands at the row's subject once the row is gone, None for nothing. Raises: InvalidRow."""
        slim = self.slim(values)
        if isinstance(had, list) and slim in had:
            at = had.index(slim)
            left = had[:at] + had[at + 1 :]
            return left if len(left) > 1 else left[0]
        if had == slim:
            return None
        raise InvalidRow(f"there is no row `{', '.join(values)}`")

    def rows(self, obj: str) -> Iterator[Candidate]:
        """Every row."""
        for subject, entry in self.entries.items():
            for one in entry if isinstance(entry, list) else (entry,):
                yield self.row(subject, obj, one)


class Index:
    """The rows of one section (`p` or `p2`)."""

    def __init__(self) -> None:
        self._shelves: dict[str, Shelf] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def candidates(
        self, objects: Iterable[str], actions: Container[str], subjects: KeysView[str]
    ) -> list[Candidate]:
        """The rows whose object, action and subject are among these."""
        found: list[Candidate] = []
        shelves = self._shelves
        for obj in objects:
            shelf = shelves.get(obj)
            if shelf is None:
                continue
            entries = shelf.entries
            for subject in entries.keys() & subjects:
                entry = entries[subject]
                if type(entry) is str:
                    action = shelf.usual
                    if action in actions:
                        found.append((subject, obj, action, "allow", "", entry))
                elif type(entry) is tuple:
                    if entry[0] in actions:
                        found.append((subject, obj, *entry))
                else:
                    for one in entry:
                        row = shelf.row(subject, obj, one)
                        if row[2] in actions:
                            found.append(row)
        return found

    def rows(self) -> Iterator[Candidate]:
        """Every row."""
        for obj, shelf in self._shelves.items():
            yield from shelf.rows(obj)

    def subjects(self) -> Iterator[str]:
        """The subject of every row; one that has rows on several objects comes as often."""
        for shelf in self._shelves.values():
            yield from shelf.entries

    def rows_at(self, obj: str) -> Iterator[Candidate]:
        """Every row that names this object itself."""
        shelf = self._shelves.get(obj)
        return iter(()) if shelf is None else shelf.rows(obj)

    def of_subjects(self, subjects: KeysView[str]) -> Iterator[Candidate]:
        """Every row of these subjects. Probes every object: for an explanation, not for a decision."""
        for obj, shelf in self._shelves.items():
            for subject in shelf.entries.keys() & subjects:
                yield from Shelf(shelf.usual, {subject: shelf.entries[subject]}).rows(obj)

    # --- change -------------------------------------------------------------------------------------

    def load(self, rows: Iterable[tuple[str, ...]]) -> None:
        """Takes many rows at once."""
        shelves, intern, count = self._shelves, sys.intern, 0
        for values in rows:
            subject, obj, action, effect, condition, rule = values
            shelf = shelves.get(obj)
            if shelf is None:
                shelf = shelves[intern(obj)] = Shelf(intern(action), {})
            # The usual row, a plain allow to a subject that has no other here, in as few steps as it goes.
            if not condition and effect == "allow" and action == shelf.usual:
                entries = shelf.entries
                if subject in entries:
                    shelf.add(values)
                else:
                    entries[intern(subject)] = rule
            else:
                shelf.add(values)
            count += 1
        self._count += count

    def add(self, *values: str) -> None:
        """One row more."""
        self.load((values,))

    def remove(self, *values: str) -> None:
        """One row less.

        Raises:
            InvalidRow: there is no such row.
        """
        shelf = self._shelves.get(values[1]) or Shelf("", {})
        shelf.remove(values)
        if not shelf.entries:
            del self._shelves[values[1]]
        self._count -= 1

    def staged(self) -> StagedIndex:
        """A change built aside: nothing is seen of it before `StagedIndex.commit`."""
        return StagedIndex(self)


class StagedIndex:
    """A change of many rows, built aside."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._shelves: dict[str, tuple[Shelf, Overlay[Entry]]] = {}
        self._count = 0

    def add(self, *values: str) -> int:
        """One row more; answers how many entries had to be copied for it."""
        shelf, entries = self._own(values)
        copied = entries.put(sys.intern(values[0]), shelf.with_row(entries.get(values[0]), values))
        self._count += 1
        return copied

    def remove(self, *values: str) -> int:
        """One row less; answers how many entries had to be copied for it.

        Raises:
            InvalidRow: there is no such row.
        """
        shelf, entries = self._own(values)
        copied = entries.put(values[0], shelf.without_row(entries.get(values[0]), values))
        self._count -= 1
        return copied

    def commit(self) -> list[object]:
        """Puts the change in place in one step; answers what it replaced, to let go of in steps."""
        shelves = self._index._shelves
        replaced: list[object] = []
        for obj, (shelf, staged) in self._shelves.items():
            entries = staged.commit()
            if entries is not shelf.entries:
                replaced.append(shelf.entries)
                shelf.entries = entries
            if entries:
                shelves[obj] = shelf
            else:
                shelves.pop(obj, None)
        self._index._count += self._count
        return replaced

    def _own(self, values: tuple[str, ...]) -> tuple[Shelf, Overlay[Entry]]:
        own = self._shelves.get(values[1])
        if own is None:
            obj = sys.intern(values[1])
            shelf = self._index._shelves.get(obj) or Shelf(sys.intern(values[2]), {})
            own = self._shelves[obj] = (shelf, Overlay(shelf.entries))
        return own
