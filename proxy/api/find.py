"""Finding the documents behind names in a path or body, and the ids that the gates ask about."""

from __future__ import annotations

from collections.abc import Sequence

from policies.estate import Stored
from policies.naming import id_of, is_user_id
from proxy.api.collections import USERS, Collection
from proxy.api.routes import Call

AT_ONCE = 1000  # names that are looked up in one read


async def find(call: Call, collection: Collection, name: str) -> Stored | None:
    """The stored document that is called `name` now; a user by e-mail or id."""
    return (await find_all(call, [(collection, name)]))[0]


async def find_all(
    call: Call, wanted: Sequence[tuple[Collection, str]]
) -> tuple[Stored | None, ...]:
    """The same for many names, in their order, with one read of the store for each `AT_ONCE`."""
    found: list[Stored | None] = []
    for start in range(0, len(wanted), AT_ONCE):
        found += await _some(call, wanted[start : start + AT_ONCE])
    return tuple(found)


async def _some(call: Call, wanted: Sequence[tuple[Collection, str]]) -> list[Stored | None]:
    changes = call.runtime.changes
    addresses = {name for kind, name in wanted if kind is USERS and not is_user_id(name)}
    people = await changes.people_by_email(addresses) if addresses else {}
    keys: list[tuple[str, str]] = []
    for kind, name in wanted:
        person = people.get(name.casefold()) if kind is USERS else None
        keys.append((kind.family, person.id if person is not None else name))
    stored = await changes.all_of(keys)
    return [
        _exact(kind, name, stored.get(key)) for (kind, name), key in zip(wanted, keys, strict=True)
    ]


def _exact(collection: Collection, name: str, stored: Stored | None) -> Stored | None:
    # A generation (`search~2`) is our own spelling: it names that one only, and not today's.
    exact = collection is USERS or stored is None or "~" not in name or stored.document.name == name
    return stored if exact else None


def resource_of(collection: Collection, stored: Stored | None, name: str) -> str:
    """What the gates ask about: the thing's id, or the id that a missing thing would have."""
    if collection.asked_on:
        return collection.asked_on
    return id_of(stored.document) if stored is not None else collection.resource(name)
