"""Arguments that were checked as a request: address, headers and body.

INVARIANT: an argument fills its own place and no other. A value in the path stays one part of one segment,
a value in the query never makes another parameter, a header never a second line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from proxy.mcp.local import InvalidArguments
from proxy.mcp.openapi.operations import Operation
from proxy.mcp.openapi.parameters import Parameter, Where
from proxy.mcp.openapi.templates import PLACE
from proxy.providers.base import Headers

_MAX_URL = 8 * 1024
_DELIMITERS = {"form": ",", "simple": ",", "spaceDelimited": " ", "pipeDelimited": "|"}
_HEADER = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?\Z")
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: str
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)


def request(operation: Operation, base: str, arguments: Mapping[str, Any]) -> Request:
    """The request; `base` is an absolute address without a trailing slash, query or fragment.

    Raises:
        InvalidArguments: a value does not go where it should.
    """
    path: dict[str, str] = {}
    query: list[str] = []
    headers: Headers = [("accept", "application/json, text/plain;q=0.9, */*;q=0.8")]
    own = {item.name for item in operation.parameters.values() if item.where is Where.QUERY}
    for argument, item in operation.parameters.items():
        value = arguments.get(argument)
        # Nothing is what a null means in an address, in all of OpenAPI's styles.
        if value is None and item.where is not Where.PATH:
            continue
        match item.where:
            case Where.PATH:
                path[item.name] = quote(_simple(argument, item, value), safe="-._~,=")
            case Where.QUERY:
                query.extend(_query(argument, item, value, own))
            case Where.HEADER:
                text = _simple(argument, item, value)
                if not _HEADER.match(text):
                    raise InvalidArguments(
                        f"`{argument}` goes into a header: visible ASCII without spaces at the ends"
                    )
                headers.append((item.name.lower(), text))
    url = base + _filled(operation.path, path) + ("?" + "&".join(query) if query else "")
    if len(url) > _MAX_URL:
        raise InvalidArguments(f"the address would be longer than {_MAX_URL} characters")
    body = b""
    if operation.body is not None and operation.body in arguments:
        body = _json(arguments[operation.body])
        headers.append(("content-type", operation.media))
    return Request(operation.method, url, headers, body)


def _filled(path: str, values: Mapping[str, str]) -> str:
    whole = PLACE.sub(lambda found: values[found[1]], path)
    for segment in whole.split("/"):
        # RFC 3986 5.2.4. The service may read an escape twice, so this looks through them.
        plain = segment
        for _ in range(4):
            plain = unquote(plain)
        if plain in (".", "..") or (segment and _UNSAFE.search(plain)):
            raise InvalidArguments("a value in the path climbs or holds a separator")
    return whole


def _json(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError, RecursionError) as exc:
        raise InvalidArguments("a value cannot be written as JSON") from exc


# --- values ------------------------------------------------------------------------------------------


def _text(argument: str, value: object) -> str:
    """A scalar as text.

    Raises:
        InvalidArguments: it is none.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise InvalidArguments(f"`{argument}` holds half of a character") from exc
        return value
    if isinstance(value, int | float):
        return _json(value).decode()
    if value is None:
        return "null"
    raise InvalidArguments(f"`{argument}` is nested deeper than an address can say")


def _simple(argument: str, item: Parameter, value: object) -> str:
    """The value in a path or a header (style simple). An empty path value would drop a segment."""
    if item.style == "json":
        return _json(value).decode()
    if isinstance(value, list | Mapping):
        pairs = item.explode and isinstance(value, Mapping)
        text = ",".join(_flat(argument, value, "," if not pairs else ",=", joined=pairs))
    else:
        text = _text(argument, value)
    if not text and item.where is Where.PATH:
        raise InvalidArguments(f"`{argument}` goes into the path and is empty")
    return text


def _flat(argument: str, value: object, reserved: str, *, joined: bool = False) -> Iterator[str]:
    """Items of a list, or names and values of an object, none of which holds a delimiter."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            pair = (_apart(argument, name, reserved), _apart(argument, inner, reserved))
            if joined:
                yield "=".join(pair)
            else:
                yield from pair
    elif isinstance(value, list):
        for inner in value:
            yield _apart(argument, inner, reserved)


def _apart(argument: str, value: object, reserved: str) -> str:
    text = _text(argument, value)
    if any(character in text for character in reserved):
        raise InvalidArguments(f"an item of `{argument}` holds the delimiter of the list")
    return text


# --- the query ---------------------------------------------------------------------------------------


def _query(argument: str, item: Parameter, value: Any, own: set[str]) -> Iterator[str]:
    name = item.name
    if item.style == "json":
        yield _pair(name, _json(value).decode())
    elif item.style == "deepObject":
        if not isinstance(value, Mapping):
            raise InvalidArguments(f"`{argument}` must be an object")
        yield from _deep(argument, name, value)
    elif isinstance(value, list) and item.explode:
        for inner in value:
            yield _pair(name, _text(argument, inner))
    elif isinstance(value, Mapping) and item.explode:
        for key, inner in value.items():
            if key in own or key.partition("[")[0] in own:
                raise InvalidArguments(f"`{argument}` may not set the parameter `{key[:80]}`")
            yield _pair(key, _text(argument, inner))
    elif isinstance(value, list | Mapping):
        delimiter = _DELIMITERS[item.style]
        yield _pair(name, delimiter.join(_flat(argument, value, delimiter)))
    else:
        yield _pair(name, _text(argument, value))


def _deep(argument: str, prefix: str, value: Mapping[str, Any]) -> Iterator[str]:
    """`filter[size]=3`. Deeper objects and lists go on as most services read them."""
    for name, inner in value.items():
        if not name or "[" in name or "]" in name:
            raise InvalidArguments(f"a name in `{argument}` is empty or holds a bracket")
        key = f"{prefix}[{name}]"
        if isinstance(inner, Mapping):
            yield from _deep(argument, key, inner)
        elif isinstance(inner, list):
            for one in inner:
                yield _pair(key, _text(argument, one))
        else:
            yield _pair(key, _text(argument, inner))


def _pair(name: str, value: str) -> str:
    try:
        return f"{quote(name, safe='')}={quote(value, safe='')}"
    except UnicodeEncodeError as exc:
        raise InvalidArguments("a name in the query holds half of a character") from exc
