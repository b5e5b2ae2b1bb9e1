"""`GET /access/who` and `GET /access/can`: who may do something, and what somebody may do, now or then.

Each result is confirmed by a decision, so a list says what a request would meet. All pages of a list are
true at one epoch, which the cursor carries together with the time that conditions read. One's own list is
free; another's takes `decision:ask` on the subject, and `who` takes it on every user and account.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from authz.vocabulary import Action
from proxy.api.access_models import (
    AbilityAnswer,
    CanPage,
    CanQuery,
    HolderAnswer,
    WhoPage,
    WhoQuery,
)
from proxy.api.asking import action_of, inquiries, moment_of, subject_gates, thing
from proxy.api.paging import decode_cursor, encode_cursor
from proxy.api.people import PERSON, emails_of
from proxy.api.problem import BadQuery, Missing
from proxy.api.routes import Answer, Call, Gate, Gates, Route
from proxy.questions import Asked
from store.past import NoSuchMoment

_EVERYBODY = ("any:user", "any:virtualaccount")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: the moment that the whole list is about, and what it goes on after."""

    at: int | datetime | None
    now: datetime | None
    after: tuple[str, ...] = ()


async def who_gates(call: Call) -> Gates:
    """`decision:ask` on every user and every virtual account."""
    return tuple((Gate(Action.DECISION_ASK, group),) for group in _EVERYBODY)


async def who(call: Call) -> Answer:
    """One page of those who may.

    Raises:
        BadQuery. Missing: there was no such thing at that moment. StoreUnavailable.
    """
    query = call.query_as(WhoQuery)
    action = action_of(query.action, BadQuery)
    resource = await thing(call, query.resource, BadQuery)
    listing = _listing("who", action, query.resource, query.at)
    place = _place(call, listing, query.cursor, query.at, 1)
    after = place.after[0] if place.after else ""
    try:
        page = await inquiries(call).who(
            action, resource, at=place.at, now=place.now, after=after, limit=query.limit
        )
    except NoSuchMoment as error:
        raise _no_moment(error) from error
    if not page.known:
        raise Missing(
            f"there is no `{query.resource[:80]}` at epoch {page.epoch}",
            hint="see how it is written: `model:<account>/<model>`, `team:<name>`",
        )
    last = (page.items[-1].subject,) if page.more else None
    named = {text for item in page.items for text in (item.subject, *_chain(item.path))}
    return Answer(
        WhoPage(
            epoch=page.epoch,
            at=page.at,
            next=_next(listing, page.epoch, page.now, last),
            people=dict(await emails_of(call, named)),
            data=[
                HolderAnswer(subject=item.subject, path=item.path, rules=list(item.rules))
                for item in page.items
            ],
        )
    )


async def can_gates(call: Call) -> Gates:
    """`self:read` for oneself, `decision:ask` on anybody else."""
    subject = call.query_as(CanQuery).subject
    asked, asks = await subject_gates(call, subject or None, BadQuery)
    call.kept["asked"] = asked
    return asks


async def can(call: Call) -> Answer:
    """One page of what the subject may do.

    Raises:
        BadQuery, StoreUnavailable.
    """
    query = call.query_as(CanQuery)
    asked = call.kept["asked"]
    assert isinstance(asked, Asked)
    actions = (action_of(query.action, BadQuery),) if query.action else None
    listing = _listing("can", asked.id, asked.token or "", query.action, query.at)
    place = _place(call, listing, query.cursor, query.at, 2)
    after = (place.after[0], place.after[1]) if place.after else ("", "")
    try:
        page = await inquiries(call).can(
            asked, actions=actions, at=place.at, now=place.now, after=after, limit=query.limit
        )
    except NoSuchMoment as error:
        raise _no_moment(error) from error
    engine = call.runtime.changes.engine
    shows = engine.decide(call.principal, Action.DECISION_ASK.value, asked.id, call.context)
    last = (page.items[-1].action, page.items[-1].resource) if page.more else None
    named = {asked.id, *(item.resource for item in page.items)}
    if shows:
        named.update(text for item in page.items for text in _chain(item.path))
    return Answer(
        CanPage(
            epoch=page.epoch,
            at=page.at,
            next=_next(listing, page.epoch, page.now, last),
            people=dict(await emails_of(call, named)),
            subject=asked.id,
            data=[
                AbilityAnswer(
                    action=item.action,
                    resource=item.resource,
                    path=item.path if shows else "",
                    rules=list(item.rules),
                )
                for item in page.items
            ],
        )
    )


def _chain(path: str) -> list[str]:
    return [text for text in path.replace("|", ">").split(" > ") if text.startswith(PERSON)]


# The cursor: `<epoch> <microseconds> <name> …`, bound to the question that it goes on with.


def _listing(*question: str) -> str:
    return hashlib.sha256("\0".join(question).encode()).hexdigest()[:16]


def _place(call: Call, listing: str, cursor: str, at: str, names: int) -> _Place:
    """Where the page begins. Raises: BadQuery."""
    found = decode_cursor(listing, cursor)
    if not found:
        moment = moment_of(at, call.now, BadQuery)
        if moment is None:
            return _Place(None, call.now)
        return _Place(moment, moment if isinstance(moment, datetime) else None)
    parts = found.split(" ")
    try:
        if len(parts) != 2 + names:
            raise ValueError(found)
        epoch, micros = int(parts[0]), int(parts[1])
        now = datetime.fromtimestamp(micros / 1_000_000, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise BadQuery(
            "the parameter `cursor` is not a cursor of this list",
            hint="pass `next` of the page before, unchanged",
        ) from error
    return _Place(epoch, now, tuple(parts[2:]))


def _next(listing: str, epoch: int, now: datetime, last: tuple[str, ...] | None) -> str | None:
    if last is None:
        return None
    micros = round(now.timestamp() * 1_000_000)
    return encode_cursor(listing, " ".join((str(epoch), str(micros), *last)))


def _no_moment(error: NoSuchMoment) -> BadQuery:
    return BadQuery(f"the parameter `at`: {error.message}", hint=error.hint)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/access/who",
        "access_who",
        "Who may do something",
        "questions",
        (Action.DECISION_ASK, Action.USER_READ),
        who,
        WhoPage,
        gates=who_gates,
        query=WhoQuery,
        description="Users and virtual accounts, each confirmed by a decision, ascending by id. With `at`, "
        "those who might then. Takes `decision:ask` on every user and every virtual account.",
    ),
    Route(
        "GET",
        "/access/can",
        "access_can",
        "What somebody may do",
        "questions",
        (Action.SELF_READ, Action.DECISION_ASK, Action.USER_READ),
        can,
        CanPage,
        gates=can_gates,
        query=CanQuery,
        description="Each confirmed by a decision, ascending by action and thing. With `at`, what the "
        "subject might do then. About others it takes `decision:ask` on the subject.",
    ),
)
