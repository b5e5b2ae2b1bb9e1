"""Figures are what adding up one record after the other comes to, on every store, sealed or not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from authz import keys
from authz.filters import EVERYTHING, NOTHING, Filter, all_of, either, has, lacks
from authz.keys import keys_of, stamp_of
from store import aggregate_columns, scanning
from store.aggregates import (
    ColumnStore,
    Group,
    Grouping,
    NotInColumns,
    TooManyGroups,
    Totals,
    percentile,
    runs_on_columns,
)
from store.figures import Figures, aggregate
from store.mongo_aggregates import MongoColumns
from store.mongo_request_records import MongoShelves
from store.request_records import Entry, Row, Shelf, Shelves, Window
from store.sqlite_aggregates import SqliteColumns
from store.sqlite_request_records import SqliteShelves

ALWAYS = Window(0, 1 << 50)
HOUR = 3_600_000_000
PIECE = 1 << scanning.PIECE_BITS
PEOPLE = [f"user:u-{n}" for n in range(5)] + ["virtualaccount:bot"]
TEAMS = ["team:a", "team:b", "team:c"]


class World(NamedTuple):
    shelves: Shelves
    columns: ColumnStore
    reopened: Callable[[], ColumnStore]


@pytest.fixture(params=["sqlite", "mongo"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    uri = request.getfixturevalue("mongo_uri") if request.param == "mongo" else ""
    file = tmp_path / "r.db"
    shelves: Shelves = MongoShelves.open(uri) if uri else SqliteShelves(file)
    opened: list[ColumnStore] = []

    def reopened() -> ColumnStore:
        opened.append(MongoColumns.open(uri) if uri else SqliteColumns(file))
        return opened[-1]

    yield World(shelves, reopened(), reopened)
    for one in opened:
        one.close()
    shelves.close()


def body(draw: random.Random) -> dict[str, Any]:
    who = draw.choice(PEOPLE)
    made: dict[str, Any] = {
        "type": "request",
        "principal": who,
        "owner_team": draw.choice(TEAMS) if who.startswith("virtual") else "",
        "teams": draw.sample(TEAMS, draw.randint(0, 3)),
        "model": draw.choice(["acme/mini", "acme/large", ""]),
        "server": draw.choice(["", "", "files~1"]),
        "status": draw.choice([200, 200, 200, 404, 500]),
        "outcome": draw.choice(["", "", "result", "tool_error"]),
        "input_tokens": draw.choice([None, 10, 7_000_000_000]),
        "output_tokens": draw.randint(0, 50),
        "total_ms": draw.choice([None, 5, 812, 1234]),
        "pinned": draw.choice([{}, {"region": "emea"}, {"region": "", "env": "prod"}]),
    }
    return {name: value for name, value in made.items() if value not in (None, "")}


def entry(number: int, said: dict[str, Any], claimed: dict[str, str]) -> Entry:
    line = {"body": said, "aside": {"claimed": claimed}}
    stamp = stamp_of(said, line["aside"])
    return Entry(
        *(Shelf.REQUESTS, "w", number, f"r{number}", number * HOUR // 40, keys_of(stamp)),
        msgspec.json.encode(line),
    )


def fill(world: World, count: int, seed: int = 1, claims: int = 2) -> list[Entry]:
    draw = random.Random(seed)
    made = [
        entry(n, body(draw), {f"k{draw.randrange(claims)}": draw.choice("xyz")})
        for n in range(1, count + 1)
    ]
    for some in _parts(made):
        world.shelves.take(some, {"w": (some[-1].wseq, "h")})
    return made


def _parts(made: list[Entry]) -> Iterator[list[Entry]]:
    for start in range(0, len(made), 500):
        yield made[start : start + 500]


def one_by_one(entries: list[Entry], grouping: Grouping) -> dict[Any, Group]:
    """The same, from the words of the definition and with no columns."""
    found: dict[Any, Group] = {}
    for one in entries:
        line = msgspec.json.decode(one.body)
        said = line["body"]
        stamp = stamp_of(said, line["aside"])
        ways: list[tuple[str | None, ...]] = [()]
        for name in grouping.by:
            values: list[str | None]
            if name == "team":
                values = list(stamp.every_team) or [None]
            elif name.startswith("pin:"):
                values = [stamp.pinned.get(name[4:])]
            elif name.startswith("claim:"):
                values = [stamp.claimed.get(name[6:])]
            elif name == "status_class":
                values = [keys.status_class(stamp.status)]
            else:
                values = [str(getattr(stamp, name)) or None]
            ways = [(*way, value) for way in ways for value in values]
        start = one.at // grouping.interval * grouping.interval if grouping.interval else 0
        failed = stamp.status >= 400 or stamp.outcome in ("error", "tool_error")
        for way in ways:
            had = found.get((start, way)) or Group(
                way, start, 0, dict.fromkeys(grouping.sums, 0), {}
            )
            sums = {
                name: had.sums[name] + (int(failed) if name == "failed" else said.get(name) or 0)
                for name in grouping.sums
            }
            durations = {name: dict(times) for name, times in had.durations.items()}
            for name in grouping.durations:
                value = said.get(name)
                if value is not None:
                    times = durations.setdefault(name, {})
                    value = 1230 if value == 1234 else value
                    times[value] = times.get(value, 0) + 1
            found[start, way] = Group(way, start, had.requests + 1, sums, durations)
    return found


FILTERS = [
    EVERYTHING,
    all_of(has(keys.creator(PEOPLE[0]))),
    all_of(has(keys.team("team:a"), keys.owner("team:b"))),
    all_of(has(keys.pinned("region")), lacks(keys.pinned("region", "emea"))),
    all_of(lacks(keys.creator(PEOPLE[1]), keys.team("team:c"))),
    all_of(has(keys.HAS_TEAM), has(keys.plain("status", "4xx"), keys.plain("status", "500"))),
    all_of(has(keys.claimed("k1", "x"))),
    either(
        all_of(has(keys.plain("model", "acme/mini")), lacks(keys.HAS_TEAM)),
        all_of(has(keys.pinned("region", "")), has(keys.plain("server", "files~1"))),
    ),
    all_of(has(keys.plain("tool", "nobody's"))),
]
GROUPINGS = [
    Grouping(),
    Grouping(("model", "team"), durations=("total_ms",), interval=24 * HOUR),
    Grouping(("created_by",), interval=HOUR),
    Grouping(("pin:region", "claim:k0", "status_class"), sums=("failed",)),
    Grouping(("server", "outcome", "status", "pin:never")),
]


@pytest.mark.parametrize("sealed", [False, True])
def test_figures_are_what_adding_up_each_record_comes_to(world: World, sealed: bool) -> None:
    entries = fill(world, 2 * PIECE + 300)
    if sealed:
        assert world.columns.seal() > 0
        assert world.columns.seal() == 0
    window = Window(entries[100].at + 1, entries[-50].at)
    for filter, grouping in itertools.product(FILTERS, GROUPINGS):
        assert runs_on_columns(filter)
        totals = aggregate(world.columns, filter, window, grouping, 60.0)
        assert not totals.truncated
        passing = [
            one
            for one in entries
            if filter.matches(one.keys) and window.since <= one.at < window.until
        ]
        assert {(one.start, one.by): one for one in totals.groups} == one_by_one(passing, grouping)


def test_sealed_pieces_are_read_from_columns_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, 3 * PIECE)
    assert world.columns.seal() >= 1
    fresh = world.reopened()
    read: list[int] = []
    rows = fresh.rows

    def noted(piece: int) -> list[Row]:
        read.append(piece)
        return rows(piece)

    monkeypatch.setattr(fresh, "rows", noted)
    (group,) = aggregate(fresh, EVERYTHING, ALWAYS, Grouping(), 60.0).groups
    assert group.requests == 3 * PIECE
    assert 0 not in read


def test_what_is_forgotten_is_not_counted(world: World) -> None:
    entries = fill(world, 2 * PIECE + 10)
    world.columns.seal()
    world.shelves.forget(Shelf.REQUESTS, entries[1000].at, 200)
    (group,) = aggregate(world.columns, EVERYTHING, ALWAYS, Grouping(), 60.0).groups
    assert group.requests == len(entries) - 1000


def test_metadata_of_more_keys_than_have_columns_counts_the_same(world: World) -> None:
    entries = fill(world, PIECE + 100, claims=300)
    world.columns.seal()
    filter = all_of(has(keys.claimed("k299", "x"), keys.claimed("k7")))
    grouping = Grouping(("claim:k299",))
    groups = aggregate(world.columns, filter, ALWAYS, grouping, 60.0).groups
    passing = [one for one in entries if filter.matches(one.keys)]
    assert {(one.start, one.by): one for one in groups} == one_by_one(passing, grouping)
    assert len(aggregate_columns.build(world.columns.rows(0))) < 100


@pytest.mark.parametrize("by", ["created_by", "team"])
def test_the_largest_groups_are_those_of_all_and_the_rest_is_counted(world: World, by: str) -> None:
    fill(world, PIECE + 300)
    grouping = Grouping((by,), durations=("total_ms",), interval=HOUR)
    every = aggregate(world.columns, EVERYTHING, ALWAYS, grouping, 60.0).groups
    found = aggregate(world.columns, EVERYTHING, ALWAYS, grouping, 60.0, most=20)
    assert found.left_out == len(every) - 20
    counts = sorted((one.requests for one in every), reverse=True)
    assert [one.requests for one in found.groups] == counts[:20]
    assert all(one in every for one in found.groups)


def test_nothing_may_be_read_and_nothing_is_counted(world: World) -> None:
    fill(world, 10)
    assert aggregate(world.columns, NOTHING, ALWAYS, Grouping(), 60.0) == Totals([])


def test_a_deadline_says_that_it_struck(world: World) -> None:
    fill(world, 10)
    clock = map(float, itertools.count()).__next__
    found = aggregate(world.columns, EVERYTHING, ALWAYS, Grouping(), 0.5, clock=clock)
    assert found == Totals([], truncated=True)


def test_what_columns_do_not_hold_is_not_run_on_them(world: World) -> None:
    for filter in (all_of(has(keys.plain("request", "r-1"))), Filter(EVERYTHING.arms, exact=False)):
        assert not runs_on_columns(filter)
        with pytest.raises(NotInColumns):
            aggregate(world.columns, filter, ALWAYS, Grouping(), 60.0)


def test_rows_that_were_checked_one_by_one_are_added_alike() -> None:
    draw = random.Random(4)
    entries = [entry(n, body(draw), {}) for n in range(1, 200)]
    grouping = GROUPINGS[1]
    figures = Figures(grouping)
    for some in (entries[:90], entries[90:], []):
        figures.add([Row(one.wseq, one.id, one.at, one.body) for one in some])
    found = {(one.start, one.by): one for one in figures.totals().groups}
    assert found == one_by_one(entries, grouping)


def test_groups_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.figures.MAX_GROUPS", 3)
    draw = random.Random(4)
    figures = Figures(Grouping(("created_by",)))
    with pytest.raises(TooManyGroups):
        figures.add([Row(n, "", 0, entry(n, body(draw), {}).body) for n in range(99)])


def test_a_percentile_is_the_smallest_that_so_many_do_not_exceed() -> None:
    times = {1: 50, 2: 45, 900: 5}
    assert [percentile(times, one) for one in (50, 95, 96, 100)] == [1, 2, 900, 900]
    assert percentile({}, 50) is None
