"""Which values pinned metadata and creators have had: "none of these" becomes "one of the others".

An index finds what a record has quickly, and what it lacks only by looking at everything else: a rule that
leaves 25 records of a million reads the million. So a store keeps, for each key that is pinned, the values that
ever came, and the same of creators, as the numbers of its index. A value that no record has any more
harms nothing; one that is missing would hide records, so values are there before the first record that has
them, and a name with more than 2,000 is left alone for good. Claimed metadata is not kept: callers make up
as many values as they like, and what they said can be erased.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from authz import keys
from authz.filters import Arm, Filter, Sense
from store.filters import Asked, Numbers, Test, Tests, numbered
from store.request_records import Entry

MOST: Final = 2000  # values of one name
FEW: Final = 64  # others that are asked for instead: a query walks as many lists at once
CREATORS: Final = keys.creator("")  # the name of what every record has
_PINNED: Final = keys.pinned("").partition("[")[0] + "["


@lru_cache(maxsize=20_000)
def name_of(key: str) -> str | None:
    """The name whose value a key says: `CREATORS`, or the key that pinned metadata has; None for other keys."""
    if key.startswith(CREATORS):
        return CREATORS
    if not key.startswith(_PINNED):
        return None
    said = json.loads(key[len(_PINNED) - 1 :])
    return keys.pinned(said[0]) if len(said) == 2 else None


def values_in(entries: Iterable[Entry]) -> dict[str, frozenset[str]]:
    """By name, the keys of its values in these records."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for entry in entries:
        for key in entry.keys:
            if (name := name_of(key)) is not None:
                found[name].add(key)
    return {name: frozenset(said) for name, said in found.items()}


def names_in(filter: Filter) -> frozenset[str]:
    """The names whose values would help to run a filter."""
    return frozenset(name for arm in filter.arms for name in _lacked(arm))


def rewritten(filter: Filter, numbers: Numbers, known: Mapping[str, frozenset[int]]) -> Asked:
    """The filter in numbers, with as little to lack as what is `known` of its names allows."""
    if not known:
        return numbered(filter, numbers)
    made = [_arm(arm, numbers, known) for arm in filter.arms]
    single: set[int] = set()
    others: list[Tests] = []
    for arm in made:
        if arm is None:
            continue
        test = next(iter(arm)) if len(arm) == 1 else None
        if test is not None and test.sense is Sense.HAS:
            single |= test.keys  # as in a filter: what may be asked at once is one arm
        else:
            others.append(arm)
    if single:
        others.append(frozenset((Test(Sense.HAS, frozenset(single)),)))
    return tuple(others)


def _lacked(arm: Arm) -> dict[str, frozenset[str]]:
    """By name, the values that an arm rules out of a name that every record it finds has."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    there = {CREATORS, *(next(iter(c.keys)) for c in arm if _one(c.sense, c.keys))}
    for clause in arm:
        if clause.sense is Sense.LACKS:
            for key in clause.keys:
                if (name := name_of(key)) in there and name is not None:
                    found[name].add(key)
    return {name: frozenset(said) for name, said in found.items()}


def _one(sense: Sense, named: frozenset[str]) -> bool:
    return sense is Sense.HAS and len(named) == 1


def _arm(arm: Arm, numbers: Numbers, known: Mapping[str, frozenset[int]]) -> Tests | None:
    """One arm in numbers; None if no record can pass."""
    tests: set[Test] = set()
    gone: set[str] = set()  # what needs no test any more
    for name, lacked in _lacked(arm).items():
        if name not in known:
            continue
        others = known[name] - frozenset(numbers.of(lacked))
        if not others:
            return None
        if len(others) <= max(FEW, len(lacked)):
            tests.add(Test(Sense.HAS, others))
            gone |= lacked if name == CREATORS else {*lacked, name}
    for clause in arm:
        if clause.sense is Sense.LACKS:
            left = clause.keys - gone
        else:
            left = frozenset() if len(clause.keys) == 1 and clause.keys <= gone else clause.keys
        if left:
            tests.add(Test(clause.sense, frozenset(numbers.of(left))))
    return frozenset(tests)
