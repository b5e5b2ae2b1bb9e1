"""`GET /decisions`, `/decisions/{record}`, `/tail` and `/export`: who was allowed what, under which rule.

The same as `requests` for the decision log, under the data type `decisions`. What is shown is the record in the
store; whether the log is whole, the journal tells (`gatewarden log verify`).
"""

from __future__ import annotations

from functools import partial

from authz.scopes import DataType
from proxy.api.records_export import MEDIA, Export, Exporting, exported
from proxy.api.records_listing import listed, people_of
from proxy.api.records_models import DecisionAnswer, DecisionLine, DecisionPage
from proxy.api.records_queries import (
    DecisionNarrow,
    DecisionQuery,
    asked_of,
    decisions_look,
    instant_of,
    window_of,
)
from proxy.api.records_reading import read_one
from proxy.api.records_tail import EVER, Following, tailed
from proxy.api.requests import ACTIONS
from proxy.api.routes import Answer, Call, Route
from proxy.export_forms import DECISIONS


class DecisionTailQuery(Following, DecisionNarrow):
    """The parameters of the tail of decisions."""


class DecisionExportQuery(Exporting, DecisionNarrow):
    """The parameters of an export of decisions."""


_EXPORT = Export(DataType.DECISIONS, "decisions", DECISIONS, DecisionLine.of)


async def list_decisions(call: Call) -> Answer:
    """One page, the last to arrive first."""
    query = call.query_as(DecisionQuery)
    page = await listed(
        call,
        DataType.DECISIONS,
        "decisions",
        said=asked_of(query),
        span=query,
        cursor=query.cursor,
        limit=query.limit,
        look=partial(decisions_look, call, query),
    )
    return Answer(
        DecisionPage(
            data=[DecisionLine.of(line) for line in page.lines],
            next=page.next,
            truncated=page.truncated,
            since=instant_of(page.window.since),
            until=instant_of(page.window.until),
            people=await people_of(call, page.lines),
        )
    )


async def show_decision(call: Call) -> Answer:
    """One decision."""
    record_id = call.path("record")
    line = await read_one(call, DataType.DECISIONS, record_id)
    people = await people_of(call, (line,))
    return Answer(DecisionAnswer(data=DecisionLine.of(line), people=people))


async def tail_decisions(call: Call) -> Answer:
    """Decisions as they arrive."""
    query = call.query_as(DecisionTailQuery)
    look = await decisions_look(call, query, EVER)
    return await tailed(call, DataType.DECISIONS, look, query, DecisionLine.of)


async def export_decisions(call: Call) -> Answer:
    """All of a window, as a file."""
    query = call.query_as(DecisionExportQuery)
    look = await decisions_look(call, query, window_of(query, call.now))
    return await exported(call, _EXPORT, look, query)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/decisions",
        "list_decisions",
        "Decisions, as far as you may read them",
        "records",
        ACTIONS,
        list_decisions,
        DecisionPage,
        filtered=True,
        query=DecisionQuery,
        description="The last to arrive first, of the last 24 hours unless `since` and `until` say otherwise. "
        "Every parameter narrows what your data access rules let you read under `decisions`. A cursor is "
        "bound to you and to the other parameters.",
    ),
    Route(
        "GET",
        "/decisions/tail",
        "tail_decisions",
        "Decisions as they arrive",
        "records",
        ACTIONS,
        tail_decisions,
        DecisionLine,
        filtered=True,
        query=DecisionTailQuery,
        events=True,
        description="Server-sent events `record`, each a decision that you may read by the policy of that "
        "moment. The stream ends after `seconds`, or when the token does; `Last-Event-ID` goes on.",
    ),
    Route(
        "GET",
        "/decisions/export",
        "export_decisions",
        "Decisions as a file, as far as you may read them",
        "records",
        ACTIONS,
        export_decisions,
        DecisionLine,
        filtered=True,
        query=DecisionExportQuery,
        media=tuple(MEDIA.values()),
        description="What the list shows on all its pages, by the policy and your token of the moment of "
        "each piece; the last to arrive first. A file that is whole ends as HTTP says, one that is not breaks "
        "off; `cursor` goes on behind the last row that arrived.",
    ),
    Route(
        "GET",
        "/decisions/{record}",
        "show_decision",
        "One decision",
        "records",
        ACTIONS,
        show_decision,
        DecisionAnswer,
        filtered=True,
        description="That it was read is a decision record of its own, which names it.",
    ),
)
