"""JSON of strangers, read so that what could be read in two ways is seen.

Keys that occur twice are told, not refused, so that whoever refuses can still say which request it is about.
Nothing is known of JSON-RPC here: `jsonrpc.py` judges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from json import JSONDecodeError, JSONDecoder, JSONEncoder

from proxy.body import shown

_text = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class NotJson(Exception):
    """The text is no JSON; the message is fit for the caller."""


class TooDeep(Exception):
    """It is nested deeper than can be read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """`twice` are the keys that occur twice in an object at any depth. `top` is the outermost object, pair by
    pair; empty if the value is none.
    """

    value: object
    twice: Sequence[str]
    top: Sequence[tuple[str, object]]


def read(raw: bytes, depth: int) -> Reading:
    """Reads one value of at most `depth` levels.

    Raises:
        NotJson: not UTF-8, not JSON, a number that JSON does not have or that is too long, half a surrogate pair.
        TooDeep.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJson(f"the message is not UTF-8 at byte {error.start}") from error
    seen = _Seen()
    decoder = JSONDecoder(
        object_pairs_hook=seen.pairs, parse_constant=_constant, parse_float=_finite
    )
    try:
        value = decoder.decode(text)
    except JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NotJson(f"the message is not JSON: {error.msg.lower()} at {where}") from error
    except RecursionError as error:
        raise TooDeep from error
    except ValueError as error:  # Python reads no integer of more than some thousand digits
        raise NotJson("a number is too long") from error
    # It can be that deep only with that many brackets; half a pair can only come from an escape.
    if raw.count(b"{") + raw.count(b"[") > depth and _is_deeper(value, depth):
        raise TooDeep
    if (b"\\ud" in raw or b"\\uD" in raw) and not is_text(_text(value)):
        raise NotJson("the message holds half a surrogate pair")
    return Reading(value, seen.twice, seen.top if isinstance(value, dict) else ())


def write(value: object) -> bytes:
    """A value as compact JSON in UTF-8. Raises ValueError for what JSON does not have."""
    return _text(value).encode()


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Seen:
    """What the C scanner calls for each object."""

    __slots__ = ("top", "twice")

    def __init__(self) -> None:
        self.twice: list[str] = []
        self.top: list[tuple[str, object]] = []

    def pairs(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    self.twice.append(key)
                seen.add(key)
        self.top = pairs  # the last object to end is the outermost
        return made


def _constant(name: str) -> object:
    raise NotJson(f"`{name}` is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise NotJson(f"`{shown(text)}` is no JSON number")
    return value


def _is_deeper(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        below: list[object] = []
        for held in level:
            values = held.values() if type(held) is dict else held
            below += [v for v in values if type(v) is dict or type(v) is list]  # type: ignore[attr-defined]
        if not below:
            return False
        level = below
    return True
