"""Requests as columns: what figures are made of, for one piece of 4,096 places of the records store.

A record is read once, when its piece is full; figures then never touch it again. Texts are numbered within
the piece. Durations keep three digits, which is what a percentile needs. Metadata has a column a key; keys
beyond the first so many, by which a caller could make columns without end, share one. Columns are read in
`aggregate_pieces.py`.
"""

from __future__ import annotations

import itertools
import json
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from authz.keys import Stamp
from store.request_records import Row

TEXTS: Final = (
    *("created_by", "owner", "teams", "model", "account", "server", "tool"),
    *("method", "outcome", "status", "error"),
)
SUMS: Final = ("input_tokens", "output_tokens", "cost", "failed")  # 0 where nothing is known
DURATIONS: Final = ("total_ms", "first_byte_ms", "upstream_ms")  # UNKNOWN where there is none
AT: Final = "at"  # every piece has it
PINNED: Final = "pin"
CLAIMED: Final = "claim"
UNKNOWN: Final = -1
REST: Final = "*"  # the column of all other keys of a space
_MOST_KEYS: Final = 32  # of pinned, and of claimed metadata, that have a column
_FAILED: Final = frozenset({"error", "tool_error"})
_SPLIT: Final = "\x1f"  # between the teams of a record; ids have no control characters
STEPS: Final = b"d"
PARTS: Final = b"p"  # begins a column of texts: those, and then the number of each record's text
_STEP: Final = 1 << 31  # a longer step is not written as one: of times, some 35 minutes
_KINDS: Final = (("B", 0, 1 << 8), ("H", 0, 1 << 16), ("i", -(1 << 31), 1 << 31))
_DIGITS: Final = 1000
_WORTH: Final = 0.5


class _Body(msgspec.Struct, gc=False):
    """Of a line's body, what columns are made of; what is no text or number counts as absent, as in a stamp."""

    principal: Any = ""
    owner_team: Any = ""
    teams: Any = ()
    model: Any = ""
    account: Any = ""
    server: Any = ""
    tool: Any = ""
    method: Any = ""
    outcome: Any = ""
    status: Any = 0
    error: Any = ""
    input_tokens: Any = None
    output_tokens: Any = None
    cost: Any = None
    total_ms: Any = None
    first_byte_ms: Any = None
    upstream_ms: Any = None
    pinned: Any = None


class _Aside(msgspec.Struct, gc=False):
    claimed: Any = None


class _Line(msgspec.Struct, gc=False):
    body: _Body
    aside: _Aside | None = None


_decode: Final = msgspec.json.Decoder(_Line).decode


def build(rows: Sequence[Row], names: Collection[str] | None = None) -> dict[str, bytes]:
    """The columns of these records, the first place first; all of them, or those of `names`.

    With `names`, all metadata of a space is made if any of it is asked for.
    """
    lines = [_decode(row.body) for row in rows]
    bodies = [line.body for line in lines]
    made: dict[str, bytes] = {AT: _packed_numbers([row.at for row in rows])}
    for name in (*SUMS, *DURATIONS):
        if names is None or name in names:
            made[name] = _packed_numbers(_numbers(name, bodies))
    owners: dict[tuple[str, str, tuple[str, ...]], Stamp] = {}
    for name in TEXTS:
        if names is None or name in names:
            made[name] = _packed_texts(_texts(name, bodies, owners))
    spaces = {name.partition(":")[0] for name in names or (f"{PINNED}:", f"{CLAIMED}:")}
    if PINNED in spaces:
        made |= _metadata(PINNED, [_said(body.pinned) for body in bodies])
    if CLAIMED in spaces:
        said = [line.aside.claimed if line.aside is not None else None for line in lines]
        made |= _metadata(CLAIMED, [_said(one) for one in said])
    return made


def _numbers(name: str, bodies: Sequence[_Body]) -> list[int]:
    if name == "failed":
        return [
            int(_whole(one.status, 0) >= 400 or one.outcome in _FAILED or bool(one.error))
            for one in bodies
        ]
    if name in DURATIONS:
        return [_rounded(_whole(getattr(one, name), UNKNOWN)) for one in bodies]
    return [_whole(getattr(one, name), 0) for one in bodies]


def _texts(
    name: str,
    bodies: Sequence[_Body],
    stamps: dict[tuple[str, str, tuple[str, ...]], Stamp],
) -> list[str]:
    if name == "created_by":
        return [_text(one.principal) for one in bodies]
    if name == "status":
        return [str(_whole(one.status, 0) or "") for one in bodies]
    if name not in ("owner", "teams"):
        return [_text(getattr(one, name)) for one in bodies]
    found = []
    for one in bodies:
        said = _text(one.principal), _text(one.owner_team), tuple(map(_text, one.teams or ()))
        stamp = stamps.get(said)
        if stamp is None:
            stamp = stamps[said] = Stamp(*said)
        found.append(stamp.owner if name == "owner" else _SPLIT.join(stamp.every_team))
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _said(value: object) -> Mapping[str, str]:
    """Metadata as a stamp takes it: texts alone."""
    if not isinstance(value, dict):
        return {}
    return {name: said for name, said in value.items() if isinstance(said, str)}


def teams_in(text: str | None) -> list[str]:
    """The teams of one text of the column `teams`."""
    return text.split(_SPLIT) if text else []


def _metadata(space: str, said: Sequence[Mapping[str, str]]) -> dict[str, bytes]:
    often = Counter(name for one in said for name in one)
    own = {name for name, _ in often.most_common(_MOST_KEYS)}
    made = {f"{space}:{name}": _packed_texts([one.get(name) for one in said]) for name in own}
    if len(often) > len(own):
        rest = [{name: v for name, v in one.items() if name not in own} for one in said]
        made[space + REST] = _packed_texts([json.dumps(one, sort_keys=True) for one in rest])
    return made


def _whole(value: object, absent: int) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 62 else absent


def _rounded(value: int) -> int:
    value = min(value, 1 << 39)
    step = 1
    while value // step >= _DIGITS:
        step *= 10
    return (value + step // 2) // step * step if value > 0 else value


def _packed_numbers(values: Sequence[int]) -> bytes:
    """The letter of a kind of `array`, and the numbers as that; of times, steps from the first one."""
    least, most = min(values, default=0), max(values, default=0)
    for kind, low, high in _KINDS:
        if low <= least and most < high:
            return _stored(kind.encode() + _bytes(array(kind, values)))
    steps = [value - before for before, value in itertools.pairwise(values)]
    if all(-_STEP <= step < _STEP for step in steps):
        return _stored(STEPS + _bytes(array("q", values[:1])) + _bytes(array("i", steps)))
    return _stored(b"q" + _bytes(array("q", values)))


def _packed_texts(values: Sequence[str | None]) -> bytes:
    numbered: dict[str | None, int] = {}
    codes = array("H", [numbered.setdefault(value, len(numbered)) for value in values])
    tail = b""
    if len(numbered) > 1:
        tail = bytes(codes.tolist()) if len(numbered) <= 256 else _bytes(codes)
    # Apart, since texts are inflated quickly, and codes of many texts slowly and for little gain.
    head = _stored(json.dumps(list(numbered)).encode())
    return PARTS + len(head).to_bytes(4, "little") + head + _stored(tail)


def _stored(raw: bytes) -> bytes:
    """Compressed, unless that gains too little to be worth the time of each reading."""
    small = zlib.compress(raw, 1)
    return b"z" + small if len(small) < len(raw) * _WORTH else b"r" + raw


def _bytes(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()
