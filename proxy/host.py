"""The data folder as the host's command line sees it: where things lie, and what may be done to them.

Whoever may read this folder may mint tokens and read the log; both leave their record. Nothing here
needs a running gateway.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from authz.checkpoint import key_id
from authz.conditions import FIELDS, Shape, root_of
from authz.errors import GatewardenError
from authz.vocabulary import Kind, make_id
from identity.first_admin import mint_on_host
from identity.issue import Issued
from identity.kept_tokens import KeptTokens
from identity.principal import CredentialKind
from policies.change import Change, Source
from policies.documents import LogWriter, User
from policies.naming import FAMILY_OF_KIND
from store import payload_spool
from store.changes import ChangeLog
from store.verify import VerifyReport


class HostError(GatewardenError):
    """The data folder does not hold what the command needs."""

    code = "host_error"


@dataclass(frozen=True, slots=True)
class Places:
    """Where an installation keeps things."""

    data: Path

    @property
    def journal(self) -> Path:
        return self.data / "journal"

    @property
    def records(self) -> Path:
        return self.data / "request-records.db"

    @property
    def payloads(self) -> Path:
        """What was said in requests, sealed, on its way into the records."""
        return payload_spool.beside(self.records)

    @property
    def public_key(self) -> Path:
        """The public half of the signing key, PEM: what an auditor needs to verify the log."""
        return self.data / "log-public-key.pem"

    @property
    def demo(self) -> Path:
        return self.data / "demo.env"

    @property
    def keys(self) -> Path:
        """Made at the first start, or by whoever brings the keys of another host."""
        return self.data / "keys" / "installation"

    def established(self, database: Path | None) -> bool:
        """Whether there is data that was made with keys, so that no new key may be made."""
        files = (self.keys, self.journal) if database is None else (database, self.journal)
        return any(path.exists() for path in files)


def publish_key(places: Places, raw: bytes) -> None:
    """Lay the public key beside the data for auditors.

    One that is there stays while there is a journal: it is what the journal began with, and keys that
    came later are introduced by records that it leads to.
    """
    if places.public_key.exists() and places.journal.exists():
        return
    pem = Ed25519PublicKey.from_public_bytes(raw).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    places.public_key.write_bytes(pem)


def read_public_key(path: Path) -> bytes:
    """The 32 bytes of a public key file.

    Raises:
        HostError: no such file, or not an Ed25519 public key.
    """
    try:
        loaded = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise HostError(
            f"`{path}` is not a public key that can be read",
            hint="the gateway writes log-public-key.pem to its data folder at start",
        ) from error
    if not isinstance(loaded, Ed25519PublicKey):
        raise HostError(f"`{path}` is not an Ed25519 public key")
    return loaded.public_bytes(Encoding.Raw, PublicFormat.Raw)


async def mint(
    changes: ChangeLog,
    subject: str,
    *,
    admin: bool,
    label: str,
    expires_at: datetime | None,
    now: datetime,
    kept: KeptTokens | None = None,
) -> Issued:
    """A token for `user:<e-mail or id>` or `virtualaccount:<name>`; with `admin` a person also becomes
    `tenant-admin`, in a change of its own before it. With `kept` an account's token may be read again.

    Raises:
        HostError: `admin` for something that is no person, or nobody is called like this.
        GatewardenError: see `mint_on_host`.
    """
    if admin:
        await make_admin(changes, subject, now)
    else:
        await _exists(changes, subject)
    issued = await mint_on_host(
        changes,
        subject,
        now=now,
        request_id=f"host-{secrets.token_hex(6)}",
        label=label,
        expires_at=expires_at,
    )
    if kept is not None and issued.credential.token_kind == CredentialKind.VAT.value:
        await kept.keep(issued)
    return issued


async def _exists(changes: ChangeLog, subject: str) -> None:
    """Raises HostError: a token for nobody would invite a misspelt address, and do nothing."""
    kind, _, name = subject.partition(":")
    if kind == Kind.USER.value and "@" in name:
        if await changes.person_by_email(name) is None:
            raise HostError(
                f"nobody has the e-mail `{name}`",
                hint="apply a `user` document first; --admin makes a new person a tenant admin",
            )
    elif kind in (Kind.USER.value, Kind.VIRTUAL_ACCOUNT.value):
        family = FAMILY_OF_KIND[kind]
        if await changes.document((family, name)) is None:
            raise HostError(f"there is no {family} `{name}`", hint="apply its document first")


async def make_admin(
    changes: ChangeLog,
    subject: str,
    now: datetime,
    *,
    source: Source = Source.HOST,
    comment: str = "made a tenant admin on the host",
) -> None:
    """Give a person the tenant role `tenant-admin`, active, as a recorded change."""
    kind, _, name = subject.partition(":")
    if kind != "user" or not name:
        raise HostError("only a person can become an admin", hint="--for user:<e-mail>")
    person = await changes.person_by_email(name)
    stored = await changes.document(("user", person.id if person else name))
    user = User(name=name)
    if stored is not None:
        rendered = await changes.render(stored.document)
        assert isinstance(rendered, User)
        user = rendered
    if "tenant-admin" in user.roles and user.state == "active":
        return
    roles = tuple(dict.fromkeys((*user.roles, "tenant-admin")))
    user = user.model_copy(update={"roles": roles, "state": "active", "suspended_by": ()})
    change = Change(
        actor="host",
        source=source,
        request_id=f"host-{secrets.token_hex(6)}",
        puts=(user,),
        comment=comment,
    )
    await changes.commit(change, None, now)


async def introduce_writer(
    changes: ChangeLog, writer: str, public_key: bytes, now: datetime
) -> None:
    """Writes a chain of the decision log that is new into the change log, so that it cannot vanish.

    Raises:
        GatewardenError: it could not be written.
    """
    if await changes.document(("log-writer", writer)) is None:
        change = Change(
            actor="host",
            source=Source.HOST,
            request_id=f"host-{secrets.token_hex(6)}",
            puts=(LogWriter(name=writer, key_id=key_id(public_key)),),
            comment="a chain of the decision log begins",
        )
        await changes.commit(change, None, now)


async def subject_id(changes: ChangeLog, subject: str) -> str:
    """The id behind a subject as a person writes it (`user:<e-mail>`).

    Raises:
        HostError: nobody has that e-mail.
    """
    kind, _, name = subject.partition(":")
    if kind != "user" or "@" not in name:
        return subject
    person = await changes.person_by_email(name)
    if person is None:
        raise HostError(f"nobody has the e-mail `{name}`")
    return make_id(Kind.USER, person.id)


def resource_id(action: str, written: str) -> str:
    """A resource as a person writes it: `acme/mini` beside `model:use` is `model:acme/mini`."""
    kind = action.partition(":")[0]
    first = written.partition(":")[0]
    known = {item.value for item in Kind}
    return written if first in known else make_id(Kind(kind), written) if kind in known else written


def subject_of(written: str) -> str:
    """A subject as a person writes it: an e-mail alone is that user."""
    return f"{Kind.USER.value}:{written}" if "@" in written and ":" not in written else written


def context_value(field: str, text: str) -> object:
    """The value of a condition's field as its conditions read it: numbers and flags as such."""
    known = FIELDS.get(root_of(field))
    if known is None or known.shape in (Shape.TEXT, Shape.INSTANT, Shape.ADDRESS):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (int, bool)) else text


def expiry(given: datetime | None) -> datetime | None:
    """The instant of an expiry; a day alone ends at the following 00:00 UTC."""
    if given is None or given.tzinfo is not None:
        return given
    return given.replace(tzinfo=UTC) + timedelta(days=1)


def micros(instant: datetime | None) -> int | None:
    """UTC microseconds; a time without a zone is UTC."""
    if instant is None:
        return None
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1_000_000)


Reader = Callable[[Mapping[str, Any]], object]


def _when(record: Mapping[str, Any]) -> str:
    stamp = datetime.fromtimestamp(int(record["at"]) / 1_000_000, UTC)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _body(name: str) -> Reader:
    """Reads a field of the record itself, which stands in the line's `body`."""

    def read(line: Mapping[str, Any]) -> object:
        value = line.get("body", {}).get(name)
        return " ".join(value) if isinstance(value, list) else value

    return read


LOG_COLUMNS: Mapping[str, tuple[tuple[str, Reader], ...]] = {
    "decision": (
        ("time", _when),
        ("effect", _body("effect")),
        ("reason", _body("reason")),
        ("principal", _body("principal")),
        ("action", _body("action")),
        ("resource", _body("resource")),
        ("rules", _body("rules")),
        ("id", lambda line: line.get("id")),
    ),
    "request": (
        ("time", _when),
        ("status", _body("status")),
        ("principal", _body("principal")),
        ("model", _body("model")),
        ("in", _body("input_tokens")),
        ("out", _body("output_tokens")),
        ("ms", _body("total_ms")),
        ("decision", _body("decision")),
    ),
}


def report_json(report: VerifyReport) -> dict[str, Any]:
    """A verification as JSON."""
    return {
        "whole": report.ok,
        "records": report.records,
        "faults": [asdict(fault) for fault in report.faults],
        "writers": [asdict(writer) for writer in report.writers],
        "notes": list(report.notes),
    }
