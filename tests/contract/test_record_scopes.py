"""Listed is what may be read: random rules, readers and records, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.decision import Somebody
from authz.filters import Filter
from authz.keys import Stamp, keys_of, stamp_of
from authz.rows import Row as PolicyRow
from authz.scopes import Check, DataType, may_read, scope
from store.mongo_request_records import MongoShelves
from store.request_records import Entry, RequestRecords, Row, Shelf, Shelves, Window
from store.sqlite_request_records import SqliteShelves
from tests.authz.random_scopes import NOW, askers, engine, estates, exact_items, stamps, wide_items

ALWAYS = Window(0, 1 << 50)


@pytest.fixture(params=["sqlite", "mongo"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelves]:
    made: Shelves
    if request.param == "mongo":
        made = MongoShelves.open(request.getfixturevalue("mongo_uri"))
    else:
        made = SqliteShelves(tmp_path / "r.db")
    yield made
    made.close()


def entry(number: int, stamp: Stamp) -> Entry:
    """The record as a line of the journal says it."""
    body = {
        "body": {
            "type": "request",
            "principal": stamp.created_by,
            "owner_team": stamp.owner_team,
            "teams": stamp.teams,
            "pinned": stamp.pinned,
        },
        "aside": {"claimed": stamp.claimed},
    }
    raw = msgspec.json.encode(body)
    return Entry(Shelf.REQUESTS, "w", number, f"r{number}", number, keys_of(stamp_in(raw)), raw)


def stamp_in(raw: bytes) -> Stamp:
    line = msgspec.json.decode(raw)
    return stamp_of(line["body"], line["aside"])


def test_a_page_holds_what_may_be_read_and_the_index_alone_finds_no_less(store: Shelves) -> None:
    fresh = iter(range(1, 1 << 30))
    records: list[Entry] = []
    reading = RequestRecords(store, lambda: store)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(estates(exact_items), estates(wide_items), askers, st.lists(stamps(3), max_size=6))
    def check(
        exact: list[PolicyRow], wide: list[PolicyRow], reader: Somebody, more: list[Stamp]
    ) -> None:
        added = [entry(next(fresh), stamp) for stamp in more]
        store.take(added, {})
        records.extend(added)
        for rows in (exact, wide):
            given_rows = engine(*rows)

            check_row = Check(given_rows, reader, DataType.TRACES, NOW)

            def allowed(row: Row, check_row: Check = check_row) -> bool:
                return check_row.allows(stamp_in(row.body))

            listed: Filter = scope(given_rows, reader, DataType.TRACES, NOW)
            every = [Row(0, one.id, one.at, one.body) for one in reversed(records[-200:])]
            expected = [
                row.id
                for row in every
                if may_read(given_rows, reader, stamp_in(row.body), DataType.TRACES, NOW)
            ]
            window = Window(every[-1].at, 1 << 50) if every else ALWAYS
            page = asyncio.run(
                reading.page(Shelf.REQUESTS, listed, window, allowed=allowed, limit=1000)
            )
            assert [row.id for row in page.rows] == expected
            found = store.scan(Shelf.REQUESTS, listed, window, None, 1000, 60.0)
            raw = [row.id for row in found.rows]
            assert raw == expected if listed.exact else set(raw) >= set(expected)

    check()
    reading._read.shutdown()
    reading._write.shutdown()
