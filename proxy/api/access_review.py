"""`GET /access-review`: who has what, through what, since when, and granted by whom, at one epoch.

For the review that somebody has to sign: one line for each rule that reaches a person or an account, with the
change that wrote it. All pages are of one epoch, which the cursor carries. It shows every grant there is and
who made it, so it takes what `GET /access/who` takes, and the right to read policy.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from authz.vocabulary import Action
from proxy.access_review import ReviewLine
from proxy.api.access_models import At
from proxy.api.asking import inquiries, moment_of
from proxy.api.paging import PageQuery, decode_cursor, encode_cursor
from proxy.api.people import emails_of
from proxy.api.problem import BadQuery
from proxy.api.routes import Answer, Call, Gate, Gates, Route
from store.past import NoSuchMoment
from store.provenance import Written

_LISTING = "access-review"
_EVERYBODY = ("any:user", "any:virtualaccount")


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReviewQuery(PageQuery):
    """Which moment, and which page of it."""

    at: At = ""
    cursor: Annotated[
        str,
        Field(
            max_length=2048,
            pattern="^[A-Za-z0-9_-]*$",
            description="`next` of the page before, with the same `at`; empty = the first.",
        ),
    ] = ""


class ReviewWritten(_Out):
    """The entry of the change log that wrote something."""

    epoch: int
    at: datetime
    actor: str
    source: str
    comment: str
    revision: str


class ReviewAnswer(_Out):
    """One rule that reaches a subject."""

    subject: str
    effect: str
    action: str = Field(description="An action, or a bundle of actions.")
    resource: str = Field(description="A thing, or a group of things.")
    condition: str = Field(description="What must hold; empty if nothing must.")
    rule: str
    path: list[str] = Field(description="From the subject to whom the rule names.")
    within: str = Field(description="What bounds an account, as `bound:<team>`.")
    since: datetime | None = Field(description="When the subject got it: the later of the two.")
    granted: ReviewWritten | None = Field(description="The change that wrote the rule.")
    joined: ReviewWritten | None = Field(
        description="The last change that wrote a membership on the path; null if there is none."
    )


class ReviewPage(_Out):
    """A page of the review, ascending by subject."""

    epoch: int = Field(description="All pages are of this entry of the change log.")
    at: datetime | None = Field(description="When that entry was written.")
    next: str | None = Field(description="The cursor of the next page; null on the last.")
    people: dict[str, str] = Field(description="E-mails of the user ids whom you may read.")
    data: list[ReviewAnswer]


async def gates(call: Call) -> Gates:
    """`policy:read` on all policy, and `decision:ask` on every user and every virtual account."""
    asked = tuple((Gate(Action.DECISION_ASK, group),) for group in _EVERYBODY)
    return ((Gate(Action.POLICY_READ, "any:policy"),), *asked)


async def access_review(call: Call) -> Answer:
    """One page.

    Raises:
        BadQuery: no such moment, no such page. StoreUnavailable.
    """
    query = call.query_as(ReviewQuery)
    listing = f"{_LISTING} {query.at}"
    at: int | datetime | None
    after = ("", 0)
    if found := decode_cursor(listing, query.cursor):
        at, after = _place(found)
    else:
        at = moment_of(query.at, call.now, BadQuery)
    try:
        moment, lines, following = await inquiries(call).review(
            at=at, after=after, limit=query.limit
        )
    except NoSuchMoment as error:
        raise BadQuery(f"the parameter `at`: {error.message}", hint=error.hint) from error
    cursor = None
    if following is not None:
        subject, given = following
        cursor = encode_cursor(listing, f"{moment.epoch} {given} {subject}")
    named = {text for line in lines for text in (*line.path, *_actors(line))}
    return Answer(
        ReviewPage(
            epoch=moment.epoch,
            at=moment.at,
            next=cursor,
            people=dict(await emails_of(call, named)),
            data=[_answer(line) for line in lines],
        )
    )


def _place(found: str) -> tuple[int, tuple[str, int]]:
    """The epoch, and where its next page begins. Raises: BadQuery."""
    try:
        epoch, given, subject = found.split(" ", 2)
        return int(epoch), (subject, max(0, int(given)))
    except ValueError as error:
        raise BadQuery(
            "the parameter `cursor` is not a cursor of this list",
            hint="pass `next` of the page before, unchanged",
        ) from error


def _actors(line: ReviewLine) -> list[str]:
    return [one.actor for one in (line.granted, line.joined) if one is not None]


def _answer(line: ReviewLine) -> ReviewAnswer:
    since = line.since
    return ReviewAnswer(
        subject=line.subject,
        effect=line.effect,
        action=line.action,
        resource=line.resource,
        condition=line.condition,
        rule=line.rule,
        path=list(line.path),
        within=line.within,
        since=since.at if since is not None else None,
        granted=_written(line.granted),
        joined=_written(line.joined),
    )


def _written(one: Written | None) -> ReviewWritten | None:
    if one is None:
        return None
    return ReviewWritten(
        epoch=one.epoch,
        at=one.at,
        actor=one.actor,
        source=one.source,
        comment=one.comment,
        revision=one.revision,
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/access-review",
        "access_review",
        "Who has what, through what, since when, and granted by whom",
        "questions",
        (Action.POLICY_READ, Action.DECISION_ASK, Action.USER_READ),
        access_review,
        ReviewPage,
        gates=gates,
        query=ReviewQuery,
        description="One line for each rule that reaches a user or a virtual account, also through teams and "
        "roles; what everybody has stands once, under the group of everybody. Ascending by subject, all pages "
        "at one epoch. With `at`, as it was then. Takes `policy:read` on all policy and `decision:ask` on "
        "every user and every virtual account; `gatewarden access-review` writes it as a file.",
    ),
)
