"""Requests as columns: what figures are made of, for one piece of 4,096 places of the records store.

A record is read once, when its piece is full; figures then never touch it again. Texts are numbered within
the piece, so a test of a filter looks at each text once and not at each record, and it compares texts: there
is no hash that could take one for another. Durations keep three digits, which is what a percentile needs.
Metadata has a column a key; keys beyond the first so many, by which a caller could make columns without end,
share one.
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from authz import keys
from authz.filters import Clause, Filter, Sense
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
_MOST_KEYS: Final = 32  # of pinned, and of claimed metadata, that have a column
_REST: Final = "*"
_FAILED: Final = frozenset({"error", "tool_error"})
_PLAIN: Final = {
    keys.plain(name, ""): name
    for name in ("account", "method", "model", "outcome", "server", "status", "tool")
}
_SPLIT: Final = "\x1f"  # between the teams of a record; ids have no control characters
_DIGITS: Final = 1000
_WORTH: Final = 0.5

Texts = Sequence[str | None]


class Column(NamedTuple):
    """One text a record: `texts[codes[place]]`; without codes the one text is that of all."""

    texts: Texts
    codes: bytes | array[int] | None


@dataclass(frozen=True, slots=True)
class Piece:
    """The columns of some records, in the order of their places."""

    columns: Mapping[str, bytes]
    _read: dict[str, array[int]] = field(default_factory=dict, repr=False)
    _said: dict[str, Column] = field(default_factory=dict, repr=False)

    def numbers(self, name: str) -> array[int]:
        """A column of numbers; a column that an older version did not write is unknown."""
        found = self._read.get(name)
        if found is None:
            raw = self.columns.get(name)
            if raw is None:
                absent = UNKNOWN if name in DURATIONS else 0
                found = array("q", [absent]) * self.size
            else:
                found = _unpacked_numbers(_whole_of(raw))
            self._read[name] = found
        return found

    def texts(self, name: str) -> Column:
        """A column of texts."""
        found = self._said.get(name)
        if found is None:
            raw = self.columns.get(name)
            found = Column([""], None) if raw is None else _unpacked_texts(_whole_of(raw))
            self._said[name] = found
        return found

    def metadata(self, space: str, name: str) -> Column:
        """What metadata says under a key, None where it does not say anything."""
        raw = self.columns.get(f"{space}:{name}")
        if raw is not None:
            return _unpacked_texts(_whole_of(raw))
        rest = self.columns.get(space + _REST)
        if rest is None:
            return Column([None], None)
        said, codes = _unpacked_texts(_whole_of(rest))
        return Column([json.loads(one or "{}").get(name) for one in said], codes)

    @property
    def size(self) -> int:
        """How many records."""
        return len(self.numbers(AT))


# --- from records to columns -----------------------------------------------------------------------


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
        made[space + _REST] = _packed_texts([json.dumps(one, sort_keys=True) for one in rest])
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
    small = not values or (min(values) >= -(1 << 31) and max(values) < 1 << 31)
    raw = (b"i" if small else b"q") + _bytes(array("i" if small else "q", values))
    return _stored(raw)


def _unpacked_numbers(raw: bytes) -> array[int]:
    return _array(raw[:1].decode(), raw[1:])


def _packed_texts(values: Sequence[str | None]) -> bytes:
    numbered: dict[str | None, int] = {}
    codes = array("H", [numbered.setdefault(value, len(numbered)) for value in values])
    head = json.dumps(list(numbered)).encode()
    tail = b""
    if len(numbered) > 1:
        tail = bytes(codes.tolist()) if len(numbered) <= 256 else _bytes(codes)
    return _stored(len(head).to_bytes(4, "little") + head + tail)


def _unpacked_texts(raw: bytes) -> Column:
    end = 4 + int.from_bytes(raw[:4], "little")
    texts: list[str | None] = msgspec.json.decode(raw[4:end])
    if len(texts) <= 1:
        return Column(texts or [""], None)
    return Column(texts, raw[end:] if len(texts) <= 256 else _array("H", raw[end:]))


def _stored(raw: bytes) -> bytes:
    """Compressed, unless that gains too little to be worth the time of each reading."""
    small = zlib.compress(raw, 1)
    return b"z" + small if len(small) < len(raw) * _WORTH else b"r" + raw


def _whole_of(stored: bytes) -> bytes:
    return zlib.decompress(stored[1:]) if stored[:1] == b"z" else stored[1:]


def _bytes(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _array(typecode: str, raw: bytes) -> array[int]:
    made = array(typecode, raw)
    if sys.byteorder == "big":
        made.byteswap()
    return made


# --- a filter on columns ---------------------------------------------------------------------------


class Test(NamedTuple):
    """Keys of a clause that one column answers: its texts among `wanted`, or any text if `present`."""

    column: str
    wanted: frozenset[str]
    present: bool
    metadata: str | None = None  # the key, if the column is PINNED or CLAIMED


# Any of arms, each all of (sense, any of tests).
Plan = tuple[tuple[tuple[Sense, tuple[Test, ...]], ...], ...]


def plan(filter: Filter) -> Plan | None:
    """The filter as tests of columns; None if it asks for what no column has."""
    arms = []
    for arm in filter.arms:
        clauses = []
        for clause in arm:
            tests = _tests(clause)
            if tests is None:
                return None
            clauses.append((clause.sense, tests))
        arms.append(tuple(clauses))
    return tuple(arms)


def columns_of(plan: Plan) -> frozenset[str]:
    """The names of the columns that a plan reads; of metadata also that of the rest."""
    tests = [test for arm in plan for _, tests in arm for test in tests]
    return frozenset(name for test in tests for name in names_of(test.column, test.metadata))


def names_of(column: str, metadata: str | None) -> tuple[str, ...]:
    """The stored columns that hold one column."""
    return (column,) if metadata is None else (f"{column}:{metadata}", column + _REST)


def _tests(clause: Clause) -> tuple[Test, ...] | None:
    wanted: dict[tuple[str, str | None], set[str]] = {}
    present: set[tuple[str, str | None]] = set()
    for key in clause.keys:
        read = _read(key)
        if read is None:
            return None
        column, name, value = read
        wanted.setdefault((column, name), set())
        if value is None:
            present.add((column, name))
        else:
            wanted[column, name].add(value)
    return tuple(
        Test(column, frozenset(values), (column, name) in present, name)
        for (column, name), values in sorted(wanted.items(), key=str)
    )


def _read(key: str) -> tuple[str, str | None, str | None] | None:
    """The column of a key, the metadata key if it is one, and the text; None for "any text"."""
    if key == keys.HAS_TEAM:
        return "teams", None, None
    for space in (PINNED, CLAIMED):
        if key.startswith(f"{space}["):
            name, *value = json.loads(key.removeprefix(space))
            return space, name, value[0] if value else None
    for prefix, column in (
        (keys.creator(""), "created_by"),
        (keys.owner(""), "owner"),
        (keys.team(""), "teams"),
        *_PLAIN.items(),
    ):
        if key.startswith(prefix):
            return column, None, key.removeprefix(prefix)
    return None


def mask(piece: Piece, plan: Plan, size: int) -> int:
    """Which records pass: an integer of a byte a record, 1 for those that do, the first place lowest."""
    every = int.from_bytes(b"\x01" * size, "little")
    answered: dict[Test, int] = {}
    found = 0
    for arm in plan:
        passed = every
        for sense, tests in arm:
            met = 0
            for test in tests:
                if test not in answered:
                    answered[test] = _answer(piece, test, size, every)
                met |= answered[test]
            passed &= met if sense is Sense.HAS else every ^ met
        found |= passed
    return found


def _answer(piece: Piece, test: Test, size: int, every: int) -> int:
    if test.metadata is not None:
        texts, codes = piece.metadata(test.column, test.metadata)
    else:
        texts, codes = piece.texts(test.column)
    if test.present or test.column in ("teams", "status"):
        flags = bytes([_passes(test, text) for text in texts])
    else:  # the same for most columns, which may have thousands of texts
        wanted = test.wanted - {""} if test.metadata is None else test.wanted
        flags = bytes([text in wanted for text in texts])
    if codes is None:
        return every if flags[0] else 0
    if not any(flags):
        return 0
    if isinstance(codes, bytes):
        return int.from_bytes(codes.translate(flags.ljust(256, b"\0")), "little")
    return int.from_bytes(bytes(map(flags.__getitem__, codes)), "little")


def _passes(test: Test, text: str | None) -> bool:
    if text is None or (text == "" and test.metadata is None):
        return False
    if test.present or text in test.wanted:
        return True
    if test.column == "teams":
        return not test.wanted.isdisjoint(teams_in(text))
    return test.column == "status" and keys.status_class(int(text)) in test.wanted
