"""An MCP client, as it describes itself: a name that nobody checked, and where it may be reached.

Both ways of making oneself known (RFC 7591 registration, client id metadata documents) give the same value.
Clients are public: none has a secret, so none is asked for one. What they say beyond is ignored.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from identity.oauth import redirects
from identity.oauth.errors import InvalidClientMetadata, InvalidRedirectUri
from identity.tokens import redact

MAX_REDIRECTS = 10
MAX_NAME = 80
UNNAMED = "a client without a name"
GRANT_TYPES = ("authorization_code", "refresh_token")
_NO_SECRET = (None, "none")


@dataclass(frozen=True, slots=True)
class Client:
    """A client that may ask. `document`: it is described by the document at the URL that is its id."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    refreshes: bool = True
    document: bool = False

    def takes(self, redirect_uri: str) -> bool:
        """Whether its browser may be sent there."""
        return any(redirects.same(known, redirect_uri) for known in self.redirect_uris)


def described(client_id: str, metadata: Mapping[str, object], *, document: bool = False) -> Client:
    """The client that its metadata describe (RFC 7591 2).

    A registration that wants a secret gets none and is told so; a document cannot be told.

    Raises:
        InvalidRedirectUri, InvalidClientMetadata.
    """
    if document and metadata.get("token_endpoint_auth_method") not in _NO_SECRET:
        raise InvalidClientMetadata(
            "`token_endpoint_auth_method` is not `none`", hint="only public clients are taken"
        )
    grants = _texts(metadata, "grant_types", GRANT_TYPES[:1])
    if GRANT_TYPES[0] not in grants:
        raise InvalidClientMetadata("`grant_types` lacks `authorization_code`")
    if "code" not in _texts(metadata, "response_types", ("code",)):
        raise InvalidClientMetadata("`response_types` lacks `code`")
    uris = _texts(metadata, "redirect_uris", ())
    if not 1 <= len(uris) <= MAX_REDIRECTS:
        raise InvalidRedirectUri(f"`redirect_uris` has not 1 to {MAX_REDIRECTS} entries")
    return Client(
        id=client_id,
        name=cleaned(metadata.get("client_name")),
        redirect_uris=tuple(redirects.check(uri) for uri in uris),
        # Without the field only codes are meant, but clients that forget it refresh all the same.
        refreshes="grant_types" not in metadata or GRANT_TYPES[1] in grants,
        document=document,
    )


def cleaned(name: object) -> str:
    """A client's name as it may be shown: one short line without marks that turn or hide text."""
    if not isinstance(name, str):
        return UNNAMED
    shown = "".join(
        " " if unicodedata.category(char)[0] == "Z" or char in "\t\r\n" else char
        for char in name[: 8 * MAX_NAME]
        if unicodedata.category(char)[0] != "C" or char in "\t\r\n"
    )
    shown = redact(" ".join(shown.split()))
    if len(shown) > MAX_NAME:
        shown = shown[: MAX_NAME - 1].rstrip() + "…"
    return shown or UNNAMED


def stored(client: Client) -> bytes:
    """A client as it is kept."""
    return msgspec.json.encode(client)


def restored(raw: bytes) -> Client:
    """The client that was kept."""
    return msgspec.json.decode(raw, type=Client)


def _texts(metadata: Mapping[str, object], field: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = metadata.get(field)
    if value is None:
        return default
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidClientMetadata(f"`{field}` is not a list of strings")
    return tuple(value)
