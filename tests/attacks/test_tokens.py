"""Attacks on tokens. Numbers are those of docs/attacks.md, sections 3.1, 5.1 and 5.5."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from identity.directory import Directory
from identity.errors import ConflictingCredentials, Refusal, Unauthenticated
from identity.issue import Issued, Origin, issue
from identity.principal import CredentialKind
from identity.tokens import _checksum, digest_of, mint, redact
from policies.documents import Document, User, VirtualAccount, dump
from proxy.headers import credential_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ORIGIN = Origin("user:u-root", "r-1")


@dataclass
class Estate:
    documents: list[Document] = field(default_factory=list)


@pytest.fixture
def directory() -> tuple[Directory, dict[str, Issued]]:
    """A directory with one credential in each state; the names are the states."""
    issued = {
        "valid": issue("user:u-ann", ORIGIN, now=NOW),
        "expired": issue("user:u-ann", ORIGIN, now=NOW - timedelta(days=2), expires_at=NOW),
        "suspended": issue("user:u-bob", ORIGIN, now=NOW),
        "ownerless": issue("user:u-gone", ORIGIN, now=NOW),
        "account": issue("virtualaccount:checkout", ORIGIN, now=NOW),
    }
    estate = Estate(
        [
            User(name="u-ann"),
            User(name="u-bob", state="suspended"),
            VirtualAccount(name="checkout"),
            *(one.credential for one in issued.values()),
        ]
    )
    directory = Directory()
    directory.load(estate)
    return directory, issued


Known = tuple[Directory, dict[str, Issued]]


def refused(directory: Directory, secret: Any) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as found:
        directory.authenticate(secret, NOW)
    return found.value


def resealed(secret: str) -> str:
    """The token with a checksum that fits: what an attacker who read our code can make."""
    body = secret.rpartition("_")[0]
    return f"{body}_{_checksum(body)}"


def test_equal_prefixes_are_different_tokens(directory: Known) -> None:
    """A5: the whole token is the key, never its beginning (nor its public id)."""
    known, issued = directory
    secret = issued["valid"].secret
    body = secret.rpartition("_")[0]
    for length in range(len("gw_pat_") + 17, len(body)):
        swapped = "A" if body[length] != "A" else "B"
        near = resealed(body[:length] + swapped + body[length + 1 :] + "_000000")
        assert near[:length] == secret[:length]
        assert refused(known, near).refusal is Refusal.UNKNOWN
    assert known.authenticate(secret, NOW).id == "user:u-ann"


def test_kind_of_a_token_cannot_be_swapped(directory: Known) -> None:
    """A personal token that is presented as an account's, with a good checksum, is another token."""
    known, issued = directory
    swapped = resealed(issued["valid"].secret.replace("gw_pat_", "gw_vat_"))
    assert refused(known, swapped).refusal is Refusal.UNKNOWN


@pytest.mark.parametrize("name", ["valid", "account"])
def test_stored_digest_never_authenticates(directory: Known, name: str) -> None:
    """A6: neither the digest itself nor anything made of it."""
    known, issued = directory
    digest = issued[name].credential.digest
    kind = issued[name].credential.token_kind
    token_id = issued[name].credential.name
    for attempt in (
        digest,
        digest.upper(),
        f"gw_{kind}_{token_id}_{digest}",
        resealed(f"gw_{kind}_{token_id}_{digest[:32]}_000000"),
        base64.b64encode(bytes.fromhex(digest)).decode(),
    ):
        refused(known, attempt)


def test_documents_hold_no_secret(directory: Known) -> None:
    """A6, I8: what the change log keeps forever has a digest and nothing else."""
    _, issued = directory
    for one in issued.values():
        stored = json.dumps(dump(one.credential))
        assert one.secret not in stored
        assert one.secret.split("_")[3] not in stored
        assert digest_of(one.secret) in stored


@pytest.mark.parametrize(
    "injected",
    [
        # for a document store
        '{"$ne": ""}',
        '{"$gt": ""}',
        "[$ne]=",
        "credential.digest",
        "$where: 1",
        # for SQL
        "' OR '1'='1",
        "gw_pat_'; DROP TABLE credentials; --",
        "gw_pat_aaaaaaaaaaaaaaaa_%_%",
        "*",
        # shapes
        "gw_pat_",
        "gw_pat___",
        "gw_pat_../../../etc/passwd",
        "gw_pat_aaaaaaaaaaaaaaaa_" + "\x00" * 32 + "_000000",
        "gw_pat_" + "a" * 100_000,
        "gw_pat_aaaaaaaaaaaaaaaa_" + "٣" * 32 + "_000000",
        "gw_pat_aaaaaaaaaaaaaaaa_" + "\ud800" * 32 + "_000000",
    ],
)
def test_injection_is_malformed_before_any_look_up(directory: Known, injected: str) -> None:
    """A7: the grammar and the checksum come first; the look-up is by digest only."""
    known, _ = directory
    known._tokens = _Untouchable()
    assert refused(known, injected).refusal is Refusal.MALFORMED


@pytest.mark.parametrize("kind", [CredentialKind.PAT, CredentialKind.VAT])
def test_mistyped_token_costs_no_look_up(directory: Known, kind: CredentialKind) -> None:
    """The checksum is verified before any look-up."""
    known, _ = directory
    known._tokens = _Untouchable()
    secret = mint(kind).secret
    typo = secret[:30] + ("x" if secret[30] != "x" else "y") + secret[31:]
    assert refused(known, typo).refusal is Refusal.MALFORMED


class _Untouchable(dict[bytes, Any]):
    """A table that must not be asked."""

    def get(self, *_: object) -> Any:
        raise AssertionError("looked up")


def test_conflicting_credentials_are_never_guessed(directory: Known) -> None:
    """I4: a valid credential beside another one, in every order and place."""
    _, issued = directory
    valid, other = issued["valid"].secret, issued["account"].secret
    places: list[Callable[[str], tuple[str, str]]] = [
        lambda secret: ("Authorization", f"Bearer {secret}"),
        lambda secret: ("X-Api-Key", secret),
        lambda secret: ("Api-Key", secret),
    ]
    for one in places:
        for two in places:
            assert credential_of(CIMultiDict([one(valid), two(valid)])) == valid
            with pytest.raises(ConflictingCredentials):
                credential_of(CIMultiDict([one(valid), two(other)]))


def test_refusals_look_the_same_from_outside(directory: Known) -> None:
    """I7: unknown, revoked, expired, suspended and ownerless cannot be told apart."""
    known, issued = directory
    secrets = {name: one.secret for name, one in issued.items()}
    secrets["unknown"] = mint(CredentialKind.PAT).secret
    known._drop_token(issued["account"].credential.name)  # now it is revoked
    seen = set()
    inner = {}
    for name in ("expired", "suspended", "ownerless", "unknown", "account"):
        error = refused(known, secrets[name])
        seen.add((error.public_code, error.message, error.hint, str(error)))
        inner[name] = error.refusal
    assert len(seen) == 1
    assert inner == {
        "expired": Refusal.EXPIRED,
        "suspended": Refusal.SUSPENDED,
        "ownerless": Refusal.REVOKED,
        "unknown": Refusal.UNKNOWN,
        "account": Refusal.REVOKED,
    }


def test_refusals_take_comparable_time(directory: Known) -> None:
    """I7: the fastest of many are within a wide factor; this finds a database or a slow hash, not noise."""
    known, issued = directory
    secrets = [
        issued["expired"].secret,
        issued["suspended"].secret,
        mint(CredentialKind.PAT).secret,
    ]
    fastest = []
    for secret in secrets:
        took = []
        for _ in range(300):
            begun = time.perf_counter_ns()
            try:
                known.authenticate(secret, NOW)
            except Unauthenticated:
                took.append(time.perf_counter_ns() - begun)
        fastest.append(min(took))
    assert max(fastest) < 10 * min(fastest)


def test_no_refusal_shows_a_token(directory: Known) -> None:
    """I8: canaries in every input, looked for in every text that an error has."""
    known, issued = directory
    canaries = [one.secret for one in issued.values()] + [mint(CredentialKind.VAT).secret]
    for canary in canaries:
        for attempt in (canary, canary + "x", canary[:-1], f"Bearer {canary}"):
            try:
                known.authenticate(attempt, NOW)
            except Unauthenticated as error:
                texts = (str(error), repr(error), error.message, error.hint, repr(error.args))
                assert all(canary[8:40] not in text for text in texts)
        with pytest.raises(ConflictingCredentials) as found:
            credential_of(CIMultiDict({"authorization": f"Bearer {canary}", "api-key": "x"}))
        assert canary[8:40] not in repr(found.value)
        assert canary[8:40] not in repr(known)


def test_principal_shows_no_secret_and_no_digest(directory: Known) -> None:
    """I8: a principal may be logged."""
    known, issued = directory
    shown = repr(known.authenticate(issued["valid"].secret, NOW))
    assert issued["valid"].secret not in shown
    assert issued["valid"].credential.digest not in shown


def test_token_in_a_log_line_is_cut_out() -> None:
    """I8: a log that quotes a header loses the token, not the line."""
    secret = mint(CredentialKind.PAT).secret
    line = f'bad header "authorization: Bearer {secret}" from 203.0.113.9'
    assert redact(line) == 'bad header "authorization: Bearer gw_…" from 203.0.113.9'
