"""What every records store must keep to (`store.request_records.Shelves`), by itself and as readers get it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz import keys
from authz.chain import read_line
from authz.filters import EVERYTHING, NOTHING, Clause, Filter, all_of, either, has, lacks
from authz.keys import Stamp, keys_of
from store.errors import StoreTooNew, StoreUnavailable
from store.intake import Intake
from store.mongo_request_records import MongoShelves
from store.request_records import (
    BadWindow,
    Entry,
    Lean,
    Page,
    Payload,
    RequestRecords,
    Row,
    Shelf,
    Shelves,
    Window,
)
from store.shipper import Shipper
from store.sqlite_request_records import SqliteShelves
from tests.store.journal_kit import NOON, decision, lines, open_journal

Opener = Callable[[], Shelves]
ALWAYS = Window(0, 1 << 50)
PEOPLE = [f"user:u-{n}" for n in range(4)]
TEAMS = [f"team:t{n}" for n in range(3)]
VALUES = ["emea", "apac", "na"]


@pytest.fixture(params=["sqlite", "mongo"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same store again and again, as several processes would."""
    uri = request.getfixturevalue("mongo_uri") if request.param == "mongo" else ""
    opened: list[Shelves] = []

    def open_one() -> Shelves:
        opened.append(MongoShelves.open(uri) if uri else SqliteShelves(tmp_path / "r.db"))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(opener: Opener) -> Shelves:
    return opener()


def entry(wseq: int, stamp: Stamp | None = None, **fields: object) -> Entry:
    made = Entry(
        Shelf.REQUESTS,
        "w",
        wseq,
        f"id-{wseq:06}",
        1000 + wseq,
        keys_of(stamp or Stamp(PEOPLE[0])),
        f'{{"n":{wseq}}}'.encode(),
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def take(store: Shelves, *entries: Entry) -> int:
    heads = {one.writer: (one.wseq, f"hash{one.wseq}") for one in entries}
    return store.take(entries, heads)


def found(
    store: Shelves,
    filter: Filter = EVERYTHING,
    window: Window = ALWAYS,
    before: int | None = None,
    limit: int = 1000,
    shelf: Shelf = Shelf.REQUESTS,
) -> list[str]:
    """The ids that a scan finds, in its order."""
    return [row.id for row in store.scan(shelf, filter, window, before, limit, 60.0).rows]


def ids(*wseqs: int) -> list[str]:
    return [f"id-{wseq:06}" for wseq in wseqs]


# --- taking -----------------------------------------------------------------------------------------


def test_the_newest_arrival_comes_first_whatever_its_time(store: Shelves) -> None:
    take(store, entry(1), entry(2, at=5), entry(3))
    assert found(store) == ids(3, 2, 1)


def test_a_record_comes_back_as_it_was_given(store: Shelves) -> None:
    take(store, entry(7))
    (row,) = store.scan(Shelf.REQUESTS, EVERYTHING, ALWAYS, None, 5, 60.0).rows
    assert row == Row(1, "id-000007", 1007, b'{"n":7}')
    assert store.get(Shelf.REQUESTS, "id-000007") == row
    assert store.get(Shelf.REQUESTS, "id-000008") is None
    assert store.get(Shelf.DECISIONS, "id-000007") is None


def test_what_is_taken_twice_is_there_once(opener: Opener) -> None:
    one, other = opener(), opener()
    assert take(one, entry(1), entry(2)) == 2
    assert take(other, entry(1), entry(2), entry(3)) == 1
    assert found(one) == ids(3, 2, 1)
    assert one.cursor("w") == (3, "hash3")
    assert one.cursor("nobody") == (0, "")
    assert (one.settled("w"), one.settled("nobody")) == (3, 0)


def test_lines_of_several_writers_keep_apart(store: Shelves) -> None:
    take(store, entry(1), entry(1, writer="v", id="other"))
    assert found(store) == ["other", *ids(1)]
    assert (store.cursor("w")[0], store.cursor("v")[0]) == (1, 1)


def test_a_line_that_was_written_anew_takes_the_place_of_the_old(store: Shelves) -> None:
    take(store, entry(1), entry(2, Stamp(PEOPLE[1])))
    take(store, entry(2, Stamp(PEOPLE[2]), id="anew"))
    assert found(store) == ["anew", *ids(1)]
    assert found(store, all_of(has(keys.creator(PEOPLE[1])))) == []
    assert found(store, all_of(has(keys.creator(PEOPLE[2])))) == ["anew"]


def test_shelves_keep_apart(store: Shelves) -> None:
    take(store, entry(1), entry(2, shelf=Shelf.DECISIONS), entry(3))
    assert found(store) == ids(3, 1)
    assert found(store, shelf=Shelf.DECISIONS) == ids(2)


def test_a_store_that_is_opened_again_finds_what_it_found(opener: Opener) -> None:
    take(opener(), entry(1, Stamp(PEOPLE[1])))
    assert found(opener(), all_of(has(keys.creator(PEOPLE[1])))) == ids(1)


def test_a_head_without_a_record_moves_the_cursor(store: Shelves) -> None:
    store.take([], {"w": (9, "h")})
    assert store.cursor("w") == (9, "h")


def test_two_who_ship_at_once_leave_each_line_once(opener: Opener) -> None:
    stores = [opener() for _ in range(3)]
    lines = [entry(n) for n in range(1, 121)]

    def ship(store: Shelves) -> int:
        return sum(take(store, *lines[start : start + 40]) for start in range(0, 120, 40))

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(ship, stores)) == 120
    assert sorted(found(stores[0])) == ids(*range(1, 121))
    assert len(found(stores[0], all_of(has(keys.creator(PEOPLE[0]))))) == 120
    assert stores[0].cursor("w")[0] == 120


async def test_a_shipper_fills_it_from_the_journal(opener: Opener, tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal")
    for n in range(5):
        await journal.append(decision(number=n)).durable()
    store = opener()
    intake = Intake(store)
    assert Shipper(tmp_path / "journal", intake).drain() == 5  # type: ignore[arg-type]
    assert Shipper(tmp_path / "journal", intake).drain() == 0  # type: ignore[arg-type]
    await journal.append(decision("deny", number=9)).durable()
    await journal.close()
    assert Shipper(tmp_path / "journal", Intake(opener())).drain() == 1  # type: ignore[arg-type]
    assert store.cursor(journal.writer)[0] == lines(tmp_path / "journal")[-1].seq
    window = Window(NOON - 1, NOON + 10**9)
    denied = all_of(has(keys.plain("effect", "deny")), has(keys.creator("user:u-9")))
    (row,) = store.scan(Shelf.DECISIONS, denied, window, None, 5, 60.0).rows
    line = read_line(row.body + b"\n")
    assert (line.body["request"], line.id) == ("r-9", row.id)
    assert len(found(store, window=window, shelf=Shelf.DECISIONS)) == 6


# --- finding ----------------------------------------------------------------------------------------


def test_an_empty_filter_is_nothing_and_one_without_a_test_everything(store: Shelves) -> None:
    take(store, entry(1))
    assert found(store, NOTHING) == []
    assert found(store, EVERYTHING) == ids(1)


def test_the_window_is_exact(store: Shelves) -> None:
    take(store, *(entry(n) for n in range(1, 6)), entry(6, at=1002))
    assert found(store, window=Window(1002, 1004)) == ids(6, 3, 2)
    assert found(store, window=Window(5000, 6000)) == []
    assert found(store, window=Window(0, 1)) == []


def test_pages_join_without_a_gap_while_records_arrive(store: Shelves) -> None:
    take(store, *(entry(n) for n in range(1, 6)))
    first = store.scan(Shelf.REQUESTS, EVERYTHING, ALWAYS, None, 2, 60.0)
    take(store, entry(6))
    assert found(store, before=first.rows[-1].seq) == ids(3, 2, 1)


@pytest.mark.parametrize(("since", "until"), [(5, 5), (6, 5), (-1, 5), (0, 1 << 63)])
def test_a_window_that_goes_backwards_or_out_of_range_is_refused(since: int, until: int) -> None:
    with pytest.raises(BadWindow):
        Window(since, until)


def test_a_filter_may_be_as_wide_as_a_filter_can_be(store: Shelves) -> None:
    take(store, entry(1, Stamp(PEOPLE[0], model="m7")), entry(2))
    arms = [all_of(has(f"a{n}"), has(f"b{n}"), lacks(f"c{n}")) for n in range(255)]
    wide = either(*arms, all_of(has(*(f"m:m{n}" for n in range(2000))), lacks("x")))
    assert len(wide.arms) == 256
    assert found(store, wide) == ids(1)


def test_a_key_of_any_text_is_found(store: Shelves) -> None:
    odd = ['" OR "', "$ne", "a.b", "*", "NOT", "", "\x00", "\ud800", "é" * 5000, "{}"]
    for number, value in enumerate(odd, 1):
        take(store, entry(number, Stamp(PEOPLE[0], pinned={"k": value})))
    for number, value in enumerate(odd, 1):
        assert found(store, all_of(has(keys.pinned("k", value)))) == ids(number)


def test_random_filters_find_what_matches(store: Shelves) -> None:
    rnd = random.Random(8)
    records = [
        entry(
            n,
            Stamp(
                rnd.choice(PEOPLE),
                teams=tuple(rnd.sample(TEAMS, rnd.randrange(3))),
                model=rnd.choice(["", "m1", "m2"]),
                status=rnd.choice([200, 200, 404, 500]),
                pinned={"region": rnd.choice(VALUES)} if rnd.random() < 0.6 else {},
            ),
            at=1000 + n + rnd.randrange(-30, 30),
        )
        for n in range(1, 301)
    ]
    for start in range(0, len(records), 70):
        take(store, *records[start : start + 70])
    every = sorted({key for one in records for key in one.keys} | {"absent"})
    clauses = st.builds(
        lambda make, named: make(*named),
        st.sampled_from([has, has, lacks]),
        st.sets(st.sampled_from(every), min_size=1, max_size=4),
    )
    arms = st.lists(st.lists(clauses, max_size=3), max_size=4)

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        arms, st.integers(900, 1400), st.integers(1, 500), st.integers(1, 400), st.integers(1, 9)
    )
    def check(lists: list[list[object]], since: int, length: int, before: int, limit: int) -> None:
        wanted = either(*(all_of(*one) for one in lists))  # type: ignore[arg-type]
        every = [one for one in reversed(records) if wanted.matches(one.keys)]
        assert found(store, wanted) == [one.id for one in every]
        window = Window(since, since + length)
        inside = [o.id for o in every if since <= o.at < since + length and o.wseq < before]
        assert found(store, wanted, window, before, limit) == inside[:limit]

    check()


# --- forgetting -------------------------------------------------------------------------------------


def test_what_is_too_old_is_hidden_at_once_and_goes_in_chunks(store: Shelves) -> None:
    take(store, *(entry(n, Stamp(PEOPLE[n % 2])) for n in range(1, 11)), entry(11, at=1001))
    assert store.forget(Shelf.REQUESTS, 1007, chunk=4) == 4
    assert found(store) == ids(10, 9, 8, 7)
    assert store.get(Shelf.REQUESTS, "id-000005") is None
    assert store.forget(Shelf.REQUESTS, 1007, chunk=4) == 2
    odd = all_of(has(keys.creator(PEOPLE[1])))
    assert found(store, odd) == ids(9, 7)
    # What is kept does not come back when somebody asks to keep more.
    store.forget(Shelf.REQUESTS, 0)
    assert found(store) == ids(10, 9, 8, 7)


def test_a_place_is_never_given_twice(store: Shelves) -> None:
    take(store, entry(1), entry(2))
    while store.forget(Shelf.REQUESTS, 5000):
        pass
    take(store, entry(3, at=9000))
    (row,) = store.scan(Shelf.REQUESTS, EVERYTHING, ALWAYS, None, 5, 60.0).rows
    assert row.seq == 3


def test_random_histories_agree_with_a_list(opener: Opener) -> None:
    rnd = random.Random(5)
    store = opener()
    kept: list[Entry] = []
    since = 0
    wseq = dict.fromkeys("vw", 0)
    for step in range(25):
        writer = rnd.choice("vw")
        fresh = []
        for _ in range(rnd.randrange(1, 30)):
            wseq[writer] += 1
            n = wseq[writer]
            stamp = Stamp(rnd.choice(PEOPLE), teams=tuple(rnd.sample(TEAMS, rnd.randrange(3))))
            at = 1000 + 10 * step + rnd.randrange(10)
            fresh.append(entry(n, stamp, writer=writer, id=f"{writer}{n}", at=at))
        again = rnd.sample(kept, min(len(kept), 3))
        take(store, *[one for one in again if one.writer == writer], *fresh)
        kept += fresh
        if rnd.random() < 0.2:
            since = max(since, 1000 + 10 * step - 100)
            while store.forget(Shelf.REQUESTS, since, chunk=rnd.randrange(5, 50)):
                pass
            kept = [one for one in kept if one.at >= since]
        if rnd.random() < 0.1:
            store = opener()
        wanted = all_of(has(keys.team(rnd.choice(TEAMS))), lacks(keys.creator(rnd.choice(PEOPLE))))
        expected = [one.id for one in reversed(kept) if wanted.matches(one.keys)]
        assert paged(store, wanted, rnd.choice([1, 3, 7])) == expected


def paged(store: Shelves, wanted: Filter, limit: int) -> list[str]:
    listed: list[str] = []
    before: int | None = None
    while True:
        part = store.scan(Shelf.REQUESTS, wanted, ALWAYS, before, limit, 60.0)
        listed += [row.id for row in part.rows]
        if part.done:
            return listed
        before = part.reached


# --- payloads ---------------------------------------------------------------------------------------


def test_payloads_lie_apart_and_go_by_their_own_time(store: Shelves) -> None:
    said = [Payload(f"id-{n:06}", 1000 + n, b"\x00sealed") for n in (1, 2)]
    store.take([entry(1), entry(2)], {}, said)
    store.take([], {}, said)
    assert store.payload("id-000001") == b"\x00sealed"
    assert store.payload("id-000003") is None
    assert store.forget_payloads(1002) == 1
    assert (store.payload("id-000001"), store.payload("id-000002")) == (None, b"\x00sealed")
    assert found(store) == ids(2, 1)


# --- as a reader gets them --------------------------------------------------------------------------


@pytest.fixture
def records(opener: Opener) -> Iterator[RequestRecords]:
    made = RequestRecords(opener(), opener)
    yield made
    made._end()


def yes(row: Row) -> bool:
    return True


async def listed(records: RequestRecords, limit: int, allowed: Callable[[Row], bool]) -> list[Page]:
    pages: list[Page] = []
    before: int | None = None
    while True:
        page = await records.page(
            Shelf.REQUESTS, EVERYTHING, ALWAYS, allowed=allowed, before=before, limit=limit
        )
        pages.append(page)
        if page.next is None:
            return pages
        before = page.next


async def fill(records: RequestRecords, number: int) -> None:
    await records.work(lambda store: take(store, *(entry(n) for n in range(1, number + 1))))


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_pages_hold_what_the_check_allows_and_nothing_else(
    records: RequestRecords, limit: int
) -> None:
    await fill(records, 30)
    pages = await listed(records, limit, lambda row: row.seq % 3 == 0)
    assert [row.seq for page in pages for row in page.rows] == [*range(30, 0, -3)]
    assert all(len(page.rows) == limit for page in pages[:-1])
    assert not any(page.truncated for page in pages)


async def test_a_row_that_the_index_found_wrongly_does_not_leave(records: RequestRecords) -> None:
    await fill(records, 200)
    page = await records.page(
        Shelf.REQUESTS, EVERYTHING, ALWAYS, allowed=lambda row: row.seq == 1, limit=5
    )
    assert [row.seq for row in page.rows] == [1]


async def test_an_error_of_the_check_ends_the_list(records: RequestRecords) -> None:
    await fill(records, 3)

    def broken(row: Row) -> bool:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await records.page(Shelf.REQUESTS, EVERYTHING, ALWAYS, allowed=broken)


async def test_parameters_only_narrow(records: RequestRecords) -> None:
    stamps = [Stamp(PEOPLE[n % 2], model=f"m{n % 3}") for n in range(12)]
    await records.work(lambda store: take(store, *(entry(n, s) for n, s in enumerate(stamps, 1))))
    mine = all_of(has(keys.creator(PEOPLE[0])))
    narrow: Sequence[object]
    for narrow in (
        (),
        (has("m:m1"),),
        (has("m:m1"), lacks("m:m2")),
        (has(keys.creator(PEOPLE[1])),),
    ):
        page = await records.page(Shelf.REQUESTS, mine, ALWAYS, allowed=yes, narrow=narrow)
        expected = [
            row_id
            for row_id, stamp in zip(ids(*range(1, 13)), stamps, strict=True)
            if mine.matches(keys_of(stamp)) and all(c.holds(keys_of(stamp)) for c in narrow)
        ]
        assert [row.id for row in page.rows] == expected[::-1]
    assert (await records.page(Shelf.REQUESTS, NOTHING, ALWAYS, allowed=yes)).rows == ()


async def test_a_deadline_is_said_and_the_next_page_goes_on(opener: Opener) -> None:
    ticks = itertools.count()
    records = RequestRecords(opener(), opener, clock=lambda: float(next(ticks)))
    await fill(records, 300)
    listed: list[int] = []
    truncated = 0
    before: int | None = None
    while True:
        # By this clock there is time for one look at 64 rows.
        page = await records.page(
            Shelf.REQUESTS,
            EVERYTHING,
            ALWAYS,
            allowed=lambda row: row.seq % 50 == 0,
            before=before,
            limit=10,
            seconds=1.5,
        )
        listed += [row.seq for row in page.rows]
        truncated += page.truncated
        if page.next is None:
            break
        before = page.next
    assert listed == [300, 250, 200, 150, 100, 50]
    assert truncated >= 3
    await records.close()


@pytest.mark.parametrize("limit", [0, 1001, -1])
async def test_a_limit_out_of_range_is_refused(records: RequestRecords, limit: int) -> None:
    with pytest.raises(BadWindow):
        await records.page(Shelf.REQUESTS, EVERYTHING, ALWAYS, allowed=yes, limit=limit)


async def test_one_record_and_its_payload_are_read(records: RequestRecords) -> None:
    await records.work(lambda store: store.take([entry(1)], {}, [Payload("id-000001", 1, b"x")]))
    row = await records.get(Shelf.REQUESTS, "id-000001")
    assert row is not None
    assert row.body == b'{"n":1}'
    assert await records.payload("id-000001") == b"x"


# --- one store alone --------------------------------------------------------------------------------


def test_a_statement_that_runs_too_long_is_struck(tmp_path: Path) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.4
        return now

    store = SqliteShelves(tmp_path / "r.db", clock=clock)
    take(store, *(entry(n) for n in range(1, 3001)))
    part = store.scan(Shelf.REQUESTS, EVERYTHING, ALWAYS, None, 5000, 3.0)
    assert part.struck
    assert 0 < len(part.rows) < 3000
    assert part.reached == part.rows[-1].seq
    store.close()


def test_a_server_is_not_asked_once_the_time_is_up(mongo_uri: str) -> None:
    ticks = itertools.count(step=4)
    store = MongoShelves.open(mongo_uri, clock=lambda: float(next(ticks)))
    take(store, *(entry(n) for n in range(1, 4)))
    part = store.scan(Shelf.REQUESTS, EVERYTHING, ALWAYS, None, 5, 3.0)
    assert (part.rows, part.struck, part.done) == ((), True, False)
    assert part.reached > 3
    store.close()


def test_a_file_that_cannot_be_read_says_so_without_its_content(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        SqliteShelves(tmp_path / "absent.db", read_only=True)
    path = tmp_path / "r.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreUnavailable):
        SqliteShelves(path)


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    store = SqliteShelves(tmp_path / "r.db")
    store._db.execute("PRAGMA user_version=99")
    store.close()
    with pytest.raises(StoreTooNew):
        SqliteShelves(tmp_path / "r.db")


def test_a_reader_sees_what_the_writer_takes(tmp_path: Path) -> None:
    writer = SqliteShelves(tmp_path / "r.db")
    reader = SqliteShelves(tmp_path / "r.db", read_only=True)
    take(writer, entry(1))
    assert found(reader) == ids(1)
    with pytest.raises(StoreUnavailable):
        take(reader, entry(2))
    assert (tmp_path / "r.db").stat().st_mode & 0o777 == 0o600
    writer.close()
    reader.close()


# --- erasing ----------------------------------------------------------------------------------------


def test_what_is_left_of_a_record_takes_its_place_and_is_found_by_that_alone(
    store: Shelves, opener: Opener
) -> None:
    full = Stamp(PEOPLE[0], claimed={"project": "apollo"})
    take(store, entry(1, full), entry(2, full), entry(3, Stamp(PEOPLE[1])))
    store.erase(Shelf.REQUESTS, [Lean("id-000001", keys_of(Stamp(PEOPLE[0])), b'{"lean":1}')])
    other = opener()

    def found(*clauses: Clause) -> list[tuple[str, bytes]]:
        rows = other.scan(Shelf.REQUESTS, all_of(*clauses), ALWAYS, None, 10, 5.0).rows
        return [(row.id, row.body) for row in rows]

    assert found(has(keys.claimed("project"))) == [("id-000002", b'{"n":2}')]
    mine = found(has(keys.creator(PEOPLE[0])))
    assert mine == [("id-000002", b'{"n":2}'), ("id-000001", b'{"lean":1}')]
    row = other.get(Shelf.REQUESTS, "id-000001")
    assert row is not None and row.body == b'{"lean":1}'


def test_a_line_that_comes_once_more_does_not_bring_back_what_was_erased(store: Shelves) -> None:
    take(store, entry(1))
    store.erase(Shelf.REQUESTS, [Lean("id-000001", keys_of(Stamp(PEOPLE[0])), b"{}")])
    take(store, entry(1))
    row = store.get(Shelf.REQUESTS, "id-000001")
    assert row is not None and row.body == b"{}"


def test_a_record_that_is_gone_is_not_erased_into_being(store: Shelves) -> None:
    store.erase(Shelf.REQUESTS, [Lean("id-000009", (), b"{}")])
    assert store.get(Shelf.REQUESTS, "id-000009") is None


def test_what_was_said_in_some_requests_is_erased_and_no_other(store: Shelves) -> None:
    store.take([], {}, [Payload(f"p{n}", n, b"x") for n in range(3)])
    assert store.erase_payloads(["p0", "p2", "p7"]) == 2
    assert [store.payload(f"p{n}") for n in range(3)] == [None, b"x", None]
    assert store.erase_payloads([]) == 0


def test_nothing_erased_is_left_in_the_files(tmp_path: Path) -> None:
    store = SqliteShelves(tmp_path / "r.db")
    take(store, entry(1, body=b'{"canary":"apollo-13"}'))
    store.take([], {}, [Payload("id-000001", 1, b"canary-payload" * 1000)])
    store.erase(Shelf.REQUESTS, [Lean("id-000001", keys_of(Stamp(PEOPLE[0])), b"{}")])
    store.erase_payloads(["id-000001"])
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"canary" not in raw
    store.close()


def test_what_came_after_a_place_is_found_alone(store: Shelves) -> None:
    assert store.head(Shelf.REQUESTS) == 0
    take(store, *map(entry, range(1, 6)))
    assert store.head(Shelf.DECISIONS) == 0
    places = {
        row.id: row.seq
        for row in store.scan(Shelf.REQUESTS, EVERYTHING, ALWAYS, None, 9, 60.0).rows
    }
    assert store.head(Shelf.REQUESTS) == max(places.values())
    assert len(set(places.values())) == 5
    third = places["id-000003"]
    rows = store.scan(Shelf.REQUESTS, EVERYTHING, ALWAYS, None, 9, 60.0, third).rows
    assert [row.id for row in rows] == ids(5, 4)
    mine = all_of(has(keys.creator(PEOPLE[0])))
    before = places["id-000005"]
    rows = store.scan(Shelf.REQUESTS, mine, ALWAYS, before, 9, 60.0, third).rows
    assert [row.id for row in rows] == ids(4)
    assert store.scan(Shelf.REQUESTS, mine, ALWAYS, None, 9, 60.0, before).rows == ()
