"""Access tokens: short-lived, sealed, checked in memory; what they stand for is looked up at each request.

`gw_oat_<hex>` holds owner, grant, audience, scopes and end, sealed with the installation's key. The seal says
only that we made it: whether it is still good is asked of the grant (`grants.py`), so that taking back holds
for the next request. Next: `proxy/oauth/` issues them, the MCP endpoints take them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from authz.errors import GatewardenError
from identity.errors import Refusal, Unauthenticated
from identity.oauth.grants import Grants, is_grant
from identity.oauth.resources import covers
from identity.oauth.tickets import Grant
from identity.ports import Seals
from identity.principal import Principal

LIFETIME = timedelta(minutes=10)
PREFIX = "gw_oat_"
_SHAPE = re.compile(rf"{PREFIX}([0-9a-f]{{64,3072}})\Z")


class _Claims(msgspec.Struct, frozen=True, array_like=True):
    subject: str
    family: str
    audience: str
    scopes: tuple[str, ...]
    expires: int  # UTC seconds


class Rechecks(Protocol):
    """The directory."""

    def recheck(self, principal: Principal, now: datetime) -> Principal: ...


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A new access token; the secret is not in `repr`."""

    seconds: int  # how long it holds
    secret: str = field(repr=False)


class OAuthTokens:
    """Issues access tokens and answers whose they are."""

    def __init__(self, issuer: str, sealer: Seals, grants: Grants, directory: Rechecks) -> None:
        self._place = f"oauth|oat|{issuer}"
        self._sealer = sealer
        self.grants = grants
        self._directory = directory

    def issue(self, grant: Grant, now: datetime) -> AccessToken:
        """A new token for a grant; it ends with the grant at the latest.

        Raises:
            Unauthenticated: the grant has ended.
        """
        principal = self.grants.live(grant.subject, grant.family, now)
        ends = now + LIFETIME
        if principal.expires_at is not None:
            ends = min(ends, principal.expires_at)
        seconds = int((ends - now).total_seconds())
        claims = _Claims(
            grant.subject,
            grant.family,
            grant.audience,
            grant.scopes,
            int(now.timestamp()) + seconds,
        )
        blob = self._sealer.seal(msgspec.msgpack.encode(claims), self._place)
        return AccessToken(seconds, PREFIX + blob.hex())

    def authenticate(self, secret: str, path: str, now: datetime) -> Principal:
        """Whose token `secret` is, at the endpoint `path` (`/mcp`, `/mcp/github`, `/mcp/v1/github/mcp`).

        Raises:
            Unauthenticated: malformed, not ours, expired, for another audience, or what it stands for has
                ended.
        """
        claims = self._open(secret)
        if now.timestamp() >= claims.expires:
            raise Unauthenticated(Refusal.EXPIRED)
        if not covers(claims.audience, path):
            raise Unauthenticated(Refusal.UNKNOWN)
        return self.grants.live(claims.subject, claims.family, now)

    def recheck(self, principal: Principal, now: datetime) -> Principal:
        """The same caller as of now, whatever credential it came with: for what is open for long.

        Raises:
            Unauthenticated: the credential or the account has ended since.
        """
        if is_grant(principal.credential_id):
            return self.grants.live(principal.id, principal.credential_id, now)
        return self._directory.recheck(principal, now)

    def family(self, secret: str) -> tuple[str, str]:
        """(subject, grant) of a token of ours, also of one that has ended.

        Raises:
            Unauthenticated: not ours.
        """
        claims = self._open(secret)
        return claims.subject, claims.family

    def _open(self, secret: str) -> _Claims:
        found = _SHAPE.match(secret)
        if found is None:
            raise Unauthenticated(Refusal.MALFORMED)
        try:
            plain = self._sealer.open(bytes.fromhex(found[1]), self._place)
            return msgspec.msgpack.decode(plain, type=_Claims)
        except (GatewardenError, ValueError, msgspec.MsgspecError):
            raise Unauthenticated(Refusal.UNKNOWN) from None


def is_access_token(secret: str) -> bool:
    """Whether a credential has the shape of an access token."""
    return secret.startswith(PREFIX)
