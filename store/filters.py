"""Neutral filters as each store runs them, and how a key is written in an index.

A key is stored as a keyed 63-bit number: there is no dictionary to keep while records arrive, and a caller
cannot craft metadata that collides with something. A collision all the same can hide a record or find one
too many, which the check of each row then leaves out; it never discloses. The form of a filter: `authz/filters.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from authz.filters import Filter, Sense

KEY_BYTES: Final = 32
_ALL: Final = (
    "all"  # a token of every record: what only lacks something must be taken from something
)
_REMEMBERED: Final = 100_000  # keys whose number is kept at hand: models, teams, people come again


class Numbers:
    """The number of each key, by the key of one store."""

    __slots__ = ("_number",)

    def __init__(self, secret: bytes) -> None:
        """Raises: ValueError for a key that is not 32 bytes."""
        if len(secret) != KEY_BYTES:
            raise ValueError("the key of an index is 32 bytes")

        @lru_cache(maxsize=_REMEMBERED)  # key -> number: never stale
        def number(key: str) -> int:
            digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=secret)
            return int.from_bytes(digest.digest(), "big") >> 1

        self._number = number

    def __repr__(self) -> str:
        return "Numbers(…)"

    def of(self, keys: Iterable[str]) -> list[int]:
        """The numbers of these keys, ascending."""
        return sorted(map(self._number, keys))


class Test(NamedTuple):
    """A clause as an index knows it."""

    sense: Sense
    keys: frozenset[int]


Tests = frozenset[Test]  # an arm; of no test, every record
Asked = tuple[Tests, ...]  # a filter; of no arm, nothing


def numbered(filter: Filter, numbers: Numbers) -> Asked:
    """The filter in numbers."""
    return tuple(
        frozenset(Test(clause.sense, frozenset(numbers.of(clause.keys))) for clause in arm)
        for arm in filter.arms
    )


def finds_all(asked: Asked) -> bool:
    """Whether nothing is tested."""
    return frozenset() in asked


# --- SQLite's full-text index -------------------------------------------------------------------------


def tokens(numbers: Iterable[int]) -> str:
    """The text that is indexed for a record with these keys."""
    return " ".join([_ALL, *map(_token, numbers)])


def match_text(asked: Asked) -> str:
    """The filter as an expression of FTS5. It must have an arm, and test something."""
    # Flat lists: FTS5's parser gives up on some hundred nested brackets, not on thousands of terms.
    return " OR ".join(f"({_match_arm(arm)})" for arm in asked)


def _match_arm(arm: Tests) -> str:
    wanted = [_any(test.keys) for test in arm if test.sense is Sense.HAS]
    unwanted = [_any(test.keys) for test in arm if test.sense is Sense.LACKS]
    text = " AND ".join(sorted(wanted)) or _ALL
    # A filter has at most one LACKS an arm; NOT binds more tightly than AND, hence the brackets.
    return f"({text}) NOT {unwanted[0]}" if unwanted else text


def _any(keys: Iterable[int]) -> str:
    return f"({' OR '.join(map(_token, sorted(keys)))})"


@lru_cache(maxsize=_REMEMBERED)
def _token(number: int) -> str:
    return f"{number:016x}"


# --- MongoDB ------------------------------------------------------------------------------------------


def mongo_query(asked: Asked) -> dict[str, Any]:
    """The filter as a query on the array `keys`; it must have an arm."""
    arms = [mongo_arm(arm) for arm in asked]
    return arms[0] if len(arms) == 1 else {"$or": arms}


def mongo_arm(arm: Tests) -> dict[str, Any]:
    """One arm as such a query."""
    operator = {Sense.HAS: "$in", Sense.LACKS: "$nin"}
    tests = [{"keys": {operator[test.sense]: sorted(test.keys)}} for test in arm]
    # The clause of the fewest keys first: that is the one whose index is walked where it matters.
    tests.sort(key=lambda test: ("$nin" in test["keys"], len(next(iter(test["keys"].values())))))
    if not tests:
        return {}
    return tests[0] if len(tests) == 1 else {"$and": tests}
