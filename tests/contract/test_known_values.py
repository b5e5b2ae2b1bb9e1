"""`None of these` asked as `one of the others` finds the same, on every store and whatever came when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz import keys
from authz.filters import Arm, Clause, Filter, all_of, either, has, lacks
from authz.keys import Stamp, keys_of
from store import known_values
from store.filters import Numbers, numbered
from store.known_values import CREATORS, name_of, names_in, rewritten, values_in
from store.mongo_request_records import MongoShelves
from store.request_records import Entry, Shelf, Shelves, Window
from store.sqlite_request_records import SqliteShelves

ALWAYS = Window(0, 1 << 50)
NUMBERS = Numbers(b"k" * 32)
REGIONS = ["emea", "apac", "na", "rare"]
PEOPLE = [f"user:u-{n}" for n in range(4)]


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
    return Entry(Shelf.REQUESTS, "w", number, f"id{number}", number, keys_of(stamp), b"{}")


def found(store: Shelves, filter: Filter) -> list[int]:
    return [row.at for row in store.scan(Shelf.REQUESTS, filter, ALWAYS, None, 1000, 60.0).rows]


metadata = st.dictionaries(st.sampled_from(["region", "env", ""]), st.sampled_from(REGIONS))
stamps = st.builds(
    Stamp,
    st.sampled_from([*PEOPLE, ""]),
    teams=st.sets(st.sampled_from(["team:a", "team:b"])).map(tuple),
    pinned=metadata,
    claimed=metadata,
)
values = st.sets(st.sampled_from([*REGIONS, "never"]), max_size=4)


def _pair(said: tuple[str, set[str], bool]) -> list[Clause]:
    name, ruled_out, pinned = said
    make = keys.pinned if pinned else keys.claimed
    return [has(make(name)), lacks(*(make(name, one) for one in ruled_out))]


not_in = st.tuples(st.sampled_from(["region", "env", ""]), values, st.booleans()).map(_pair)
creators = st.sets(st.sampled_from([*PEOPLE, "user:gone", ""]), max_size=6)
not_by = creators.map(lambda ids: [lacks(*map(keys.creator, ids), keys.team("team:b"))])
plain = st.sampled_from(
    [has(keys.creator("")), has(keys.creator(PEOPLE[1])), has(keys.team("team:a")), lacks("x")]
).map(lambda clause: [clause])
arms = st.lists(st.one_of(not_in, not_by, plain), max_size=3).map(
    lambda parts: [clause for part in parts for clause in part]
)
filters = st.lists(arms, max_size=4).map(lambda lists: either(*(all_of(*one) for one in lists)))


@given(st.lists(stamps, max_size=12), filters)
def test_the_filter_that_is_run_lets_the_same_through(records: list[Stamp], wanted: Filter) -> None:
    entries = [entry(n, stamp) for n, stamp in enumerate(records)]
    known = {
        name: frozenset(NUMBERS.of(said))
        for name, said in values_in(entries).items()
        if name in names_in(wanted)
    }
    asked = rewritten(wanted, NUMBERS, known)
    for one in entries:
        had = frozenset(NUMBERS.of(one.keys))
        passes = any(
            all(test.keys.isdisjoint(had) is (test.sense.value == "lacks") for test in arm)
            for arm in asked
        )
        assert passes == wanted.matches(one.keys)


def test_random_filters_find_the_same_while_records_come_and_go(store: Shelves) -> None:
    fresh = iter(range(1, 1 << 30))
    kept: list[Entry] = []

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(stamps, max_size=6), st.lists(filters, min_size=1, max_size=3), st.booleans())
    def check(more: list[Stamp], asked: list[Filter], leave: bool) -> None:
        added = [entry(next(fresh), stamp) for stamp in more]
        store.take(added, {})
        kept.extend(added)
        if leave and len(kept) > 200:
            while store.forget(Shelf.REQUESTS, kept[-100].at):
                pass
            del kept[:-100]
        for wanted in asked:
            expected = [one.at for one in reversed(kept) if wanted.matches(one.keys)]
            assert found(store, wanted) == expected[:1000]

    check()


def test_a_name_with_too_many_values_is_left_alone_for_good(
    store: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite_request_records", "mongo_request_records"):
        monkeypatch.setattr(f"store.{module}.MOST", 3)
    stamps = [Stamp(PEOPLE[0], pinned={"city": f"c{n}", "env": f"e{n % 3}"}) for n in range(9)]
    wanted = all_of(has(keys.pinned("city")), lacks(keys.pinned("city", "c1")))
    for number, stamp in enumerate(stamps, 1):
        store.take([entry(number, stamp)], {})
        expected = [n for n in range(number, 0, -1) if n != 2]
        assert found(store, wanted) == expected
    (asked, _) = store._asked(Shelf.REQUESTS, wanted, 99)  # type: ignore[attr-defined]
    assert asked == numbered(wanted, store._numbers)  # type: ignore[attr-defined]
    other = all_of(has(keys.pinned("env")), lacks(keys.pinned("env", "e0")))
    (asked, _) = store._asked(Shelf.REQUESTS, other, 99)  # type: ignore[attr-defined]
    assert {test.sense.value for arm in asked for test in arm} == {"has"}


def test_what_arrives_after_the_values_were_looked_up_is_for_the_next_look(
    store: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.take([entry(1, Stamp("user:a", pinned={"region": "emea"}))], {})
    wanted = all_of(has(keys.pinned("region")), lacks(keys.pinned("region", "na")))

    def late(*given: object) -> object:
        # Between looking up and looking through come a new value and, after it, a known one.
        store.take([entry(2, Stamp("user:a", pinned={"region": "apac"}))], {})
        store.take([entry(3, Stamp("user:a", pinned={"region": "emea"}))], {})
        return rewritten(*given)  # type: ignore[arg-type]

    for module in ("sqlite_request_records", "mongo_request_records"):
        monkeypatch.setattr(f"store.{module}.rewritten", late)
    assert found(store, wanted) == [1]
    monkeypatch.undo()
    assert found(store, wanted) == [3, 2, 1]


def test_only_what_is_pinned_and_who_made_it_is_known() -> None:
    assert name_of(keys.pinned("a", "b")) == keys.pinned("a")
    assert name_of(keys.creator("user:x")) == CREATORS
    assert [name_of(one) for one in (keys.pinned("a"), keys.claimed("a", "b"), "t:x")] == [None] * 3
    odd = keys.pinned('q"]', '","')
    assert name_of(odd) == keys.pinned('q"]')


def test_where_much_is_left_the_filter_stays_as_it_is() -> None:
    wanted = all_of(lacks(keys.creator("user:1")))
    many = frozenset(NUMBERS.of(keys.creator(f"user:{n}") for n in range(known_values.FEW + 2)))
    assert rewritten(wanted, NUMBERS, {CREATORS: many}) == numbered(wanted, NUMBERS)
    assert rewritten(wanted, NUMBERS, {}) == numbered(wanted, NUMBERS)


def test_where_nothing_is_left_no_query_runs() -> None:
    arm: Arm = frozenset((has(keys.pinned("a")), lacks(keys.pinned("a", "b"))))
    known = {keys.pinned("a"): frozenset(NUMBERS.of([keys.pinned("a", "b")]))}
    assert rewritten(Filter((arm,)), NUMBERS, known) == ()


@pytest.mark.parametrize("number", [1, 7, 1000])
def test_keys_that_hardly_meet_are_found_however_far_apart(mongo_uri: str, number: int) -> None:
    store = MongoShelves.open(mongo_uri)
    stamps = [
        Stamp(
            PEOPLE[n % 2 if n % 1500 else 2],
            teams=("team:a",) if n % 2 or not n % 1500 else ("team:b",),
            pinned={"env": REGIONS[n % 3]},
        )
        for n in range(6001)
    ]
    entries = [entry(n, stamp) for n, stamp in enumerate(stamps, 1)]
    store.take(entries, {})
    both = has(keys.team("team:a"))
    wanted = either(
        all_of(both, has(keys.creator(PEOPLE[0]), keys.creator(PEOPLE[2]))),
        all_of(both, has(keys.pinned("env", "na")), lacks(keys.creator(PEOPLE[1]))),
        all_of(has(keys.team("team:b")), has(keys.creator(PEOPLE[1]))),
    )
    for one in (wanted, Filter(wanted.arms[:1]), Filter(wanted.arms[1:2])):
        expected = [e.at for e in reversed(entries) if one.matches(e.keys)]
        part = store.scan(Shelf.REQUESTS, one, ALWAYS, None, number, 60.0)
        assert [row.at for row in part.rows] == expected[:number]
    store.close()
