"""Schemas of OpenAPI 3.0 and 3.1 as JSON Schema 2020-12 for requests.

What a document refers to becomes an entry of `$defs`, converted once a document: a schema that contains
itself stays finite. Only keywords that are known, with values of the right kind, are taken over; the rest
(examples, XML, discriminators) says nothing that an argument could break.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import msgspec

from proxy.mcp.openapi.pointers import OpenApiError, pointed
from proxy.mcp.patterns import reads

MAX_DEPTH = 64
MAX_ENUM = 500  # values; a longer list is left to the service
MAX_SCHEMA = 256 * 1024  # bytes of one tool's schema
MAX_CONVERTED = 2_000_000  # schemas of one document
MAX_TEXT = 1_024

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Definition:
    schema: Schema
    refers: frozenset[str]  # names of definitions
    size: int


@dataclass(slots=True)
class Schemas:
    """The schemas of one document."""

    document: Mapping[str, Any]
    old: bool  # OpenAPI 3.0: `nullable`, and nothing beside a `$ref` counts
    _names: dict[str, str] = field(default_factory=dict)  # of definitions, by reference
    _references: dict[str, str] = field(default_factory=dict)  # and the other way round
    _definitions: dict[str, _Definition] = field(default_factory=dict)
    _converted: int = 0

    def convert(self, schema: object) -> tuple[Schema, frozenset[str]]:
        """The schema, and the names of the definitions that it refers to.

        Raises:
            OpenApiError: a reference that cannot be followed; the document is too large.
        """
        refers: set[str] = set()
        return self._schema(schema, refers, 0), frozenset(refers)

    def definitions(self, names: Iterable[str]) -> Schema:
        """`$defs`: `names` and all that they refer to.

        Raises:
            OpenApiError: a reference that cannot be followed; too large.
        """
        found: Schema = {}
        size, waiting = 0, list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            definition = self._definition(name)
            size += definition.size
            if size > MAX_SCHEMA:
                raise OpenApiError(
                    f"what it takes fills more than {MAX_SCHEMA // 1024} KiB of schema"
                )
            found[name] = definition.schema
            waiting.extend(definition.refers)
        return dict(sorted(found.items()))

    def _definition(self, name: str) -> _Definition:
        known = self._definitions.get(name)
        if known is None:
            refers: set[str] = set()
            schema = self._schema(pointed(self.document, self._references[name]), refers, 0)
            known = _Definition(schema, frozenset(refers), len(msgspec.json.encode(schema)))
            self._definitions[name] = known
        return known

    def _name(self, reference: str) -> str:
        """The name of a definition: the last part of the reference, unique in the document."""
        name = self._names.get(reference)
        if name is None:
            pointed(self.document, reference)  # refused here, where the operation is known
            stem = re.sub(r"[^A-Za-z0-9_]+", "_", reference.rpartition("/")[2])[:64] or "root"
            name, number = stem, 1
            while name in self._references:
                number += 1
                name = f"{stem}_{number}"
            self._names[reference] = name
            self._references[name] = reference
        return name

    # --- one schema ----------------------------------------------------------------------------------

    def _schema(self, schema: object, refers: set[str], depth: int) -> Schema:
        self._converted += 1
        if self._converted > MAX_CONVERTED:
            raise OpenApiError(
                f"the document holds more than {MAX_CONVERTED} schemas", code="too_large"
            )
        if schema is False:
            return {"not": {}}
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
            return {}
        made: Schema = {}
        if "$ref" in schema:
            reference = schema["$ref"]
            pointed(self.document, reference)
            name = self._name(reference)
            refers.add(name)
            made["$ref"] = f"#/$defs/{name}"
            if self.old:
                return made
        for keyword, fits in _PLAIN.items():
            if keyword in schema and fits(schema[keyword]):
                made[keyword] = schema[keyword]
        self._words(schema, made)
        self._types(schema, made)
        for keyword in _ONE:
            if isinstance(schema.get(keyword), Mapping | bool):
                made[keyword] = self._schema(schema[keyword], refers, depth + 1)
        for keyword in _LIST:
            if isinstance(schema.get(keyword), list) and schema[keyword]:
                made[keyword] = [self._schema(item, refers, depth + 1) for item in schema[keyword]]
        self._object(schema, made, refers, depth)
        return made

    def _words(self, schema: Mapping[str, Any], made: Schema) -> None:
        for keyword in ("title", "description"):
            if isinstance(schema.get(keyword), str) and schema[keyword]:
                made[keyword] = bounded(schema[keyword], MAX_TEXT)
        if "default" in schema and _small(schema["default"]):
            made["default"] = schema["default"]

    def _types(self, schema: Mapping[str, Any], made: Schema) -> None:
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        known = [kind for kind in kinds if isinstance(kind, str) and kind in _TYPES]
        known = list(dict.fromkeys(known))
        values = schema.get("enum")
        values = list(values) if isinstance(values, list) and 0 < len(values) <= MAX_ENUM else None
        if self.old:
            if schema.get("nullable") is True and known:
                known.append("null")
                if values is not None and None not in values:
                    values.append(None)
            for keyword, limit in (
                ("exclusiveMinimum", "minimum"),
                ("exclusiveMaximum", "maximum"),
            ):
                if schema.get(keyword) is True and limit in made:
                    made[keyword] = made.pop(limit)
        if known:
            made["type"] = known[0] if len(known) == 1 else known
        if values is not None:
            made["enum"] = values

    def _object(
        self, schema: Mapping[str, Any], made: Schema, refers: set[str], depth: int
    ) -> None:
        properties = schema.get("properties")
        answered: set[str] = set()
        if isinstance(properties, Mapping):
            made["properties"] = inner = {}
            for name, value in properties.items():
                if isinstance(value, Mapping) and value.get("readOnly") is True:
                    answered.add(name)  # it stands in answers and is not to be sent
                elif isinstance(name, str):
                    inner[name] = self._schema(value, refers, depth + 1)
        required = schema.get("required")
        if isinstance(required, list):
            names = [name for name in required if isinstance(name, str) and name not in answered]
            if names:
                made["required"] = list(dict.fromkeys(names))
        extra = schema.get("additionalProperties")
        # Names by pattern are not taken over, so what is not named must stay possible.
        if isinstance(extra, Mapping | bool) and "patternProperties" not in schema:
            made["additionalProperties"] = (
                extra if isinstance(extra, bool) else self._schema(extra, refers, depth + 1)
            )


def bounded(text: str, length: int) -> str:
    """`text`, or its beginning."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _small(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    return value is None or isinstance(value, bool | int | float) or value in ([], {})


_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_PLAIN: Mapping[str, Callable[[object], bool]] = {
    "format": lambda value: isinstance(value, str) and len(value) <= 64,
    # One that nobody here can read is left to the service, which checks it anyway.
    "pattern": lambda value: isinstance(value, str) and len(value) <= MAX_TEXT and reads(value),
    "minimum": _number,
    "maximum": _number,
    "exclusiveMinimum": _number,
    "exclusiveMaximum": _number,
    "multipleOf": lambda value: _number(value) and value > 0,  # type: ignore[operator]
    "minLength": _count,
    "maxLength": _count,
    "minItems": _count,
    "maxItems": _count,
    "minProperties": _count,
    "maxProperties": _count,
    "uniqueItems": lambda value: isinstance(value, bool),
    "const": _small,
}
_ONE = ("items", "contains", "propertyNames", "not", "if", "then", "else")
_LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
