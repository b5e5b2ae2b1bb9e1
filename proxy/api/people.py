"""E-mails of the people whom an answer names by their ids, as far as the caller may read users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from authz.vocabulary import Action, Kind
from proxy.api.routes import Call
from proxy.middleware.access import visible_of

PERSON = f"{Kind.USER.value}:"


async def emails_of(call: Call, things: Iterable[str]) -> Mapping[str, str]:
    """User id (`u-…`) -> e-mail, of those among the ids `things` whom the caller may read.

    The route must name `user:read` among its actions. Somebody deleted or erased has no e-mail.
    """
    people = sorted({thing for thing in things if thing.startswith(PERSON)})
    readable = visible_of(call, Action.USER_READ, people) if people else frozenset()
    known = await call.runtime.changes.people(readable) if readable else {}
    return {user_id: person.email for user_id, person in known.items()}
