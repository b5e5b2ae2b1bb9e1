"""Conditions: a list of `{field, operator, value}`, ANDed, in Kleene logic. No expressions, no eval.

A list is false if any item is false, else unknown if any item is unknown, else true. Unknown counts as
no on an allow and as yes on a deny, so that what cannot be evaluated never opens access. `EXISTS` is
never unknown.

Here: the values, the registry of fields (who vouches for a field, which actions supply it), the checks
that a document must pass, and how a condition is written in a row. How one is evaluated: `kleene`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, NamedTuple

from authz.errors import InvalidCondition
from authz.vocabulary import WILD_ACTION, Action


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


MEMBERSHIP = frozenset({Operator.IN, Operator.NOT_IN})
EQUALITY = frozenset({Operator.EQUAL, Operator.NOT_EQUAL}) | MEMBERSHIP
ORDER = frozenset(
    {
        Operator.LESS_THAN,
        Operator.LESS_THAN_EQUAL,
        Operator.GREATER_THAN,
        Operator.GREATER_THAN_EQUAL,
    }
)
TEXTUAL = frozenset(
    {Operator.STRING_CONTAINS, Operator.STRING_STARTS_WITH, Operator.STRING_ENDS_WITH}
)

Scalar = str | int | bool
MAX_ITEMS = 32
MAX_VALUES = 1024


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


class _Missing(Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING  # what `lazy` answers for a field that the request does not have


@dataclass(frozen=True, slots=True)
class Context:
    """What a condition may read of a request.

    A field that is not in `values` is asked from `lazy`, so that a body is parsed only when a rule reads
    it. `resource.*`, `principal.id` and `principal.kind` come from the question itself, whatever stands
    here; `time.hour` and `time.weekday` follow from `time.now`. `unbound` names the fields, or spaces
    such as `body.`, which are left open: on an allow such an item counts as met, on a deny as not met.
    A value that is a tuple says several at once (the teams of a record), an empty one that there are none.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    lazy: Callable[[str], object] | None = None
    unbound: frozenset[str] = frozenset()


# --- the registry ----------------------------------------------------------------------------------


class Trust(StrEnum):
    """Who vouches for a field's value."""

    STAMPED = "stamped"  # the gateway itself
    EXECUTED = "executed"  # it is what will be done
    CLAIMED = "claimed"  # the caller merely says so: may only narrow


class Shape(StrEnum):
    """What values a field has, so that a test that could never be met is refused when loaded."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    INSTANT = "instant"
    ADDRESS = "address"
    ANY = "any"


class Field(NamedTuple):
    """One field, or every field below a prefix."""

    trust: Trust
    actions: frozenset[Action]
    shape: Shape


_ALL = frozenset(Action)
_MODEL = frozenset({Action.MODEL_USE})
_TOOL = frozenset({Action.MCP_TOOL_CALL})
_READ = frozenset({Action.MCP_RESOURCE_READ})
_OFFERED = _TOOL | _READ | {Action.MCP_PROMPT_GET}  # what is used of an MCP server
_SERVER = _OFFERED | {
    Action.MCP_SERVER_USE,
    Action.MCP_SERVER_READ,
    Action.MCP_SERVER_WRITE,
    Action.MCP_SERVER_DELETE,
}
_USE = _MODEL | _OFFERED | {Action.MCP_SERVER_USE}
_DATA = frozenset({Action.DATA_READ})
_ACCOUNT = _MODEL | {
    Action.PROVIDER_ACCOUNT_READ,
    Action.PROVIDER_ACCOUNT_WRITE,
    Action.PROVIDER_ACCOUNT_DELETE,
}

FIELDS: Mapping[str, Field] = {
    "body.": Field(Trust.EXECUTED, _MODEL, Shape.ANY),
    "body.max_tokens": Field(Trust.EXECUTED, _MODEL, Shape.NUMBER),
    "body.stream": Field(Trust.EXECUTED, _MODEL, Shape.FLAG),
    "client.ip": Field(Trust.STAMPED, _ALL, Shape.ADDRESS),
    "credential.id": Field(Trust.STAMPED, _ALL, Shape.TEXT),
    "credential.kind": Field(Trust.STAMPED, _ALL, Shape.TEXT),
    "header.": Field(Trust.CLAIMED, _ALL, Shape.TEXT),
    "metadata.": Field(Trust.CLAIMED, _USE, Shape.TEXT),
    "pinned.": Field(Trust.STAMPED, _USE, Shape.TEXT),
    "principal.id": Field(Trust.STAMPED, _ALL, Shape.TEXT),
    "principal.kind": Field(Trust.STAMPED, _ALL, Shape.TEXT),
    "principal.team": Field(Trust.STAMPED, _ALL, Shape.TEXT),
    "record.claimed.": Field(Trust.CLAIMED, _DATA, Shape.TEXT),
    "record.created_by": Field(Trust.STAMPED, _DATA, Shape.TEXT),
    "record.created_by_team": Field(Trust.STAMPED, _DATA, Shape.TEXT),
    "record.metadata.": Field(Trust.STAMPED, _DATA, Shape.TEXT),
    "resource.account": Field(Trust.STAMPED, _ACCOUNT, Shape.TEXT),
    "resource.id": Field(Trust.STAMPED, _ALL, Shape.TEXT),
    "resource.model": Field(Trust.STAMPED, _MODEL, Shape.TEXT),
    "resource.server": Field(Trust.STAMPED, _SERVER, Shape.TEXT),
    "resource.tool": Field(Trust.STAMPED, _TOOL, Shape.TEXT),
    "resource.uri": Field(Trust.STAMPED, _READ, Shape.TEXT),
    "time.hour": Field(Trust.STAMPED, _ALL, Shape.NUMBER),
    "time.now": Field(Trust.STAMPED, _ALL, Shape.INSTANT),
    "time.weekday": Field(Trust.STAMPED, _ALL, Shape.TEXT),
    "tool.args.": Field(Trust.EXECUTED, _TOOL, Shape.ANY),
    "tool.name": Field(Trust.STAMPED, _TOOL, Shape.TEXT),
}

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PREFIXES = tuple(sorted((name for name in FIELDS if name.endswith(".")), key=len, reverse=True))


def root_of(name: str) -> str:
    """The registry's entry that `name` falls under (itself, or its prefix), or "" for an unknown field."""
    if name in FIELDS and not name.endswith("."):
        return name
    for prefix in _PREFIXES:
        if name.startswith(prefix) and len(name) > len(prefix):
            return prefix
    return ""


# --- what a document must pass ---------------------------------------------------------------------


def check(item: Item, actions: Iterable[str], effect: str, trust: str | None) -> list[str]:
    """The problems of one item in a rule with these actions, effect and `trust`; [] when there are none.

    `*` among the actions stands for all of them. An action that is no action at all is not this
    function's business.
    """
    root = root_of(item.field)
    if not root:
        near = difflib.get_close_matches(item.field, FIELDS, n=1)
        return [
            f"`{item.field}` is not a field" + (f" (did you mean `{near[0]}`?)" if near else "")
        ]
    known = FIELDS[root]
    problems = []
    asked = set(_ALL) if WILD_ACTION in (named := set(actions)) else named & {*map(str, _ALL)}
    without = sorted(str(action) for action in asked - known.actions)
    if without:
        listed = ", ".join(f"`{action}`" for action in without[:3])
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        problems.append(f"`{item.field}` is not supplied by {listed}{more}")
    if known.trust is Trust.CLAIMED and effect == "allow" and trust != Trust.CLAIMED:
        problems.append(
            f"`{item.field}` is only claimed by the caller: an allow that reads it says `trust: claimed`"
        )
    problem = _value_problem(item, known.shape)
    return [*problems, problem] if problem else problems


def _value_problem(item: Item, shape: Shape) -> str:
    """Why this operator and value cannot work on a field of this shape, or ""."""
    operator, value = item.operator, item.value
    if operator is Operator.EXISTS:
        return "" if isinstance(value, bool) else "`EXISTS` takes `true` or `false`"
    many = operator in MEMBERSHIP or operator is Operator.IN_NETWORK
    if many != isinstance(value, tuple):
        return f"`{operator}` takes {'a list' if many else 'one value'}"
    values = value if isinstance(value, tuple) else (value,)
    if not values:
        return f"`{operator}` takes a list of at least one value"
    if len(values) > MAX_VALUES:
        return f"a list has at most {MAX_VALUES} values"
    if operator is Operator.IN_NETWORK:
        if shape not in (Shape.ADDRESS, Shape.TEXT, Shape.ANY):
            return f"`{item.field}` is not an address"
        wrong = [one for one in values if network(one) is None]
        return f"`{wrong[0]}` is not a network such as `10.0.0.0/8`" if wrong else ""
    if operator in TEXTUAL:
        if shape in (Shape.NUMBER, Shape.FLAG, Shape.INSTANT):
            return f"`{item.field}` is not a text"
        return "" if isinstance(value, str) else f"`{operator}` takes a text"
    if operator in ORDER and shape in (Shape.TEXT, Shape.ADDRESS, Shape.FLAG):
        return f"`{item.field}` has no order"
    wrong = [one for one in values if not _fits(one, shape, operator)]
    if wrong:
        return f"`{wrong[0]}` can never be compared with `{item.field}` ({shape})"
    if item.field == "time.weekday" and (odd := [one for one in values if one not in WEEKDAYS]):
        return f"`{odd[0]}` is not a weekday (`mon` to `sun`)"
    return ""


def _fits(value: Scalar, shape: Shape, operator: Operator) -> bool:
    number = isinstance(value, int) and not isinstance(value, bool)
    match shape:
        case Shape.NUMBER:
            return number
        case Shape.FLAG:
            return isinstance(value, bool)
        case Shape.INSTANT:
            return instant(value) is not None
        case Shape.TEXT | Shape.ADDRESS:
            return isinstance(value, str)
        case _:
            return number if operator in ORDER else True


def instant(value: object) -> datetime | None:
    """`value` as an instant: an aware datetime, or ISO 8601 text with an offset; else None."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return value
    return None


def network(value: object) -> IPv4Network | IPv6Network | None:
    """`value` as a network (`10.0.0.0/8`, or one address), or None. Host bits must be zero."""
    if not isinstance(value, str):
        return None
    try:
        return ip_network(value)
    except ValueError:
        return None


# --- how a condition is written --------------------------------------------------------------------


def encode(condition: Condition) -> str:
    """The condition as canonical JSON, as it stands in a `c` row."""
    return json.dumps(
        [
            [
                item.field,
                item.operator.value,
                list(item.value) if isinstance(item.value, tuple) else item.value,
            ]
            for item in condition.items
        ],
        ensure_ascii=False,
        separators=(",", ":"),
    )


def in_words(condition: Condition) -> str:
    """The condition for a person to read: its tests, all of which must hold."""
    return " and ".join(
        f"{item.field} {item.operator.value} "
        + json.dumps(item.value, ensure_ascii=False, separators=(", ", ": "))
        for item in condition.items
    )


def name_of(condition: Condition) -> str:
    """`c-` and 20 hex digits of the SHA-256 of the canonical text."""
    return "c-" + hashlib.sha256(encode(condition).encode()).hexdigest()[:20]


def decode(text: str) -> Condition:
    """The condition of a `c` row.

    Raises:
        InvalidCondition: not the canonical JSON of a condition, or an operator that is not known here.
    """
    try:
        return Condition(tuple(_item(entry) for entry in _array(json.loads(text))))
    except (ValueError, TypeError) as error:
        raise InvalidCondition(f"`{text[:120]}` is not a condition") from error


def _item(entry: object) -> Item:
    name, operator, value = _array(entry)
    if not isinstance(name, str) or not name or not isinstance(operator, str):
        raise ValueError("no field or no operator")
    many = isinstance(value, list)
    return Item(
        name,
        Operator(operator),
        tuple(_scalar(one) for one in _array(value)) if many else _scalar(value),
    )


def _array(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > MAX_VALUES:
        raise ValueError("not an array")
    return value


def _scalar(value: object) -> Scalar:
    if not isinstance(value, (str, int)):
        raise ValueError("not a scalar")
    return value
