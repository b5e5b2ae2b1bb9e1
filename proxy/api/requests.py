"""`GET /requests`, `/requests/{record}`, `/tail` and `/export`: what came of requests, as far as data access rules go.

Any token may ask: the rules decide what it finds, and nobody finds an error where there is nothing for him.
How a list is narrowed: `records_queries`; who may read what: `records_reading`; the tail: `records_tail`;
files: `records_export`.
"""

from __future__ import annotations

from functools import partial

from authz.scopes import DataType
from authz.vocabulary import Action
from proxy.api.records_export import MEDIA, Export, Exporting, exported
from proxy.api.records_listing import listed, people_of
from proxy.api.records_models import RequestAnswer, RequestLine, RequestPage
from proxy.api.records_queries import (
    RecordQuery,
    RequestNarrow,
    RequestQuery,
    asked_of,
    instant_of,
    requests_look,
    window_of,
)
from proxy.api.records_reading import (
    may_see_payload,
    read_one,
    records_of,
)
from proxy.api.records_tail import EVER, Following, tailed
from proxy.api.routes import Answer, Call, Route
from proxy.export_forms import REQUESTS

ACTIONS = (Action.DATA_READ, Action.USER_READ)


class RequestTailQuery(Following, RequestNarrow):
    """The parameters of the tail of requests."""


class RequestExportQuery(Exporting, RequestNarrow):
    """The parameters of an export of requests."""


_EXPORT = Export(DataType.TRACES, "requests", REQUESTS, RequestLine.of)


async def list_requests(call: Call) -> Answer:
    """One page, the last to arrive first."""
    query = call.query_as(RequestQuery)
    page = await listed(
        call,
        DataType.TRACES,
        "requests",
        said=asked_of(query),
        span=query,
        cursor=query.cursor,
        limit=query.limit,
        look=partial(requests_look, call, query),
    )
    return Answer(
        RequestPage(
            data=[RequestLine.of(line) for line in page.lines],
            next=page.next,
            truncated=page.truncated,
            since=instant_of(page.window.since),
            until=instant_of(page.window.until),
            people=await people_of(call, page.lines),
        )
    )


async def show_request(call: Call) -> Answer:
    """One request; with `payload=true` what was said in it, which is a decision of its own."""
    record_id = call.path("record")
    line = await read_one(call, DataType.TRACES, record_id)
    payload: object = None
    if call.query_as(RecordQuery).payload:
        await may_see_payload(call, line)
        sealed = await (await records_of(call)).payload(record_id)
        opens = call.runtime.payloads
        if sealed is not None and opens is not None:
            payload = opens.opened(record_id, sealed)
    people = await people_of(call, (line,))
    return Answer(RequestAnswer(data=RequestLine.of(line), payload=payload, people=people))


async def tail_requests(call: Call) -> Answer:
    """Requests as they arrive."""
    query = call.query_as(RequestTailQuery)
    look = await requests_look(call, query, EVER)
    return await tailed(call, DataType.TRACES, look, query, RequestLine.of)


async def export_requests(call: Call) -> Answer:
    """All of a window, as a file."""
    query = call.query_as(RequestExportQuery)
    look = await requests_look(call, query, window_of(query, call.now))
    return await exported(call, _EXPORT, look, query)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/requests",
        "list_requests",
        "Requests, as far as you may read them",
        "records",
        ACTIONS,
        list_requests,
        RequestPage,
        filtered=True,
        query=RequestQuery,
        description="The last to arrive first, of the last 24 hours unless `since` and `until` say otherwise. "
        "Every parameter narrows what your data access rules let you read under `traces`; who may read "
        "nothing gets an empty list. A page that took too long says `truncated` and goes on at `next`. A "
        "cursor is bound to you and to the other parameters.",
    ),
    Route(
        "GET",
        "/requests/tail",
        "tail_requests",
        "Requests as they arrive",
        "records",
        ACTIONS,
        tail_requests,
        RequestLine,
        filtered=True,
        query=RequestTailQuery,
        events=True,
        description="Server-sent events `record`, each a request that you may read by the policy of that "
        "moment. The stream ends after `seconds`, or when the token does; `Last-Event-ID` goes on.",
    ),
    Route(
        "GET",
        "/requests/export",
        "export_requests",
        "Requests as a file, as far as you may read them",
        "records",
        ACTIONS,
        export_requests,
        RequestLine,
        filtered=True,
        query=RequestExportQuery,
        media=tuple(MEDIA.values()),
        description="What the list shows on all its pages, by the policy and your token of the moment of "
        "each piece; the last to arrive first. A file that is whole ends as HTTP says, one that is not breaks "
        "off; `cursor` goes on behind the last row that arrived.",
    ),
    Route(
        "GET",
        "/requests/{record}",
        "show_request",
        "One request",
        "records",
        ACTIONS,
        show_request,
        RequestAnswer,
        filtered=True,
        query=RecordQuery,
        description="With `payload=true` also what was said in it, for who may read it under `payloads`. That "
        "it was read is a decision record that names it.",
    ),
)
