"""Columns on MongoDB hold what the records say, whatever changes while they are made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from authz.keys import keys_of, stamp_of
from store import mongo_aggregates, mongo_request_records
from store.aggregate_columns import AT, build
from store.mongo_aggregates import MongoColumns
from store.mongo_request_records import MongoShelves
from store.request_records import Entry, Lean, Row, Shelf
from store.scanning import PIECE_BITS

SIZE = 1 << PIECE_BITS


@pytest.fixture
def shelves(mongo_uri: str) -> Iterator[MongoShelves]:
    made = MongoShelves.open(mongo_uri)
    yield made
    made.close()


@pytest.fixture
def columns(mongo_uri: str) -> Iterator[MongoColumns]:
    made = MongoColumns.open(mongo_uri)
    yield made
    made.close()


def entry(number: int) -> Entry:
    body = {"principal": "user:u-1", "total_ms": 5}
    line = {"body": body, "aside": {"claimed": {"project": "apollo"}}}
    stamp = stamp_of(body, line["aside"])
    return Entry(
        *(Shelf.REQUESTS, "w", number, f"r{number}", number, keys_of(stamp)),
        json.dumps(line).encode(),
    )


def test_what_is_erased_while_its_piece_is_sealed_is_in_no_column(
    shelves: MongoShelves, columns: MongoColumns, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelves.take([entry(n) for n in range(1, SIZE + 10)], {})

    def read_and_erase(rows: list[Row]) -> dict[str, bytes]:
        made = build(rows)
        lean = [Lean(row.id, (), b'{"body":{}}') for row in rows[:3]]
        shelves.erase(Shelf.REQUESTS, lean)
        return made

    monkeypatch.setattr(mongo_aggregates, "build", read_and_erase)
    columns.seal()
    assert columns.columns([0], [AT, "created_by"]) == {}
    assert columns._kept("columns").count_documents({}) == 0
    monkeypatch.setattr(mongo_aggregates, "build", build)
    assert MongoColumns(columns._connection).seal() == 1
    assert columns.columns([0], [AT, "created_by"]) == {
        0: {
            name: data
            for name, data in build(columns.rows(0)).items()
            if name in (AT, "created_by")
        }
    }


def test_a_piece_is_not_whole_any_more_once_a_record_comes_late_into_it(
    shelves: MongoShelves, columns: MongoColumns, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = mongo_request_records._insert

    def overtaken(kept: Any, said: list[Any]) -> int:
        if (
            said and said[0].get("writer") == "slow"
        ):  # it has its place, and another one fills all after it
            shelves.take([entry(n) for n in range(1, SIZE + 10)], {})
            assert columns.seal() == 1
            assert columns.columns([0], [AT]) != {}
        return insert(kept, said)

    monkeypatch.setattr(mongo_request_records, "_insert", overtaken)
    late = replace(entry(1), writer="slow", id="late")
    shelves.take([late], {})
    assert columns.columns([0], [AT]) == {}
    assert columns.rows(0)[0].id == "late"
