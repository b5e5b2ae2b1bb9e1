"""Tokens of virtual accounts that may be read again by those with `virtualaccount:read-token`.

Sealed with the installation's key and bound to the credential's id and digest, so that a blob cannot be
moved to another credential. They lie outside the change log, which keeps everything for ever, and are
erased when their credential ends. Personal tokens are never kept. Whether somebody may read one, and
the record of it, is the caller's business (`proxy/api`).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

from authz.errors import GatewardenError
from identity.errors import UnreadableToken
from identity.issue import Issued
from identity.ports import Keeps, Seals
from identity.tokens import digest_of
from policies.change import Entry
from policies.documents import Credential

_SPACE = "virtual-account-token"
_FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)


class KeptTokens:
    """Seals, keeps and reads back the tokens of virtual accounts."""

    def __init__(self, sealer: Seals, state: Keeps) -> None:
        self._sealer = sealer
        self._state = state

    async def keep(self, issued: Issued) -> None:
        """Keep a new token of a virtual account; call it before the change is committed.

        A blob whose credential was never committed is of no use to anybody: `read` wants the document.

        Raises:
            ValueError: a personal token, which is shown once and never kept.
        """
        credential = issued.credential
        if credential.token_kind != "vat":
            raise ValueError("a personal token is shown once and never kept")
        blob = self._sealer.seal(issued.secret, _bound_to(credential))
        await self._state.put(_SPACE, credential.name, blob, credential.expires_at or _FOR_EVER)

    async def read(self, credential: Credential) -> str:
        """The token of a credential whose document stands; whether it has ended the caller knows.

        Raises:
            UnreadableToken: it was never kept (a personal token), or the sealing key is another one.
        """
        # As of its making: an expired one is refused by the directory, and swept in time.
        blob = await self._state.get(_SPACE, credential.name, credential.created_at)
        if credential.token_kind != "vat" or blob is None:
            raise UnreadableToken(credential.name)
        try:
            secret = self._sealer.open(blob, _bound_to(credential)).decode()
        except (GatewardenError, ValueError) as error:
            raise UnreadableToken(credential.name) from error
        if not hmac.compare_digest(digest_of(secret), credential.digest):
            raise UnreadableToken(credential.name)
        return secret

    async def forget(self, credential_ids: Iterable[str]) -> None:
        """Erase tokens whose credentials ended."""
        for credential_id in credential_ids:
            await self._state.drop(_SPACE, credential_id)


def ended_by(entry: Entry) -> tuple[str, ...]:
    """The ids of the credentials that an entry ended, also with their account."""
    return tuple(
        change.key[1]
        for change in entry.documents
        if change.key[0] == "credential" and change.after is None
    )


def _bound_to(credential: Credential) -> str:
    return f"credential/{credential.name}|token|{credential.digest}"
