"""A piece of requests as arrays: what its columns say, and which of its records pass a filter.

The reading side of `aggregate_columns`, with numpy; who only writes columns does without it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from authz import keys
from authz.filters import Sense
from store.aggregate_columns import AT, DURATIONS, PARTS, REST, STEPS, UNKNOWN, teams_in
from store.column_filter import Plan, Test

Numbers = NDArray[np.int64]
Passed = NDArray[np.bool_]
Codes = NDArray[np.integer[Any]]
Texts = Sequence[str | None]
_KINDS: Final = {b"B": "u1", b"H": "<u2", b"i": "<i4", b"q": "<i8"}


class Column(NamedTuple):
    """One text a record: `texts[codes[place]]`; without codes the one text is that of all."""

    texts: Texts
    codes: Codes | None


@dataclass(frozen=True, slots=True)
class Piece:
    """The columns of some records, in the order of their places."""

    columns: Mapping[str, bytes]
    _read: dict[str, Numbers] = field(default_factory=dict, repr=False)
    _said: dict[str, Column] = field(default_factory=dict, repr=False)

    def numbers(self, name: str) -> Numbers:
        """A column of numbers; a column that an older version did not write is unknown."""
        found = self._read.get(name)
        if found is None:
            raw = self.columns.get(name)
            if raw is None:
                found = np.full(self.size, UNKNOWN if name in DURATIONS else 0, np.int64)
            else:
                found = _unpacked_numbers(raw)
            self._read[name] = found
        return found

    def texts(self, name: str) -> Column:
        """A column of texts; "" where a record says nothing."""
        found = self._said.get(name)
        if found is None:
            raw = self.columns.get(name)
            found = Column([""], None) if raw is None else _unpacked_texts(raw)
            self._said[name] = found
        return found

    def metadata(self, space: str, name: str) -> Column:
        """What metadata says under a key, None where it does not say anything."""
        column = f"{space}:{name}"
        if column in self.columns:
            return self.texts(column)
        if space + REST not in self.columns:
            return Column([None], None)
        said, codes = self.texts(space + REST)
        return Column([json.loads(one or "{}").get(name) for one in said], codes)

    @property
    def size(self) -> int:
        """How many records."""
        return len(self.numbers(AT))


def _unpacked_numbers(stored: bytes) -> Numbers:
    raw = _whole(stored)
    if raw[:1] == STEPS:
        steps = np.frombuffer(raw, "<i4", offset=9).astype(np.int64)
        return np.cumsum(np.concatenate([np.frombuffer(raw, "<i8", 1, offset=1), steps]))
    return np.frombuffer(raw, _KINDS[raw[:1]], offset=1).astype(np.int64)


def _unpacked_texts(stored: bytes) -> Column:
    if stored[:1] == PARTS:
        end = 5 + int.from_bytes(stored[1:5], "little")
        head, tail = _whole(stored[5:end]), _whole(stored[end:])
    else:  # as an older version wrote it
        raw = _whole(stored)
        end = 4 + int.from_bytes(raw[:4], "little")
        head, tail = raw[4:end], raw[end:]
    texts: list[str | None] = msgspec.json.decode(head)
    if len(texts) <= 1:
        return Column(texts or [""], None)
    return Column(texts, np.frombuffer(tail, "u1" if len(texts) <= 256 else "<u2"))


def _whole(stored: bytes) -> bytes:
    return zlib.decompress(stored[1:]) if stored[:1] == b"z" else stored[1:]


# --- a filter --------------------------------------------------------------------------------------


class Sieve:
    """A filter on pieces. What a text of teams or a status comes to is kept from one piece to the next."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tests = {test: _Flags(test) for arm in plan for _, tests in arm for test in tests}

    def passed(self, piece: Piece) -> Passed:
        """Which records of the piece pass."""
        answered = {test: _answer(piece, test, flags) for test, flags in self._tests.items()}
        found = np.zeros(piece.size, np.bool_)
        for arm in self._plan:
            passed = np.ones(piece.size, np.bool_)
            for sense, tests in arm:
                met = np.zeros(piece.size, np.bool_)
                for test in tests:
                    met |= answered[test]
                passed &= met if sense is Sense.HAS else ~met
            found |= passed
        return found


class _Flags(dict[str | None, bool]):
    """Whether a text passes a test, by texts that were seen."""

    def __init__(self, test: Test) -> None:
        super().__init__()
        self._test = test

    def __missing__(self, text: str | None) -> bool:
        found = self[text] = _passes(self._test, text)
        return found


def _answer(piece: Piece, test: Test, known: _Flags) -> Passed:
    if test.metadata is not None:
        texts, codes = piece.metadata(test.column, test.metadata)
    else:
        texts, codes = piece.texts(test.column)
    passes: Callable[[str | None], bool]
    if test.column in ("teams", "status"):
        passes = known.__getitem__
    elif test.present:
        passes = bool if test.metadata is None else _is_said
    else:  # most columns may have thousands of texts, which are not worth keeping
        passes = (test.wanted - {""} if test.metadata is None else test.wanted).__contains__
    flags = np.fromiter(map(passes, texts), np.bool_, len(texts))
    return np.full(piece.size, flags[0]) if codes is None else flags[codes]


def _is_said(text: str | None) -> bool:
    return text is not None


def _passes(test: Test, text: str | None) -> bool:
    """Of teams and of a status, which also have names for several texts."""
    if not text:
        return False
    if test.present or text in test.wanted:
        return True
    if test.column == "teams":
        return not test.wanted.isdisjoint(teams_in(text))
    return keys.status_class(int(text)) in test.wanted
