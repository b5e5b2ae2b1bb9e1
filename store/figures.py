"""Figures added up: piece by piece, the newest first, in the same way for every store, so that stores cannot drift.

A piece without columns yet is read from its records. A filter that lets through too much must not be run
here: then each record is checked (`Figures.add`). A deadline that strikes is said: what was counted until
then are the newest. Within a piece numpy does the work on arrays; what the interpreter does, it does once
for each text of a piece and once for each group at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Final

import numpy as np

from authz.filters import Filter
from authz.keys import status_class
from store import aggregate_columns as columns
from store.aggregate_columns import AT, UNKNOWN
from store.aggregate_pieces import Codes, Column, Numbers, Passed, Piece, Sieve
from store.aggregates import (
    ColumnStore,
    Group,
    Grouping,
    NotInColumns,
    Span,
    TooManyGroups,
    Totals,
    column_of,
    joined,
)
from store.cells import Cells, among, combined, halves, whole
from store.column_filter import columns_of, plan
from store.request_records import Row, Window

MAX_GROUPS: Final = 250_000
_Name = tuple[int, tuple[str | None, ...]]  # what a group is called: its start, and its texts
_Times = dict[_Name, dict[str, dict[int, int]]]

_SPREAD: Final = frozenset({"team", "status_class"})  # the columns hold sets of teams, and statuses
_TOGETHER: Final = 16  # pieces that are read at once
_DURATIONS: Final = 8  # different durations of each group, on average
_DENSE: Final = 1 << 16  # numbers below this are told apart without sorting


class Figures:
    """Adds up records group by group.

    A group's key is the number of its interval and, for each name that is grouped by, the number that its
    text got when it was first seen here.
    """

    def __init__(self, grouping: Grouping) -> None:
        self._asked = grouping
        self._numbered = [_Numbered() for _ in grouping.by]
        width = 1 + len(grouping.by)
        self._groups = Cells(width, 1 + 2 * len(grouping.sums))  # the count, each sum in two halves
        self._durations = {name: Cells(width + 1, 1) for name in grouping.durations}

    def add(self, rows: Sequence[Row]) -> None:
        """Adds records one by one, all of them. Raises: TooManyGroups."""
        if rows:
            self.add_piece(Piece(columns.build(rows, self._asked.columns)), None)

    def add_piece(self, piece: Piece, passed: Passed | None) -> None:
        """Adds the records of a piece, or those that passed. Raises: TooManyGroups."""
        size = piece.size if passed is None else int(np.count_nonzero(passed))
        if not size:
            return
        places: list[Numbers] = []  # of each record, each place of its key within the piece
        said, many = np.zeros(size, np.int64), 1
        starts = self._starts(piece, passed)
        if starts is not None:
            lowest = int(starts.min())
            said, many = combined(said, many, starts - lowest, int(starts.max()) - lowest + 1)
        by = [_texts(piece, name) for name in self._asked.by]
        for texts, codes in by:
            places.append(_picked(codes, passed, size))
            if codes is not None:
                said, many = combined(said, many, places[-1], len(texts))
        which, first = _told_apart(said, many)
        keys = [np.zeros(len(first), np.int64) if starts is None else starts[first]]
        for held, column, codes in zip(self._numbered, by, places, strict=True):
            keys.append(held.numbers(column, codes[first]))
        self._sum(piece, passed, keys, which)
        self._time(piece, passed, keys, which)
        if self._groups.new > MAX_GROUPS:
            _checked(self._groups, MAX_GROUPS)

    def _starts(self, piece: Piece, passed: Passed | None) -> Numbers | None:
        """The number of each record's interval; None if there are none."""
        if not self._asked.interval:
            return None
        return _passing(piece.numbers(AT), passed) // self._asked.interval

    def _sum(
        self, piece: Piece, passed: Passed | None, keys: list[Numbers], which: Numbers
    ) -> None:
        many = len(keys[0])
        found = [np.bincount(which, minlength=many)]
        for name in self._asked.sums:
            for half in halves(_passing(piece.numbers(name), passed)):
                # Halves of a piece add up to less than 2^53, so that they are exact in between.
                found.append(np.bincount(which, half, many).astype(np.int64))
        self._groups.add(keys, found)

    def _time(
        self, piece: Piece, passed: Passed | None, keys: list[Numbers], which: Numbers
    ) -> None:
        for name, cells in self._durations.items():
            values = _passing(piece.numbers(name), passed)
            known = values != UNKNOWN
            values, groups = values[known], which[known]
            if len(values):
                texts, codes = np.unique(values, return_inverse=True)
                said, many = combined(groups, len(keys[0]), codes, len(texts))
                apart, first = _told_apart(said, many)
                held = groups[first]
                cells.add([*(key[held] for key in keys), values[first]], [np.bincount(apart)])
                if cells.new > MAX_GROUPS:
                    _checked(cells, MAX_GROUPS * _DURATIONS)

    def totals(self, most: int | None = None, *, truncated: bool = False) -> Totals:
        """What was added up: the `most` groups with the most requests, largest first, or all in any order.

        Records of several teams count for each of them.

        Raises:
            TooManyGroups.
        """
        keys, values = _checked(self._groups, MAX_GROUPS)
        spread = not _SPREAD.isdisjoint(self._asked.by)
        left_out = 0
        if most is not None and not spread:
            # Before groups are made: a caller sees thousands, and there may be hundreds of thousands.
            largest = np.argsort(-values[0], kind="stable")[:most]
            left_out = keys.shape[1] - len(largest)
            keys, values = keys[:, largest], values[:, largest]
        groups = self._made(keys, values, self._times(keys if left_out else None))
        if spread:
            groups = joined(groups, lambda group: _spread(group.by, self._asked.by))
            if most is not None:
                groups.sort(key=lambda group: -group.requests)
                left_out = max(0, len(groups) - most)
                groups = groups[:most]
        return Totals(groups, left_out, truncated)

    def _made(self, keys: Numbers, values: Numbers, times: _Times) -> list[Group]:
        names = self._asked.sums
        sums = [whole(values[place], values[place + 1]) for place in range(1, len(values), 2)]
        said = zip(*sums, strict=True) if sums else repeat(())
        return [
            Group(by, start, count, dict(zip(names, some, strict=True)), times.get((start, by), {}))
            for (start, by), count, some in zip(
                self._named(keys), values[0].tolist(), said, strict=False
            )
        ]

    def _named(self, keys: Numbers) -> Iterator[_Name]:
        """The start and the texts of each key."""
        starts = (keys[0] * self._asked.interval).tolist()
        said = []
        for held, codes in zip(self._numbered, keys[1:], strict=False):
            texts = list(held)
            said.append([texts[code] for code in codes.tolist()])
        return zip(starts, zip(*said, strict=True) if said else repeat(()), strict=False)

    def _times(self, wanted: Numbers | None) -> _Times:
        """How many times each duration, by group and name; of the groups with these keys, or of all."""
        found: _Times = {}
        for name, cells in self._durations.items():
            keys, (counts,) = cells.added_up()
            if wanted is not None:
                held = among(keys[:-1], wanted)
                keys, counts = keys[:, held], counts[held]
            for group, value, count in zip(
                self._named(keys[:-1]), keys[-1].tolist(), counts.tolist(), strict=False
            ):
                found.setdefault(group, {}).setdefault(name, {})[value] = count
        return found


def _checked(cells: Cells, most: int) -> tuple[Numbers, Numbers]:
    """The cells added up. Raises: TooManyGroups."""
    keys, values = cells.added_up()
    if keys.shape[1] > most:
        raise TooManyGroups(
            f"there are more than {MAX_GROUPS} groups", hint="narrow it, or group by less"
        )
    return keys, values


def _texts(piece: Piece, name: str) -> Column:
    column, key = column_of(name)
    if key is not None:
        return piece.metadata(column, key)
    texts, codes = piece.texts(column)
    return Column([text or None for text in texts], codes)


def _passing(values: Numbers, passed: Passed | None) -> Numbers:
    return values if passed is None else values[passed]


def _picked(codes: Codes | None, passed: Passed | None, size: int) -> Numbers:
    if codes is None:
        return np.zeros(size, np.int64)
    return (codes if passed is None else codes[passed]).astype(np.int64)


def _told_apart(said: Numbers, many: int) -> tuple[Numbers, Numbers]:
    """The number of each record's group, counted from 0, and a record of each group. `said` is below `many`."""
    if many > _DENSE:
        _, first, which = np.unique(said, return_index=True, return_inverse=True)
        return which, first
    some = np.full(many, -1, np.int64)
    some[said] = np.arange(len(said))
    held = np.flatnonzero(some >= 0)
    first = some[held]
    some[held] = np.arange(len(held))
    return some[said], first


class _Numbered(dict[str | None, int]):
    """Texts, and the number that each got when it was first asked for."""

    def __missing__(self, text: str | None) -> int:
        number = self[text] = len(self)
        return number

    def numbers(self, column: Column, codes: Numbers) -> Numbers:
        """The numbers of the texts that codes of a piece stand for."""
        texts = column.texts
        if len(codes) < len(texts):
            return np.array([self[texts[code]] for code in codes.tolist()], np.int64)
        return np.array(list(map(self.__getitem__, texts)), np.int64)[codes]


def _spread(said: Sequence[str | None], by: Sequence[str]) -> Iterator[tuple[str | None, ...]]:
    ways: list[tuple[str | None, ...]] = [()]
    for name, text in zip(by, said, strict=True):
        more: Sequence[str | None] = [text]
        if name == "team":
            more = columns.teams_in(text) or [None]
        elif name == "status_class":
            more = [status_class(int(text)) if text else None]
        ways = [(*way, one) for way in ways for one in more]
    yield from ways


# --- over a store ----------------------------------------------------------------------------------


def aggregate(
    store: ColumnStore,
    filter: Filter,
    window: Window,
    grouping: Grouping,
    seconds: float,
    most: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Totals:
    """The figures of all records that pass: as `Figures.totals`. Blocking.

    Raises:
        NotInColumns, TooManyGroups, StoreUnavailable.
    """
    wanted = plan(filter)
    if wanted is None or not filter.exact:
        raise NotInColumns("this filter does not run on columns")
    if not filter:
        return Totals([])
    figures = Figures(grouping)
    end = clock() + seconds
    spans, kept = store.spans(window)
    if kept >= window.until:
        return Totals([])
    inside = Window(max(window.since, kept), window.until)
    names = grouping.columns | columns_of(wanted)
    sieve = None if () in wanted else Sieve(wanted)
    for start in range(0, len(spans), _TOGETHER):
        some = spans[start : start + _TOGETHER]
        stored = store.columns([span.piece for span in some], names)
        for span in some:
            if clock() >= end:
                return figures.totals(most, truncated=True)
            found = stored.get(span.piece)
            piece = Piece(columns.build(store.rows(span.piece), names) if found is None else found)
            figures.add_piece(piece, _passed(piece, span, sieve, inside))
            time.sleep(0)  # lets a loop in another thread go on, which the interpreter does rarely
    return figures.totals(most)


def _passed(piece: Piece, span: Span, sieve: Sieve | None, window: Window) -> Passed | None:
    """Which records of a piece pass; None stands for every one, here and there."""
    passed = None if sieve is None else sieve.passed(piece)
    if window.since <= span.first and span.last < window.until:
        return passed
    at = piece.numbers(AT)
    inside = (at >= window.since) & (at < window.until)
    return inside if passed is None else passed & inside
