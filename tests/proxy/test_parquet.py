"""Parquet files are read by a reader that knows the format from its specification and nothing of the writer."""

from __future__ import annotations

import gzip
import io
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.parquet import Kind, ParquetFile

COLUMNS = {"id": Kind.TEXT, "at": Kind.TIME, "status": Kind.WHOLE, "stream": Kind.TRUTH}


class Thrift:
    """Reads the compact protocol: a struct becomes {number: value}."""

    def __init__(self, raw: bytes, at: int = 0) -> None:
        self.raw, self.at = raw, at

    def byte(self) -> int:
        self.at += 1
        return self.raw[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def value(self, kind: int) -> Any:
        if kind in (5, 6):
            number = self.varint()
            return number >> 1 ^ -(number & 1)
        if kind == 8:
            size = self.varint()
            self.at += size
            return self.raw[self.at - size : self.at]
        if kind == 9:
            head = self.byte()
            size = head >> 4 if head >> 4 < 15 else self.varint()
            return [self.value(head & 15) for _ in range(size)]
        assert kind == 12, kind
        return self.struct()

    def struct(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        number = 0
        while head := self.byte():
            number += head >> 4
            found[number] = self.value(head & 15)
        return found


def read(raw: bytes) -> dict[str, list[Any]]:
    assert raw[:4] == raw[-4:] == b"PAR1"
    (size,) = struct.unpack("<I", raw[-8:-4])
    footer = Thrift(raw, len(raw) - 8 - size).struct()
    root, *schema = footer[2]
    assert root[5] == len(schema)
    found: dict[str, list[Any]] = {one[4].decode(): [] for one in schema}
    for group in footer[4]:
        for chunk in group[1]:
            about = chunk[3]
            page = Thrift(raw, about[9])
            head = page.struct()
            packed = raw[page.at : page.at + head[3]]
            assert about[7] == page.at + head[3] - about[9]
            body = gzip.decompress(packed)
            assert len(body) == head[2]
            found[about[3][0].decode()] += values(about[1], head[5][1], body)
    assert all(len(one) == footer[3] for one in found.values())
    return found


def bits(raw: bytes, count: int) -> list[bool]:
    return [bool(raw[n // 8] >> n % 8 & 1) for n in range(count)]


def values(kind: int, count: int, body: bytes) -> list[Any]:
    (size,) = struct.unpack("<I", body[:4])
    run = Thrift(body, 4)
    head = run.varint()
    assert head & 1  # bit-packed
    known = bits(body[run.at : 4 + size], count)
    plain, number = body[4 + size :], sum(known)
    said: list[Any]
    if kind == 0:
        said = bits(plain, number)
    elif kind == 2:
        said = list(struct.unpack(f"<{number}q", plain))
    else:
        said = []
        while plain:
            (length,) = struct.unpack("<I", plain[:4])
            said.append(plain[4 : 4 + length].decode())
            plain = plain[4 + length :]
    given_values = iter(said)
    return [next(given_values) if one else None for one in known]


rows = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
            "at": st.integers(0, 1 << 60),
            "status": st.none() | st.integers(-(1 << 62), 1 << 62),
            "stream": st.none() | st.booleans(),
        },
    ),
    max_size=40,
)


@settings(deadline=None)
@given(st.lists(rows, max_size=3))
def test_what_is_written_is_read_again(groups: list[list[dict[str, Any]]]) -> None:
    file = io.BytesIO()
    with ParquetFile(file, COLUMNS) as made:
        for group in groups:
            made.write(group)
    flat = [row for group in groups for row in group]
    assert read(file.getvalue()) == {name: [row.get(name) for row in flat] for name in COLUMNS}


def test_many_columns_and_rows_are_read_again() -> None:
    columns = {f"c{n}": Kind.WHOLE for n in range(40)}
    file = io.BytesIO()
    with ParquetFile(file, columns) as made:
        made.write([{f"c{n}": n * row for n in range(40)} for row in range(3000)])
    found = read(file.getvalue())
    assert found["c39"] == [39 * row for row in range(3000)]


def test_half_a_file_has_no_footer() -> None:
    file = io.BytesIO()
    try:
        with ParquetFile(file, COLUMNS) as made:
            made.write([{"id": "x"}])
            raise OSError
    except OSError:
        pass
    assert not file.getvalue().endswith(b"PAR1")
