"""What issuing, rotating and ending a token comes to, as documents and changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from identity.errors import InvalidTokenRequest
from identity.issue import (
    MAX_GRACE,
    Issued,
    Origin,
    account_subject,
    issue,
    kind_for,
    regenerate,
    revoke,
    user_subject,
)
from identity.principal import CredentialKind
from identity.tokens import digest_of
from policies.change import Source
from policies.documents import Restriction, dump

ORIGIN = Origin("user:u-root", "r-9", Source.MANUAL, "for ann")
ACCOUNT = "virtualaccount:checkout"
DAY = timedelta(days=1)


def test_issued_token_and_its_document_belong_together(now: datetime) -> None:
    issued = issue("user:u-ann", ORIGIN, now=now, label="laptop", team="search")
    credential = issued.credential
    assert issued.change.puts == (credential,)
    assert issued.change.expect == {("credential", credential.name): 0}
    assert (issued.change.actor, issued.change.source) == ("user:u-root", Source.MANUAL)
    assert (issued.change.request_id, issued.change.comment) == ("r-9", "for ann")
    assert credential.digest == digest_of(issued.secret)
    assert (credential.created_by, credential.created_at) == ("user:u-root", now)
    assert (credential.label, credential.team, credential.token_kind) == ("laptop", "search", "pat")


def test_secret_is_in_no_document_and_no_repr(now: datetime) -> None:
    """I8."""
    issued = issue(ACCOUNT, ORIGIN, now=now)
    for sink in (repr(issued), str(issued.change), repr(issued.credential)):
        assert issued.secret not in sink
        assert issued.secret.split("_")[3] not in sink
        assert issued.credential.digest not in sink


def test_absent_restrictions_are_not_empty_ones(now: datetime) -> None:
    assert "restrictions" not in dump(issue("user:u-1", ORIGIN, now=now).credential)
    narrowed = issue("user:u-1", ORIGIN, now=now, restrictions=[]).credential
    assert dump(narrowed)["restrictions"] == []


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("user:u-1", CredentialKind.PAT),
        ("user:ann@acme.org", CredentialKind.PAT),
        (user_subject("o'hara+x@acme.org"), CredentialKind.PAT),
        ("virtualaccount:checkout", CredentialKind.VAT),
        (account_subject("checkout"), CredentialKind.VAT),
    ],
)
def test_kind_of_token_follows_from_the_subject(subject: str, kind: CredentialKind) -> None:
    assert kind_for(subject) is kind


@pytest.mark.parametrize(
    "subject",
    [
        *("team:search", "role:tenant-admin", "any:user", "bound:x", "token:x", "host", ""),
        *("user:", "user:a b", "{'$ne': ''}", "user:\n", "virtual-account:checkout", "user:\ud800"),
    ],
)
def test_nobody_else_holds_a_token(subject: str, now: datetime) -> None:
    with pytest.raises(InvalidTokenRequest, match="cannot hold a token"):
        issue(subject, ORIGIN, now=now)


@pytest.mark.parametrize("ends", [-DAY, timedelta(0)])
def test_expiry_in_the_past_is_refused(now: datetime, ends: timedelta) -> None:
    with pytest.raises(InvalidTokenRequest, match="not in the future"):
        issue("user:u-1", ORIGIN, now=now, expires_at=now + ends)


def test_expiry_without_a_zone_is_refused(now: datetime) -> None:
    with pytest.raises(InvalidTokenRequest, match="time zone"):
        issue("user:u-1", ORIGIN, now=now, expires_at=(now + DAY).replace(tzinfo=None))


def give(now: datetime, **more: Any) -> Issued:
    return issue(ACCOUNT, ORIGIN, now=now, **more)


def test_rotation_keeps_label_team_and_restrictions(now: datetime) -> None:
    """R2: and a narrowed token is never widened by rotating it."""
    narrow = (Restriction(actions=("model:use",), resources=("model:a/b",)),)
    older = give(now, label="old").credential
    newer = give(now + DAY, label="prod", team="search", restrictions=narrow).credential
    issued = regenerate(ACCOUNT, [older, newer], ORIGIN, now=now + 2 * DAY, grace=DAY)
    fresh = issued.credential
    assert (fresh.label, fresh.team, fresh.restrictions) == ("prod", "search", narrow)
    assert fresh.expires_at is None


def test_rotation_of_an_emptily_restricted_token_stays_empty(now: datetime) -> None:
    old = give(now, restrictions=[]).credential
    assert regenerate(ACCOUNT, [old], ORIGIN, now=now, grace=DAY).credential.restrictions == ()


def test_grace_shortens_and_never_prolongs(now: datetime) -> None:
    """R3: an old token that ends sooner keeps its end and is not touched."""
    soon = give(now, expires_at=now + timedelta(hours=1)).credential
    late = give(now, expires_at=now + 90 * DAY).credential
    endless = give(now).credential
    issued = regenerate(ACCOUNT, [soon, late, endless], ORIGIN, now=now, grace=DAY)
    ends = {put.name: getattr(put, "expires_at", None) for put in issued.change.puts}
    assert ends == {
        issued.credential.name: None,
        late.name: now + DAY,
        endless.name: now + DAY,
    }


def test_shortened_end_is_in_the_stored_document(now: datetime) -> None:
    old = give(now).credential
    issued = regenerate(ACCOUNT, [old], ORIGIN, now=now, grace=timedelta(0))
    assert dump(issued.change.puts[1])["expires_at"] == "2026-03-01T12:00:00Z"


def test_first_token_of_an_account_needs_no_old_one(now: datetime) -> None:
    assert len(regenerate(ACCOUNT, [], ORIGIN, now=now, grace=DAY).change.puts) == 1


def test_versions_make_a_second_rotation_conflict(now: datetime) -> None:
    old = give(now).credential
    issued = regenerate(ACCOUNT, [old], ORIGIN, now=now, grace=DAY, versions={old.key: 3})
    assert issued.change.expect == {issued.credential.key: 0, old.key: 3}


@pytest.mark.parametrize("grace", [timedelta(seconds=-1), MAX_GRACE + timedelta(seconds=1)])
def test_grace_out_of_range_is_refused(now: datetime, grace: timedelta) -> None:
    with pytest.raises(InvalidTokenRequest, match="grace"):
        regenerate(ACCOUNT, [], ORIGIN, now=now, grace=grace)


def test_token_of_another_account_is_not_rotated(now: datetime) -> None:
    other = issue("virtualaccount:other", ORIGIN, now=now).credential
    with pytest.raises(InvalidTokenRequest, match="another"):
        regenerate(ACCOUNT, [other], ORIGIN, now=now, grace=DAY)


def test_revoking_deletes_the_documents() -> None:
    change = revoke(["a", "b"], ORIGIN)
    assert change.deletes == (("credential", "a"), ("credential", "b"))
    assert change.puts == ()
