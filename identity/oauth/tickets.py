"""Codes and refresh tokens: each is taken once, and a second use is known for what it is.

The secret itself says, sealed, which grant it belongs to; the store keeps what it is good for under its
digest until it is taken. So a secret that opens and is no longer there was used before (or is too old), and
whoever finds that out ends the grant (RFC 9700 4.14.2), without a list of used secrets that would have to be
complete.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta

import msgspec

from authz.errors import GatewardenError
from identity.oauth.errors import InvalidGrant, UsedTwice
from identity.ports import Keeps, Seals
from identity.tokens import digest_of

CODE_LIFETIME = timedelta(seconds=60)
REFRESH_LIFETIME = timedelta(days=30)


class Grant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client was given, and by whom. `redirect_uri` and `challenge` bind a code to its request."""

    subject: str
    family: str  # the id of the credential that stands for it
    client: str
    audience: str
    scopes: tuple[str, ...]
    refreshes: bool = True
    epoch: int = 0  # by which it holds
    redirect_uri: str = ""
    challenge: str = ""


class _Inside(msgspec.Struct, frozen=True, array_like=True):
    subject: str
    family: str
    salt: bytes


class Tickets:
    """Secrets of one kind. The issuer is part of the seal: none is good at another gateway."""

    def __init__(
        self, kind: str, lifetime: timedelta, issuer: str, sealer: Seals, state: Keeps
    ) -> None:
        self._prefix = f"gw_{kind}_"
        self._shape = re.compile(rf"gw_{kind}_([0-9a-f]{{2,1024}})\Z")
        self._lifetime = lifetime
        self._space = f"oauth-{kind}"
        self._place = f"oauth|{kind}|{issuer}"
        self._sealer = sealer
        self._state = state

    @classmethod
    def codes(cls, issuer: str, sealer: Seals, state: Keeps) -> Tickets:
        """Authorization codes."""
        return cls("oac", CODE_LIFETIME, issuer, sealer, state)

    @classmethod
    def refresh(cls, issuer: str, sealer: Seals, state: Keeps) -> Tickets:
        """Refresh tokens."""
        return cls("ort", REFRESH_LIFETIME, issuer, sealer, state)

    async def give(self, grant: Grant, now: datetime) -> str:
        """A new secret for a grant; durable when this returns."""
        inside = _Inside(grant.subject, grant.family, secrets.token_bytes(16))
        blob = self._sealer.seal(msgspec.msgpack.encode(inside), self._place)
        secret = self._prefix + blob.hex()
        value = msgspec.json.encode(grant)
        await self._state.put(self._space, digest_of(secret), value, now + self._lifetime)
        return secret

    def mine(self, secret: str) -> bool:
        """Whether a text has the shape of these secrets."""
        return secret.startswith(self._prefix)

    def owner(self, secret: str) -> tuple[str, str]:
        """(subject, family) of a secret of ours, used or not.

        Raises:
            InvalidGrant: it is not ours.
        """
        found = self._shape.match(secret)
        try:
            if found is not None:
                blob = self._sealer.open(bytes.fromhex(found[1]), self._place)
                inside = msgspec.msgpack.decode(blob, type=_Inside)
                return inside.subject, inside.family
        except (GatewardenError, ValueError, msgspec.MsgspecError):
            pass
        raise InvalidGrant("the code or token is unknown, used or expired")

    async def look(self, secret: str, now: datetime) -> Grant:
        """What a secret is good for, without taking it.

        Raises:
            InvalidGrant: not ours. UsedTwice: it was, and is no more.
        """
        subject, family = self.owner(secret)
        value = await self._state.get(self._space, digest_of(secret), now)
        if value is None:
            raise UsedTwice(subject, family)
        return msgspec.json.decode(value, type=Grant)

    async def take(self, secret: str, now: datetime) -> Grant:
        """What a secret is good for, to one caller only.

        Raises:
            InvalidGrant: not ours. UsedTwice: it was, and is no more.
        """
        subject, family = self.owner(secret)
        value = await self._state.take_once(self._space, digest_of(secret), now)
        if value is None:
            raise UsedTwice(subject, family)
        return msgspec.json.decode(value, type=Grant)
