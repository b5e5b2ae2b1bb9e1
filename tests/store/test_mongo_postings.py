"""Sealed blocks find what the records say, whoever seals, adds, erases or forgets meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from authz import keys
from authz.filters import Filter, all_of, either, has, lacks
from authz.keys import Stamp, keys_of
from store import mongo_postings, mongo_request_records, mongo_rows, mongo_seals
from store.mongo_postings import MongoPostings
from store.mongo_request_records import MongoShelves
from store.request_records import Entry, Lean, Shelf, Window

ALWAYS = Window(0, 1 << 50)
BLOCK = 16
PEOPLE = [f"user:u-{n}" for n in range(3)]
TEAMS = ["team:a", "team:b"]
Slow = Callable[[], None]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few records, looked at in small steps."""
    for name, value in (("BLOCK_BITS", 4), ("PIECE_BITS", 2), ("FEWEST", 3), ("_BLOCKS", (1, 2))):
        monkeypatch.setattr(mongo_postings, name, value)
    for name, value in (("_FIRST", 2), ("_SHORT", 2), ("_LARGEST", 5), ("_WIDE", 3)):
        monkeypatch.setattr(mongo_rows, name, value)


@pytest.fixture
def opener(mongo_uri: str) -> Iterator[Callable[[], MongoShelves]]:
    opened: list[MongoShelves] = []

    def open_one() -> MongoShelves:
        opened.append(MongoShelves.open(mongo_uri))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def store(opener: Callable[[], MongoShelves]) -> MongoShelves:
    return opener()


def entry(number: int, stamp: Stamp, writer: str = "w") -> Entry:
    name = f"{writer}{number}"
    return Entry(Shelf.REQUESTS, writer, number, name, number, keys_of(stamp), b"{}")


def stamp(number: int) -> Stamp:
    """One of a few: each key is that of many, and no two of some ever meet."""
    return Stamp(PEOPLE[number % 3], teams=(TEAMS[number % 2],), pinned={"env": "prod"})


def found(store: MongoShelves, wanted: Filter, limit: int = 1000) -> list[str]:
    return [row.id for row in store.scan(Shelf.REQUESTS, wanted, ALWAYS, None, limit, 60.0).rows]


def both(team: str, who: str) -> Filter:
    return all_of(has(keys.team(team)), has(keys.creator(who)))


def documents(uri: str) -> list[dict[str, Any]]:
    with MongoClient(uri) as client:  # type: MongoClient[dict[str, Any]]
        return list(client.get_default_database()["records_requests_postings"].find())


# --- finding ----------------------------------------------------------------------------------------

stamps = st.builds(
    Stamp,
    st.sampled_from(PEOPLE),
    teams=st.sets(st.sampled_from(TEAMS)).map(tuple),
    pinned=st.dictionaries(st.sampled_from(["env", "app"]), st.sampled_from("xyz")),
)
clauses = st.builds(
    lambda sense, names: sense(*names),
    st.sampled_from([has, has, lacks]),
    st.lists(
        st.sampled_from(
            [
                *map(keys.creator, PEOPLE),
                *map(keys.team, TEAMS),
                *(keys.pinned("env", value) for value in "xyz"),
                keys.pinned("app"),
                "never",
            ]
        ),
        min_size=1,
        max_size=5,
    ),
)
arms = st.lists(clauses, min_size=1, max_size=4)
filters = st.lists(arms, min_size=1, max_size=3).map(
    lambda lists: either(*(all_of(*one) for one in lists))
)


def test_random_filters_find_what_is_there_while_records_come_are_sealed_and_go(
    opener: Callable[[], MongoShelves], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [opener(), opener()]
    fresh = iter(range(1, 1 << 30))
    kept: list[Entry] = []
    said: dict[int, Stamp] = {}
    asked = 0
    meeting = MongoPostings.meeting

    def noted(self: MongoPostings, *given: Any) -> Iterator[int]:
        nonlocal asked
        asked += 1
        return meeting(self, *given)

    monkeypatch.setattr(MongoPostings, "meeting", noted)

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(stamps, max_size=20),
        st.lists(st.tuples(filters, st.sampled_from([1, 3, 1000])), min_size=1, max_size=4),
        st.sampled_from(["", "seal", "seal", "forget", "erase"]),
        st.integers(0, 1 << 20),
    )
    def check(more: list[Stamp], wanted: list[tuple[Filter, int]], what: str, which: int) -> None:
        store = stores[which % 2]
        added = {next(fresh): one for one in more}
        said.update(added)
        kept.extend(entry(number, one) for number, one in added.items())
        store.take(kept[len(kept) - len(added) :], {})
        if what == "seal":
            store.seal(1 + which % 3)
        elif what == "forget" and len(kept) > 90:
            while store.forget(Shelf.REQUESTS, kept[-70].at, 7):
                pass
            del kept[:-70]
        elif what == "erase" and kept:
            place = which % len(kept)
            lean = msgspec.structs.replace(said[kept[place].wseq], pinned={})
            kept[place] = replace(kept[place], keys=keys_of(lean))
            store.erase(Shelf.REQUESTS, [Lean(kept[place].id, kept[place].keys, b"{}")])
        for one, limit in wanted:
            expected = [e.id for e in reversed(kept) if one.matches(e.keys)]
            assert found(store, one, limit) == expected[:limit]

    check()
    assert asked > 10


def test_keys_that_never_meet_cost_no_look_at_their_records(
    store: MongoShelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = [Stamp(PEOPLE[n % 2], teams=(TEAMS[n % 2],)) for n in range(10 * BLOCK)]
    store.take([entry(n, one) for n, one in enumerate(two, 1)], {})
    assert store.seal(99) == 9
    assert store.seal(99) == 0
    looked: list[int] = []
    places = mongo_rows.MongoRows._places

    def noted(self: Any, *given: Any) -> list[int]:
        answer = places(self, *given)
        looked.extend(answer)
        return answer

    monkeypatch.setattr(mongo_rows.MongoRows, "_places", noted)
    assert found(store, both(TEAMS[0], PEOPLE[1])) == []
    assert len(looked) < 3 * BLOCK  # the first look, and what is not sealed yet


def test_a_shelf_of_decisions_is_sealed_too(store: MongoShelves) -> None:
    store.take(
        [replace(entry(n, stamp(n)), shelf=Shelf.DECISIONS) for n in range(1, 3 * BLOCK)], {}
    )
    assert store.seal(9) == 2
    page = store.scan(Shelf.DECISIONS, both(TEAMS[0], PEOPLE[0]), ALWAYS, None, 99, 60.0)
    assert [row.at for row in page.rows] == [n for n in range(3 * BLOCK - 1, 0, -1) if n % 6 == 0]


# --- what happens meanwhile -------------------------------------------------------------------------

MINE = both(TEAMS[0], PEOPLE[0])
LATE = ["slow3", "slow2", "slow1"]


@pytest.fixture
def slow(opener: Callable[[], MongoShelves], monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """A process that has places for three records, and fills them when it is told to."""
    go, waits = threading.Event(), threading.Event()
    insert = mongo_request_records._insert

    def late(kept: Any, said: list[dict[str, Any]]) -> int:
        if said and said[0].get("writer") == "slow":
            waits.set()
            assert go.wait(60)
        return insert(kept, said)

    monkeypatch.setattr(mongo_request_records, "_insert", late)
    store = opener()
    taken = [entry(n, stamp(0), "slow") for n in (1, 2, 3)]
    thread = threading.Thread(target=lambda: store.take(taken, {}))
    thread.start()
    assert waits.wait(60)

    def fill() -> None:
        go.set()
        thread.join(60)

    yield fill
    fill()


def after_reading(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object], dies: bool = False
) -> None:
    """Lets something happen once a sealer has read the oldest block, before it writes; then it may die."""
    bitmaps = MongoPostings._bitmaps

    def read(self: MongoPostings, block: int) -> Iterator[tuple[int, bytes]]:
        found = list(bitmaps(self, block))
        if block == 0:
            monkeypatch.setattr(MongoPostings, "_bitmaps", bitmaps)
            happens()
            yield from found
            if dies:
                raise KeyboardInterrupt
        else:
            yield from found

    monkeypatch.setattr(MongoPostings, "_bitmaps", read)
    monkeypatch.setattr(mongo_seals, "_AT_ONCE", 1)


def filled(store: MongoShelves, blocks: int = 4) -> MongoShelves:
    store.take([entry(n, stamp(n)) for n in range(1, blocks * BLOCK)], {})
    return store


def test_records_that_come_into_a_sealed_block_are_found(
    slow: Slow, opener: Callable[[], MongoShelves]
) -> None:
    quick = filled(opener())
    assert quick.seal(9) == 3
    slow()
    assert found(quick, MINE)[-3:] == LATE
    assert quick.seal(9) == 0  # this process does not know yet; and once more is full:
    quick.take([entry(n, stamp(n), "more") for n in range(1, 2 * BLOCK)], {})
    assert quick.seal(9) == 3
    assert found(quick, MINE)[-3:] == LATE


def test_records_that_come_while_their_block_is_sealed_are_found(
    slow: Slow, opener: Callable[[], MongoShelves], monkeypatch: pytest.MonkeyPatch, mongo_uri: str
) -> None:
    quick = filled(opener())
    after_reading(monkeypatch, slow)
    quick.seal(9)
    assert found(quick, MINE)[-3:] == LATE
    assert not [one for one in documents(mongo_uri) if one["_id"].startswith("000000000000/")]


@pytest.mark.parametrize("dies", [False, True])
def test_what_two_who_seal_a_block_read_at_different_times_does_not_mix(
    opener: Callable[[], MongoShelves],
    monkeypatch: pytest.MonkeyPatch,
    mongo_uri: str,
    dies: bool,
) -> None:
    one, other = filled(opener()), opener()
    changed = keys_of(Stamp(PEOPLE[0], teams=(TEAMS[0],)))

    def change() -> None:
        for n in range(1, BLOCK):
            other.erase(Shelf.REQUESTS, [Lean(f"w{n}", changed, b"{}")])
        assert other.seal(9) == 1

    after_reading(monkeypatch, change, dies)
    if dies:
        with pytest.raises(KeyboardInterrupt):
            one.seal(9)
    else:
        one.seal(9)
        made = [said for said in documents(mongo_uri) if said["_id"].startswith(f"{0:012x}/")]
        assert [set(said) for said in made] == [{"_id", "by", "whole"}]  # what one wrote is gone
    assert found(one, MINE)[-BLOCK:] == [f"w{n}" for n in (18, *range(15, 0, -1))]


def test_who_changes_a_block_seals_it_anew(store: MongoShelves, mongo_uri: str) -> None:
    filled(store)
    assert store.seal(9) == 3
    gone = store._numbers.of([keys.pinned("env", "prod")])[0]
    assert f"{0:012x}/{gone:016x}" in {one["_id"] for one in documents(mongo_uri)}
    for n in range(1, BLOCK):
        store.erase(Shelf.REQUESTS, [Lean(f"w{n}", keys_of(Stamp(PEOPLE[0])), b"{}")])
    assert f"{0:012x}/" not in {one["_id"] for one in documents(mongo_uri)}
    assert store.seal(9) == 1
    assert f"{0:012x}/{gone:016x}" not in {one["_id"] for one in documents(mongo_uri)}


def test_a_block_whose_sealing_broke_off_is_sealed_anew(
    store: MongoShelves, monkeypatch: pytest.MonkeyPatch, mongo_uri: str
) -> None:
    filled(store)
    monkeypatch.setattr(mongo_seals, "_AT_ONCE", 1)
    bitmaps = MongoPostings._bitmaps

    def break_off(self: MongoPostings, block: int) -> Iterator[tuple[int, bytes]]:
        yield next(bitmaps(self, block))
        raise KeyboardInterrupt

    monkeypatch.setattr(MongoPostings, "_bitmaps", break_off)
    with pytest.raises(KeyboardInterrupt):
        store.seal(9)
    expected = [f"w{n}" for n in range(4 * BLOCK - 1, 0, -1) if n % 6 == 0]
    assert found(store, MINE) == expected
    monkeypatch.setattr(MongoPostings, "_bitmaps", bitmaps)
    assert store.seal(9) == 3
    assert found(store, MINE) == expected
    made = documents(mongo_uri)
    assert len({said["by"] for said in made}) == sum("whole" in said for said in made) == 3


def test_what_is_forgotten_leaves_no_block_behind(store: MongoShelves, mongo_uri: str) -> None:
    filled(store)
    store.seal(9)
    while store.forget(Shelf.REQUESTS, 40):
        pass
    assert {one["_id"].partition("/")[0] for one in documents(mongo_uri)} == {"000000000002"}
    assert found(store, MINE) == ["w60", "w54", "w48", "w42"]
