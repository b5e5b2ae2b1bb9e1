from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from authz.chain import Line, Link, new_id, read_line, seal
from authz.decision import Decision, Effect, Reason
from authz.records import Record, RefusalCount, decision_record, request_record
from store.records import (
    BadQuery,
    Query,
    RecordFile,
    RecordStore,
    RecordsUnavailable,
    _statement,
    query_file,
)
from tests.store.journal_kit import NOON, decision


def chained(records: list[Record], writer: str = "gw@h@0", start: int = NOON) -> list[Line]:
    """The records as lines of a journal, one second apart."""
    link, found = Link(), []
    for number, record in enumerate(records):
        at = start + number * 1_000_000
        raw, link = seal(record, link, writer=writer, at=at, record_id=new_id(at, 0), salt="00")
        found.append(read_line(raw))
    return found


def asked(subject: str, resource: str, effect: str, number: int) -> Record:
    return decision_record(
        Decision(
            Effect(effect), Reason.ALLOWED if effect == "allow" else Reason.NO_GRANT, 1, "00" * 32
        ),
        principal=subject,
        credential="credential:c",
        action="model:use",
        resource=resource,
        request_id=f"r-{number}",
    )


ESTATE = [
    asked(f"user:u-{n % 3}", f"model:a/m{n % 2}", "allow" if n % 4 else "deny", n)
    for n in range(12)
]


@pytest.fixture
def file(tmp_path: Path) -> RecordFile:
    made = RecordFile(tmp_path / "records.db")
    made.ship(chained(ESTATE))
    return made


def requests_of(file: RecordFile, **query: object) -> list[str]:
    page = file.query(Query(**query))  # type: ignore[arg-type]
    return [record["body"]["request"] for record in page.records]


def test_records_come_newest_first(file: RecordFile) -> None:
    assert requests_of(file) == [f"r-{n}" for n in range(11, -1, -1)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"subject": "user:u-1"}, [10, 7, 4, 1]),
        ({"resource": "model:a/m1"}, [11, 9, 7, 5, 3, 1]),
        ({"effect": "deny"}, [8, 4, 0]),
        ({"reason": "no_grant", "resource": "model:a/m0", "subject": "user:u-1"}, [4]),
        ({"action": "model:use", "limit": 2}, [11, 10]),
        ({"request": "r-5"}, [5]),
        ({"since": NOON + 9_000_000}, [11, 10, 9]),
        ({"since": NOON + 3_000_000, "until": NOON + 5_000_000}, [4, 3]),
        ({"id": new_id(NOON + 2_000_000, 0)}, [2]),
        ({"subject": "user:nobody"}, []),
        ({"subject": "user:u-1' OR '1'='1"}, []),
    ],
)
def test_a_query_finds_exactly(
    file: RecordFile, query: dict[str, object], expected: list[int]
) -> None:
    assert requests_of(file, **query) == [f"r-{n}" for n in expected]


def test_pages_follow_each_other_without_repeating(file: RecordFile) -> None:
    seen: list[str] = []
    before = None
    while True:
        page = file.query(Query(limit=5, before=before))
        seen += [record["body"]["request"] for record in page.records]
        before = page.next
        if before is None:
            break
    assert seen == [f"r-{n}" for n in range(11, -1, -1)]


def test_a_page_that_is_exactly_full_is_the_last(file: RecordFile) -> None:
    assert file.query(Query(limit=12)).next is None


def test_shipping_again_changes_nothing(file: RecordFile) -> None:
    assert file.ship(chained(ESTATE)) == 0
    assert file.ship(chained([*ESTATE, asked("user:u-9", "model:a/m0", "allow", 12)])) == 1
    assert file.cursor("gw@h@0")[0] == 13 and file.cursor("other") == (0, "")


def test_a_stored_record_is_the_line_of_the_journal(file: RecordFile) -> None:
    found = chained(ESTATE)[-1]
    record = file.query(Query(limit=1)).records[0]
    assert (record["hash"], record["seq"], record["writer"]) == (found.hash, 12, "gw@h@0")
    assert record["body"] == found.body


def test_requests_and_other_records_have_their_places(file: RecordFile) -> None:
    request = request_record(
        request_id="r-5",
        decision_id="d-5",
        principal="user:u-2",
        credential="c",
        status=200,
        model="model:a/m1",
        claimed={"customer": "x"},
    )
    refusal = RefusalCount(code="missing_credential", minute=0, count=2, address="::1")
    file.ship(chained([request, refusal], "gw@h@1", NOON + 60_000_000))
    page = file.query(Query(kind="request", decision="d-5", resource="model:a/m1"))
    assert page.records[0]["aside"]["claimed"] == {"customer": "x"}
    assert len(file.query(Query()).records) == 12


def test_a_refused_unknown_resource_is_found_by_its_name(file: RecordFile) -> None:
    unknown = decision_record(
        Decision(Effect.DENY, Reason.UNKNOWN_RESOURCE, 1, "00" * 32),
        principal="user:u-1",
        credential="c",
        action="model:use",
        resource="model:not/there",
    )
    file.ship(chained([unknown], "gw@h@1", NOON + 60_000_000))
    assert len(file.query(Query(resource="model:not/there")).records) == 1


@pytest.mark.parametrize(
    "query",
    [
        Query(kind="checkpoint"),
        Query(kind="request", action="model:use"),
        Query(decision="d"),
        Query(limit=0),
        Query(limit=1001),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(file: RecordFile, query: Query) -> None:
    with pytest.raises(BadQuery):
        file.query(query)


def test_a_query_past_its_deadline_says_so(file: RecordFile) -> None:
    later = [asked("user:u-0", "model:a/m0", "allow", n) for n in range(3000)]
    file.ship(chained(later, "gw@h@1", NOON + 60_000_000))
    page = file.query(Query(until=NOON - 1, seconds=-1))
    assert page.truncated and not page.records


PLANS = {
    "records_id": {},
    "records_subject": {"subject": "user:u-1"},
    "records_resource": {"resource": "model:a/m1", "since": NOON},
    "records_request": {"request": "r-5"},
    "records_decision": {"kind": "request", "decision": "d-5"},
    "records_action": {"action": "team:write"},
    "records_reason": {"reason": "no_grant"},
    "records_denied": {"effect": "deny"},
}


@pytest.mark.parametrize("index", PLANS)
def test_each_filter_has_an_index_that_is_in_the_order_of_the_page(
    file: RecordFile, index: str
) -> None:
    text, values = _statement(Query(**PLANS[index]))  # type: ignore[arg-type]
    plan = " ".join(row[3] for row in file._db.execute(f"EXPLAIN QUERY PLAN {text}", values))
    assert f"INDEX {index}" in plan
    assert "TEMP B-TREE" not in plan


def test_a_window_of_time_does_not_look_at_what_is_older(file: RecordFile) -> None:
    text, values = _statement(Query(since=NOON + 9_000_000, action="model:use"))
    (plan,) = file._db.execute(f"EXPLAIN QUERY PLAN {text}", values)
    assert "(id>?)" in plan[3]


def test_a_store_of_the_first_version_is_filled_anew_from_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    old = sqlite3.connect(path, isolation_level=None)
    for table in ("decisions", "requests", "others"):
        old.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, line BLOB) WITHOUT ROWID")
    old.execute("CREATE TABLE shipped (writer TEXT PRIMARY KEY, seq INTEGER, hash TEXT)")
    old.execute("INSERT INTO shipped VALUES ('gw@h@0', 12, 'aa')")
    old.execute("PRAGMA user_version=1")
    old.close()
    with pytest.raises(RecordsUnavailable, match="no records were shipped"):
        query_file(path, Query())
    file = RecordFile(path)
    assert file.cursor("gw@h@0") == (0, "")
    assert file.ship(chained(ESTATE)) == 12
    assert len(RecordFile(path).query(Query()).records) == 12


def test_a_settled_cursor_is_one_whose_records_are_synced(file: RecordFile) -> None:
    assert file.settled("gw@h@0") == 12 and file.settled("gw@h@9") == 0
    frames = file._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert frames[1] == frames[2]  # nothing is left in the write-ahead log alone


def test_old_records_are_deleted_in_chunks(file: RecordFile) -> None:
    assert file.delete_before(NOON + 5_000_000, chunk=3) == 3
    assert file.delete_before(NOON + 5_000_000) == 2
    assert requests_of(file)[-1] == "r-5"


def test_a_store_that_cannot_be_written_stores_nothing_of_a_batch(
    file: RecordFile, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "records.db", isolation_level=None)
    other.execute("DROP TABLE others")
    request = request_record(
        request_id="r", decision_id="d", principal="p", credential="c", status=200
    )
    refusal = RefusalCount(code="missing_credential", minute=0, count=2, address="::1")
    with pytest.raises(RecordsUnavailable):
        file.ship(chained([decision(), request, refusal], "gw@h@1", NOON + 60_000_000))
    assert len(file.query(Query()).records) == 12 and file.cursor("gw@h@1") == (0, "")
    other.close()


def test_a_file_of_a_newer_version_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordsUnavailable):
        query_file(tmp_path / "none.db", Query())
    other = sqlite3.connect(tmp_path / "new.db")
    other.execute("PRAGMA user_version=99")
    other.close()
    with pytest.raises(RecordsUnavailable, match="newer"):
        RecordFile(tmp_path / "new.db")


async def test_the_command_line_reads_while_the_server_writes(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    store = await RecordStore.open(path)
    await store.ship(chained(ESTATE))
    assert len(query_file(path, Query(effect="deny")).records) == 3
    assert len((await store.query(Query())).records) == 12
    found = await store.get("decision", new_id(NOON, 0))
    assert found is not None and found["body"]["request"] == "r-0"
    assert await store.get("request", "none") is None
    assert path.stat().st_mode & 0o777 == 0o600
    await store.close()
    with pytest.raises(RecordsUnavailable):
        await store.query(Query())
