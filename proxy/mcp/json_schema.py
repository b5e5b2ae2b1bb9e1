"""JSON Schema 2020-12 as functions, each use of which costs something.

Only the keywords that schemas of this process have (`openapi/schemas.py` writes no others), and references
into `$defs`. A validator of general use neither stops on a schema that multiplies itself nor keeps a value
out of its messages; this one does both, and agrees with such a one otherwise (there is a property test). Longer than most: the keywords are one table.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from proxy.mcp import patterns


class Spent(Exception):
    """The budget of a check is used up."""


@dataclass(slots=True)
class Fault:
    """The first thing that does not fit; `path` is from the inside out while it is made."""

    text: str  # "must be of type integer"
    path: list[str | int] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """One check: what is left of its budget."""

    left: int

    def pay(self, price: int) -> None:
        self.left -= price
        if self.left < 0:
            raise Spent


Check = Callable[[Any, Run], Fault | None]
_Schema = Mapping[str, Any]


def compiled(schema: _Schema) -> Check:
    """The function that checks a value against `schema`.

    Its calls raise Spent; RecursionError where definitions refer to each other without end.
    """
    return _Compiler(schema.get("$defs", {})).check(schema)


@dataclass(slots=True)
class _Compiler:
    definitions: Mapping[str, Any]
    made: dict[str, Check] = field(default_factory=dict)

    def check(self, schema: _Schema | bool) -> Check:
        if isinstance(schema, bool):
            return _anything if schema else _nothing
        parts = [
            make(self, schema[name], schema) for name, make in _KEYWORDS.items() if name in schema
        ]

        def all_of_them(value: Any, run: Run) -> Fault | None:
            run.pay(1)
            for part in parts:
                fault = part(value, run)
                if fault is not None:
                    return fault
            return None

        return all_of_them

    def referred(self, reference: str) -> Check:
        """A definition, made when it is first met: it may refer to itself."""
        name = reference.removeprefix("#/$defs/")

        def refer(value: Any, run: Run) -> Fault | None:
            known = self.made.get(name)
            if known is None:
                known = self.made[name] = self.check(self.definitions[name])
            return known(value, run)

        return refer


def _anything(_: Any, __: Run) -> Fault | None:
    return None


def _nothing(_: Any, __: Run) -> Fault | None:
    return Fault("is not allowed")


def _at(fault: Fault | None, part: str | int) -> Fault | None:
    if fault is not None:
        fault.path.append(part)
    return fault


# --- values ------------------------------------------------------------------------------------------


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, Mapping)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case _:
            return _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(value: Any, run: Run) -> Hashable:
    """Equal for what JSON Schema holds for equal: 1 and 1.0, but not 1 and true."""
    run.pay(1)
    if isinstance(value, list):
        return ("list", tuple(_key(item, run) for item in value))
    if isinstance(value, Mapping):
        return ("object", frozenset((name, _key(item, run)) for name, item in value.items()))
    return (isinstance(value, bool), value)


def short(text: object) -> str:
    """`text`, fit to stand in a message."""
    whole = str(text).replace("`", "'")
    return whole if len(whole) <= 80 else whole[:79] + "…"


def _shown(values: Sequence[Any]) -> str:
    texts = [short(msgspec.json.encode(item).decode()) for item in values[:10]]
    return ", ".join(texts) + (", …" if len(values) > 10 else "")


# --- keywords ----------------------------------------------------------------------------------------


def _ref(compiler: _Compiler, wanted: Any, _: _Schema) -> Check:
    return compiler.referred(wanted)


def _type(_: _Compiler, wanted: Any, __: _Schema) -> Check:
    kinds = [wanted] if isinstance(wanted, str) else list(wanted)
    text = f"must be of type {' or '.join(kinds)}"

    def check(value: Any, _: Run) -> Fault | None:
        return None if any(_is(value, kind) for kind in kinds) else Fault(text)

    return check


def _enum(_: _Compiler, wanted: Any, __: _Schema) -> Check:
    free = Run(1 << 62)
    keys = {_key(item, free) for item in wanted}
    text = f"must be one of {_shown(wanted)}"
    return lambda value, run: None if _key(value, run) in keys else Fault(text)


def _const(compiler: _Compiler, wanted: Any, schema: _Schema) -> Check:
    return _enum(compiler, [wanted], schema)


def _bound(fits: Callable[[Any, Any], bool], words: str) -> Callable[..., Check]:
    def make(_: _Compiler, wanted: Any, __: _Schema) -> Check:
        text = f"{words} {short(wanted)}"
        return lambda value, _: (
            None if not _is_number(value) or fits(value, wanted) else Fault(text)
        )

    return make


def _length(kind: type | tuple[type, ...], least: bool, words: str) -> Callable[..., Check]:
    def make(_: _Compiler, wanted: Any, __: _Schema) -> Check:
        text = words.replace("#", short(wanted))

        def check(value: Any, _: Run) -> Fault | None:
            if not isinstance(value, kind):
                return None
            count = len(value)  # type: ignore[arg-type]
            return None if (count >= wanted if least else count <= wanted) else Fault(text)

        return check

    return make


def _multiple(value: Any, wanted: Any) -> bool:
    try:
        # Decimals, so that 0.3 is a multiple of 0.1 as its writer meant.
        return Decimal(str(value)) % Decimal(str(wanted)) == 0
    except (InvalidOperation, ValueError):
        return True  # beyond what can be said exactly


def _pattern(_: _Compiler, wanted: Any, __: _Schema) -> Check:
    text = f"must have the form `{short(wanted)}`"

    def check(value: Any, run: Run) -> Fault | None:
        if not isinstance(value, str):
            return None
        steps = patterns.steps(wanted, len(value))
        if steps is None:
            return None
        run.pay(1 + steps // 500)
        return Fault(text) if patterns.differs(wanted, value) else None

    return check


def _unique(_: _Compiler, wanted: Any, __: _Schema) -> Check:
    def check(value: Any, run: Run) -> Fault | None:
        if not wanted or not isinstance(value, list):
            return None
        keys = {_key(item, run) for item in value}
        return None if len(keys) == len(value) else Fault("holds an item twice")

    return check


def _items(compiler: _Compiler, wanted: Any, schema: _Schema) -> Check:
    each, first = compiler.check(wanted), len(schema.get("prefixItems", ()))

    def check(value: Any, run: Run) -> Fault | None:
        if isinstance(value, list):
            for index in range(first, len(value)):
                fault = each(value[index], run)
                if fault is not None:
                    return _at(fault, index)
        return None

    return check


def _prefix(compiler: _Compiler, wanted: Any, _: _Schema) -> Check:
    checks = [compiler.check(item) for item in wanted]

    def check(value: Any, run: Run) -> Fault | None:
        if isinstance(value, list):
            for index, (one, item) in enumerate(zip(checks, value, strict=False)):
                fault = one(item, run)
                if fault is not None:
                    return _at(fault, index)
        return None

    return check


def _contains(compiler: _Compiler, wanted: Any, _: _Schema) -> Check:
    each = compiler.check(wanted)

    def check(value: Any, run: Run) -> Fault | None:
        if not isinstance(value, list) or any(each(item, run) is None for item in value):
            return None
        return Fault("holds no item of the form that one must have")

    return check


def _required(_: _Compiler, wanted: Any, __: _Schema) -> Check:
    def check(value: Any, run: Run) -> Fault | None:
        if not isinstance(value, Mapping):
            return None
        run.pay(len(wanted) >> 3)
        missing = [name for name in wanted if name not in value]
        if not missing:
            return None
        return Fault("lacks " + ", ".join(f"`{short(name)}`" for name in missing[:5]))

    return check


def _properties(compiler: _Compiler, wanted: Any, _: _Schema) -> Check:
    checks = {name: compiler.check(schema) for name, schema in wanted.items()}

    def check(value: Any, run: Run) -> Fault | None:
        if isinstance(value, Mapping):
            run.pay(len(value) >> 3)
            for name, item in value.items():
                one = checks.get(name)
                fault = None if one is None else one(item, run)
                if fault is not None:
                    return _at(fault, name)
        return None

    return check


def _additional(compiler: _Compiler, wanted: Any, schema: _Schema) -> Check:
    known, each = schema.get("properties", {}), compiler.check(wanted)

    def check(value: Any, run: Run) -> Fault | None:
        if not isinstance(value, Mapping):
            return None
        run.pay(len(value) >> 3)
        extra = [name for name in value if name not in known]
        if wanted is False and extra:
            names = ", ".join(f"`{short(name)}`" for name in sorted(map(str, extra))[:5])
            return Fault(f"must not hold {names}")
        for name in extra:
            fault = each(value[name], run)
            if fault is not None:
                return _at(fault, name)
        return None

    return check


def _names(compiler: _Compiler, wanted: Any, _: _Schema) -> Check:
    each = compiler.check(wanted)

    def check(value: Any, run: Run) -> Fault | None:
        for name in value if isinstance(value, Mapping) else ():
            if each(name, run) is not None:
                return Fault(f"must not hold `{short(name)}`")
        return None

    return check


def _all(compiler: _Compiler, wanted: Any, _: _Schema) -> Check:
    checks = [compiler.check(item) for item in wanted]

    def check(value: Any, run: Run) -> Fault | None:
        for one in checks:
            fault = one(value, run)
            if fault is not None:
                return fault
        return None

    return check


def _any(compiler: _Compiler, wanted: Any, _: _Schema) -> Check:
    checks = [compiler.check(item) for item in wanted]

    def check(value: Any, run: Run) -> Fault | None:
        best: Fault | None = None
        for one in checks:
            fault = one(value, run)
            if fault is None:
                return None
            # The form that fitted furthest in is the one that was meant.
            if best is None or len(fault.path) > len(best.path):
                best = fault
        return best if len(checks) == 1 or (best and best.path) else Fault("has none of its forms")

    return check


def _one(compiler: _Compiler, wanted: Any, schema: _Schema) -> Check:
    checks, some = [compiler.check(item) for item in wanted], _any(compiler, wanted, schema)

    def check(value: Any, run: Run) -> Fault | None:
        fitting = sum(one(value, run) is None for one in checks)
        if fitting > 1:
            return Fault("has more than one of its forms")
        return None if fitting else some(value, run)

    return check


def _not(compiler: _Compiler, wanted: Any, _: _Schema) -> Check:
    inner = compiler.check(wanted)
    return lambda value, run: (
        Fault("has a form that is excluded") if inner(value, run) is None else None
    )


def _if(compiler: _Compiler, wanted: Any, schema: _Schema) -> Check:
    asked = compiler.check(wanted)
    then, otherwise = (compiler.check(schema.get(name, True)) for name in ("then", "else"))
    return lambda value, run: (then if asked(value, run) is None else otherwise)(value, run)


_TEXT, _LIST, _OBJECT = str, list, Mapping
# In the order in which a fault of one says more than a fault of the next.
_KEYWORDS: Mapping[str, Callable[[_Compiler, Any, _Schema], Check]] = {
    "$ref": _ref,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "additionalProperties": _additional,
    "required": _required,
    "properties": _properties,
    "propertyNames": _names,
    "minProperties": _length(_OBJECT, True, "must hold # values or more"),
    "maxProperties": _length(_OBJECT, False, "must hold # values or fewer"),
    "minLength": _length(_TEXT, True, "must have # characters or more"),
    "maxLength": _length(_TEXT, False, "must have # characters or fewer"),
    "pattern": _pattern,
    "minimum": _bound(lambda value, limit: bool(value >= limit), "must be at least"),
    "maximum": _bound(lambda value, limit: bool(value <= limit), "must be at most"),
    "exclusiveMinimum": _bound(lambda value, limit: bool(value > limit), "must be more than"),
    "exclusiveMaximum": _bound(lambda value, limit: bool(value < limit), "must be less than"),
    "multipleOf": _bound(_multiple, "must be a multiple of"),
    "minItems": _length(_LIST, True, "must hold # items or more"),
    "maxItems": _length(_LIST, False, "must hold # items or fewer"),
    "prefixItems": _prefix,
    "items": _items,
    "uniqueItems": _unique,
    "contains": _contains,
    "allOf": _all,
    "anyOf": _any,
    "oneOf": _one,
    "not": _not,
    "if": _if,
}
