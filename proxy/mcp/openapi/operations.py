"""The operations of a document as tools: names, descriptions, what each takes, and how it is called.

An operation that cannot be a tool is left out and the reason kept; the others are not harmed. Pure; the
call itself is made by `request`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from proxy.mcp.openapi.names import Wish, names
from proxy.mcp.openapi.parameters import Parameter, Where, parameter
from proxy.mcp.openapi.pointers import OpenApiError, resolved
from proxy.mcp.openapi.schemas import MAX_SCHEMA, MAX_TEXT, Schema, Schemas, bounded
from proxy.mcp.openapi.templates import PLACE, template

METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
MAX_TOTAL = 64 * 1024 * 1024  # bytes of all schemas together
_MAX_DESCRIPTION = 2_048
_MAX_PARAMETERS = 200
_HINTS: Mapping[str, Mapping[str, bool]] = {
    "GET": {"readOnlyHint": True},
    "HEAD": {"readOnlyHint": True},
    "OPTIONS": {"readOnlyHint": True},
    "PUT": {"readOnlyHint": False, "idempotentHint": True},
    "DELETE": {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True},
}


@dataclass(frozen=True, slots=True)
class ToolSetting:
    """What a manifest says of one operation."""

    method: str
    path: str
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One tool. `parameters` are keyed by the name of the argument; `body` is one too, or None."""

    name: str
    method: str
    path: str  # the template, its literal parts fit to stand in an address
    definition: Mapping[str, Any] = field(repr=False)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    body: str | None = None
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class Operations:
    tools: Mapping[str, Operation]  # by name, in the order of the document
    left_out: Sequence[str]  # "`POST /x`: why"


def operations(
    document: Mapping[str, Any], settings: Sequence[ToolSetting] = (), *, every: bool = True
) -> Operations:
    """The tools of `document`: all, or only those of `settings`.

    Raises:
        OpenApiError: no OpenAPI 3 document; its schemas are too large together.
    """
    version = document.get("openapi")
    found = re.match(r"3\.([01])(?:\.\d+)?\Z", version) if isinstance(version, str) else None
    if found is None:
        raise OpenApiError(
            "the document is not OpenAPI 3.0 or 3.1",
            hint="it starts with `openapi: 3.…`; convert Swagger 2.0 first",
        )
    wanted = {(item.method.upper(), item.path): item for item in settings}
    left_out: list[str] = []
    known: set[tuple[str, str]] = set()
    chosen: list[tuple[_Found, ToolSetting | None]] = []
    for one in _found(document, left_out):
        known.add((one.method, one.path))
        setting = wanted.get((one.method, one.path))
        if one.hidden or (setting is None and (one.deprecated or not every)):
            continue
        chosen.append((one, setting))
    for method, path in wanted.keys() - known:
        left_out.append(f"{_called(method, path)}: the document has no such operation")
    schemas = Schemas(document, old=found[1] == "0")
    wishes = [
        Wish(one.method, one.path, one.id, setting.name if setting else "")
        for one, setting in chosen
    ]
    tools: dict[str, Operation] = {}
    total = 0
    for name, (one, setting) in zip(names(wishes), chosen, strict=True):
        try:
            tool, size = _tool(document, schemas, name, one, setting)
        except OpenApiError as error:
            if error.code == "too_large":
                raise
            left_out.append(f"{_called(one.method, one.path)}: {error}")
            continue
        total += size
        if total > MAX_TOTAL:
            raise OpenApiError(
                f"the schemas of all tools fill more than {MAX_TOTAL >> 20} MiB", code="too_large"
            )
        tools[name] = tool
    return Operations(tools, sorted(left_out))


def _called(method: str, path: str) -> str:
    return f"`{method} {bounded(path, 200)}`"


# --- finding -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    method: str
    path: str
    item: Mapping[str, Any]
    value: Mapping[str, Any]

    @property
    def id(self) -> str:
        given = self.value.get("operationId")
        return given if isinstance(given, str) else ""

    @property
    def deprecated(self) -> bool:
        return self.value.get("deprecated") is True

    @property
    def hidden(self) -> bool:
        return any(
            value.get("x-gatewarden-hidden") not in (None, False)
            for value in (self.item, self.value)
        )


def _found(document: Mapping[str, Any], left_out: list[str]) -> Iterator[_Found]:
    paths = document.get("paths")
    for path, item in paths.items() if isinstance(paths, Mapping) else ():
        if not isinstance(path, str) or path.startswith("x-"):
            continue
        try:
            item = resolved(document, item)
        except OpenApiError as error:
            left_out.append(f"`{bounded(path, 200)}`: {error}")
            continue
        for method in METHODS:
            if isinstance(item.get(method), Mapping):
                yield _Found(method.upper(), path, item, item[method])


# --- making ------------------------------------------------------------------------------------------


def _tool(
    document: Mapping[str, Any],
    schemas: Schemas,
    name: str,
    one: _Found,
    setting: ToolSetting | None,
) -> tuple[Operation, int]:
    path = template(one.path)
    parameters = _parameters(document, one)
    inner: Schema = {}
    required: list[str] = []
    refers: set[str] = set()
    placed: dict[str, Parameter] = {}
    for item in parameters:
        key = _argument(item.name, item.where, inner)
        inner[key], names_of = schemas.convert(item.schema)
        refers |= names_of
        if item.description:
            inner[key]["description"] = bounded(item.description, MAX_TEXT)
        if item.required:
            required.append(key)
        placed[key] = item
    _agree(path, placed)
    body, media, must = _body(document, one)
    argument = None
    if body is not None:
        argument = _argument("body", "request", inner)
        inner[argument], names_of = schemas.convert(body)
        refers |= names_of
        if must:
            required.append(argument)
    schema: Schema = {"type": "object", "properties": inner}
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    if refers:
        schema["$defs"] = schemas.definitions(refers)
    size = len(msgspec.json.encode(schema))
    if size > MAX_SCHEMA:
        raise OpenApiError(f"what it takes fills more than {MAX_SCHEMA // 1024} KiB of schema")
    definition: dict[str, Any] = {"name": name}
    summary = one.value.get("summary")
    if isinstance(summary, str) and summary.strip():
        definition["title"] = bounded(" ".join(summary.split()), 128)
    definition["description"] = _description(one, setting)
    definition["inputSchema"] = schema
    definition["annotations"] = dict(_HINTS.get(one.method, {"readOnlyHint": False}))
    return Operation(name, one.method, path, definition, placed, argument, media), size


def _description(one: _Found, setting: ToolSetting | None) -> str:
    if setting is not None and setting.description:
        return bounded(setting.description, _MAX_DESCRIPTION)
    parts = [one.value.get("summary"), one.value.get("description")]
    texts = [part.strip() for part in parts if isinstance(part, str) and part.strip()]
    whole = "\n\n".join(dict.fromkeys(texts)) or f"{one.method} {one.path}"
    return bounded(whole, _MAX_DESCRIPTION)


def _parameters(document: Mapping[str, Any], one: _Found) -> list[Parameter]:
    """Those of the path and of the operation; the operation's come instead of the path's."""
    found: dict[tuple[str, Where], Parameter] = {}
    for holder in (one.item, one.value):
        given = holder.get("parameters")
        for value in given if isinstance(given, list) else ():
            made = parameter(resolved(document, value))
            if made is not None:
                found[made.name, made.where] = made
    if len(found) > _MAX_PARAMETERS:
        raise OpenApiError(f"it takes more than {_MAX_PARAMETERS} parameters")
    order = list(Where)
    return sorted(found.values(), key=lambda item: order.index(item.where))


def _argument(name: str, where: str, taken: Mapping[str, object]) -> str:
    """The name of an argument: what model providers take as a property, and nobody else's."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_")[:56] or "value"
    key, number = stem, 1
    while key in taken:
        key = f"{stem[:48]}_{where}" + (f"_{number}" if number > 1 else "")
        number += 1
    return key


def _body(document: Mapping[str, Any], one: _Found) -> tuple[object | None, str, bool]:
    """Schema and media type of a JSON body, and whether it must be sent."""
    if "requestBody" not in one.value:
        return None, "", False
    given = resolved(document, one.value["requestBody"])
    content = given.get("content")
    must = given.get("required") is True
    for media, value in content.items() if isinstance(content, Mapping) else ():
        plain = media.partition(";")[0].strip().lower() if isinstance(media, str) else ""
        if re.fullmatch(r"application/(?:[a-z0-9.+-]+\+)?json|\*/\*|application/\*", plain):
            schema = value.get("schema", {}) if isinstance(value, Mapping) else {}
            return schema, "application/json" if "*" in plain else plain, must
    if must:
        raise OpenApiError("it needs a body that is not JSON")
    return None, "", False


def _agree(path: str, placed: Mapping[str, Parameter]) -> None:
    """Places of the template and path parameters are the same."""
    places = PLACE.findall(path)
    declared = {item.name for item in placed.values() if item.where is Where.PATH}
    if len(set(places)) != len(places) or set(places) != declared:
        raise OpenApiError("the places of its path and its path parameters are not the same")
