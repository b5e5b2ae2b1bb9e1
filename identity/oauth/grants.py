"""What a person or an account gave an MCP client: a credential in the change log, so that it can be taken back.

Its id is `<id of the token that was shown>.<random>`. INVARIANT: it may nothing by itself (its restrictions are
empty) and nobody holds a secret of it; `live` lends it the rights of the token behind it as they are now,
restrictions and team included. So it ends with that token, with the account, by its own end, or by a change
that deletes it, and each of these holds on every replica by the log.

The changes are made by the gateway itself, in the name of the one who showed the token: giving a client less
than one's own token can do takes no right beyond having that token.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from identity.errors import Refusal, Unauthenticated
from identity.issue import Origin, revoke
from identity.oauth.clients import Client
from identity.ports import Committer
from identity.principal import CredentialKind, Principal
from policies.change import Change, Source
from policies.documents import Credential
from policies.errors import Conflict, NotFound

LIFETIME = timedelta(days=90)  # then the person is asked again, however busy the client is
HOST = "host"
_ALPHABET = string.ascii_lowercase + string.digits
_JOINT = "."  # no id of a token has it


class Knows(Protocol):
    """The directory."""

    def recheck(self, principal: Principal, now: datetime) -> Principal: ...
    def credentials_of(self, subject: str) -> tuple[str, ...]: ...


class Grants:
    """Makes, ends and looks up what clients were given."""

    def __init__(self, changes: Committer, directory: Knows) -> None:
        self._changes = changes
        self._directory = directory

    def live(self, subject: str, family: str, now: datetime) -> Principal:
        """The principal behind a grant, as of now. In memory.

        Raises:
            Unauthenticated: the grant, the token behind it, or the account has ended.
        """
        parent, joint, _ = family.partition(_JOINT)
        if not joint:  # a credential of another kind is no grant
            raise Unauthenticated(Refusal.UNKNOWN)
        given = self._directory.recheck(Principal(subject, family, CredentialKind.OAUTH), now)
        if given.credential_kind is not CredentialKind.OAUTH:
            raise Unauthenticated(Refusal.UNKNOWN)
        shown = self._directory.recheck(Principal(subject, parent, CredentialKind.PAT), now)
        return replace(given, token=shown.token, team=shown.team, expires_at=_first(given, shown))

    async def begin(
        self, shown: Principal, client: Client, now: datetime, request_id: str
    ) -> tuple[str, int]:
        """(id, epoch) of a new grant. `shown` is who the token that was shown belongs to.

        Grants of the same owner that have ended are cleared away by the same change.
        """
        ends = now + LIFETIME
        family = shown.credential_id + _JOINT + _random()
        credential = Credential(
            name=family,
            token_kind="oauth",
            subject=shown.id,
            label=f"MCP client: {client.name}",
            digest=secrets.token_hex(32),  # of nothing that anybody holds
            created_at=now,
            created_by=shown.id,
            expires_at=ends if shown.expires_at is None else min(ends, shown.expires_at),
            restrictions=(),
        )
        dead = tuple(("credential", name) for name in self._ended(shown.id, now))
        try:
            epoch = await self._commit(shown, request_id, now, credential, dead)
        except (Conflict, NotFound):
            if not dead:
                raise
            # Somebody else has cleared them away at the same time.
            epoch = await self._commit(shown, request_id, now, credential, ())
        return family, epoch

    async def end(
        self, family: str, now: datetime, request_id: str, *, actor: str = HOST, why: str
    ) -> None:
        """Takes a grant back: nothing that came of it is good any more, here or on another replica."""
        origin = Origin(actor, request_id, Source.HOST if actor == HOST else Source.MANUAL, why)
        try:
            await self._changes.commit(revoke([family], origin), None, now)
        except NotFound:
            return  # it has ended already

    async def _commit(
        self,
        shown: Principal,
        request_id: str,
        now: datetime,
        credential: Credential,
        dead: tuple[tuple[str, str], ...],
    ) -> int:
        change = Change(
            actor=shown.id,
            source=Source.MANUAL,
            request_id=request_id,
            puts=(credential,),
            deletes=dead,
            expect={credential.key: 0},
            comment="consent given to an MCP client",
        )
        return (await self._changes.commit(change, None, now)).epoch

    def _ended(self, subject: str, now: datetime) -> Iterable[str]:
        for name in self._directory.credentials_of(subject):
            if is_grant(name):
                try:
                    self.live(subject, name, now)
                except Unauthenticated:
                    yield name


def is_grant(credential_id: str) -> bool:
    """Whether the id of a credential is that of a grant."""
    return _JOINT in credential_id


def _first(given: Principal, shown: Principal) -> datetime | None:
    ends = [end for end in (given.expires_at, shown.expires_at) if end is not None]
    return min(ends, default=None)


def _random() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(16))
