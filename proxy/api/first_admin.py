"""`POST /first-admin`: who holds the host's one-time token becomes the first administrator, once.

The only route that takes no bearer token: nobody has one yet. The one-time token in the body is its
credential, it works while nobody administers, and the change-log entry (source `host`) is its record.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from authz.vocabulary import Action
from identity.errors import InvalidOffer
from identity.first_admin import redeem
from policies.documents import User
from proxy.api.collections import USERS
from proxy.api.find import find
from proxy.api.models import Email, Given
from proxy.api.routes import Answer, Body, Call, Route
from proxy.api.token_models import TokenCreated
from proxy.api.tokens import created_answer


class FirstAdminBody(Given):
    """The one-time token from `<DATA>/first-admin`, and who becomes the administrator."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(repr=False)
    email: Email


async def first_admin(call: Call) -> Answer:
    """Redeem the one-time token.

    Raises:
        InvalidOffer: unknown, used, expired, or no longer needed.
    """
    body = call.body_as(FirstAdminBody)
    changes = call.runtime.changes
    if not call.runtime.first_admin.needed:
        raise InvalidOffer("somebody administers already", hint="ask them for access")
    stored = await find(call, USERS, body.email)
    existing = await changes.render(stored.document) if stored is not None else None
    issued = await redeem(
        call.runtime.first_admin,
        body.token,
        body.email,
        changes=changes,
        now=call.now,
        request_id=call.request_id,
        existing=existing if isinstance(existing, User) else None,
    )
    answer = await created_answer(call, issued, changes.head)
    return Answer(answer, 201, epoch=changes.head)


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/first-admin",
        "first_admin",
        "Become the first administrator with the host's one-time token",
        "tokens",
        (Action.ROLE_ASSIGN,),
        first_admin,
        TokenCreated,
        public=True,
        body=Body(model=FirstAdminBody, example={"token": "gw_otp_…", "email": "root@example.com"}),
        created=True,
        mutates=True,
    ),
)
