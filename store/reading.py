"""Reading what is stored: documents as stored and as written, people, sealed secrets, past entries.

Not for the request path, which never waits for the store. A read never returns a secret; `secret` is for
the one place that sends it upstream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from policies.change import Entry, Person
from policies.documents import Document, User, parse
from policies.estate import Stored
from policies.naming import OPAQUE_FAMILIES, Key, split_generation
from policies.resolve import rendered
from policies.secrets import SEALED, origin_of, secrets_of
from policies.upcast import upcast
from store.entries import decode
from store.errors import SealBroken
from store.feed import Feed
from store.port import Store
from store.preparing import secret_aad, stored_of
from store.provenance import Written, written_by
from store.sealed import Sealer


class Reading:
    """The reading half of the change log."""

    def __init__(self, store: Store, feed: Feed, sealer: Sealer) -> None:
        self._store = store
        self._feed = feed
        self._sealer = sealer

    async def document(self, key: Key) -> Stored | None:
        """The document called `key` now: by its plain name, its stored name, or a user's id."""
        found = await self._stored([self.stored_key(key)])
        return found[0] if found else None

    async def all_of(self, keys: Iterable[Key]) -> Mapping[Key, Stored]:
        """The documents called like these now, by the key that was asked: one read for all of them."""
        asked = {key: self.stored_key(key) for key in keys}
        found = {stored.key: stored for stored in await self._stored(set(asked.values()))}
        return {key: found[at] for key, at in asked.items() if at in found}

    def stored_key(self, key: Key) -> Key:
        """The stored key of what is called `key` now; `key` itself when there is nothing."""
        family, name = key
        if family in OPAQUE_FAMILIES or self._feed.names.fact(key) is not None:
            return key
        return (family, self._feed.names.current(family, split_generation(name)[0]) or name)

    async def documents(self, family: str, after: str, limit: int) -> list[Stored]:
        """Documents of a family whose stored name is above `after`, by name, at most `limit`."""
        return [stored_of(raw) for raw in await self._store.page(family, after, limit)]

    async def entries(self, after: int, limit: int) -> list[Entry]:
        """The committed entries after an epoch, oldest first, at most `limit`: as they were written.

        Epochs have no gaps, so `entries(epoch - 1, 1)` is one entry and a page may start anywhere.

        Raises:
            LogDamaged: an entry is not what was hashed. StoreTooNew: a newer version wrote it.
            StoreUnavailable.
        """
        found = await self._store.entries(max(0, after), limit)
        return [decode(raw.epoch, raw.hash, raw.body) for raw in found]

    async def written_by(self, rows: Iterable[str], epoch: int) -> Mapping[str, Written]:
        """The entry that added each of these rows (as text), as of `epoch`. Raises: StoreError."""
        return await written_by(self._store, rows, epoch)

    async def _stored(self, keys: Iterable[Key]) -> list[Stored]:
        return [stored_of(raw) for raw in await self._store.documents(keys)]

    async def person(self, user_id: str) -> Person | None:
        """Who a user id (`u-…`, or `user:u-…`) is; None when erased or unknown."""
        found = await self._store.people([user_id.removeprefix("user:")])
        return found[0] if found else None

    async def person_by_email(self, email: str) -> Person | None:
        """Who has this address now, compared by casefold."""
        found = await self._store.people_by_email([email.casefold()])
        return found[0] if found else None

    async def people_by_email(self, emails: Iterable[str]) -> Mapping[str, Person]:
        """Who has these addresses now, by casefolded address; one read for all of them."""
        found = await self._store.people_by_email({email.casefold() for email in emails})
        return {person.email.casefold(): person for person in found}

    async def people(self, ids: Iterable[str]) -> Mapping[str, Person]:
        """Who these user ids are; erased and unknown ones are left out."""
        wanted = {one.removeprefix("user:") for one in ids}
        return {person.id: person for person in await self._store.people(wanted)}

    async def erase_person(self, user_id: str) -> bool:
        """Forgets who a user id is. The log keeps the id alone."""
        return await self._store.erase_person(user_id.removeprefix("user:"))

    async def render(self, document: Document) -> Document:
        """A stored document as a person writes it: e-mails instead of ids, plain names."""
        mentioned: set[str] = {document.name} if isinstance(document, User) else set()

        def note(user_id: str) -> str | None:
            mentioned.add(user_id)
            return None

        rendered(document, note)
        people = await self.people(mentioned)

        def email(user_id: str) -> str | None:
            person = people.get(user_id)
            return person.email if person is not None else None

        data = rendered(document, email)
        shown = people[document.name].display_name if document.name in people else None
        if isinstance(document, User) and shown is not None:
            data["displayName"] = shown
        return parse(data)

    async def secret(self, reference: str) -> str:
        """The secret behind `secret:<id>`, if the document that it belongs to still holds it.

        Raises:
            SealBroken: it does not belong there, or does not open. StoreUnavailable.
        """
        raw = await self._store.secret(reference.removeprefix(SEALED))
        if raw is None:
            raise SealBroken("there is no such sealed secret")
        key = (raw.family, raw.name)
        found = await self._store.documents([key])
        data = upcast(raw.family, _mapping(found[0].body)) if found else {}
        # INVARIANT: the place comes from the document of now, not from what stands beside the secret.
        if dict(secrets_of(data)).get(raw.field) != f"{SEALED}{raw.id}":
            raise SealBroken("the sealed secret is no longer its document's")
        aad = secret_aad(key, raw.field, origin_of(data))
        return self._sealer.open(raw.blob, aad).decode()


def _mapping(body: bytes) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(body)
    return made
