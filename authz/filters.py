"""The neutral filter: any of arms, each all of clauses, each "has one of" or "has none of" some keys.

It is what data access rules come to for one reader, and what every store can run with an index of its
own. There is no negation but `LACKS`, so `both` and `either` keep whatever they are given: a filter that
lets through too much stays one that lets through too much (`exact` is then false) and each row that it
finds is checked again. No arm is nothing at all: no query runs. Keys: `keys`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from authz.errors import AuthzError

MAX_ARMS: Final = 256  # a filter is one query: what is wider is refused, never cut
_MOST_PAIRS: Final = (
    8 * MAX_ARMS
)  # looked at when two filters are joined, before what is said twice goes


class FilterTooWide(AuthzError):
    """The rules of one reader come to more alternatives than a store is asked at once."""

    code = "filter_too_wide"


class Sense(StrEnum):
    HAS = "has"  # at least one of the keys
    LACKS = "lacks"  # none of the keys


class Clause(NamedTuple):
    """One test of a record's keys."""

    sense: Sense
    keys: frozenset[str]

    def holds(self, keys: Collection[str]) -> bool:
        """Whether a record with these keys passes."""
        return self.keys.isdisjoint(keys) is (self.sense is Sense.LACKS)


def has(*keys: str) -> Clause:
    """At least one of these; of no keys, never met."""
    return Clause(Sense.HAS, frozenset(keys))


def lacks(*keys: str) -> Clause:
    """None of these; of no keys, always met."""
    return Clause(Sense.LACKS, frozenset(keys))


Arm = frozenset[Clause]  # all of them; of no clause, every record


@dataclass(frozen=True, slots=True)
class Filter:
    """Any of the arms. `exact`: it finds no record that a check of the record would refuse."""

    arms: tuple[Arm, ...] = ()
    exact: bool = True

    def __bool__(self) -> bool:
        return bool(self.arms)

    def matches(self, keys: Collection[str]) -> bool:
        """Whether a record with these keys is found."""
        return any(all(clause.holds(keys) for clause in arm) for arm in self.arms)

    def narrowed(self, clauses: Iterable[Clause]) -> Filter:
        """This and every one of `clauses`: what a caller's own parameters may do."""
        return both(self, all_of(*clauses))


NOTHING: Final = Filter()
EVERYTHING: Final = Filter((frozenset(),))


def all_of(*clauses: Clause) -> Filter:
    """One arm of these clauses."""
    return _filter([frozenset(clauses)], True)


def either(*filters: Filter) -> Filter:
    """What any of them finds.

    Raises:
        FilterTooWide: more than 256 arms are left.
    """
    arms = [arm for one in filters for arm in one.arms]
    return _filter(arms, all(one.exact for one in filters if one.arms))


def both(*filters: Filter) -> Filter:
    """What each of them finds.

    Raises:
        FilterTooWide: more than 256 arms are left.
    """
    found = EVERYTHING
    for one in filters:
        if len(found.arms) * len(one.arms) > _MOST_PAIRS:
            raise _too_wide()
        arms = [left | right for left in found.arms for right in one.arms]
        found = _filter(arms, found.exact and one.exact)
        if not found.arms:
            return NOTHING
    return found


def _filter(arms: Iterable[Arm], exact: bool) -> Filter:
    made: list[Arm] = []
    single: set[str] = set()
    for raw in arms:
        arm = _simple(raw)
        if arm is None:
            continue
        clause = next(iter(arm)) if len(arm) == 1 else None
        if clause is not None and clause.sense is Sense.HAS:
            single |= clause.keys  # arms that are one HAS are one arm: "own, or of one of 40 teams"
        else:
            made.append(arm)
    if single:
        made.append(frozenset((Clause(Sense.HAS, frozenset(single)),)))
    made.sort(key=len)
    kept: list[Arm] = []
    for arm in made:
        if not any(_covers(other, arm) for other in kept):
            kept.append(arm)
            if len(kept) > MAX_ARMS:
                raise _too_wide()
    return Filter(tuple(sorted(kept, key=_order)), exact or not kept)


def _too_wide() -> FilterTooWide:
    return FilterTooWide(
        f"the data access rules of one reader come to more than {MAX_ARMS} alternatives",
        hint="use fewer rules with filters for one reader, or denies with fewer conditions",
    )


def _simple(arm: Arm) -> Arm | None:
    """The arm without what another clause of it says already; None if no record can pass."""
    gone = frozenset[str]().union(*(c.keys for c in arm if c.sense is Sense.LACKS))
    wanted = {clause.keys - gone for clause in arm if clause.sense is Sense.HAS}
    if frozenset() in wanted:
        return None
    clauses = [
        Clause(Sense.HAS, keys) for keys in wanted if not any(other < keys for other in wanted)
    ]
    return frozenset(clauses + ([Clause(Sense.LACKS, gone)] if gone else []))


def _covers(wide: Arm, narrow: Arm) -> bool:
    """Whether every record that passes `narrow` surely passes `wide`."""
    return all(any(_implies(have, want) for have in narrow) for want in wide)


def _implies(have: Clause, want: Clause) -> bool:
    if have.sense is not want.sense:
        return False
    if want.sense is Sense.HAS:
        return have.keys <= want.keys
    return have.keys >= want.keys


def _order(arm: Arm) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Arms in an order of their content, so that equal rules give equal queries."""
    return tuple(sorted((clause.sense.value, tuple(sorted(clause.keys))) for clause in arm))
