"""`GET /decisions/replay`: recorded decisions, asked again at the epoch of their record.

Each page asks a part of the decisions that the caller may read, and shows those that differ from what policy
gave then.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from authz.scopes import DataType
from proxy.api.asking import inquiries
from proxy.api.people import emails_of
from proxy.api.records_listing import listed
from proxy.api.records_queries import (
    DecisionQuery,
    asked_of,
    decisions_look,
)
from proxy.api.requests import ACTIONS
from proxy.api.routes import Answer, Call, Route
from proxy.log_replay import past_question


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PastDifference(_Out):
    """A record that says something else than policy did."""

    id: str
    at: datetime
    epoch: int
    subject: str
    action: str
    resource: str
    what: str = Field(description="`effect`, `reason`, `digest` or `epoch`: in which respect.")
    recorded: str = Field(description="The effect that the record holds.")
    recorded_reason: str
    recorded_rules: list[str]
    effect: str = Field(description="What policy gave at that epoch; empty if it was not asked.")
    reason: str
    rules: list[str]


class LogReplayPage(_Out):
    """What came of asking a part of the log again."""

    asked: int
    unanswerable: int = Field(description="Of those asked: they hang on what is not recorded.")
    next: str | None = Field(description="The cursor of the next page; null on the last.")
    truncated: bool = Field(description="The search ended early: `next` goes on.")
    people: dict[str, str] = Field(description="E-mails of the user ids whom you may read.")
    data: list[PastDifference]


async def replay_log(call: Call) -> Answer:
    """One page; `limit` is how many records it asks again.

    Raises:
        BadQuery. Unready: there are no records here. StoreUnavailable.
    """
    query = call.query_as(DecisionQuery)
    read = await listed(
        call,
        DataType.DECISIONS,
        "replay",
        said=asked_of(query),
        span=query,
        cursor=query.cursor,
        limit=query.limit,
        look=partial(decisions_look, call, query),
    )
    made = (past_question(line) for line in read.lines)
    questions = [one for one in made if one is not None]
    found = await inquiries(call).replayed(questions)
    people = await emails_of(call, (one.past.question.principal for one in found.differences))
    return Answer(
        LogReplayPage(
            asked=found.asked,
            unanswerable=found.unanswerable,
            next=read.next,
            truncated=read.truncated,
            people=dict(people),
            data=[
                PastDifference(
                    id=one.past.question.id,
                    at=one.past.question.at,
                    epoch=one.past.epoch,
                    subject=one.past.question.principal,
                    action=one.past.question.action,
                    resource=one.past.question.resource,
                    what=one.what,
                    recorded=one.past.question.effect,
                    recorded_reason=one.past.question.reason,
                    recorded_rules=list(one.past.question.rules),
                    effect=one.effect,
                    reason=one.reason,
                    rules=list(one.rules),
                )
                for one in found.differences
            ],
        )
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/decisions/replay",
        "replay_decisions",
        "Recorded decisions, asked again at their epoch",
        "records",
        ACTIONS,
        replay_log,
        LogReplayPage,
        filtered=True,
        query=DecisionQuery,
        description="Of the decisions that you may read, those that differ from what policy gave at the epoch of "
        "their record, so a true log has none; the last to arrive first, `limit` records a page. Parameters as "
        "for `GET /decisions`. On the host `gatewarden log replay` reads the journal itself.",
    ),
)
