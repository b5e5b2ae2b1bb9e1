"""Conditions: a list of `{field, operator, value}`, ANDed, in Kleene logic. No expressions, no eval.

A list is false if any item is false, else unknown if any item is unknown, else true. Unknown counts as
no on an allow and as yes on a deny, so that what cannot be evaluated never opens access. `EXISTS` is
never unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Operator(StrEnum):
    EQUAL = "EQUAL"
    NOT_EQUAL = "NOT_EQUAL"
    IN = "IN"
    NOT_IN = "NOT_IN"
    LESS_THAN = "LESS_THAN"
    LESS_THAN_EQUAL = "LESS_THAN_EQUAL"
    GREATER_THAN = "GREATER_THAN"
    GREATER_THAN_EQUAL = "GREATER_THAN_EQUAL"
    STRING_CONTAINS = "STRING_CONTAINS"
    STRING_STARTS_WITH = "STRING_STARTS_WITH"
    STRING_ENDS_WITH = "STRING_ENDS_WITH"
    IN_NETWORK = "IN_NETWORK"
    EXISTS = "EXISTS"


Scalar = str | int | bool


@dataclass(frozen=True, slots=True)
class Item:
    """One test of one field. `value` is a tuple for IN, NOT_IN and IN_NETWORK, a bool for EXISTS."""

    field: str
    operator: Operator
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """A named list of items; the name is made from the content, so a definition never changes."""

    items: tuple[Item, ...]
