"""Evaluation of conditions in Kleene logic: true, false, or None for unknown.

A condition is compiled once, when its row arrives, to one test an item. A test never raises: what has
the wrong type is unknown. `Reading` is what one decision reads, and remembers it for the record.
Which fields there are, and what a document must pass: `conditions`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, NamedTuple
from urllib.parse import unquote

from authz.conditions import (
    MISSING,
    ORDER,
    WEEKDAYS,
    Condition,
    Context,
    Item,
    Operator,
    instant,
    network,
    root_of,
)
from authz.vocabulary import MCP_KINDS, Kind, kind_of

Test = Callable[[object], bool | None]
Network = IPv4Network | IPv6Network


class CompiledItem(NamedTuple):
    """One item ready to be tested; `space` is what its field starts with, such as `body.`."""

    field: str
    space: str
    test: Test


Compiled = tuple[CompiledItem, ...]


class Reading:
    """What one decision reads of its context: every value once, every condition once a question.

    `read` holds the values that conditions looked at (a missing one is not kept); `outcomes` what each
    condition came to in the question at hand.
    """

    __slots__ = ("_seen", "context", "outcomes", "read", "resource", "subject")

    def __init__(self, context: Context, subject: str, resource: str) -> None:
        self.context = context
        self.subject = subject
        self.resource = resource
        self.read: dict[str, object] = {}
        self.outcomes: dict[str, bool | None] = {}
        self._seen: dict[str, object] | None = None

    def value(self, field: str) -> object:
        """The value of a field, or MISSING. What belongs to the question is never taken from the caller."""
        own = _OWN.get(field)
        if own is not None:
            found = own(self)
        else:
            # A lazy field may be costly (a body to parse) and must read the same twice.
            seen = self._seen
            if seen is None:
                seen = self._seen = {}
            found = seen[field] if field in seen else seen.setdefault(field, self._look_up(field))
        if found is not MISSING:
            self.read[field] = found
        return found

    def _look_up(self, field: str) -> object:
        values = self.context.values
        if field in values:
            return values[field]
        if field in _CALENDAR and (now := instant(self._look_up("time.now"))) is not None:
            return _CALENDAR[field](now.astimezone(UTC))
        return MISSING if self.context.lazy is None else self.context.lazy(field)


def _account(reading: Reading) -> object:
    kind, _, name = reading.resource.partition(":")
    if kind not in ("model", "provider-account", "open-models"):
        return MISSING
    return name.partition("/")[0] or MISSING


def _model(reading: Reading) -> object:
    kind, _, name = reading.resource.partition(":")
    return (name.partition("/")[2] or MISSING) if kind == "model" else MISSING


def _server(reading: Reading) -> object:
    kind, _, name = reading.resource.partition(":")
    if kind not in _OF_SERVERS:
        return MISSING
    return name.partition("/")[0] or MISSING


def _tool(reading: Reading) -> object:
    """The tool as its server calls it, not as the id spells it."""
    kind, _, name = reading.resource.partition(":")
    return (unquote(name.partition("/")[2]) or MISSING) if kind == Kind.MCP_TOOL else MISSING


_EVERYONE = f"{Kind.TEAM.value}:everyone"
_OF_SERVERS = frozenset(kind.value for kind in (Kind.MCP_SERVER, *MCP_KINDS))
_OWN: dict[str, Callable[[Reading], object]] = {
    "principal.id": lambda reading: reading.subject,
    "principal.kind": lambda reading: kind_of(reading.subject),
    "resource.account": _account,
    "resource.id": lambda reading: reading.resource,
    "resource.model": _model,
    "resource.server": _server,
    "resource.tool": _tool,
    "tool.name": _tool,
}
_CALENDAR: dict[str, Callable[[datetime], object]] = {
    "time.hour": lambda now: now.hour,
    "time.weekday": lambda now: WEEKDAYS[now.weekday()],
}


def evaluate(compiled: Compiled, reading: Reading, effect: str) -> bool | None:
    """What the list comes to. `effect` matters only to items that the context leaves unbound."""
    unbound = reading.context.unbound
    met: bool | None = True
    for field, space, test in compiled:
        if unbound and (field in unbound or space in unbound):
            if effect == "deny":
                return False
            continue
        outcome = test(reading.value(field))
        if outcome is False:
            return False
        if outcome is None:
            met = None
    return met


def compile_condition(condition: Condition) -> Compiled:
    """The tests of a condition."""
    return tuple(
        CompiledItem(item.field, _space(item.field), _test(item)) for item in condition.items
    )


def _space(field: str) -> str:
    """What a field starts with as the registry says it, such as `body.` or `tool.args.`."""
    root = root_of(field)
    return root if root.endswith(".") else field.partition(".")[0] + "."


# --- the tests -------------------------------------------------------------------------------------

_ORDERS: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.LESS_THAN: operator.lt,
    Operator.LESS_THAN_EQUAL: operator.le,
    Operator.GREATER_THAN: operator.gt,
    Operator.GREATER_THAN_EQUAL: operator.ge,
}
_TEXTS: dict[Operator, Callable[[str, str], bool]] = {
    Operator.STRING_CONTAINS: operator.contains,
    Operator.STRING_STARTS_WITH: str.startswith,
    Operator.STRING_ENDS_WITH: str.endswith,
}


def _test(item: Item) -> Test:
    """The test of one item; an operator and a value that do not fit make a test that is always unknown."""
    op, value = item.operator, item.value
    many = value if isinstance(value, tuple) else (value,)
    if op is Operator.EXISTS:
        return lambda found: (found is not MISSING and found != ()) is value
    if op in (Operator.EQUAL, Operator.IN):
        return lambda found: _among(found, many)
    if op in (Operator.NOT_EQUAL, Operator.NOT_IN):
        return lambda found: _negated(_among(found, many))
    if op in ORDER:
        compare = _ORDERS[op]
        return lambda found: _ordered(found, value, compare)
    if op is Operator.IN_NETWORK:
        networks = tuple(network(one) for one in many)
        return lambda found: _in_network(found, networks)
    return lambda found: _textual(found, value, _TEXTS[op])


def _negated(outcome: bool | None) -> bool | None:
    return None if outcome is None else not outcome


def _comparable(found: object, value: object) -> tuple[Any, Any] | None:
    """Both as values of one type, or None: a flag is no number, and `NaN` is like nothing."""
    if isinstance(found, bool) or isinstance(value, bool):
        return (found, value) if isinstance(found, bool) and isinstance(value, bool) else None
    if isinstance(found, (int, float)) and isinstance(value, int):
        # NaN is the one number that differs from itself.
        return (found, value) if found == found else None
    if isinstance(found, datetime):
        left, right = instant(found), instant(value)
        return None if left is None or right is None else (left, right)
    return (found, value) if isinstance(found, str) and isinstance(value, str) else None


def _among(found: object, values: tuple[object, ...]) -> bool | None:
    """Is it equal to any: unknown if it is equal to none and comparable with none.

    Of several, one that is equal suffices, and one that is missing is surely not equal.
    """
    if isinstance(found, tuple):
        return _several(found, values)
    outcome: bool | None = None
    for value in values:
        pair = _comparable(found, value)
        if pair is not None:
            if pair[0] == pair[1]:
                return True
            outcome = False
    return outcome


def _several(found: tuple[object, ...], values: tuple[object, ...]) -> bool | None:
    named = [value for value in values if isinstance(value, str)]
    if not named or _EVERYONE in named:
        return None  # no thing lists `everyone` among its teams: a test for it says nothing
    return any(one in named for one in found)


def _textual(found: object, value: object, test: Callable[[str, str], bool]) -> bool | None:
    if isinstance(found, tuple) and len(found) == 1:
        found = found[0]
    return test(found, value) if isinstance(found, str) and isinstance(value, str) else None


def _ordered(found: object, value: object, compare: Callable[[Any, Any], bool]) -> bool | None:
    pair = _comparable(found, value)
    if pair is None or isinstance(pair[0], (str, bool)):
        return None  # texts and flags have no order here
    return compare(*pair)


def _in_network(found: object, networks: tuple[Network | None, ...]) -> bool | None:
    address = _address(found) if isinstance(found, str) else None
    if address is None or None in networks:
        return None
    return any(
        one is not None and address.version == one.version and address in one for one in networks
    )


@lru_cache(maxsize=1024)  # text -> address: never stale, and a caller's address comes again
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A v4 caller on a dual-stack socket shows as ::ffff:a.b.c.d and must not slip past a v4 network.
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
