"""`POST /spans/query`: TrueFoundry's question about spans, answered where it means the same here.

A request here is one span without children: `spanId` is the id of its record, `traceId` that of the request. What has
no counterpart (other span fields, comparisons, patterns, the order oldest first) is refused by its name and
never ignored, since leaving out a filter would widen the answer. What is found is what `GET /requests` finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from authz import keys
from authz.filters import Clause, has, lacks
from authz.scopes import DataType
from authz.vocabulary import Kind, kind_of
from proxy.api.asking import thing
from proxy.api.people import PERSON
from proxy.api.problem import BadBody
from proxy.api.records_listing import listed, people_of
from proxy.api.records_queries import (
    WindowQuery,
    instant_of,
)
from proxy.api.records_reading import Line, Look
from proxy.api.requests import ACTIONS
from proxy.api.routes import Answer, Body, Call, Route
from store.request_records import MAX_LIMIT, Window

_Name = Annotated[str, StringConstraints(min_length=1, max_length=320)]
_Names = Annotated[list[_Name], Field(max_length=100)]
_Value = Annotated[str, StringConstraints(max_length=320)] | _Names | bool | None
_When = Annotated[str, StringConstraints(min_length=1, max_length=40)]
_MODEL: Final = "tfy.request.model_name"
_TEAMS: Final = "tfy.request.created_by_subject_teams"
# Their words for who made a request, and ours.
_KINDS: Final = {"user": Kind.USER, "virtualaccount": Kind.VIRTUAL_ACCOUNT}
_POSITIVE: Final = frozenset({"EQUAL", "IN", "ARRAY_HAS_ANY"})
_NEGATIVE: Final = frozenset({"NOT_EQUAL", "NOT_IN", "ARRAY_HAS_NONE"})


class SpanFilter(BaseModel):
    """One test; exactly one of the three names what is tested."""

    model_config = ConfigDict(extra="forbid")

    spanFieldName: _Name | None = None
    spanAttributeKey: _Name | None = None
    gatewayRequestMetadataKey: _Name | None = None
    operator: _Name
    value: _Value = None


class SpansQuery(BaseModel):
    """TrueFoundry's body. Fields that are not here are refused by name."""

    model_config = ConfigDict(extra="forbid")

    startTime: _When
    endTime: _When | None = Field(default=None, description="Now if absent.")
    dataRoutingDestination: Literal["default"] | None = None
    traceIds: _Names | None = Field(default=None, description="Ids of requests.")
    spanIds: _Names | None = Field(default=None, description="Ids of records.")
    parentSpanIds: Annotated[list[Literal[""]], Field(max_length=1)] | None = Field(
        default=None, description='Only `[""]`: every request is a root.'
    )
    createdBySubjectTypes: (
        Annotated[list[Literal["user", "virtualaccount"]], Field(max_length=2)] | None
    ) = None
    createdBySubjectSlugs: _Names | None = Field(
        default=None, description="E-mails, or names of virtual accounts."
    )
    filters: Annotated[list[SpanFilter], Field(max_length=20)] = []
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 200
    sortDirection: Literal["desc"] = "desc"
    pageToken: Annotated[str, StringConstraints(max_length=512, pattern="^[A-Za-z0-9_-]*$")] = ""
    includeFeedbacks: Literal[False] = False


class Span(BaseModel):
    """One request in TrueFoundry's words."""

    model_config = ConfigDict(extra="forbid")

    spanId: str
    traceId: str
    parentSpanId: str
    spanName: str
    timestamp: datetime
    durationNs: int | None
    statusCode: Literal["Ok", "Error"]
    httpStatusCode: int
    createdBySubject: dict[str, str]
    spanAttributes: dict[str, Any]


class Pagination(BaseModel):
    """Where the next page is."""

    model_config = ConfigDict(extra="forbid")

    nextPageToken: str | None
    limit: int


class SpansAnswer(BaseModel):
    """One page, the last to arrive first."""

    model_config = ConfigDict(extra="forbid")

    data: list[Span]
    pagination: Pagination
    truncated: bool = Field(description="The time for one page ran out; `nextPageToken` goes on.")


async def query_spans(call: Call) -> Answer:
    """One page of requests as spans."""
    body = call.body_as(SpansQuery)
    page = await listed(
        call,
        DataType.TRACES,
        "spans",
        said=body.model_dump(exclude={"pageToken", "limit"}, exclude_none=True),
        span=WindowQuery(since=body.startTime, until=body.endTime or ""),
        cursor=body.pageToken,
        limit=body.limit,
        look=partial(_look, call, body),
    )
    people = await people_of(call, page.lines)
    return Answer(
        SpansAnswer(
            data=[_span(line, people) for line in page.lines],
            pagination=Pagination(nextPageToken=page.next, limit=body.limit),
            truncated=page.truncated,
        )
    )


async def _look(call: Call, body: SpansQuery, window: Window) -> Look:
    narrow: list[Clause] = []
    also: list[Callable[[Line], bool]] = []
    if body.traceIds is not None:
        narrow.append(has(*(keys.plain("request", one) for one in body.traceIds)))
    if body.spanIds is not None:
        wanted = frozenset(body.spanIds)
        also.append(lambda line: line["id"] in wanted)
    if body.createdBySubjectSlugs is not None:
        narrow.append(has(*await _creators(call, body.createdBySubjectSlugs)))
    if body.createdBySubjectTypes is not None:
        also.append(_of_type(frozenset(body.createdBySubjectTypes)))
    for number, test in enumerate(body.filters):
        await _filter(call, f"filters.{number}", test, narrow, also)
    return Look(window, tuple(narrow), tuple(also))


async def _filter(
    call: Call,
    where: str,
    test: SpanFilter,
    narrow: list[Clause],
    also: list[Callable[[Line], bool]],
) -> None:
    """Adds what one test comes to. Raises: BadBody, it means nothing here."""
    names = [test.spanFieldName, test.spanAttributeKey, test.gatewayRequestMetadataKey]
    if sum(name is not None for name in names) != 1:
        raise BadBody(f"`{where}` names not exactly one thing to test")
    if test.gatewayRequestMetadataKey is not None:
        narrow += _metadata(where, test.gatewayRequestMetadataKey, test)
        return
    field = test.spanFieldName or test.spanAttributeKey or ""
    negative = test.operator in _NEGATIVE
    values = _values(where, test)
    match field:
        case "traceId":
            named = [keys.plain("request", one) for one in values]
        case "createdBySubjectSlug":
            named = await _creators(call, values)
        case _ if field == _MODEL:
            named = [keys.plain("model", await _model(call, one)) for one in values]
        case _ if field == _TEAMS:
            named = [
                keys.team(await thing(call, f"{Kind.TEAM}:{one.removeprefix('team:')}", BadBody))
                for one in values
            ]
        case "spanId":
            wanted = frozenset(values)
            also.append(lambda line: (line["id"] in wanted) is not negative)
            return
        case "createdBySubjectType":
            if not set(values) <= _KINDS.keys():
                raise BadBody(f"`{where}.value` is not one of {', '.join(sorted(_KINDS))}")
            kinds = frozenset(_KINDS) - frozenset(values) if negative else frozenset(values)
            also.append(_of_type(kinds))
            return
        case _:
            _unknown(where, field)
    narrow.append(lacks(*named) if negative else has(*named))


def _metadata(where: str, key: str, test: SpanFilter) -> list[Clause]:
    present = has(keys.pinned(key), keys.claimed(key))
    if test.operator == "PRESENT":
        return [present]
    if test.operator == "IS_NULL":
        return [lacks(keys.pinned(key), keys.claimed(key))]
    pairs = [
        make(key, value) for value in _values(where, test) for make in (keys.pinned, keys.claimed)
    ]
    # A missing key never matches, not even what says "not".
    return [present, lacks(*pairs)] if test.operator in _NEGATIVE else [has(*pairs)]


def _values(where: str, test: SpanFilter) -> list[str]:
    if test.operator not in _POSITIVE | _NEGATIVE:
        raise BadBody(
            f"`{where}.operator`: `{test.operator[:40]}` is not supported there",
            hint="EQUAL, NOT_EQUAL, IN, NOT_IN; of teams ARRAY_HAS_ANY, ARRAY_HAS_NONE; of metadata PRESENT, IS_NULL",
        )
    several = test.operator not in ("EQUAL", "NOT_EQUAL")
    if several and isinstance(test.value, list) and test.value:
        return test.value
    if not several and isinstance(test.value, str) and test.value:
        return [test.value]
    raise BadBody(f"`{where}.value` must be {'a list of texts' if several else 'a text'}")


def _unknown(where: str, field: str) -> NoReturn:
    raise BadBody(
        f"`{where}`: `{field[:80]}` has no counterpart here",
        hint="traceId, spanId, createdBySubjectSlug, createdBySubjectType; attributes "
        f"{_MODEL}, {_TEAMS}; gatewayRequestMetadataKey",
    )


async def _creators(call: Call, slugs: Iterable[str]) -> list[str]:
    """Keys of users by e-mail, and of virtual accounts by name."""
    found = []
    for slug in slugs:
        kinds = (Kind.USER,) if "@" in slug else (Kind.VIRTUAL_ACCOUNT, Kind.USER)
        for kind in kinds:
            found.append(keys.creator(await thing(call, f"{kind}:{slug}", BadBody)))
    return found


async def _model(call: Call, name: str) -> str:
    return (await thing(call, f"{Kind.MODEL}:{name}", BadBody)).partition(":")[2]


def _of_type(kinds: frozenset[str]) -> Callable[[Line], bool]:
    return lambda line: kind_of(str(line["body"].get("principal", ""))) in kinds


def _span(line: Line, people: Mapping[str, str]) -> Span:
    body, aside = line["body"], line.get("aside") or {}
    principal = str(body.get("principal", ""))
    kind, _, name = principal.partition(":")
    status, total = int(body.get("status", 0)), body.get("total_ms")
    mcp = bool(body.get("server"))
    attributes: dict[str, Any] = {
        "tfy.span_type": "MCP" if mcp else "Model",
        _MODEL: body.get("model") or None,
        "tfy.request.created_by_subject": principal,
        _TEAMS: list(body.get("teams", ())),
        "tfy.request.metadata": {**(aside.get("claimed") or {}), **body.get("pinned", {})},
        "tfy.error_message": body.get("error") or None,
        "gatewarden.decision": body.get("decision"),
        "gatewarden.input_tokens": body.get("input_tokens"),
        "gatewarden.output_tokens": body.get("output_tokens"),
        "gatewarden.server": body.get("server") or None,
        "gatewarden.tool": body.get("tool") or None,
    }
    return Span(
        spanId=line["id"],
        traceId=str(body.get("request", "")),
        parentSpanId="",
        spanName=str(body.get("tool") or body.get("model") or body.get("route") or ""),
        timestamp=instant_of(int(line["at"])),
        durationNs=None if total is None else int(total) * 1_000_000,
        statusCode="Ok" if status < 400 else "Error",
        httpStatusCode=status,
        createdBySubject={
            "subjectId": principal,
            "subjectType": kind,
            "subjectSlug": people.get(name, name) if principal.startswith(PERSON) else name,
        },
        spanAttributes={name: said for name, said in attributes.items() if said is not None},
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/spans/query",
        "query_spans",
        "Requests in the form of TrueFoundry's spans",
        "records",
        ACTIONS,
        query_spans,
        SpansAnswer,
        filtered=True,
        body=Body(
            model=SpansQuery,
            example={"startTime": "2030-01-30T00:00:00Z", "dataRoutingDestination": "default"},
        ),
        description="The same records as `GET /requests`. A field, an operator or an order that has no "
        "counterpart here is refused by its name; see docs/logs.md.",
    ),
)
