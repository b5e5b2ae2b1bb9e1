"""`POST /llm-gateway/metrics/query`: TrueFoundry's question about metrics, where it means the same here.

Data sources are `modelMetrics` and `mcpMetrics`; a request is one row there, whatever attempts it took. What has no
counterpart (other sources, columns, fields, comparisons) is refused by its name and never ignored, since leaving
out a filter would widen the answer. Rights are those of `POST /metrics/query`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from authz import keys
from authz.filters import Clause, has, lacks
from authz.vocabulary import Kind, kind_of, split_id
from proxy.api.asking import thing
from proxy.api.metrics import (
    ACTIONS,
    check_interval,
    figures,
    spread_of,
    subjects_in,
    write_down,
)
from proxy.api.people import emails_of
from proxy.api.problem import BadBody
from proxy.api.records_queries import WindowQuery, instant_of, window_of
from proxy.api.records_reading import Look
from proxy.api.routes import Answer, Body, Call, Route
from store.aggregates import Group, Grouping, joined, percentile

_Name = Annotated[str, StringConstraints(min_length=1, max_length=320)]
_When = Annotated[str, StringConstraints(min_length=1, max_length=40)]
_SOURCE_OF: Final = {"modelMetrics": "model", "mcpMetrics": "server"}
_SUMS: Final = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "costInUSD": "cost",
}
_DURATIONS: Final = {"latencyMs": "total_ms", "timeToFirstTokenMs": "first_byte_ms"}
_NANO: Final = 1_000_000_000
# Their names of groups -> our column and the name in the answer.
_GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "modelName": ("model", "modelName"),
    "userEmail": ("created_by", "createdBySubjectSlug"),
    "virtualaccount": ("created_by", "createdBySubjectSlug"),
    "team": ("team", "team"),
    "mcpServerName": ("server", "mcpServerName"),
    "toolName": ("tool", "toolName"),
    "httpStatusCode": ("status", "httpStatusCode"),
}
_ONLY: Final = {"userEmail": Kind.USER, "virtualaccount": Kind.VIRTUAL_ACCOUNT}
# Their names of filters -> the kind of thing that is named.
_FILTERS: Final[Mapping[str, Kind]] = {
    "modelName": Kind.MODEL,
    "userEmail": Kind.USER,
    "virtualAccount": Kind.VIRTUAL_ACCOUNT,
    "team": Kind.TEAM,
    "mcpServerName": Kind.MCP_SERVER,
    "toolName": Kind.MCP_TOOL,
}
_OPERATORS: Final = {"EQUAL": True, "IN": True, "NOT_EQUAL": False, "NOT_IN": False}
_INTERVAL: Final = re.compile(r"([1-9][0-9]{0,3}) (minute|hour|day)s?\Z")
_UNITS: Final = {"minute": 60, "hour": 3600, "day": 86_400}
_PERCENTILE: Final = re.compile(r"p(50|75|90|95|99)\Z")


class Aggregation(BaseModel):
    """One figure."""

    model_config = ConfigDict(extra="forbid")

    type: Annotated[str, StringConstraints(pattern=r"^(sum|avg|p50|p75|p90|p95|p99)$")]
    column: _Name


class MetadataKey(BaseModel):
    """Grouping by what metadata says."""

    model_config = ConfigDict(extra="forbid")

    metadataKey: _Name


class MetricFilter(BaseModel):
    """One test; exactly one of the two names what is tested."""

    model_config = ConfigDict(extra="forbid")

    fieldName: _Name | None = None
    metadataKey: _Name | None = None
    operator: Literal["EQUAL", "IN", "NOT_EQUAL", "NOT_IN"]
    value: _Name | Annotated[list[_Name], Field(min_length=1, max_length=100)]


class TrueFoundryMetricsQuery(BaseModel):
    """TrueFoundry's body. Fields that are not here are refused by name."""

    model_config = ConfigDict(extra="forbid")

    startTs: _When
    endTs: _When
    datasource: Literal["modelMetrics", "mcpMetrics"]
    type: Literal["distribution", "timeseries"] = "distribution"
    interval: Annotated[str, StringConstraints(max_length=20)] | None = None
    aggregations: Annotated[list[Aggregation], Field(max_length=10)] = []
    groupBy: Annotated[list[_Name | MetadataKey], Field(max_length=4)] = []
    filters: Annotated[list[MetricFilter], Field(max_length=20)] = []


class DataPoints(BaseModel):
    """Groups as they are answered."""

    model_config = ConfigDict(extra="forbid")

    dataPoints: list[dict[str, Any]]


class TrueFoundryMetricsAnswer(BaseModel):
    """Figures, in TrueFoundry's words."""

    model_config = ConfigDict(extra="forbid")

    data: DataPoints
    truncated: bool = Field(description="Only the newest requests are counted.")


async def query(call: Call) -> Answer:
    """Figures by group, in TrueFoundry's words."""
    body = call.body_as(TrueFoundryMetricsQuery)
    window = window_of(WindowQuery(since=body.startTs, until=body.endTs), call.now)
    interval = _interval(body)
    check_interval(window, interval)
    by, names, only = _groups(body)
    source = _SOURCE_OF[body.datasource]
    sums, durations = _columns(body)
    narrow = [
        one for number, test in enumerate(body.filters) for one in await _test(call, number, test)
    ]
    # Requests of the other source have no text in this one's column: by it they are told apart.
    grouping = Grouping((*by, source), sums, durations, interval)
    totals = await figures(call, Look(window, tuple(narrow)), grouping)

    def called(group: Group) -> list[tuple[str | None, ...]]:
        mine = group.by[-1] is not None and all(
            kind_of(said or "") == kind for said, kind in zip(group.by, only, strict=False) if kind
        )
        return [group.by[:-1]] if mine else []

    kept = sorted(
        joined(totals.groups, called), key=lambda one: (one.start, -one.requests, str(one.by))
    )
    await write_down(call, kept)
    people = await emails_of(call, subjects_in(kept))
    step = interval or 0
    points = [_point(body, one, names, people, step) for one in kept]
    return Answer(
        TrueFoundryMetricsAnswer(data=DataPoints(dataPoints=points), truncated=totals.truncated)
    )


def _interval(body: TrueFoundryMetricsQuery) -> int:
    if body.type == "distribution":
        if body.interval is not None:
            raise BadBody("`interval` goes with the type `timeseries`")
        return 0
    found = _INTERVAL.match(body.interval or "")
    if found is None:
        raise BadBody("`interval` is not one", hint='write it as "5 minute", "1 hour" or "1 day"')
    return int(found[1]) * _UNITS[found[2]] * 1_000_000


def _groups(body: TrueFoundryMetricsQuery) -> tuple[list[str], list[str], list[Kind | None]]:
    """Our columns, the names in the answer, and of which kind alone a subject may be."""
    by: list[str] = []
    names: list[str] = []
    only: list[Kind | None] = []
    for number, one in enumerate(body.groupBy):
        if isinstance(one, MetadataKey):
            column, name = f"pin:{one.metadataKey}", one.metadataKey
        elif one in _GROUPS:
            column, name = _GROUPS[one]
        else:
            raise BadBody(
                f"`groupBy.{number}`: `{one[:80]}` has no counterpart here",
                hint=f'{", ".join(_GROUPS)}, {{"metadataKey": …}}',
            )
        if column in by:
            raise BadBody(f"`groupBy.{number}` says the same as one before")
        by.append(column)
        names.append(name)
        only.append(_ONLY.get(one) if isinstance(one, str) else None)
    return by, names, only


def _columns(body: TrueFoundryMetricsQuery) -> tuple[tuple[str, ...], tuple[str, ...]]:
    sums: dict[str, None] = {}
    durations: dict[str, None] = {}
    for number, one in enumerate(body.aggregations):
        if one.type == "sum" and one.column in _SUMS:
            sums[_SUMS[one.column]] = None
        elif one.type != "sum" and one.column in _DURATIONS:
            durations[_DURATIONS[one.column]] = None
        else:
            raise BadBody(
                f"`aggregations.{number}`: `{one.type}` of `{one.column[:80]}` has no counterpart here",
                hint=f"sum of {', '.join(_SUMS)}; avg and percentiles of {', '.join(_DURATIONS)}",
            )
    return tuple(sums), tuple(durations)


async def _test(call: Call, number: int, test: MetricFilter) -> list[Clause]:
    where = f"filters.{number}"
    if (test.fieldName is None) == (test.metadataKey is None):
        raise BadBody(f"`{where}` names not exactly one thing to test")
    several = test.operator in ("IN", "NOT_IN")
    if several != isinstance(test.value, list):
        raise BadBody(f"`{where}.value` must be {'a list of texts' if several else 'a text'}")
    values = test.value if isinstance(test.value, list) else [test.value]
    found: list[str] = []
    present: Clause | None = None
    if test.metadataKey is not None:
        present = has(keys.pinned(test.metadataKey))
        found = [keys.pinned(test.metadataKey, one) for one in values]
    else:
        kind = _FILTERS.get(test.fieldName or "")
        if kind is None:
            raise BadBody(
                f"`{where}`: `{(test.fieldName or '')[:80]}` has no counterpart here",
                hint=f"{', '.join(_FILTERS)}; metadataKey",
            )
        found = [_key(kind, await thing(call, f"{kind}:{one}", BadBody)) for one in values]
        if kind is Kind.TEAM:
            present = has(keys.HAS_TEAM)
    if _OPERATORS[test.operator]:
        return [has(*found)]
    # What says nothing never matches, not even what says "not".
    return [lacks(*found), *([present] if present is not None else [])]


def _key(kind: Kind, found: str) -> str:
    match kind:
        case Kind.USER | Kind.VIRTUAL_ACCOUNT:
            return keys.creator(found)
        case Kind.TEAM:
            return keys.team(found)
        case Kind.MODEL:
            return keys.plain("model", split_id(found)[1])
        case Kind.MCP_SERVER:
            return keys.plain("server", split_id(found)[1])
        case _:
            return keys.plain("tool", split_id(found)[1])


def _point(
    body: TrueFoundryMetricsQuery,
    group: Group,
    names: list[str],
    people: Mapping[str, str],
    interval: int,
) -> dict[str, Any]:
    made: dict[str, Any] = {"total": group.requests}
    for name, said in zip(names, group.by, strict=True):
        made[name] = said
        if name == "createdBySubjectSlug" and said is not None:
            slug = said.partition(":")[2]
            made[name] = people.get(slug, slug)
    for one in body.aggregations:
        column = one.column[0].upper() + one.column[1:]
        made[f"{one.type}{column}"] = _figure(one, group)
    if interval:
        ends: dict[str, datetime] = {
            "startTimestamp": instant_of(group.start),
            "endTimestamp": instant_of(group.start + interval),
        }
        made |= {name: at.isoformat().replace("+00:00", "Z") for name, at in ends.items()}
    return made


def _figure(one: Aggregation, group: Group) -> float | None:
    if one.type == "sum":
        total = group.sums[_SUMS[one.column]]
        return total / _NANO if one.column == "costInUSD" else total
    times = group.durations.get(_DURATIONS[one.column], {})
    if one.type == "avg":
        found = spread_of(times)
        return None if found is None else found.mean
    ranked = _PERCENTILE.match(one.type)
    assert ranked is not None
    return percentile(times, int(ranked[1]))


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/llm-gateway/metrics/query",
        "query_metrics_truefoundry",
        "Figures in the form of TrueFoundry's metrics",
        "records",
        ACTIONS,
        query,
        TrueFoundryMetricsAnswer,
        filtered=True,
        body=Body(
            model=TrueFoundryMetricsQuery,
            example={
                "startTs": "2030-01-30T00:00:00Z",
                "endTs": "2030-01-31T00:00:00Z",
                "datasource": "modelMetrics",
                "groupBy": ["modelName"],
            },
        ),
        description="The same figures as `POST /metrics/query`. What has no counterpart here is refused by its "
        "name.",
    ),
)
