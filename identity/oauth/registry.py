"""The clients that are known: registered here (RFC 7591), or described by a document at their own URL.

A registration that was never used ends after a day, a used one when nobody has used it for three months. A
document is read through a port that guards where it goes, and is believed for at most an hour. Nobody
gets a right by being known: what counts is the person who says yes each time.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from authz.errors import GatewardenError
from identity.oauth.clients import Client, described, restored, stored
from identity.oauth.errors import InvalidClient, OAuthError
from identity.ports import Keeps

UNUSED = timedelta(days=1)
IDLE = timedelta(days=90)
MAX_AGE = timedelta(hours=1)
MAX_ID = 512

_CLIENTS = "oauth-client"
_TOUCHED = "oauth-client-used"  # marks registrations whose time was prolonged today
_DOCUMENTS = "oauth-client-document"
_OWN_ID = re.compile(r"mcp-[0-9a-f]{32}\Z")
# A host and a path; no port of one's own choosing, user information, fragment or dot segment.
_URL_ID = re.compile(
    r"https://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?"
    r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})+(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)?\Z",
    re.ASCII,
)
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?:/|\?|\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A client's document, and for how long it says that it holds."""

    body: bytes
    max_age: timedelta | None = None


class ReadsDocuments(Protocol):
    """Reads a document over https (`proxy/oauth/documents.py`)."""

    async def __call__(self, url: str) -> Fetched:
        """Raises GatewardenError: it cannot be read, or is too large."""
        ...


class Clients:
    """Registers and finds clients."""

    def __init__(self, state: Keeps, read: ReadsDocuments) -> None:
        self._state = state
        self._read = read

    async def register(self, metadata: Mapping[str, object], now: datetime) -> Client:
        """A new client.

        Raises:
            InvalidRedirectUri, InvalidClientMetadata.
        """
        client = described(f"mcp-{secrets.token_hex(16)}", metadata)
        await self._state.put(_CLIENTS, client.id, stored(client), now + UNUSED)
        return client

    async def find(self, client_id: str, now: datetime) -> Client:
        """The client with this id.

        Raises:
            InvalidClient: nobody of this id is known, or its document cannot be used.
        """
        if _OWN_ID.match(client_id):
            raw = await self._state.get(_CLIENTS, client_id, now)
            if raw is not None:
                return restored(raw)
        elif is_document(client_id):
            return await self._described(client_id, now)
        raise InvalidClient(
            "the client is not known here, or its registration has ended",
            hint="let the client register again",
        )

    async def knows(self, client_id: str, now: datetime) -> bool:
        """Whether `find` would answer without a request to anybody else."""
        if not is_document(client_id):
            return True
        return await self._state.get(_DOCUMENTS, _key(client_id), now) is not None

    async def used(self, client_id: str, now: datetime) -> None:
        """Prolong a registration that is in use, at most once a day."""
        if not _OWN_ID.match(client_id) or await self._state.get(_TOUCHED, client_id, now):
            return
        raw = await self._state.get(_CLIENTS, client_id, now)
        if raw is not None:
            await self._state.put(_CLIENTS, client_id, raw, now + IDLE)
            await self._state.put(_TOUCHED, client_id, b"1", now + UNUSED)

    async def _described(self, url: str, now: datetime) -> Client:
        raw = await self._state.get(_DOCUMENTS, _key(url), now)
        if raw is not None:
            return restored(raw)
        try:
            fetched = await self._read(url)
            client = described(url, _document(url, fetched.body), document=True)
        except OAuthError as error:
            raise InvalidClient(
                f"the metadata document of the client cannot be used: {error.message}",
                hint=error.hint,
            ) from error
        except GatewardenError as error:
            raise InvalidClient("the metadata document of the client cannot be read") from error
        held = MAX_AGE if fetched.max_age is None else min(fetched.max_age, MAX_AGE)
        if held > timedelta(0):
            await self._state.put(_DOCUMENTS, _key(url), stored(client), now + held)
        return client


def is_document(client_id: str) -> bool:
    """Whether a client id is the URL of a metadata document."""
    if len(client_id) > MAX_ID or not _URL_ID.match(client_id):
        return False
    return _DOTS.search(client_id) is None


def _document(url: str, body: bytes) -> Mapping[str, object]:
    try:
        data = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InvalidClient("it is not a JSON object") from error
    if not isinstance(data, dict):
        raise InvalidClient("it is not a JSON object")
    if data.get("client_id") != url:
        raise InvalidClient("its `client_id` is not the URL that it was read from")
    return data


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
