"""The headers of MCP 2026-07-28 that repeat the body, so that something on the way can route by them.

Decided is the body; a header that says something else is refused, because who routed by it believed it. Going
upstream the headers are made anew from the body that was decided and a caller's are never passed on.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from authz.errors import GatewardenError
from proxy.body import shown
from proxy.headers import Headers
from proxy.mcp.jsonrpc import INVALID_PARAMS, Kind, Message

HEADER_MISMATCH = -32020

# Where the name stands that `mcp-name` repeats.
NAMED: Mapping[str, str] = {
    "prompts/get": "name",
    "resources/read": "uri",
    "tools/call": "name",
}

_ANNOTATION = "x-mcp-header"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110 5.6.2
_TYPES = frozenset({"boolean", "integer", "string"})
_PLAIN = re.compile(r"[\x20-\x7e]*\Z")
_WRAPPED = re.compile(r"=\?base64\?(.*)\?=\Z", re.DOTALL)
_NUMBER = re.compile(r"(-?[0-9]{1,400})(?:\.0{1,400})?\Z")
_ABSENT = object()


class Refused(GatewardenError):
    """The request is refused before anything is decided.

    `status` is the HTTP status, `rpc_code` and `data` belong into the JSON-RPC error.
    """

    code = "protocol_refused"

    def __init__(
        self, status: int, rpc_code: int, message: str, data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.rpc_code = rpc_code
        self.data = data


@dataclass(frozen=True, slots=True)
class Mirror:
    """An argument that a tool wants repeated: the header's name, and the way to the argument."""

    header: str
    path: tuple[str, ...]


def mirrors(schema: object) -> tuple[Mirror, ...]:
    """What `x-mcp-header` in a tool's input schema declares, in the order of the schema.

    Only what can be reached by `properties` alone counts, and only strings, integers and booleans. A name that
    is no header name, or that occurs twice (without regard to case), counts for nothing.
    """
    found = list(_declared(schema, ()))
    names = [mirror.header.lower() for mirror in found]
    return tuple(m for m in found if names.count(m.header.lower()) == 1)


def _declared(schema: object, path: tuple[str, ...]) -> Iterator[Mirror]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return
    for name, inner in properties.items():
        if not isinstance(inner, dict):
            continue
        here = (*path, name)
        header = inner.get(_ANNOTATION)
        if isinstance(header, str) and _TOKEN.match(header) and _is_plain(inner.get("type")):
            yield Mirror(f"Mcp-Param-{header}", here)
        yield from _declared(inner, here)


def _is_plain(type_: object) -> bool:
    if isinstance(type_, list):  # "string or null"
        rest = [t for t in type_ if t != "null"]
        return len(rest) == 1 and _is_plain(rest[0])
    return isinstance(type_, str) and type_ in _TYPES


def check_mirrors(headers: Headers, message: Message) -> None:
    """`mcp-method` and `mcp-name` against the body. A notification may leave them out.

    Raises:
        Refused: 400, -32020 or -32602.
    """
    method = _one(headers, "mcp-method")
    if method is None and message.kind is Kind.REQUEST:
        raise _mismatch("the header `mcp-method` is missing")
    if method is not None and method != message.method:
        raise _mismatch("the header `mcp-method` does not match the method of the body")
    field = NAMED.get(message.method)
    if field is None or message.kind is not Kind.REQUEST:
        return
    name = message.params.get(field)
    if not isinstance(name, str):
        raise Refused(400, INVALID_PARAMS, f"`params.{field}` is not a string")
    repeated = _one(headers, "mcp-name")
    if repeated is None:
        raise _mismatch("the header `mcp-name` is missing")
    if decoded(repeated, "mcp-name") != name:
        raise _mismatch(f"the header `mcp-name` does not match `params.{field}` of the body")


def check_arguments(headers: Headers, message: Message, schema: object) -> None:
    """The `Mcp-Param-…` headers of a `tools/call` against its arguments, by the tool's input schema.

    Raises:
        Refused: 400, -32020.
    """
    for mirror in mirrors(schema):
        value = _argument(message.params.get("arguments"), mirror.path)
        repeated = _one(headers, mirror.header)
        name = shown(mirror.header.lower())
        if value is None or value is _ABSENT:
            if repeated is not None:
                raise _mismatch(f"the header `{name}` repeats an argument that is not there")
        elif repeated is None:
            if isinstance(value, str | int | float):  # nothing else has a form as a header
                raise _mismatch(f"the header `{name}` is missing")
        elif not _agrees(decoded(repeated, name), value):
            raise _mismatch(f"the header `{name}` does not match the argument of the body")


def mirrored(
    method: str, params: Mapping[str, Any], schema: object = None
) -> tuple[tuple[str, str], ...]:
    """The headers that repeat `params`, for a request to a server of this generation."""
    made = [("mcp-method", method)]
    field = NAMED.get(method)
    if field is not None and isinstance(params.get(field), str):
        made.append(("mcp-name", encoded_value(params[field])))
    if method == "tools/call":
        for mirror in mirrors(schema):
            text = _text(_argument(params.get("arguments"), mirror.path))
            if text is not None:
                made.append((mirror.header, encoded_value(text)))
    return tuple(made)


def encoded_value(text: str) -> str:
    """`text` as a header value: itself where that survives, else `=?base64?…?=`."""
    if _PLAIN.match(text) and text.strip(" ") == text and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def decoded(value: str, name: str) -> str:
    """The text that a header value stands for.

    Raises:
        Refused: it is not printable ASCII, or wrapped wrongly.
    """
    if not _PLAIN.match(value.replace("\t", " ")):
        raise _mismatch(f"the header `{name}` holds bytes that no header may hold")
    wrapped = _WRAPPED.match(value)
    if wrapped is None:
        return value
    try:
        return base64.b64decode(wrapped[1], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _mismatch(f"the header `{name}` is not Base64 of UTF-8") from error


def _argument(arguments: object, path: tuple[str, ...]) -> object:
    held = arguments
    for name in path:
        if not isinstance(held, dict) or name not in held:
            return _ABSENT
        held = held[name]
    return held


def _agrees(text: str, value: object) -> bool:
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if isinstance(value, int | float):
        number = _NUMBER.match(text)
        return number is not None and int(number[1]) == value  # 42.0 and 42 are one integer
    return isinstance(value, str) and text == value


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return str(value) if isinstance(value, str | int) else None


def _one(headers: Headers, name: str) -> str | None:
    values = headers.getall(name, [])
    if len(values) > 1:
        raise _mismatch(f"the header `{shown(name.lower())}` is there more than once")
    return values[0].strip(" \t") if values else None


def _mismatch(message: str) -> Refused:
    return Refused(400, HEADER_MISMATCH, message)
