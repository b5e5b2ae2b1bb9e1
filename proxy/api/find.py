"""Finding the document behind a name in a path or body, and the id that the gates ask about."""

from __future__ import annotations

from policies.estate import Stored
from policies.naming import id_of, is_user_id
from proxy.api.collections import USERS, Collection
from proxy.api.routes import Call


async def find(call: Call, collection: Collection, name: str) -> Stored | None:
    """The stored document that is called `name` now; a user by e-mail or id."""
    changes = call.runtime.changes
    if collection is not USERS:
        stored = await changes.document((collection.family, name))
        # A generation (`search~2`) is our own spelling: it names that one only, and not today's.
        exact = stored is None or "~" not in name or stored.document.name == name
        return stored if exact else None
    if not is_user_id(name):
        person = await changes.person_by_email(name)
        if person is None:
            return None
        name = person.id
    return await changes.document((USERS.family, name))


def resource_of(collection: Collection, stored: Stored | None, name: str) -> str:
    """What the gates ask about: the thing's id, or the id that a missing thing would have."""
    if collection.asked_on:
        return collection.asked_on
    return id_of(stored.document) if stored is not None else collection.resource(name)
