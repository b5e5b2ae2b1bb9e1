"""Tables as Parquet files, as far as an export needs them: flat, of texts, whole numbers, truths and times.

One data page a column and row group, plain, compressed with gzip; every reader of the format knows that. What a
library would bring beside it (reading, nesting, statistics, tens of megabytes) nobody needs here. The footer is
Thrift's compact protocol.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from types import TracebackType
from typing import IO, Any, Final, Self

_MAGIC: Final = b"PAR1"
_PLAIN: Final = 0
_RLE: Final = 3
_GZIP: Final = 2
_OPTIONAL: Final = 1


class Kind(Enum):
    """What a column holds: the physical type, and how it is to be understood."""

    TRUTH = (0, None)
    WHOLE = (2, None)
    TIME = (2, 10)  # UTC µs
    TEXT = (6, 0)


class ParquetFile:
    """A file that is written row group by row group; it can be read once it is closed."""

    def __init__(self, file: IO[bytes], columns: Mapping[str, Kind]) -> None:
        self._file = file
        self._columns = dict(columns)
        self._groups: list[bytes] = []
        self._rows = 0
        self._at = file.write(_MAGIC)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds rows as one group: those to hold in memory together. What a row lacks is null."""
        if not rows:
            return
        chunks = []
        total = 0
        for name, kind in self._columns.items():
            chunk, size = self._chunk(name, kind, [row.get(name) for row in rows])
            chunks.append(chunk)
            total += size
        group = [(1, _structs(chunks)), (2, _i64(total)), (3, _i64(len(rows)))]
        self._groups.append(_struct(group))
        self._rows += len(rows)

    def close(self) -> None:
        """Writes the footer; the file stays open."""
        names = [
            _struct(
                [
                    (1, _i32(kind.value[0])),
                    (3, _i32(_OPTIONAL)),
                    (4, _binary(name.encode())),
                    *([(6, _i32(kind.value[1]))] if kind.value[1] is not None else []),
                ]
            )
            for name, kind in self._columns.items()
        ]
        root = _struct([(4, _binary(b"schema")), (5, _i32(len(names)))])
        footer = _struct(
            [
                (1, _i32(1)),
                (2, _structs([root, *names])),
                (3, _i64(self._rows)),
                (4, _structs(self._groups)),
                (6, _binary(b"gatewarden")),
            ]
        )
        self._file.write(footer + struct.pack("<I", len(footer)) + _MAGIC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:  # half a file must not look like one
            self.close()

    def _chunk(self, name: str, kind: Kind, values: Sequence[Any]) -> tuple[bytes, int]:
        """Writes one column; what the footer says of it, and its size before compression."""
        levels = _bits([value is not None for value in values])
        run = _varint(len(levels) << 1 | 1) + levels
        body = struct.pack("<I", len(run)) + run + _values(kind, values)
        packed = gzip.compress(body, 6, mtime=0)
        page = _struct(
            [
                (1, _i32(0)),
                (2, _i32(len(body))),
                (3, _i32(len(packed))),
                (
                    5,
                    _inner(
                        [
                            (1, _i32(len(values))),
                            (2, _i32(_PLAIN)),
                            (3, _i32(_RLE)),
                            (4, _i32(_RLE)),
                        ]
                    ),
                ),
            ]
        )
        begun = self._at
        self._at += self._file.write(page) + self._file.write(packed)
        size = len(page) + len(body)
        about = [
            (1, _i32(kind.value[0])),
            (2, _list(5, [_zigzag(_PLAIN), _zigzag(_RLE)])),
            (3, _list(8, [_varint(len(name.encode())) + name.encode()])),
            (4, _i32(_GZIP)),
            (5, _i64(len(values))),
            (6, _i64(size)),
            (7, _i64(self._at - begun)),
            (9, _i64(begun)),
        ]
        return _struct([(2, _i64(begun)), (3, _inner(about))]), size


def _values(kind: Kind, values: Iterable[Any]) -> bytes:
    known = [value for value in values if value is not None]
    if kind is Kind.TRUTH:
        return _bits(known)
    if kind is Kind.TEXT:
        texts = [str(value).encode("utf-8", "backslashreplace") for value in known]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return struct.pack(f"<{len(known)}q", *known)


def _bits(truths: Sequence[bool]) -> bytes:
    """Eight a byte, the first lowest."""
    made = bytearray((len(truths) + 7) // 8)
    for place, truth in enumerate(truths):
        if truth:
            made[place >> 3] |= 1 << (place & 7)
    return bytes(made)


# --- Thrift's compact protocol: a field is (type, bytes) -------------------------------------------

_Field = tuple[int, bytes]


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _i32(value: int) -> _Field:
    return 5, _zigzag(value)


def _i64(value: int) -> _Field:
    return 6, _zigzag(value)


def _binary(value: bytes) -> _Field:
    return 8, _varint(len(value)) + value


def _inner(fields: Sequence[tuple[int, _Field]]) -> _Field:
    return 12, _struct(fields)


def _list(kind: int, items: Sequence[bytes]) -> _Field:
    size = len(items)
    head = bytes([size << 4 | kind]) if size < 15 else bytes([0xF0 | kind]) + _varint(size)
    return 9, head + b"".join(items)


def _structs(items: Sequence[bytes]) -> _Field:
    return _list(12, items)


def _struct(fields: Sequence[tuple[int, _Field]]) -> bytes:
    """Fields by ascending number, each within 15 of the one before."""
    made = bytearray()
    last = 0
    for number, (kind, raw) in fields:
        made.append((number - last) << 4 | kind)
        made += raw
        last = number
    made.append(0)
    return bytes(made)
