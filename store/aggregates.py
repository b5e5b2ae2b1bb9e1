"""What figures over requests are: how they are asked for, the groups that they come in, and whose columns they are made of.

Counts, tokens, cost, errors and durations, by whatever records are grouped by. How they are added up:
`figures.py`, which is imported by who adds up and by nobody else, because it loads numpy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from authz.filters import Filter
from store.aggregate_columns import AT, CLAIMED, PINNED, SUMS
from store.column_filter import names_of, plan
from store.errors import StoreError
from store.request_records import Row, Window

GROUPS: Final = (
    *("model", "account", "server", "tool", "method", "outcome", "status", "error"),
    *("created_by", "team", "status_class"),
)
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
            found.update(names_of(*column_of(name)))
        return frozenset(found)


class Group(NamedTuple):
    """Figures of one group. `start` is that of its interval (µs); `by` says None where a record says nothing."""

    by: tuple[str | None, ...]
    start: int
    requests: int
    sums: Mapping[str, int]
    durations: Mapping[str, Mapping[int, int]]  # how many times each duration, in ms


@dataclass(frozen=True, slots=True)
class Totals:
    """Figures as they were asked for: groups, how many smaller ones were left out, and whether time ran out."""

    groups: list[Group]
    left_out: int = 0
    truncated: bool = False


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


# --- groups ----------------------------------------------------------------------------------------


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


def column_of(name: str) -> tuple[str, str | None]:
    """A name of `Grouping.by` as a column, and the key if it is metadata."""
    space, colon, key = name.partition(":")
    if colon and space in (PINNED, CLAIMED):
        return space, key
    return _SOURCE.get(name, name), None


def runs_on_columns(filter: Filter) -> bool:
    """Whether `figures.aggregate` may run this filter."""
    return filter.exact and plan(filter) is not None
