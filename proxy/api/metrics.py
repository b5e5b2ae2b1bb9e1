"""`POST /metrics/query`: figures over the requests that the caller may read under `metrics`.

A filter that is exact runs on columns, in a thread of its own; one that lets through too much is walked, and
each record is checked before it counts. Either way nothing is counted that a list under the same rules would
not show, and `truncated` says that time ran out: the figures are then those of the newest records.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from authz.filters import Filter
from authz.scopes import DataType
from authz.vocabulary import Action
from proxy.api.people import emails_of
from proxy.api.problem import BadBody
from proxy.api.records_queries import (
    RequestNarrow,
    WindowQuery,
    instant_of,
    requests_look,
    window_of,
)
from proxy.api.records_reading import Look, Reader, records_of
from proxy.api.routes import Answer, Body, Call, Route
from proxy.middleware.access import record_list
from store.aggregates import Group, Grouping, Totals, percentile, runs_on_columns
from store.aggregating import columns_at
from store.request_records import SECONDS, Row, Shelf, Window
from store.shelving import Place

if TYPE_CHECKING:
    from store.figures import Figures

ACTIONS: Final = (Action.DATA_READ, Action.USER_READ)
PERCENTS: Final = (50, 90, 95, 99)
INTERVALS: Final = {"1m": 60, "5m": 300, "1h": 3600, "6h": 21_600, "1d": 86_400, "7d": 604_800}
_MICROS: Final = 1_000_000
_MOST_INTERVALS: Final = 10_000
_AT_ONCE: Final = 200  # records that are checked without giving way
# One at a time: figures are computed by the interpreter, and two would only wait for each other.
_thread = ThreadPoolExecutor(1, thread_name_prefix="figures")

_Text = Annotated[str, StringConstraints(min_length=1, max_length=128)]
_Named = Literal[
    "account",
    "created_by",
    "error",
    "method",
    "model",
    "outcome",
    "server",
    "status",
    "status_class",
    "team",
    "tool",
]
_Key = Annotated[str, StringConstraints(pattern=r"^(metadata|claimed)\..{1,128}$", max_length=140)]
Sum = Literal["input_tokens", "output_tokens", "cost"]
Duration = Literal["total_ms", "first_byte_ms", "upstream_ms"]


class Where(RequestNarrow):
    """What is counted, in the words of the list of requests."""


class MetricsQuery(BaseModel):
    """What is asked."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[str, Field(max_length=40)] = ""
    until: Annotated[str, Field(max_length=40)] = ""
    group_by: Annotated[
        list[_Named | _Key],
        Field(max_length=4, description="Also `metadata.<key>` (pinned) and `claimed.<key>`."),
    ] = []
    interval: Literal["1m", "5m", "1h", "6h", "1d", "7d"] | None = None
    sums: Annotated[list[Sum], Field(max_length=3)] = ["input_tokens", "output_tokens", "cost"]
    durations: Annotated[list[Duration], Field(max_length=3)] = []
    where: Where = Where()
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000


class Spread(BaseModel):
    """A duration, in milliseconds; above a second it is known to three digits."""

    model_config = ConfigDict(extra="forbid")

    known: int = Field(description="Of how many requests it is known.")
    mean: float
    p50: int
    p90: int
    p95: int
    p99: int


class Point(BaseModel):
    """Figures of one group."""

    model_config = ConfigDict(extra="forbid")

    by: dict[str, str | None] = Field(description="null where a request says nothing.")
    start: datetime | None = Field(description="Of the interval.")
    count: int
    errors: int = Field(description="Status 400 and above, tool errors, and what broke off.")
    error_rate: float
    sums: dict[str, int] = Field(description="`cost` is in 10⁻⁹ US dollars.")
    durations: dict[str, Spread]


class MetricsAnswer(BaseModel):
    """Groups, the intervals in order, in each the largest first."""

    model_config = ConfigDict(extra="forbid")

    data: list[Point]
    left_out: int = Field(description="Groups beyond `limit`, the smallest.")
    truncated: bool = Field(description="The time ran out: only the newest requests are counted.")
    since: datetime
    until: datetime
    people: dict[str, str] = Field(description="E-mails of the user ids whom you may read.")


async def query_metrics(call: Call) -> Answer:
    """Figures by group."""
    body = call.body_as(MetricsQuery)
    if body.where.request is not None or body.where.decision is not None:
        raise BadBody("figures are not about one request", hint="ask `GET /requests` for it")
    window = window_of(WindowQuery(since=body.since, until=body.until), call.now)
    interval = INTERVALS[body.interval] * _MICROS if body.interval else 0
    check_interval(window, interval)
    grouping = Grouping(
        tuple(dict.fromkeys(_stored(name) for name in body.group_by)),
        tuple(dict.fromkeys(("failed", *body.sums))),
        tuple(dict.fromkeys(body.durations)),
        interval,
    )
    look = await requests_look(call, body.where, window)
    totals = await figures(call, look, grouping, body.limit)
    largest = sorted(totals.groups, key=lambda one: (one.start, -one.requests, str(one.by)))
    names = tuple(dict.fromkeys(body.group_by))
    await write_down(call, largest)
    return Answer(
        MetricsAnswer(
            data=[_point(one, names, bool(interval)) for one in largest],
            left_out=totals.left_out,
            truncated=totals.truncated,
            since=instant_of(window.since),
            until=instant_of(window.until),
            people=dict(await emails_of(call, subjects_in(largest))),
        )
    )


def check_interval(window: Window, interval: int) -> None:
    """Raises BadBody if a window has too many intervals."""
    if interval and (window.until - window.since) // interval > _MOST_INTERVALS:
        raise BadBody(
            f"the window has more than {_MOST_INTERVALS} intervals",
            hint="ask for a shorter window, or a longer interval",
        )


async def figures(call: Call, look: Look, grouping: Grouping, most: int | None = None) -> Totals:
    """The figures of what the caller may read of what he looks for; of the `most` largest groups, or of all.

    Raises:
        FilterTooWide, TooManyGroups. Unready. StoreUnavailable.
    """
    reader = Reader(call, DataType.METRICS)
    wanted = reader.scope().narrowed(look.narrow)
    await records_of(call)  # made, if nobody has written any yet
    access = call.runtime.records
    assert access is not None
    if not wanted:
        return Totals([])
    if look.also or not runs_on_columns(wanted):
        return await _walked(call, reader, wanted, look, grouping, most)
    return await asyncio.get_running_loop().run_in_executor(
        _thread, _on_columns, access.place, wanted, look.window, grouping, most
    )


def _on_columns(
    place: Place, wanted: Filter, window: Window, grouping: Grouping, most: int | None
) -> Totals:
    from store.figures import aggregate  # here: it loads numpy, and few processes ever need it

    store = columns_at(place, read_only=True)
    try:
        return aggregate(store, wanted, window, grouping, SECONDS, most)
    finally:
        store.close()


def _none_yet(grouping: Grouping) -> Figures:
    """In a thread, since it loads what figures are added up with."""
    from store.figures import Figures

    return Figures(grouping)


async def _walked(
    call: Call,
    reader: Reader,
    wanted: Filter,
    look: Look,
    grouping: Grouping,
    most: int | None,
) -> Totals:
    found = await asyncio.to_thread(_none_yet, grouping)
    end = time.monotonic() + SECONDS
    before: int | None = None

    def allowed(row: Row) -> bool:
        line: Mapping[str, Any] = msgspec.json.decode(row.body)
        return all(test(line) for test in look.also) and reader.may(line)

    while True:
        left = end - time.monotonic()
        if left <= 0:
            return found.totals(most, truncated=True)
        page = await (await records_of(call)).page(
            Shelf.REQUESTS,
            wanted,
            look.window,
            allowed=allowed,
            before=before,
            limit=_AT_ONCE,
            seconds=left,
        )
        await asyncio.to_thread(found.add, page.rows)
        if page.truncated or page.next is None:
            return found.totals(most, truncated=page.truncated)
        before = page.next


async def write_down(call: Call, groups: Iterable[Group]) -> None:
    """The record of what was shown. Raises: JournalUnavailable."""
    shown = (f"{one.start} {one.requests} {one.by!r}" for one in groups)
    await record_list(call, Action.DATA_READ, f"data:{DataType.METRICS}", shown)


def subjects_in(groups: Iterable[Group]) -> Iterable[str]:
    """The texts of groups that may be subjects."""
    return (text for one in groups for text in one.by if text is not None)


def spread_of(times: Mapping[int, int]) -> Spread | None:
    """A duration's figures; None if it is not known of any request."""
    known = sum(times.values())
    if not known:
        return None
    mean = sum(value * number for value, number in times.items()) / known
    said = {f"p{one}": percentile(times, one) or 0 for one in PERCENTS}
    return Spread(known=known, mean=round(mean, 1), **said)


def _stored(name: str) -> str:
    for shown, space in (("metadata.", "pin:"), ("claimed.", "claim:")):
        if name.startswith(shown):
            return space + name.removeprefix(shown)
    return name


def _point(group: Group, names: Iterable[str], timed: bool) -> Point:
    sums = dict(group.sums)
    errors = sums.pop("failed")
    spreads = ((name, spread_of(times)) for name, times in group.durations.items())
    return Point(
        by=dict(zip(names, group.by, strict=True)),
        start=instant_of(group.start) if timed else None,
        count=group.requests,
        errors=errors,
        error_rate=round(errors / group.requests, 6),
        sums=sums,
        durations={name: one for name, one in spreads if one is not None},
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/metrics/query",
        "query_metrics",
        "Figures over the requests that you may read",
        "records",
        ACTIONS,
        query_metrics,
        MetricsAnswer,
        filtered=True,
        body=Body(model=MetricsQuery, example={"group_by": ["model"], "interval": "1d"}),
        description="Of the last 24 hours unless `since` and `until` say otherwise. Everything in `where` narrows "
        "what your data access rules let you read under `metrics`. A request of several teams counts for each "
        "of them.",
    ),
)
