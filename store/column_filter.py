"""A filter as tests of columns: which columns answer it, and which of their texts pass.

A test compares texts, each once in a piece and not at each record; there is no hash that could take one for
another. Which records pass is `aggregate_pieces.mask`.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from authz import keys
from authz.filters import Clause, Filter, Sense
from store.aggregate_columns import CLAIMED, PINNED, REST

_PLAIN = {
    keys.plain(name, ""): name
    for name in ("account", "method", "model", "outcome", "server", "status", "tool")
}


class Test(NamedTuple):
    """Keys of a clause that one column answers: its texts among `wanted`, or any text if `present`."""

    column: str
    wanted: frozenset[str]
    present: bool
    metadata: str | None = None  # the key, if the column is PINNED or CLAIMED


# Any of arms, each all of (sense, any of tests).
Plan = tuple[tuple[tuple[Sense, tuple[Test, ...]], ...], ...]


def plan(filter: Filter) -> Plan | None:
    """The filter as tests of columns; None if it asks for what no column has."""
    arms = []
    for arm in filter.arms:
        clauses = []
        for clause in arm:
            tests = _tests(clause)
            if tests is None:
                return None
            clauses.append((clause.sense, tests))
        arms.append(tuple(clauses))
    return tuple(arms)


def columns_of(plan: Plan) -> frozenset[str]:
    """The names of the columns that a plan reads; of metadata also that of the rest."""
    tests = [test for arm in plan for _, tests in arm for test in tests]
    return frozenset(name for test in tests for name in names_of(test.column, test.metadata))


def names_of(column: str, metadata: str | None) -> tuple[str, ...]:
    """The stored columns that hold one column."""
    return (column,) if metadata is None else (f"{column}:{metadata}", column + REST)


def _tests(clause: Clause) -> tuple[Test, ...] | None:
    wanted: dict[tuple[str, str | None], set[str]] = {}
    present: set[tuple[str, str | None]] = set()
    for key in clause.keys:
        read = _read(key)
        if read is None:
            return None
        column, name, value = read
        wanted.setdefault((column, name), set())
        if value is None:
            present.add((column, name))
        else:
            wanted[column, name].add(value)
    return tuple(
        Test(column, frozenset(values), (column, name) in present, name)
        for (column, name), values in sorted(wanted.items(), key=str)
    )


def _read(key: str) -> tuple[str, str | None, str | None] | None:
    """The column of a key, the metadata key if it is one, and the text; None for "any text"."""
    if key == keys.HAS_TEAM:
        return "teams", None, None
    for space in (PINNED, CLAIMED):
        if key.startswith(f"{space}["):
            name, *value = json.loads(key.removeprefix(space))
            return space, name, value[0] if value else None
    for prefix, column in (
        (keys.creator(""), "created_by"),
        (keys.owner(""), "owner"),
        (keys.team(""), "teams"),
        *_PLAIN.items(),
    ):
        if key.startswith(prefix):
            return column, None, key.removeprefix(prefix)
    return None
