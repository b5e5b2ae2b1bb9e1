"""Figures over requests: counts, tokens, cost, errors and durations, by whatever records are grouped by.

They are made of columns (`aggregate_columns`), piece by piece, the newest first, under the same neutral
filter as a list and in the same way for every store, so that stores cannot drift; a piece without columns
yet is read from its records. A filter that lets through too much must not be run here: then each record is
checked (`Figures.add`). A deadline that strikes is said: what was counted until then are the newest.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final, NamedTuple, Protocol

from authz.filters import Filter
from authz.keys import status_class
from store import aggregate_columns as columns
from store.aggregate_columns import AT, CLAIMED, PINNED, SUMS, UNKNOWN, Column, Piece
from store.errors import StoreError
from store.request_records import Row, Window

MAX_GROUPS: Final = 250_000
GROUPS: Final = (
    *("model", "account", "server", "tool", "method", "outcome", "status", "error"),
    *("created_by", "team", "status_class"),
)
_LONGEST: Final = 1 << 40  # ms, above every duration
_TOGETHER: Final = 16  # pieces that are read at once
_SOURCE: Final = {"team": "teams", "status_class": "status"}


class TooManyGroups(StoreError):
    """What is grouped by has more values than can be told."""

    code = "too_many_groups"


class NotInColumns(StoreError):
    """The filter asks for what columns do not hold, or lets through too much."""

    code = "not_in_columns"


@dataclass(frozen=True, slots=True)
class Grouping:
    """What is asked: `by` are names of GROUPS, `pin:<key>` or `claim:<key>`; `interval` is in µs, 0 for none."""

    by: tuple[str, ...] = ()
    sums: tuple[str, ...] = SUMS
    durations: tuple[str, ...] = ()
    interval: int = 0

    @property
    def columns(self) -> frozenset[str]:
        """The stored columns that it reads."""
        found = {AT, *self.sums, *self.durations}
        for name in self.by:
            found.update(columns.names_of(*_column(name)))
        return frozenset(found)


class Group(NamedTuple):
    """Figures of one group. `start` is that of its interval (µs); `by` says None where a record says nothing."""

    by: tuple[str | None, ...]
    start: int
    requests: int
    sums: Mapping[str, int]
    durations: Mapping[str, Mapping[int, int]]  # how many times each duration, in ms


@dataclass(frozen=True, slots=True)
class Span:
    """Where a piece lies: the oldest and the newest time in it."""

    piece: int
    first: int
    last: int


class ColumnStore(Protocol):
    """The requests of one database as columns; blocking. Every method raises StoreUnavailable."""

    def spans(self, window: Window) -> tuple[list[Span], int]:
        """The pieces that may have records in the window, the newest first, and since when records are kept."""

    def columns(self, pieces: Sequence[int], names: Iterable[str]) -> dict[int, dict[str, bytes]]:
        """Of each of these pieces that has columns, those of these names."""

    def rows(self, piece: int) -> list[Row]:
        """The records of a piece, in the order of their places."""

    def seal(self, most: int = 64) -> int:
        """Writes the columns of at most so many full pieces that have none yet; how many that was.

        For the one process that ships records, after it did.
        """

    def close(self) -> None: ...


# --- the figures -----------------------------------------------------------------------------------


class Figures:
    """Adds up records group by group."""

    def __init__(self, grouping: Grouping) -> None:
        self._asked = grouping
        self._numbers: dict[tuple[int, tuple[str | None, ...]], int] = {}
        self._counts: Counter[int] = Counter()
        self._sums: dict[str, list[int]] = {name: [] for name in grouping.sums}
        self._durations: dict[str, Counter[int]] = {  # by group and duration, see _LONGEST
            name: Counter() for name in grouping.durations
        }

    def add(self, rows: Sequence[Row]) -> None:
        """Adds records one by one, all of them. Raises: TooManyGroups."""
        if rows:
            self.add_piece(Piece(columns.build(rows, self._asked.columns)), None)

    def add_piece(self, piece: Piece, passed: bytes | None) -> None:
        """Adds the records of a piece, or those that have a 1 in `passed`. Raises: TooManyGroups."""
        groups = self._groups(piece, passed)
        self._counts.update(groups)
        for name, total in self._sums.items():
            total.extend([0] * (len(self._numbers) - len(total)))
            values = _picked(piece.numbers(name), passed)
            if any(values):
                for group, value in zip(groups, values, strict=True):
                    total[group] += value
        for name, found in self._durations.items():
            values = _picked(piece.numbers(name), passed)
            found.update(
                [group * _LONGEST + value for group, value in zip(groups, values, strict=True)]
            )

    def _groups(self, piece: Piece, passed: bytes | None) -> Sequence[int]:
        """The number of the group of each record."""
        by = [_texts(piece, name) for name in self._asked.by]
        starts, which = self._starts(piece, passed)
        # Each record gets a number within the piece, made of the codes of its columns, and by it its group.
        said: Sequence[int] | None = which
        for texts, codes in by:
            if codes is not None:
                said = _joined_codes(said, _picked(codes, passed), len(texts))
        if said is None:
            number = piece.size if passed is None else passed.count(1)
            return [self._number(starts[0], tuple(column.texts[0] for column in by))] * number
        known = {one: self._group(one, by, starts) for one in set(said)}
        return list(map(known.__getitem__, said))

    def _group(self, said: int, by: Sequence[Column], starts: Sequence[int]) -> int:
        """The number of the group that a number within a piece stands for."""
        if len(starts) == 1 and len(by) == 1:
            return self._number(starts[0], (by[0].texts[said],))
        texts: list[str | None] = []
        for column in reversed(by):
            code = 0
            if column.codes is not None:
                said, code = divmod(said, len(column.texts))
            texts.append(column.texts[code])
        return self._number(starts[said], tuple(reversed(texts)))

    def _number(self, start: int, by: tuple[str | None, ...]) -> int:
        found = self._numbers.setdefault((start, by), len(self._numbers))
        if found >= MAX_GROUPS:
            raise TooManyGroups(
                f"there are more than {MAX_GROUPS} groups", hint="narrow it, or group by less"
            )
        return found

    def _starts(self, piece: Piece, passed: bytes | None) -> tuple[list[int], list[int] | None]:
        """Where the intervals of a piece begin, and which is that of each record if there are several."""
        size = self._asked.interval
        if not size:
            return [0], None
        at = piece.numbers(AT)
        lowest = min(at, default=0) // size
        several = range(lowest, max(at, default=0) // size + 1)
        starts = [number * size for number in several]
        if len(several) == 1:
            return starts, None
        return starts, [one // size - lowest for one in _picked(at, passed)]

    def groups(self) -> list[Group]:
        """What was added up. Records of several teams count for each of them."""
        durations: dict[int, dict[str, dict[int, int]]] = {}
        for name, found in self._durations.items():
            for both, times in found.items():
                group, value = divmod(both + 1, _LONGEST)  # UNKNOWN is -1
                value -= 1
                if value != UNKNOWN:
                    durations.setdefault(group, {}).setdefault(name, {})[value] = times
        made = [
            Group(
                by,
                start,
                self._counts[number],
                {name: total[number] for name, total in self._sums.items()},
                durations.get(number, {}),
            )
            for (start, by), number in self._numbers.items()
        ]
        return _of_names(made, self._asked.by)


def _of_names(groups: Iterable[Group], by: Sequence[str]) -> list[Group]:
    """The groups of teams and of status classes, from those of sets of teams and of statuses."""
    if not any(name in _SOURCE for name in by):
        return list(groups)
    return joined(groups, lambda group: _spread(group.by, by))


def joined(
    groups: Iterable[Group], called: Callable[[Group], Iterable[tuple[str | None, ...]]]
) -> list[Group]:
    """The groups under other names, those of one name added up; a group without a name is left out."""
    found: dict[tuple[int, tuple[str | None, ...]], Group] = {}
    for group in groups:
        for by in called(group):
            had = found.get((group.start, by))
            found[group.start, by] = group._replace(by=by) if had is None else _added(had, group)
    return list(found.values())


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


def _added(one: Group, other: Group) -> Group:
    sums = {name: total + other.sums[name] for name, total in one.sums.items()}
    durations = {
        name: Counter(one.durations.get(name, {})) + Counter(other.durations.get(name, {}))
        for name in {*one.durations, *other.durations}
    }
    return one._replace(requests=one.requests + other.requests, sums=sums, durations=durations)


def percentile(times: Mapping[int, int], percent: int) -> int | None:
    """The smallest duration that so many percent do not exceed; None if none is known."""
    rank = -(-sum(times.values()) * percent // 100)
    for value in sorted(times):
        rank -= times[value]
        if rank <= 0:
            return value
    return None


def _column(name: str) -> tuple[str, str | None]:
    """A name of `Grouping.by` as a column, and the key if it is metadata."""
    space, colon, key = name.partition(":")
    if colon and space in (PINNED, CLAIMED):
        return space, key
    return _SOURCE.get(name, name), None


def _texts(piece: Piece, name: str) -> Column:
    column, key = _column(name)
    if key is not None:
        return piece.metadata(column, key)
    texts, codes = piece.texts(column)
    return Column([text or None for text in texts], codes)


def _joined_codes(said: Sequence[int] | None, codes: Sequence[int], many: int) -> Sequence[int]:
    if said is None:
        return codes
    return [one * many + code for one, code in zip(said, codes, strict=True)]


def _picked(values: Sequence[int], passed: bytes | None) -> Sequence[int]:
    return values if passed is None else list(compress(values, passed))


# --- over a store ----------------------------------------------------------------------------------


def runs_on_columns(filter: Filter) -> bool:
    """Whether `aggregate` may run this filter."""
    return filter.exact and columns.plan(filter) is not None


def aggregate(
    store: ColumnStore,
    filter: Filter,
    window: Window,
    grouping: Grouping,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Group], bool]:
    """The figures of all records that pass, and whether the deadline struck. Blocking.

    Raises:
        NotInColumns, TooManyGroups, StoreUnavailable.
    """
    plan = columns.plan(filter)
    if plan is None or not filter.exact:
        raise NotInColumns("this filter does not run on columns")
    figures = Figures(grouping)
    if not filter:
        return [], False
    end = clock() + seconds
    spans, kept = store.spans(window)
    inside = Window(max(window.since, kept), window.until) if kept < window.until else None
    names = grouping.columns | columns.columns_of(plan)
    everything = () in plan
    for start in range(0, len(spans) if inside else 0, _TOGETHER):
        some = spans[start : start + _TOGETHER]
        stored = store.columns([span.piece for span in some], names)
        for span in some:
            if clock() >= end:
                return figures.groups(), True
            found = stored.get(span.piece)
            piece = Piece(columns.build(store.rows(span.piece), names) if found is None else found)
            assert inside is not None
            whole = inside.since <= span.first and span.last < inside.until
            _add(figures, piece, None if everything else plan, None if whole else inside)
            time.sleep(0)  # lets a loop in another thread go on, which the interpreter does rarely
    return figures.groups(), False


def _add(figures: Figures, piece: Piece, plan: columns.Plan | None, window: Window | None) -> None:
    """Adds what passes in a piece; None stands for what every record passes."""
    at: array[int] | None = None
    passed: int | None = None
    if window is not None:
        at = piece.numbers(AT)
        within = bytes([window.since <= one < window.until for one in at])
        passed = int.from_bytes(within, "little")
    size = piece.size if at is None else len(at)
    if plan is not None:
        met = columns.mask(piece, plan, size)
        passed = met if passed is None else passed & met
    if passed is None:
        figures.add_piece(piece, None)
    elif passed:
        figures.add_piece(piece, passed.to_bytes(size, "little"))
