"""`GET /decisions`, `/decisions/{record}`, `/tail` and `/export`: who was allowed what, under which rule.

The same as `requests` for the decision log, under the data type `decisions`. What is shown is the record in the
store; whether the log is whole, the journal tells (`gatewarden log verify`).
"""

from __future__ import annotations

from authz.scopes import DataType
from proxy.api.people import emails_of
from proxy.api.records_export import MEDIA, Export, Exporting, exported
from proxy.api.records_models import DecisionAnswer, DecisionLine, DecisionPage, people_in
from proxy.api.records_queries import (
    DecisionNarrow,
    DecisionQuery,
    asked_of,
    cursor_of,
    decisions_look,
    instant_of,
    listing_of,
    place_of,
    window_of,
)
from proxy.api.records_reading import Reader, read_one, read_page, write_down
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
    listing = listing_of(call, "decisions", asked_of(query))
    place = place_of(listing, query.cursor)
    before, window = (None, window_of(query, call.now)) if place is None else place
    look = await decisions_look(call, query, window)
    reader = Reader(call, DataType.DECISIONS)
    found = await read_page(
        call, reader, DataType.DECISIONS, look, before=before, limit=query.limit
    )
    await write_down(call, DataType.DECISIONS, found)
    named = (subject for _, line in found.lines for subject in people_in(line))
    return Answer(
        DecisionPage(
            data=[DecisionLine.of(line) for _, line in found.lines],
            next=cursor_of(listing, window, found.next),
            truncated=found.truncated,
            since=instant_of(window.since),
            until=instant_of(window.until),
            people=dict(await emails_of(call, named)),
        )
    )


async def show_decision(call: Call) -> Answer:
    """One decision."""
    record_id = call.path("record")
    line = await read_one(call, DataType.DECISIONS, record_id)
    people = await emails_of(call, people_in(line))
    return Answer(DecisionAnswer(data=DecisionLine.of(line), people=dict(people)))


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
