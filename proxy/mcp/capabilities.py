"""What a server may say that it can do, to somebody who may not use all of it.

A client that is told of a capability uses it at once, and some give up the whole server when that is
refused. So what would be refused is not announced.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from proxy.mcp.era import Generation
from proxy.mcp.jsonrpc import Kind
from proxy.mcp.methods import TABLE, Direction, Shape
from proxy.mcp.primitive import Primitive

_READABLE = frozenset({Primitive.RESOURCE, Primitive.TEMPLATE})
# What stands in the table as `<capability>.<feature>`; other features (`listChanged`) need no method.
_FEATURES = frozenset(
    rule.capability for rule in TABLE.values() if rule.capability and "." in rule.capability
)


def usable(generation: Generation, primitives: Set[Primitive]) -> frozenset[str]:
    """The capabilities of a server with a method that is left to who may use only `primitives`.

    `tools`, `resources.subscribe` and so on. Resources and templates are one capability; completions are left
    if prompts or templates are; tasks are made by tools.
    """
    found: set[str] = set()
    for (of, direction, kind, _), rule in TABLE.items():
        if of is not generation or direction is not Direction.CLIENT or kind is not Kind.REQUEST:
            continue
        if rule.capability is None:
            continue
        needed = _needed(rule.shape, rule.primitive, rule.capability)
        if needed is None or not needed.isdisjoint(primitives):
            found.add(rule.capability)
    if generation is Generation.STATELESS:  # by subscriptions/listen, and by logLevel in `_meta`
        found.add("logging")
        if not _READABLE.isdisjoint(primitives):
            found.add("resources.subscribe")
    return frozenset(found)


def _needed(
    shape: Shape, primitive: Primitive | None, capability: str
) -> frozenset[Primitive] | None:
    """The primitives of which one must be usable; None where none need be."""
    if shape is Shape.COMPLETE:
        return frozenset({Primitive.PROMPT, Primitive.TEMPLATE})
    if capability.partition(".")[0] == "tasks":
        return frozenset({Primitive.TOOL})
    if primitive in _READABLE:
        return _READABLE
    return None if primitive is None else frozenset({primitive})


def capabilities_without(capabilities: Mapping[str, Any], may: Set[str]) -> dict[str, Any]:
    """`capabilities` less what is not in `may`.

    `extensions` and `experimental` go too unless named: their methods are unknown here, and so refused.
    To keep one extension, name it as `extensions.<its name>`.
    """
    kept: dict[str, Any] = {}
    for name, held in capabilities.items():
        if name in may:
            kept[name] = (
                {k: v for k, v in held.items() if _stays(f"{name}.{k}", may)}
                if isinstance(held, dict)
                else held
            )
        elif name == "extensions" and isinstance(held, dict):
            some = {k: v for k, v in held.items() if f"extensions.{k}" in may}
            if some:
                kept[name] = some
    return kept


def _stays(feature: str, may: Set[str]) -> bool:
    return feature not in _FEATURES or feature in may
