"""What columns say is what the records say, whatever numbers those hold."""

from __future__ import annotations

import json
import zlib
from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from store.aggregate_columns import AT, build
from store.aggregate_pieces import Piece
from store.request_records import Row

MINUTE = 60_000_000
sizes = st.sampled_from([1 << 7, 1 << 8, 1 << 16, 1 << 31, 1 << 33, 1 << 61])
numbers = sizes.flatmap(lambda most: st.lists(st.integers(0, most), min_size=1, max_size=30))


def rows(times: list[int], costs: list[int]) -> list[Row]:
    return [
        Row(place, f"r{place}", at, json.dumps({"body": {"cost": cost}}).encode())
        for place, (at, cost) in enumerate(zip(times, costs, strict=True))
    ]


@settings(max_examples=200, deadline=None)
@given(numbers, numbers)
def test_numbers_come_back_as_they_were(times: list[int], costs: list[int]) -> None:
    size = min(len(times), len(costs))
    piece = Piece(build(rows(times[:size], costs[:size])))
    assert piece.size == size
    assert piece.numbers(AT).tolist() == times[:size]
    assert piece.numbers("cost").tolist() == costs[:size]
    assert piece.numbers("total_ms").tolist() == [-1] * size


def test_times_that_follow_each_other_take_half_the_room() -> None:
    times = [1_790_000_000_000_000 + n * MINUTE * 7 + n * n % 7919 for n in range(4096)]
    times[7], times[9] = times[9], times[7]  # arrival is only nearly by time
    made = build(rows(times, [n % 300 for n in range(4096)]), ())[AT]
    assert len(made) <= 4096 * 4 + 20
    assert Piece({AT: made}).numbers(AT).tolist() == times


@given(st.lists(st.sampled_from(["", "a", "ä", '"', "x" * 500]), min_size=1, max_size=20))
def test_texts_come_back_as_they_were(said: list[str]) -> None:
    made = [
        Row(place, f"r{place}", place, json.dumps({"body": {"model": text}}).encode())
        for place, text in enumerate(said)
    ]
    texts, codes = Piece(build(made)).texts("model")
    numbers = [0] * len(said) if codes is None else codes.tolist()
    assert [texts[number] for number in numbers] == said


def test_columns_of_an_older_version_are_read() -> None:
    head = b'["a","b"]'
    for stored in (bytes, lambda raw: zlib.compress(raw)):
        text = stored(len(head).to_bytes(4, "little") + head + b"\x01\x00\x01")
        column = Piece({"model": (b"r" if stored is bytes else b"z") + text}).texts("model")
        assert column.codes is not None
        assert [column.texts[code] for code in column.codes.tolist()] == ["b", "a", "b"]
    for kind, values in (("i", [3, -1, 1 << 30]), ("q", [1 << 40, 5, -1])):
        assert Piece({AT: b"r" + kind.encode() + array(kind, values).tobytes()}).numbers(
            AT
        ).tolist() == list(values)
