"""What a client was given: nothing by itself, and never more than the token behind it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from identity.directory import Directory
from identity.errors import Refusal, Unauthenticated
from identity.issue import Origin, issue, revoke
from identity.oauth.clients import Client
from identity.oauth.grants import LIFETIME, Grants
from identity.principal import CredentialKind, Principal
from policies.change import Source
from policies.documents import Credential, Restriction, User
from tests.identity.conftest import Log

HOST = Origin("host", "r-1", Source.HOST)
CLIENT = Client("mcp-1", "Probe", ("http://127.0.0.1/cb",))
NARROW = (Restriction(actions=("self:read",), resources=("self:caller",)),)


class Set:
    """A directory with one person, and the grants."""

    def __init__(self, log: Log, now: datetime, **more: object) -> None:
        self.directory = Directory()
        log.subscribe(self.directory)
        log.put(User(name="u-ann"))
        self.issued = issue("user:u-ann", HOST, now=now, **more)  # type: ignore[arg-type]
        log.take(self.issued.change)
        self.shown = self.directory.authenticate(self.issued.secret, now)
        self.grants = Grants(log, self.directory)


async def test_a_grant_lends_the_rights_of_the_token_behind_it(log: Log, now: datetime) -> None:
    house = Set(log, now, team="search")
    family, epoch = await house.grants.begin(house.shown, CLIENT, now, "r-2")
    assert epoch == len(log.changes)
    found = house.grants.live("user:u-ann", family, now)
    assert found == replace(
        house.shown,
        credential_id=family,
        credential_kind=CredentialKind.OAUTH,
        expires_at=now + LIFETIME,
    )
    assert log.changes[-1].actor == "user:u-ann"


async def test_a_grant_by_itself_may_nothing(log: Log, now: datetime) -> None:
    house = Set(log, now)
    family, _ = await house.grants.begin(house.shown, CLIENT, now, "r-2")
    document = log.stored["credential", family]
    assert isinstance(document, Credential)
    assert document.restrictions == ()
    assert document.token_kind == "oauth"
    alone = house.directory.recheck(Principal("user:u-ann", family, CredentialKind.OAUTH), now)
    assert alone.token == f"token:{family}"


async def test_restrictions_are_those_of_the_token(log: Log, now: datetime) -> None:
    house = Set(log, now, restrictions=NARROW)
    family, _ = await house.grants.begin(house.shown, CLIENT, now, "r-2")
    found = house.grants.live("user:u-ann", family, now)
    assert found.token == f"token:{house.issued.credential.name}"


async def test_a_grant_ends_with_the_token_the_person_and_its_own_time(
    log: Log, now: datetime
) -> None:
    house = Set(log, now)
    family, _ = await house.grants.begin(house.shown, CLIENT, now, "r-2")

    def refusal(at: datetime = now) -> Refusal:
        with pytest.raises(Unauthenticated) as refused:
            house.grants.live("user:u-ann", family, at)
        return refused.value.refusal

    assert refusal(now + LIFETIME) is Refusal.EXPIRED
    log.put(User(name="u-ann", state="suspended"))
    assert refusal() is Refusal.SUSPENDED
    log.put(User(name="u-ann"))
    assert house.grants.live("user:u-ann", family, now)
    log.take(revoke([house.issued.credential.name], HOST))
    assert refusal() is Refusal.REVOKED


async def test_a_grant_that_was_taken_back_is_gone(log: Log, now: datetime) -> None:
    house = Set(log, now)
    family, _ = await house.grants.begin(house.shown, CLIENT, now, "r-2")
    await house.grants.end(family, now, "r-3", why="test")
    with pytest.raises(Unauthenticated):
        house.grants.live("user:u-ann", family, now)
    assert log.changes[-1].comment == "test"


async def test_no_other_credential_is_a_grant(log: Log, now: datetime) -> None:
    house = Set(log, now)
    family, _ = await house.grants.begin(house.shown, CLIENT, now, "r-2")
    for subject, name in (
        ("user:u-ann", house.issued.credential.name),
        ("user:u-bob", family),
        ("user:u-ann", "x.y"),
        ("user:u-ann", ""),
    ):
        with pytest.raises(Unauthenticated):
            house.grants.live(subject, name, now)


async def test_a_grant_of_a_token_that_ends_sooner_ends_with_it(log: Log, now: datetime) -> None:
    ends = now + timedelta(days=1)
    house = Set(log, now, expires_at=ends)
    family, _ = await house.grants.begin(house.shown, CLIENT, now, "r-2")
    document = log.stored["credential", family]
    assert isinstance(document, Credential)
    assert document.expires_at == ends


async def test_what_has_ended_is_cleared_away(log: Log, now: datetime) -> None:
    house = Set(log, now)
    old, _ = await house.grants.begin(house.shown, CLIENT, now, "r-2")
    later = now + LIFETIME
    new, _ = await house.grants.begin(house.shown, CLIENT, later, "r-3")
    assert ("credential", old) not in log.stored
    assert ("credential", new) in log.stored
    assert ("credential", house.issued.credential.name) in log.stored
