"""Documents that an older version stored, brought up to the types of this one when they are read.

A family whose stored form changes gets a step here: from the form of one schema to that of the next. A
stored body says its schema as `schema`; without it, it is 1. The log stays as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

FIELD = "schema"
Data = Mapping[str, Any]
Step = Callable[[Data], Data]  # pure; the family's `schema` is handled around it
Steps = Mapping[str, Mapping[int, Step]]

# family -> {schema: what makes the next one of it}, without a gap from 1 on.
STEPS: Steps = {}


class UnknownSchema(ValueError):
    """A stored document is of a schema that this version does not have."""


def schema_of(family: str, steps: Steps = STEPS) -> int:
    """The schema that this version writes for a family."""
    return 1 + len(steps.get(family, ()))


def upcast(family: str, data: Data, steps: Steps = STEPS) -> Data:
    """A stored document in the form of this version, without its `schema`.

    Raises:
        UnknownSchema: a newer version wrote it.
    """
    known = steps.get(family)
    if known is None and FIELD not in data:
        return data
    found = data.get(FIELD, 1)
    newest = schema_of(family, steps)
    if not isinstance(found, int) or not 1 <= found <= newest:
        raise UnknownSchema(f"a stored {family} has schema `{found}`, this version reads {newest}")
    current: Data = {name: value for name, value in data.items() if name != FIELD}
    for schema in range(found, newest):
        assert known is not None
        current = known[schema](current)
    return current


def stamped(family: str, data: Data, steps: Steps = STEPS) -> Data:
    """A document to store, with its schema where that is not 1."""
    schema = schema_of(family, steps)
    return data if schema == 1 else {**data, FIELD: schema}
