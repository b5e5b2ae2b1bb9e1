"""`POST /erasures`: a person asks to be forgotten. What goes and what stays: `proxy/erasing.py`.

It takes the two strongest rights there are about people: to delete any user and to write the settings. A user
who is still there is deleted by the same call, a change like any other. Who was asked for stands in the body,
for an address in a path would be written down on its way.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from authz.vocabulary import Action, Kind, make_id
from policies.naming import is_user_id
from proxy.api.changing import carry_out, change_of
from proxy.api.collections import USERS
from proxy.api.find import find
from proxy.api.routes import ANY_TOKEN, Answer, Body, Call, Gate, Gates, Route
from proxy.errors import Unavailable
from proxy.middleware.access import missing

_USERS = f"{Kind.ANY.value}:{Kind.USER.value}"
_SETTINGS = f"{Kind.ANY.value}:{Kind.SETTINGS.value}"


class ErasureBody(BaseModel):
    """Whom to forget."""

    model_config = ConfigDict(extra="forbid")

    person: Annotated[
        str,
        Field(
            min_length=3,
            max_length=254,
            description="The e-mail of a user, or the id `u-…`, also of one who was deleted before.",
        ),
    ]


class ErasureAnswer(BaseModel):
    """What went."""

    model_config = ConfigDict(extra="forbid")

    epoch: int
    subject: str = Field(description="The id that stands in the log: it says nothing any more.")
    deleted: bool = Field(description="Whether the user was there until now.")
    person: bool = Field(description="Whether name and address went now.")
    payloads: int = Field(description="Requests of which what was said went now.")
    asides: int = Field(
        description="Records, in the store and in the journal, that lost what the person typed."
    )
    left: int = Field(
        description="Lines of the journal that still have it; they lose it within days, by themselves."
    )


async def _gates(call: Call) -> Gates:
    return (
        (Gate(Action.USER_DELETE, _USERS),),
        (Gate(Action.SETTINGS_WRITE, _SETTINGS),),
    )


async def erase(call: Call) -> Answer:
    """Deletes the user if need be, and erases what there is."""
    erasing = call.runtime.erasing
    if erasing is None:
        raise Unavailable("nothing can be erased by this process")
    name = call.body_as(ErasureBody).person.removeprefix(f"{Kind.USER.value}:")
    stored = await find(call, USERS, name)
    epoch = None
    if stored is not None:
        name = stored.document.name
        change = change_of(call, deletes=(stored.document.key,), take_over=True, comment="erasure")
        epoch = (await carry_out(call, change)).epoch
    elif not is_user_id(name):
        raise missing(call)
    subject = make_id(Kind.USER, name)
    found = await erasing.erase(subject, call.principal.id, call.now)
    answer = ErasureAnswer(
        epoch=epoch if epoch is not None else call.runtime.changes.engine.epoch,
        subject=subject,
        deleted=stored is not None,
        person=found.person,
        payloads=found.payloads,
        asides=found.asides,
        left=found.left,
    )
    return Answer(answer, epoch=epoch)


ROUTES = (
    Route(
        "POST",
        "/erasures",
        "erase_person",
        "Forget a person: what was said and typed, name and address",
        "users",
        (Action.USER_DELETE, Action.SETTINGS_WRITE),
        erase,
        ErasureAnswer,
        gates=_gates,
        credentials=ANY_TOKEN,
        body=Body(model=ErasureBody, example={"person": "ann@example.com"}),
        mutates=True,
        description="It cannot be taken back. The decision log stays whole and says what was erased and "
        "by whom; `u-…` stands there for the person, and is never given again.",
    ),
)
