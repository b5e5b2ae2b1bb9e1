"""What issuing, rotating and ending a token comes to: a `Credential` document and a change.

Pure: nothing is committed here and nobody is asked whether he may; that is judged when the change is
committed. The secret of an `Issued` exists only in the answer to the one who asked. Restrictions and
expiry only narrow: a personal token has the user's live rights and never more.
Next: `directory.py` takes the committed change over, `host.py` mints without a network.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from authz.vocabulary import Kind, kind_of
from identity.errors import InvalidTokenRequest
from identity.principal import CredentialKind
from identity.tokens import Minted, mint, redact
from policies.change import Change, Source
from policies.documents import Credential, Restriction

MAX_GRACE = timedelta(days=365)

_KIND_OF = {
    Kind.USER.value: CredentialKind.PAT,
    Kind.VIRTUAL_ACCOUNT.value: CredentialKind.VAT,
}
_SUBJECT = re.compile(r"[a-z]+:[^\s\x00-\x1f\x7f\ud800-\udfff]{1,254}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks, and by which request: what a change is recorded with."""

    actor: str  # user:u-…, virtualaccount:…, or host
    request_id: str
    source: Source = Source.MANUAL
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token and the change that makes it valid. The secret is not in `repr`."""

    change: Change
    credential: Credential
    secret: str = field(repr=False)


def credential_document(
    minted: Minted,
    subject: str,
    *,
    now: datetime,
    created_by: str,
    label: str = "",
    expires_at: datetime | None = None,
    team: str | None = None,
    restrictions: Collection[Restriction] | None = None,
) -> Credential:
    """The document of a minted token. Its kind follows from the subject.

    Raises:
        InvalidTokenRequest: the subject can hold no token, or the expiry is not in the future.
    """
    if expires_at is not None:
        if expires_at.tzinfo is None:
            raise InvalidTokenRequest(
                "the expiry has no time zone", hint="write it as 2030-01-31T00:00:00Z"
            )
        if expires_at <= now:
            raise InvalidTokenRequest(
                f"the expiry `{expires_at.isoformat()}` is not in the future",
                hint="leave it out for a token without an end",
            )
    fields = {
        "name": minted.id,
        "token_kind": kind_for(subject).value,
        "subject": subject,
        "label": label,
        "digest": minted.digest,
        "created_at": now,
        "created_by": created_by,
        "expires_at": expires_at,
        "team": team,
        "restrictions": None if restrictions is None else tuple(restrictions),
    }
    # Absent is not empty: an unset field is left out, an empty list of restrictions is kept.
    return Credential.model_validate({k: v for k, v in fields.items() if v is not None})


def kind_for(subject: str) -> CredentialKind:
    """Which kind of token a subject holds. A user may be named by e-mail (`user:ann@acme.org`).

    Raises:
        InvalidTokenRequest: neither a user nor a virtual account.
    """
    kind = _KIND_OF.get(kind_of(subject)) if _SUBJECT.fullmatch(subject) else None
    if kind is None:
        raise InvalidTokenRequest(
            f"`{redact(subject)[:80]}` cannot hold a token",
            hint="name `user:<e-mail>` or `virtualaccount:<name>`",
        )
    return kind


def issue(
    subject: str,
    origin: Origin,
    *,
    now: datetime,
    label: str = "",
    expires_at: datetime | None = None,
    team: str | None = None,
    restrictions: Collection[Restriction] | None = None,
) -> Issued:
    """A new token for a subject: one's own, for another user, or the first of a virtual account.

    Raises:
        InvalidTokenRequest: see `credential_document`.
    """
    minted = mint(kind_for(subject))
    credential = credential_document(
        minted,
        subject,
        now=now,
        created_by=origin.actor,
        label=label,
        expires_at=expires_at,
        team=team,
        restrictions=restrictions,
    )
    # The id is random: if it exists already, then something is very wrong, and the commit refuses.
    change = _change(origin, puts=(credential,), expect={credential.key: 0})
    return Issued(change, credential, minted.secret)


def regenerate(
    account: str,
    current: Sequence[Credential],
    origin: Origin,
    *,
    now: datetime,
    grace: timedelta,
    versions: Mapping[tuple[str, str], int] | None = None,
) -> Issued:
    """A new token of a virtual account; the current ones end `grace` from now (0 = at once).

    The new one keeps label, team and restrictions of the newest current one (a rotation must not widen
    a narrowed token). An old one that ends sooner anyway keeps its end. `versions` are the versions of
    the current documents, so that two rotations at once conflict instead of leaving two new tokens.

    Raises:
        InvalidTokenRequest: the grace is negative or over a year, or a credential is not the account's.
    """
    if not timedelta(0) <= grace <= MAX_GRACE:
        raise InvalidTokenRequest(
            "the grace period is out of range",
            hint=f"0 to {MAX_GRACE.days} days; 0 ends it at once",
        )
    if any(credential.subject != account for credential in current):
        raise InvalidTokenRequest("a token of another account was named")
    newest = max(current, key=lambda credential: credential.created_at, default=None)
    issued = issue(
        account,
        origin,
        now=now,
        label=newest.label if newest else "",
        team=newest.team if newest else None,
        restrictions=newest.restrictions if newest else None,
    )
    ending = tuple(
        old.model_copy(update={"expires_at": now + grace})
        for old in current
        if old.expires_at is None or old.expires_at > now + grace
    )
    expect = {**issued.change.expect, **(versions or {})}
    change = _change(origin, puts=(issued.credential, *ending), expect=expect)
    return Issued(change, issued.credential, issued.secret)


def revoke(credential_ids: Iterable[str], origin: Origin) -> Change:
    """End tokens at once: one of them, or all of a subject (`Directory.credentials_of`).

    The documents are deleted; the log keeps whose they were, so that records still resolve.
    """
    return _change(origin, deletes=tuple(("credential", name) for name in credential_ids))


def user_subject(name: str) -> str:
    """The subject of a user by id (`u-…`) or e-mail, as a document names it; not checked."""
    return f"{Kind.USER.value}:{name}"


def account_subject(name: str) -> str:
    """The subject of a virtual account, as a document names it; not checked."""
    return f"{Kind.VIRTUAL_ACCOUNT.value}:{name}"


def _change(
    origin: Origin,
    *,
    puts: tuple[Credential, ...] = (),
    deletes: tuple[tuple[str, str], ...] = (),
    expect: Mapping[tuple[str, str], int] | None = None,
) -> Change:
    return Change(
        actor=origin.actor,
        source=origin.source,
        request_id=origin.request_id,
        puts=puts,
        deletes=deletes,
        expect=dict(expect or {}),
        comment=origin.comment,
    )
