"""`GET /export/casbin`: the policy of one moment for a stock Casbin, with model and conditions, in pages.

It shows every grant there is, so it takes what `GET /access/who` takes, and the right to read policy. All
pages are of one epoch. Where each field goes and what a stock Casbin cannot say: `policies/casbin_export.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from authz.vocabulary import Action
from proxy.api.access_models import At
from proxy.api.asking import inquiries, moment_of
from proxy.api.paging import decode_cursor, encode_cursor
from proxy.api.problem import BadQuery
from proxy.api.routes import Answer, Call, Gate, Gates, Route
from store.past import NoSuchMoment

_EVERYBODY = ("any:user", "any:virtualaccount")
_LISTING = "casbin"


class CasbinQuery(BaseModel):
    """Which moment, and which page of it."""

    model_config = ConfigDict(extra="forbid")

    at: At = ""
    cursor: Annotated[
        str,
        Field(
            max_length=512,
            pattern="^[A-Za-z0-9_-]*$",
            description="`next` of the page before, with the same `at`; empty = the first.",
        ),
    ] = ""


class CasbinPage(BaseModel):
    """A piece of each file. Pieces of one field, put together in order, are the file."""

    model_config = ConfigDict(extra="forbid")

    epoch: int = Field(description="All pages are of this entry of the change log.")
    policy_digest: str = Field(description="The digest of all rows after that entry.")
    at: datetime | None = Field(description="When that entry was written.")
    readme: str = Field(description="Of `README.md`.")
    model: str = Field(description="Of `model.conf`.")
    conditions: str = Field(description="Of `conditions.json`: named conditions, and aliases.")
    policy: str = Field(description="Of `policy.csv`: whole lines.")
    next: str | None = Field(description="The cursor of the next page; null on the last.")


async def gates(call: Call) -> Gates:
    """`policy:read` on all policy, and `decision:ask` on every user and every virtual account."""
    asked = tuple((Gate(Action.DECISION_ASK, group),) for group in _EVERYBODY)
    return ((Gate(Action.POLICY_READ, "any:policy"),), *asked)


async def export_casbin(call: Call) -> Answer:
    """One page. People stand there by their e-mail if the caller may read who is who, else by their id.

    Raises:
        BadQuery: no such moment, no such page. StoreUnavailable.
    """
    query = call.query_as(CasbinQuery)
    engine = call.runtime.changes.engine
    people = bool(engine.decide(call.principal, Action.USER_READ.value, "any:user", call.context))
    listing = f"{_LISTING} {query.at} {people:d}"
    at: int | datetime | None
    if found := decode_cursor(listing, query.cursor):
        at, start, stamp = _place(found)
    else:
        at, start, stamp = moment_of(query.at, call.now, BadQuery), 0, ""
    try:
        moment, piece = await inquiries(call).casbin(at=at, people=people, start=start, stamp=stamp)
    except NoSuchMoment as error:
        raise BadQuery(f"the parameter `at`: {error.message}", hint=error.hint) from error
    if start and piece.stamp != stamp:
        raise BadQuery(
            "what the pages before were of is gone", hint="begin again, without `cursor`"
        )
    following = None
    if piece.next is not None:
        following = encode_cursor(listing, f"{moment.epoch} {piece.next} {piece.stamp}")
    return Answer(
        CasbinPage(
            epoch=moment.epoch,
            policy_digest=moment.digest,
            at=moment.at,
            next=following,
            **piece.parts,
        )
    )


def _place(found: str) -> tuple[int, int, str]:
    """Epoch, start and stamp. Raises: BadQuery."""
    try:
        epoch, start, stamp = found.split(" ")
        return int(epoch), max(0, int(start)), stamp
    except ValueError as error:
        raise BadQuery(
            "the parameter `cursor` is not a cursor of this list",
            hint="pass `next` of the page before, unchanged",
        ) from error


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/export/casbin",
        "export_casbin",
        "Policy for a stock Casbin",
        "questions",
        (Action.POLICY_READ, Action.DECISION_ASK, Action.USER_READ),
        export_casbin,
        CasbinPage,
        gates=gates,
        query=CasbinQuery,
        description="Model, policy file and conditions at one epoch, in pages of about a mebibyte: put the "
        "pieces of each field together in order. `gatewarden export --casbin -o DIR` does. With `at`, "
        "policy as it was then. Takes `policy:read` on all policy and `decision:ask` on every user and "
        "every virtual account; people stand by their e-mail for those who may read every user.",
    ),
)
