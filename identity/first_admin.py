"""The first administrator: a one-time token on the host, while nobody administers yet.

At a start without an administrator a token is written to `<DATA>/first-admin` (mode 0600); the store
keeps its digest only. Whoever presents it names an e-mail, becomes `tenant-admin` and gets a personal
token, once: of two requests or processes one wins. Afterwards `mint_on_host` is the way: who may read
the data folder may mint, as a recorded change.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from identity.errors import InvalidOffer, InvalidTokenRequest, Unauthenticated
from identity.issue import Issued, Origin, issue, user_subject
from identity.ports import Committer, Keeps, Snapshot
from identity.private_files import write_private
from identity.tokens import check_one_time, digest_of, mint_one_time, redact
from policies.change import Change, Entry, Source
from policies.documents import (
    Document,
    RoleBinding,
    Team,
    User,
    VirtualAccount,
    parse,
)

ADMIN = "tenant-admin"
LIFETIME = timedelta(hours=24)
HOST = "host"
_SPACE = "first-admin"


@dataclass(frozen=True, slots=True)
class Offer:
    """A one-time token that was written for whoever sits at the host."""

    path: Path
    expires_at: datetime


class FirstAdmin:
    """An applier of the change log that knows whether somebody administers, and keeps the offer."""

    def __init__(self, data: Path, state: Keeps) -> None:
        self.needed = True
        self._file = data / "first-admin"
        self._state = state

    def load(self, snapshot: Snapshot) -> None:
        """Look for an administrator in a snapshot."""
        self.needed = not any(administers(document) for document in snapshot.documents)

    def apply(self, entry: Entry) -> None:
        """An administrator who was made ends the offer for good; one who is removed brings none back."""
        if self.needed:
            afters = (change.after for change in entry.documents if change.after is not None)
            self.needed = not any(administers(parse(after)) for after in afters)

    async def offer(self, now: datetime) -> Offer | None:
        """Write a fresh one-time token and end the one before; None if somebody administers.

        One process of a host calls this, at its start.
        """
        await self.withdraw()
        if not self.needed:
            return None
        minted = mint_one_time()
        expires_at = now + LIFETIME
        await self._keep(minted.digest, expires_at)
        await asyncio.to_thread(write_private, self._file, minted.secret.encode() + b"\n")
        return Offer(self._file, expires_at)

    async def withdraw(self) -> None:
        """End the offer that lies on this host's disk, if there is one."""
        content = await asyncio.to_thread(_read, self._file)
        if content is not None:
            await self._state.drop(_SPACE, digest_of(content.decode(errors="replace").strip()))
            await asyncio.to_thread(self._file.unlink, missing_ok=True)

    async def take(self, secret: str, now: datetime) -> datetime:
        """Take the offer, so that nobody else can; answers when it would have ended.

        Raises:
            InvalidOffer: malformed, unknown, used, expired, or no longer needed.
        """
        try:
            check_one_time(secret)
        except Unauthenticated as error:
            raise _refused() from error
        taken = None
        if self.needed:
            taken = await self._state.take_once(_SPACE, digest_of(secret), now)
        if taken is None:
            raise _refused()
        return datetime.fromisoformat(taken.decode())

    async def give_back(self, secret: str, expires_at: datetime) -> None:
        """Undo `take`: what it was taken for did not happen."""
        await self._keep(digest_of(secret), expires_at)

    async def _keep(self, digest: str, expires_at: datetime) -> None:
        await self._state.put(_SPACE, digest, expires_at.isoformat().encode(), expires_at)


def administers(document: Document) -> bool:
    """Whether a document by itself makes somebody `tenant-admin`."""
    match document:
        case User():
            return ADMIN in document.roles and document.state != "suspended"
        case Team():
            return ADMIN in document.roles and bool(document.members or document.managers)
        case VirtualAccount():
            return ADMIN in document.roles and document.state == "active"
        case RoleBinding():
            roles = {permission.role for permission in document.permissions}
            return ADMIN in roles and bool(document.subjects)
    return False


async def redeem(
    first: FirstAdmin,
    secret: str,
    email: str,
    *,
    changes: Committer,
    now: datetime,
    request_id: str,
    existing: User | None = None,
) -> Issued:
    """Make the person with that e-mail the first administrator and issue a personal token.

    `existing` is the person's document as a person would write it, if a file named the e-mail before.

    Raises:
        InvalidOffer: see `FirstAdmin.take`.
        InvalidTokenRequest, InvalidDocuments: the e-mail cannot be one; the offer stays.
    """
    if "@" not in email or not 3 <= len(email) <= 254:
        raise InvalidTokenRequest(f"`{redact(email)[:80]}` is not an e-mail address")
    expires_at = await first.take(secret, now)
    try:
        issued = issue(
            user_subject(email),
            Origin(HOST, request_id, Source.HOST, "first administrator"),
            now=now,
            label="first administrator",
        )
        roles = tuple(dict.fromkeys((*(existing.roles if existing else ()), ADMIN)))
        base = existing or User(name=email)
        user = base.model_copy(update={"roles": roles, "state": "active", "suspended_by": ()})
        change = Change(
            actor=HOST,
            source=Source.HOST,
            request_id=request_id,
            puts=(user, *issued.change.puts),
            expect=issued.change.expect,
            comment=issued.change.comment,
        )
        await changes.commit(change, None, now)
    except BaseException:
        await first.give_back(secret, expires_at)
        raise
    await first.withdraw()
    return Issued(change, issued.credential, issued.secret)


async def mint_on_host(
    changes: Committer,
    subject: str,
    *,
    now: datetime,
    request_id: str,
    label: str = "",
    expires_at: datetime | None = None,
) -> Issued:
    """A token for `gatewarden token create`: a recorded change of source `host`, judged by no row.

    `subject` is `user:<e-mail or id>` or `virtualaccount:<name>`.

    Raises:
        InvalidTokenRequest: the subject can hold no token, or the expiry is past.
        InvalidDocuments: there is no such account; an unknown e-mail makes an invited user.
    """
    origin = Origin(HOST, request_id, Source.HOST, "minted on the host")
    issued = issue(subject, origin, now=now, label=label, expires_at=expires_at)
    await changes.commit(issued.change, None, now)
    return issued


def _read(path: Path) -> bytes | None:
    """What the file holds, even if others could read it: it is about to be ended."""
    try:
        return path.read_bytes()[:1024]
    except FileNotFoundError:
        return None


def _refused() -> InvalidOffer:
    return InvalidOffer(
        "the one-time token is unknown, used or expired",
        hint="a restart writes a new one while nobody administers; "
        "later use `gatewarden token create` on the host",
    )
