"""How long records can be read: the fewest days that anybody says, each kind by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policies.logging_config import Retention
from proxy.record_access import RecordAccess
from proxy.retention import Forgetting, KeepDays
from store.request_records import Entry, Payload, Shelf
from store.shelving import Place

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("keep", "said", "days"),
    [
        (KeepDays(30, 0, 0), Retention(), (30, 0, 0)),
        (KeepDays(30, 0, 0), Retention(payloads=7, requests=90, decisions=400), (7, 90, 400)),
        (KeepDays(30, 60, 90), Retention(payloads=40, requests=70, decisions=100), (30, 60, 90)),
        (KeepDays(30, 0, 0), Retention(requests=10), (10, 10, 0)),
    ],
)
def test_the_fewest_days_hold_and_nothing_said_outlives_its_request(
    keep: KeepDays, said: Retention, days: tuple[int, int, int]
) -> None:
    found = keep.limited(said)
    assert (found.payloads, found.requests, found.decisions) == days


def at(days: float) -> int:
    return int((NOW - timedelta(days=days)).timestamp() * 1_000_000)


async def test_each_kind_goes_when_its_days_are_over(tmp_path: Path) -> None:
    access = RecordAccess(Place(tmp_path / "records.db"))
    records = await access.open()
    made = [
        Entry(shelf, "w", number, f"{shelf}-{days}", at(days), ("c:user:u-1",), b"{}")
        for number, (shelf, days) in enumerate(
            [
                (Shelf.REQUESTS, 50),
                (Shelf.DECISIONS, 50),
                (Shelf.REQUESTS, 5),
                (Shelf.DECISIONS, 5),
            ],
            1,
        )
    ]
    said = [Payload("requests-50", at(50), b"x"), Payload("requests-5", at(5), b"y")]
    await records.work(lambda store: store.take(made, {"w": (4, "h")}, said))
    kept = Retention(payloads=3, requests=30)
    assert await Forgetting(access, KeepDays(), lambda: kept).run(NOW) == 3
    assert await records.get(Shelf.REQUESTS, "requests-50") is None
    assert await records.get(Shelf.REQUESTS, "requests-5") is not None
    assert await records.get(Shelf.DECISIONS, "decisions-50") is not None
    assert await records.payload("requests-5") is None
    assert await Forgetting(access, KeepDays(), lambda: kept).run(NOW) == 0
    await access.close()


async def test_a_store_that_cannot_be_opened_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    access = RecordAccess(Place(tmp_path / "file" / "records.db"))
    assert await Forgetting(access, KeepDays(), Retention).run(NOW) == 0
