"""Reads a JSON body once, strictly, and puts the decided model in its place.

The upstream must see what was decided, so whatever two parsers could read in two ways is refused: a key
that occurs twice in any object, bytes that are not UTF-8, `NaN`, text after the end. Nothing is changed
but the bytes of the model. Forms are read by `multipart.py`; what a body refers to is judged by
`stateful.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from json import JSONDecodeError, JSONDecoder
from typing import Any, NamedTuple

from identity.tokens import redact
from proxy.errors import InvalidBody, OtherModelNamed

MAX_DEPTH = 64
MAX_KEYS = 256  # of the top level
MAX_SHOWN = 80

# Keys that point outside the request. Objects that have one are kept by the scan, at whatever depth.
WATCHED = frozenset(
    {
        "connector_id",
        "file_id",
        "file_ids",
        "server_url",
        "vector_store_ids",
    }
)
# Top-level fields by which some upstreams run other models, or send the request elsewhere.
_OTHER_MODELS = frozenset({"fallback_models", "fallbacks", "model_list", "models"})
_OTHER_UPSTREAM = frozenset({"api_base", "api_key", "base_url", "litellm_params", "user_config"})
_REDIRECTING = _OTHER_MODELS | _OTHER_UPSTREAM
# Every top-level field that is judged before the request is passed on.
_READ = _REDIRECTING | {
    "container",
    "conversation",
    "input",
    "mcp_servers",
    "messages",
    "model",
    "previous_response_id",
    "prompt",
    "stream",
    "tools",
}
_SPACES = " \t\n\r"
_MODEL = re.compile(r'"model"[ \t\n\r]*:[ \t\n\r]*("([^"\\\x00-\x1f]*)")')
_SPACE = re.compile(r"[ \t\n\r]*").match


class Scan(NamedTuple):
    """What was read: the model, where its value stands (bytes, quotes included), and the fields.

    `watched` holds the objects at any depth below the top that have a key of `WATCHED`.
    """

    model: str
    start: int
    end: int
    fields: Mapping[str, object]
    watched: Sequence[Mapping[str, object]]

    @property
    def stream(self) -> bool:
        return self.fields.get("stream") is True


class _Twice(Exception):
    """A key occurs twice in one object."""

    def __init__(self, key: str) -> None:
        self.key = key


_watched: list[dict[str, object]] = []  # filled while `_value` runs: one loop, no await in between


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Called by the C scanner for each object below the top."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(key)
            seen.add(key)
    if not WATCHED.isdisjoint(made):
        _watched.append(made)
    return made


def _constant(name: str) -> object:
    raise InvalidBody(f"`{name}` is not JSON", hint="send null, or leave the field out")


# The C scanner behind `raw_decode`: (text, at) -> (value, end), StopIteration where no value starts.
_decoder: Any = JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_value = _decoder.scan_once


def scan(body: bytes, max_depth: int = MAX_DEPTH) -> Scan:
    """Reads a JSON object.

    Raises:
        InvalidBody: not strict JSON, deeper than `max_depth`, or `model` or `stream` of the wrong type.
        OtherModelNamed: a field would make the upstream use another model or another address.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBody(f"the body is not UTF-8 at byte {error.start}") from error
    try:
        fields, span = _quickly(text) or _top(text)
    except JSONDecodeError as error:
        raise InvalidBody(
            f"the body is not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}"
        ) from error
    except StopIteration as error:
        raise InvalidBody(f"the body is not JSON: no value at character {error.value}") from error
    except (IndexError, ValueError) as error:
        raise InvalidBody(
            "the body is not JSON: it ends too early or a number is too long"
        ) from error
    except RecursionError as error:
        raise _too_deep(max_depth) from error
    except _Twice as error:
        raise _twice(error.key) from error
    watched = tuple(_watched)
    _watched.clear()
    if text.count("{") + text.count("[") > max_depth:  # else it cannot be that deep
        _check_depth(fields, max_depth)
    _check_case(fields)
    if not _REDIRECTING.isdisjoint(fields):
        _refuse_redirection(fields)
    model = fields.get("model")
    if not isinstance(model, str):
        if "model" in fields:
            raise InvalidBody("`model` is not a string", param="model")
        raise InvalidBody("the body has no `model`", param="model")
    stream = fields.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidBody("`stream` is neither true nor false", param="stream")
    start, end = span
    if len(text) != len(body):  # characters are not bytes
        start = len(text[:start].encode())
        end = start + len(text[span[0] : span[1]].encode())
    return Scan(model, start, end, fields, watched)


def _quickly(text: str) -> tuple[dict[str, object], tuple[int, int]] | None:
    """What `_top` answers, for the plain case; None where the long way must look (and find the words).

    INVARIANT: `"model"` stands in the text once and no key can be spelt with `\\u`, so that if the top level
    has that key, it is the one that the pattern found.
    """
    if text.count('"model"') != 1 or "\\u" in text:
        return None
    found = _MODEL.search(text)
    if found is None:
        return None
    _watched.clear()
    try:
        fields, end = _value(text, 0)
    except (JSONDecodeError, StopIteration, IndexError, ValueError, RecursionError, _Twice):
        return None
    if end != len(text) or type(fields) is not dict or len(fields) > MAX_KEYS:
        return None
    if fields.get("model") != found[2]:
        return None
    if _watched and _watched[-1] is fields:
        _watched.pop()  # the top level is judged by its fields
    return fields, found.span(1)


def _top(text: str) -> tuple[dict[str, object], tuple[int, int]]:
    """The fields of the top level and the span of the model's value.

    Raises JSONDecodeError, StopIteration, IndexError (ends too early), ValueError, RecursionError, _Twice.
    """
    _watched.clear()
    at = _SPACE(text, 0).end()  # type: ignore[union-attr]  # `*` always matches
    if text[at : at + 1] != "{":
        raise InvalidBody("the body is not a JSON object")
    at = _skip(text, at + 1)
    fields: dict[str, object] = {}
    span = (0, 0)
    if text[at] == "}":
        return _ended(text, at + 1, fields, span)
    while True:
        if text[at] != '"':
            raise JSONDecodeError("a key in double quotes is missing", text, at)
        key, at = _value(text, at)
        if text[at] != ":":
            at = _skip(text, at)
            if text[at] != ":":
                raise JSONDecodeError("a colon is missing", text, at)
        at += 1
        if text[at] in _SPACES:
            at = _skip(text, at)
        value, end = _value(text, at)
        if key in fields:
            raise _Twice(key)
        fields[key] = value
        if key == "model":
            span = (at, end)
        at = end
        if text[at] in _SPACES:
            at = _skip(text, at)
        mark = text[at]
        if mark == ",":
            if len(fields) >= MAX_KEYS:
                raise InvalidBody(f"the body has more than {MAX_KEYS} fields")
            at += 1
            if text[at] in _SPACES:
                at = _skip(text, at)
        elif mark == "}":
            return _ended(text, at + 1, fields, span)
        else:
            raise JSONDecodeError("a comma is missing", text, at)


def _skip(text: str, at: int) -> int:
    """The place of the next character that is no white space."""
    return _SPACE(text, at).end()  # type: ignore[union-attr]


def _ended(
    text: str, at: int, fields: dict[str, object], span: tuple[int, int]
) -> tuple[dict[str, object], tuple[int, int]]:
    if at != len(text) and _SPACE(text, at).end() != len(text):  # type: ignore[union-attr]
        raise JSONDecodeError("text follows the end", text, at)
    return fields, span


def _check_case(fields: Mapping[str, object]) -> None:
    """Refuses `Model` beside `model`: some upstreams read keys without regard to case.

    Raises InvalidBody.
    """
    names = "".join(fields)
    if names.isascii() and names == names.lower():
        return  # each key is what it would be read as
    for key in fields:
        if key in _READ:
            continue
        plain = key.casefold()
        if plain != key and plain in _READ:
            raise InvalidBody(
                f"the field `{shown(key)}` could be read as `{plain}`",
                hint=f"write `{plain}`",
                param=shown(key),
            )


def _check_depth(fields: dict[str, object], max_depth: int) -> None:
    """Level by level, so that the cost is one look at each value.

    Raises InvalidBody.
    """
    level: list[object] = [fields]
    for _ in range(max_depth):
        below: list[object] = []
        for held in level:
            values = held.values() if type(held) is dict else held
            below += [v for v in values if type(v) is dict or type(v) is list]  # type: ignore[attr-defined]
        if not below:
            return
        level = below
    raise _too_deep(max_depth)


def _too_deep(max_depth: int) -> InvalidBody:
    return InvalidBody(f"the body is nested deeper than {max_depth} levels")


def _twice(key: str) -> InvalidBody:
    return InvalidBody(f"the key `{shown(key)}` occurs twice in one object", param=shown(key))


def _refuse_redirection(fields: Mapping[str, object]) -> None:
    name = min(_REDIRECTING.intersection(fields))
    if name in _OTHER_MODELS:
        raise OtherModelNamed(
            f"`{name}` names other models than `model`, which nobody decided on",
            hint="send one request for each model",
            param=name,
        )
    raise OtherModelNamed(
        f"`{name}` would send the request to another upstream",
        hint="upstreams stand in the provider account",
        param=name,
    )


def shown(text: str) -> str:
    """Text of a caller as it may stand in a message: short, printable, without backticks and tokens."""
    text = redact(text)
    short = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    if short.isprintable() and "`" not in short:
        return short
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in short.replace("`", "'")
    )


def splice(body: bytes, found: Scan, model_id: str) -> bytes:
    """The body with the model's value replaced by `model_id`; every other byte stays."""
    return b"".join((body[: found.start], _quoted(model_id), body[found.end :]))


@lru_cache(maxsize=1024)
def _quoted(model_id: str) -> bytes:
    """The id as JSON. Ids come from the catalogue, so there are few."""
    return json.dumps(model_id).encode()
