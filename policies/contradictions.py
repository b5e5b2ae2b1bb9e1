"""Conditions that no request can meet: two different EQUALs on one field, a range that is empty.

Answered for the tests of one rule, field by field, without a request. What is found is certain; what is not
found may still be impossible (two patterns that exclude each other in a way that is not looked for here).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from authz.conditions import WEEKDAYS, Item, Operator, instant

Value = object
Keyed = tuple[str, Value]  # with the kind of the value: `1` and `true` are different values

# Fields with few values, and fields that every request has in the kind that is wanted.
_DOMAINS: Mapping[str, tuple[Value, ...]] = {
    "body.stream": (True, False),
    "principal.kind": ("user", "virtualaccount"),
    "time.hour": tuple(range(24)),
    "time.weekday": WEEKDAYS,
}
_MANY = frozenset({"record.created_by_team"})  # a record of several teams meets several tests
_ALWAYS_KNOWN = ("time.", "principal.id", "principal.kind", "resource.id")


class Extent(StrEnum):
    """What remains of a rule whose tests contradict each other."""

    NEVER = "never"
    UNKNOWN = (
        "unknown"  # a deny on a field that is missing, or of another kind: unknown counts as yes
    )


class Contradiction(NamedTuple):
    field: str
    extent: Extent
    second: int  # the place of the last test on the field


def contradiction(items: Sequence[Item], effect: str) -> Contradiction | None:
    """The first field whose tests no value can meet, or None."""
    by_field: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        by_field.setdefault(item.field, []).append(index)
    for field, places in by_field.items():
        extent = _extent(field, [items[place] for place in places], effect)
        if extent is not None:
            return Contradiction(field, extent, places[-1])
    return None


def _extent(field: str, tests: Sequence[Item], effect: str) -> Extent | None:
    presence = {test.value for test in tests if test.operator is Operator.EXISTS}
    others = [test for test in tests if test.operator is not Operator.EXISTS]
    if len(presence) == 2:
        return Extent.NEVER
    if False in presence:
        # On a missing field every other test is unknown: no on an allow, yes on a deny.
        return Extent.NEVER if others and effect == "allow" else None
    if not others or field in _MANY or _possible(field, others):
        return None
    known = effect == "allow" or field.startswith(_ALWAYS_KNOWN)
    return Extent.NEVER if known else Extent.UNKNOWN


def _possible(field: str, tests: Sequence[Item]) -> bool:
    """Whether some value may meet all the tests."""
    candidates: set[Keyed] | None = None
    if field in _DOMAINS:
        candidates = {_keyed(field, value) for value in _DOMAINS[field]}
    for test in tests:
        if test.operator in (Operator.EQUAL, Operator.IN):
            named = {_keyed(field, value) for value in _values(test)}
            candidates = named if candidates is None else candidates & named
    if candidates is not None:
        return any(all(_meets(field, each, test) for test in tests) for each in candidates)
    return _range_is_open(field, tests) and _starts_agree(tests)


def _values(test: Item) -> tuple[Value, ...]:
    return test.value if isinstance(test.value, tuple) else (test.value,)


def _keyed(field: str, value: Value) -> Keyed:
    moment = instant(value) if field == "time.now" else None
    return ("instant", moment) if moment is not None else (type(value).__name__, value)


def _meets(field: str, candidate: Keyed, test: Item) -> bool:
    """Whether the value meets the test; True where that is not decided here."""
    named = {_keyed(field, value) for value in _values(test)}
    match test.operator:
        case Operator.EQUAL | Operator.IN:
            return candidate in named
        case Operator.NOT_EQUAL | Operator.NOT_IN:
            return candidate not in named
    kind, value = candidate
    if kind == "str" and isinstance(value, str) and isinstance(test.value, str):
        match test.operator:
            case Operator.STRING_CONTAINS:
                return test.value in value
            case Operator.STRING_STARTS_WITH:
                return value.startswith(test.value)
            case Operator.STRING_ENDS_WITH:
                return value.endswith(test.value)
    return _range_is_open(field, [Item(field, Operator.EQUAL, _plain(value)), test])


def _plain(value: Value) -> str | int:
    return value if isinstance(value, int) else str(value)


def _range_is_open(field: str, tests: Iterable[Item]) -> bool:
    """Whether the bounds that the tests set leave anything between them."""
    lows: list[tuple[float, bool]] = []  # bound, whether it belongs to the range
    highs: list[tuple[float, bool]] = []
    for test in tests:
        bound = _number(field, test.value)
        if bound is None:
            continue
        match test.operator:
            case Operator.GREATER_THAN | Operator.GREATER_THAN_EQUAL:
                lows.append((bound, test.operator is Operator.GREATER_THAN_EQUAL))
            case Operator.LESS_THAN | Operator.LESS_THAN_EQUAL:
                highs.append((bound, test.operator is Operator.LESS_THAN_EQUAL))
            case Operator.EQUAL:
                lows.append((bound, True))
                highs.append((bound, True))
    if not lows or not highs:
        return True
    low, low_in = max(lows, key=lambda each: (each[0], not each[1]))
    high, high_in = min(highs, key=lambda each: (each[0], each[1]))
    return low < high or (low == high and low_in and high_in)


def _number(field: str, value: Value) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    moment = instant(value) if field == "time.now" else None
    return moment.timestamp() if moment is not None else None


def _starts_agree(tests: Iterable[Item]) -> bool:
    """Whether the beginnings that are asked for can be those of one text."""
    starts = sorted(
        (test.value for test in tests if test.operator is Operator.STRING_STARTS_WITH), key=str
    )
    texts = [start for start in starts if isinstance(start, str)]
    return all(later.startswith(earlier) for earlier, later in pairwise(texts))
