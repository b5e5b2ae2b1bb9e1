"""Who a token is: digest -> principal, in memory. The request path never waits for the database.

The directory applies the same entries as the engine, in the same synchronous step, so a revocation holds
for the next request. It has no cache besides: nothing is written on the request path, nothing ages, an
unknown token is not remembered. Every request checks the credential AND the account behind it.
Next: `store/changes.py` feeds it, `proxy/gateway.py` asks it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any

import msgspec

from authz.vocabulary import Kind, make_id
from identity.errors import Refusal, Unauthenticated
from identity.ports import Snapshot
from identity.principal import CredentialKind, Principal
from identity.tokens import check, digest_key
from policies.change import DocumentChange, Entry
from policies.documents import Credential, Document, User, VirtualAccount, parse

NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})
MAX_MADE = 10_000  # principals kept ready for the callers of now
MAX_TOMBSTONES = 10_000  # only a log line depends on them, so the oldest may go


class _Token(msgspec.Struct, frozen=True, gc=False):
    """A credential, as small as it goes: there is one for each token of 100,000 users."""

    id: str
    subject: str
    kind: CredentialKind
    restricted: bool
    team: str | None
    expires_at: datetime | None


class _Account(msgspec.Struct, frozen=True):
    """What is behind a credential. All active users share one value."""

    suspended: bool = False
    expires_at: datetime | None = None
    bound: str | None = None
    owner_team: str | None = None
    attributes: Mapping[str, str] = NO_ATTRIBUTES


_ACTIVE = _Account()
_SUSPENDED = _Account(suspended=True)


class Directory:
    """An applier of the change log that answers who a token is."""

    def __init__(self) -> None:
        self._tokens: dict[bytes, _Token] = {}  # SHA-256 of the secret, whole (docs/attacks.md A5)
        self._digests: dict[str, bytes] = {}  # credential id -> the same bytes
        self._held: dict[str, tuple[str, ...]] = {}  # subject -> its credential ids, sorted
        self._accounts: dict[str, _Account] = {}  # user:… and virtualaccount:…
        # By credential id, with what it was made from: both are values, and another one means made anew.
        self._made: dict[str, tuple[_Token, _Account, Principal]] = {}
        self._tombstones: dict[
            bytes, None
        ] = {}  # digests of tokens that were deleted, oldest first

    def __len__(self) -> int:
        """How many credentials are known."""
        return len(self._tokens)

    def authenticate(self, secret: str, now: datetime) -> Principal:
        """The principal whose token `secret` is, at the instant `now`.

        Raises:
            Unauthenticated: malformed, unknown, revoked, expired (an instant equal to the expiry is
                expired), or the account behind it is suspended or gone.
        """
        check(secret)
        digest = digest_key(secret)
        token = self._tokens.get(digest)
        if token is None:
            raise Unauthenticated(
                Refusal.REVOKED if digest in self._tombstones else Refusal.UNKNOWN
            )
        return self._principal(token, now)

    def recheck(self, principal: Principal, now: datetime) -> Principal:
        """The same caller as of now, for a stream that is still open (docs/attacks.md K17).

        Raises:
            Unauthenticated: the credential or the account has ended since.
        """
        digest = self._digests.get(principal.credential_id)
        token = self._tokens.get(digest) if digest is not None else None
        if token is None or token.subject != principal.id:
            raise Unauthenticated(Refusal.REVOKED)
        return self._principal(token, now)

    def credentials_of(self, subject: str) -> tuple[str, ...]:
        """The ids of all credentials of a user or virtual account, sorted."""
        return self._held.get(subject, ())

    def load(self, snapshot: Snapshot) -> None:
        """Start over from a snapshot. Built aside, then swapped."""
        fresh = Directory()
        for document in snapshot.documents:
            fresh._put(document)
        self._tokens, self._digests, self._held = fresh._tokens, fresh._digests, fresh._held
        self._accounts, self._tombstones = fresh._accounts, {}

    def apply(self, entry: Entry) -> None:
        """Take over one committed entry. Synchronous: the next request sees it."""
        for change in entry.documents:
            self._apply(change)

    def _principal(self, token: _Token, now: datetime) -> Principal:
        if token.expires_at is not None and now >= token.expires_at:
            raise Unauthenticated(Refusal.EXPIRED)
        account = self._accounts.get(token.subject)
        if account is None:
            raise Unauthenticated(Refusal.REVOKED)
        if account.suspended:
            raise Unauthenticated(Refusal.SUSPENDED)
        if account.expires_at is not None and now >= account.expires_at:
            raise Unauthenticated(Refusal.EXPIRED)
        made = self._made.get(token.id)
        if made is None or made[0] is not token or made[1] is not account:
            if len(self._made) >= MAX_MADE:
                self._made.clear()
            made = self._made[token.id] = (token, account, _principal_of(token, account))
        return made[2]

    def _apply(self, change: DocumentChange) -> None:
        family = change.key[0]
        # A stored name carries its generation (`checkout~2`), so that an id never comes back.
        name = str((change.after or change.before or {}).get("name", change.key[1]))
        if family == "credential":
            # INVARIANT: what was is evicted before what comes is read, so that a document that cannot
            # be read ends the credential instead of leaving the old one valid.
            self._drop_token(name)
            if change.after is not None:
                self._put(parse(change.after))
        elif family == "user":
            subject = make_id(Kind.USER, name)
            if change.after is None:
                self._accounts.pop(subject, None)
            else:
                self._accounts[sys.intern(subject)] = _standing(change.after)
        elif family == "virtual-account":
            self._accounts.pop(make_id(Kind.VIRTUAL_ACCOUNT, name), None)
            if change.after is not None:
                self._put(parse(change.after))

    def _put(self, document: Document) -> None:
        if isinstance(document, Credential):
            digest = bytes.fromhex(document.digest)
            token = self._tokens[digest] = _token(document)
            self._digests[token.id] = digest
            held = self._held.get(token.subject, ())
            self._held[token.subject] = tuple(sorted({*held, token.id})) if held else (token.id,)
            self._tombstones.pop(digest, None)
        elif isinstance(document, User):
            suspended = document.state == "suspended" or bool(document.suspended_by)
            subject = sys.intern(make_id(Kind.USER, document.name))
            self._accounts[subject] = _SUSPENDED if suspended else _ACTIVE
        elif isinstance(document, VirtualAccount):
            subject = sys.intern(make_id(Kind.VIRTUAL_ACCOUNT, document.name))
            self._accounts[subject] = _account(document)

    def _drop_token(self, token_id: str) -> None:
        digest = self._digests.pop(token_id, None)
        if digest is None:
            return
        token = self._tokens.pop(digest, None)
        if token is not None:
            left = tuple(one for one in self._held.get(token.subject, ()) if one != token_id)
            if left:
                self._held[token.subject] = left
            else:
                self._held.pop(token.subject, None)
        self._tombstones[digest] = None
        if len(self._tombstones) > MAX_TOMBSTONES:
            del self._tombstones[next(iter(self._tombstones))]


def account_ends(expiration: date | None) -> datetime | None:
    """The first instant at which an account of that `expiration_date` is expired: the next 00:00 UTC."""
    if expiration is None or expiration == date.max:
        return None
    return datetime.combine(expiration + timedelta(days=1), time(0), UTC)


def _token(document: Credential) -> _Token:
    return _Token(
        id=document.name,
        subject=sys.intern(document.subject),
        kind=CredentialKind(document.token_kind),
        restricted=document.restrictions is not None,
        team=_team(document.team),
        expires_at=_aware(document.expires_at),
    )


def _account(document: VirtualAccount) -> _Account:
    return _Account(
        suspended=document.state == "suspended",
        expires_at=account_ends(document.expiration_date),
        bound=make_id(Kind.BOUND, document.bounded_by) if document.bounded_by else None,
        owner_team=_team(document.owned_by.team if document.owned_by else None),
        attributes=MappingProxyType(dict(document.tags)) if document.tags else NO_ATTRIBUTES,
    )


def _standing(stored: Mapping[str, Any]) -> _Account:
    """The standing of a stored user, read without parsing: a directory sync brings thousands."""
    if stored.get("state", "active") in ("active", "invited") and not stored.get("suspended_by"):
        return _ACTIVE
    return _SUSPENDED


def _team(name: str | None) -> str | None:
    return sys.intern(make_id(Kind.TEAM, name)) if name else None


def _aware(instant: datetime | None) -> datetime | None:
    """An instant without a zone is UTC, never the host's zone."""
    if instant is None or instant.tzinfo is not None:
        return instant
    return instant.replace(tzinfo=UTC)


def _principal_of(token: _Token, account: _Account) -> Principal:
    return Principal(
        id=token.subject,
        credential_id=token.id,
        credential_kind=token.kind,
        bound=account.bound,
        token=f"{Kind.TOKEN.value}:{token.id}" if token.restricted else None,
        team=token.team,
        owner_team=account.owner_team,
        expires_at=_earlier(token.expires_at, account.expires_at),
        attributes=account.attributes,
    )


def _earlier(first: datetime | None, second: datetime | None) -> datetime | None:
    if first is None or second is None:
        return first or second
    return min(first, second)
