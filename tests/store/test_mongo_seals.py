"""What was made of a span is in force once all of it is written, and as long as nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from store.mongo_seals import MongoSeals

NAMES = ["a", "b", "c"]


@pytest.fixture
def kept(mongo_uri: str) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient(mongo_uri) as client:  # type: MongoClient[dict[str, Any]]
        yield client.get_default_database()["made"]


def both(number: int) -> Iterator[tuple[str, bytes]]:
    yield from (("a", b"%d" % number), ("b", b""))


def sealed(seals: MongoSeals, *numbers: int) -> int:
    return seals.seal(max(numbers) + 1, lambda: numbers, both, 99)


def test_the_last_spans_are_sealed_first_and_each_once(kept: Collection[dict[str, Any]]) -> None:
    seals = MongoSeals(kept)
    assert seals.seal(8, lambda: [3, 7, 5], both, 2) == 2
    assert seals.whole([3, 5, 7]) == {5, 7}
    assert seals.seal(8, lambda: [3, 7, 5], both, 2) == 1
    assert seals.seal(8, lambda: pytest.fail("nothing is new"), both, 2) == 0
    assert seals.read([3, 5], NAMES) == {3: {"a": b"3", "b": b""}, 5: {"a": b"5", "b": b""}}
    assert seals.read([4, 7], ["c"]) == {7: {}}


def test_what_is_half_written_is_not_read(kept: Collection[dict[str, Any]]) -> None:
    seals = MongoSeals(kept)

    def watched(number: int) -> Iterator[tuple[str, bytes]]:
        yield "a", b"1"
        assert kept.count_documents({"whole": False}) == 1
        assert seals.read([number], NAMES) == {} and seals.whole([number]) == set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.mongo_seals._AT_ONCE", 1)
        assert seals.seal(2, lambda: [1], watched, 1) == 1
    assert seals.read([1], NAMES) == {1: {"a": b"1"}}


def test_what_a_process_that_died_had_written_does_not_come_back(
    kept: Collection[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.mongo_seals._AT_ONCE", 1)

    def dies(number: int) -> Iterator[tuple[str, bytes]]:
        yield "a", b"old"
        MongoSeals(kept).unseal([number])  # what both were made of is gone
        yield "c", b"old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MongoSeals(kept).seal(2, lambda: [1], dies, 1)
    assert kept.count_documents({}) == 1  # `c`, without a mark
    assert sealed(MongoSeals(kept), 1) == 1
    assert MongoSeals(kept).read([1], NAMES) == {1: {"a": b"1", "b": b""}}
    assert kept.count_documents({"data": b"old"}) == 0


def test_what_is_unsealed_or_forgotten_leaves_nothing(kept: Collection[dict[str, Any]]) -> None:
    seals = MongoSeals(kept)
    sealed(seals, 1, 2, 3)
    seals.unseal([2, 2, 9])
    assert seals.whole([1, 2, 3]) == {1, 3}
    assert kept.count_documents({"_id": {"$regex": "^0*2/"}}) == 0
    assert sealed(seals, 1, 2, 3) == 1
    seals.forget(3)
    assert seals.whole([1, 2, 3]) == {3}
    assert kept.count_documents({}) == 3
