"""Reading what a caller sent: strict JSON, strict query parameters, bounded sizes.

Strict means: UTF-8, no duplicate key at any depth, no NaN or Infinity, no lone surrogate, no key that
starts with `$` (nothing here is a query operator), bounded nesting. Everything unknown is refused with
the nearest known name. YAML bodies are only bounded and decoded here; `policies.loader` reads them.
"""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from proxy.api.problem import BadBody, BadQuery, BodyTooLarge, BodyTooSlow, MediaTypeRefused

JSON_TYPES = frozenset({"application/json"})
YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})
MAX_DEPTH = 32
BODY_SECONDS = 60.0  # in which a whole body must arrive
LONG_BODY = 8 * 1024 * 1024  # bytes; where more is taken, it may take longer in proportion

SMALL_BODY = 64 * 1024  # bytes that are read on the loop

Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")


def media_type(request: web.Request) -> str:
    """The media type without parameters, lower case; empty when none was sent."""
    raw = request.headers.get("Content-Type", "")
    return raw.partition(";")[0].strip().lower()


async def read_bytes(request: web.Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: longer than `limit` bytes, announced or not. BodyTooSlow: not within
            `BODY_SECONDS`, or a multiple of it where the limit is that of an estate. MediaTypeRefused: compressed, by whatever header. BadBody: its framing broke.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise MediaTypeRefused("compressed bodies are not accepted here")
    if request.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
        # The parser would pass `gzip, chunked` on as it is, where another would decompress it.
        raise MediaTypeRefused(
            "the only transfer coding that is accepted is `chunked`",
            headers={"Connection": "close"},
        )
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    seconds = BODY_SECONDS * max(1, limit // LONG_BODY)
    try:
        async with asyncio.timeout(seconds):
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
    except TimeoutError as error:
        raise BodyTooSlow(
            f"the body did not arrive within {seconds:g} seconds",
            headers={"Connection": "close"},
        ) from error
    except web.RequestPayloadError as error:
        raise BadBody("the body's framing is broken", headers={"Connection": "close"}) from error
    return b"".join(parts)


def _too_large(limit: int) -> BodyTooLarge:
    # What is still on the wire is not worth reading: the connection ends with this answer.
    return BodyTooLarge(
        f"the body is larger than {limit} bytes",
        hint="apply fewer documents in one call",
        headers={"Connection": "close"},
    )


def decode(raw: bytes) -> str:
    """The body as text.

    Raises:
        BadBody: not UTF-8, or it holds a NUL.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadBody(f"the body is not UTF-8 (byte {exc.start})") from exc
    if "\x00" in text:
        raise BadBody("the body holds a NUL character")
    return text


def parse_json(raw: bytes) -> object:
    """The value of a strict JSON text.

    Raises:
        BadBody: with the position or the key that is wrong.
    """
    text = decode(raw)
    try:
        value: object = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant)
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise BadBody(f"the body is not JSON: {exc.msg.lower()} at {where}") from exc
    except RecursionError as exc:
        raise BadBody(f"the body is nested deeper than {MAX_DEPTH}") from exc
    except ValueError as exc:  # an integer with more digits than Python converts
        raise BadBody("the body holds a number that is too long") from exc
    _check(value, 0)
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise BadBody(f"the key `{_shown(key)}` stands twice in one object")
        if key.startswith("$"):
            raise BadBody(
                f"the key `{_shown(key)}` is not a field",
                hint='objects like `{"$ne": …}` are values of no field here; send a plain value',
            )
        made[key] = value
    return made


def _constant(name: str) -> NoReturn:
    raise BadBody(f"`{name}` is not JSON")


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadBody(f"the body is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)
    elif isinstance(value, str):
        _check_text(value)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise BadBody("a text in the body holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise BadBody("a text in the body holds a lone surrogate") from exc


def parse_object(raw: bytes) -> dict[str, Any]:
    """A strict JSON object.

    Raises:
        BadBody: not JSON, or not an object.
    """
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise BadBody("the body must be a JSON object")
    return value


def validate(model: type[Model], data: Mapping[str, Any]) -> Model:
    """The body as its model; types are not coerced.

    Raises:
        BadBody: the first field that is wrong, with the nearest name for an unknown one.
    """
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as exc:
        message, hint = first_error(exc, _names(model))
        raise BadBody(message, hint=hint) from exc


def parse_query(
    model: type[Model], request: web.Request, besides: frozenset[str] = frozenset()
) -> Model:
    """The query parameters as their model; those in `besides` are read elsewhere.

    Raises:
        BadQuery: unknown, given twice, or of the wrong form.
    """
    given: dict[str, str] = {}
    for key, value in request.query.items():
        if key in besides:
            continue
        if key in given:
            raise BadQuery(f"the parameter `{_shown(key)}` is given twice")
        if key not in model.model_fields:
            near = nearest(key, (*model.model_fields, *besides))
            raise BadQuery(f"unknown parameter `{_shown(key)}`", hint=near)
        if any(ord(char) < 32 or 0xD800 <= ord(char) <= 0xDFFF for char in value):
            raise BadQuery(f"the parameter `{key}` holds a control character")
        given[key] = value
    try:
        return model.model_validate(given)
    except ValidationError as exc:
        message, hint = first_error(exc, tuple(model.model_fields))
        raise BadQuery(message, hint=hint) from exc


async def off_loop(size: int, work: Callable[[], Result]) -> Result:
    """What `work` makes of a body of `size` bytes; a large one is read in a thread, so that the loop turns."""
    return await asyncio.to_thread(work) if size > SMALL_BODY else work()


def _names(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(info.alias or name for name, info in model.model_fields.items())


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names what the caller may have meant, or what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known: {', '.join(names)}" if names else "none is taken here"


def first_error(exc: ValidationError, known: Iterable[str]) -> tuple[str, str]:
    """(message, hint) of the first thing that pydantic found."""
    error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(_shown(str(part)) for part in error["loc"]) or "body"
    if error["type"] == "extra_forbidden":
        last = str(error["loc"][-1])
        hint = nearest(last, known) if len(error["loc"]) == 1 else ""
        return f"unknown field `{where}`", hint
    if error["type"] == "missing":
        return f"the field `{where}` is missing", ""
    message = error["msg"]
    return f"the field `{where}` is wrong: {message[:1].lower()}{message[1:]}", ""


def _shown(text: str) -> str:
    """User input for a message: printable, short."""
    return "".join(char if char.isprintable() and char != "`" else "?" for char in text[:80])
