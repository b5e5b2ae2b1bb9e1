"""The one-time token for the first administrator, and minting on the host."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from identity.directory import Directory
from identity.errors import InvalidOffer, InvalidTokenRequest
from identity.first_admin import (
    LIFETIME,
    FirstAdmin,
    administers,
    mint_on_host,
    redeem,
)
from identity.tokens import digest_of, mint_one_time
from policies.change import Change, Source
from policies.documents import (
    BoundPermission,
    BoundSubject,
    Document,
    RoleBinding,
    Team,
    User,
    VirtualAccount,
)
from store.state import State

ADMIN = ("tenant-admin",)
EMAIL = "root@acme.org"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def first(data: Path, state: State, log: Any) -> FirstAdmin:
    first = FirstAdmin(data, state)
    log.subscribe(first)
    return first


def secret_of(data: Path) -> str:
    return (data / "first-admin").read_text().strip()


async def test_offer_is_a_private_file_and_hashed_in_the_store(
    data: Path, first: FirstAdmin, state: State, now: datetime
) -> None:
    offer = await first.offer(now)
    assert offer is not None
    assert offer.path == data / "first-admin"
    assert offer.expires_at == now + LIFETIME
    assert offer.path.stat().st_mode & 0o777 == 0o600
    for path in data.glob("state.db*"):
        assert secret_of(data).encode() not in path.read_bytes()
    assert await state.get("first-admin", digest_of(secret_of(data)), now)
    assert secret_of(data) not in repr(offer)


async def test_redeeming_makes_an_administrator_with_a_token(
    data: Path, first: FirstAdmin, log: Any, now: datetime
) -> None:
    await first.offer(now)
    issued = await redeem(first, secret_of(data), EMAIL, changes=log, now=now, request_id="r-1")
    (change,) = log.changes
    user, credential = change.puts
    assert (user.name, user.roles, user.state) == (EMAIL, ADMIN, "active")
    assert credential.subject == f"user:{EMAIL}"
    assert (change.actor, change.source) == ("host", Source.HOST)
    assert not first.needed
    assert not (data / "first-admin").exists()
    assert issued.secret.startswith("gw_pat_")


async def test_one_time_token_works_once(
    data: Path, first: FirstAdmin, log: Any, now: datetime
) -> None:
    await first.offer(now)
    secret = secret_of(data)
    await redeem(first, secret, EMAIL, changes=log, now=now, request_id="r-1")
    with pytest.raises(InvalidOffer):
        await redeem(first, secret, "other@acme.org", changes=log, now=now, request_id="r-2")
    assert len(log.changes) == 1


async def test_of_many_takers_one_wins(data: Path, first: FirstAdmin, now: datetime) -> None:
    await first.offer(now)
    takes = [first.take(secret_of(data), now) for _ in range(16)]
    outcomes = await asyncio.gather(*takes, return_exceptions=True)
    assert sum(isinstance(outcome, datetime) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, InvalidOffer) for outcome in outcomes) == 15


@pytest.mark.parametrize("late", [LIFETIME, LIFETIME + timedelta(days=1)])
async def test_offer_expires(
    data: Path, first: FirstAdmin, log: Any, now: datetime, late: timedelta
) -> None:
    await first.offer(now)
    with pytest.raises(InvalidOffer):
        await redeem(first, secret_of(data), EMAIL, changes=log, now=now + late, request_id="r-1")
    assert log.changes == []


@pytest.mark.parametrize("secret", ["", "x", "gw_otp_", "{'$ne': ''}", "a" * 10_000, "\x00", "é"])
async def test_nonsense_is_refused(first: FirstAdmin, now: datetime, secret: str) -> None:
    await first.offer(now)
    with pytest.raises(InvalidOffer) as refused:
        await first.take(secret, now)
    if len(secret) > 8:
        assert secret not in str(refused.value)


async def test_good_looking_token_that_was_never_offered_is_refused(
    first: FirstAdmin, now: datetime
) -> None:
    with pytest.raises(InvalidOffer):
        await first.take(mint_one_time().secret, now)
    await first.offer(now)
    with pytest.raises(InvalidOffer):
        await first.take(mint_one_time().secret, now)


async def test_stored_digest_is_no_token(data: Path, first: FirstAdmin, now: datetime) -> None:
    """A6."""
    await first.offer(now)
    with pytest.raises(InvalidOffer):
        await first.take(digest_of(secret_of(data)), now)


async def test_restart_writes_a_new_offer_and_ends_the_old_one(
    data: Path, first: FirstAdmin, now: datetime
) -> None:
    await first.offer(now)
    old = secret_of(data)
    await first.offer(now)
    assert secret_of(data) != old
    with pytest.raises(InvalidOffer):
        await first.take(old, now)
    await first.take(secret_of(data), now)


class Refusing:
    async def commit(self, change: Change, asker: object, now: datetime) -> Any:
        raise RuntimeError("no")


async def test_offer_stays_when_the_change_is_refused(
    data: Path, first: FirstAdmin, log: Any, now: datetime
) -> None:
    await first.offer(now)
    secret = secret_of(data)
    with pytest.raises(RuntimeError):
        await redeem(first, secret, EMAIL, changes=Refusing(), now=now, request_id="r-1")
    await redeem(first, secret, EMAIL, changes=log, now=now, request_id="r-2")


async def test_known_person_keeps_what_was_written(
    data: Path, first: FirstAdmin, log: Any, now: datetime
) -> None:
    await first.offer(now)
    known = User(name=EMAIL, displayName="Root", roles=("auditor",), state="invited")  # type: ignore[call-arg]
    await redeem(
        first,
        secret_of(data),
        EMAIL,
        changes=log,
        now=now,
        request_id="r-1",
        existing=known,
    )
    user = log.changes[0].puts[0]
    assert (user.display_name, user.roles, user.state) == (
        "Root",
        ("auditor", "tenant-admin"),
        "active",
    )


PERMISSION = BoundPermission(resourceType="tenant", resourceFqn="tenant", role="tenant-admin")
SUBJECT = BoundSubject(type="user", name=EMAIL)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (User(name="u-1", roles=ADMIN), True),
        (User(name="u-1", roles=ADMIN, state="suspended"), False),
        (User(name="u-1", roles=("auditor",)), False),
        (Team(name="ops", members=("user:u-1",), roles=ADMIN), True),
        (Team(name="ops", members=(), roles=ADMIN), False),
        (VirtualAccount(name="ci", roles=ADMIN), True),
        (VirtualAccount(name="ci", roles=ADMIN, state="suspended"), False),
        (VirtualAccount(name="ci"), False),
        (RoleBinding(name="b", subjects=(SUBJECT,), permissions=(PERMISSION,)), True),
        (RoleBinding(name="b", subjects=(), permissions=(PERMISSION,)), False),
    ],
)
async def test_offer_is_needed_while_nobody_administers(
    data: Path, state: State, log: Any, now: datetime, document: Document, expected: bool
) -> None:
    assert administers(document) is expected
    live = FirstAdmin(data, state)
    log.subscribe(live)
    assert live.needed
    await live.offer(now)
    secret = secret_of(data)
    log.put(document)
    loaded = FirstAdmin(data, state)
    loaded.load(log)
    assert live.needed is loaded.needed is not expected
    if expected:
        with pytest.raises(InvalidOffer):
            await live.take(secret, now)
        assert await loaded.offer(now) is None
        assert not (data / "first-admin").exists()


@pytest.mark.parametrize("subject", ["user:ann@acme.org", "user:u-ann", "virtualaccount:checkout"])
async def test_host_mints_as_a_recorded_change(log: Any, now: datetime, subject: str) -> None:
    issued = await mint_on_host(log, subject, now=now, request_id="r-1", label="cli")
    (change,) = log.changes
    assert (change.actor, change.source, change.comment) == (
        "host",
        Source.HOST,
        "minted on the host",
    )
    assert issued.credential.created_by == "host"
    directory = Directory()
    directory.load(log)
    assert directory.credentials_of(subject) == (issued.credential.name,)


async def test_host_mints_for_no_group(log: Any, now: datetime) -> None:
    with pytest.raises(InvalidTokenRequest):
        await mint_on_host(log, "team:search", now=now, request_id="r-1")
    assert log.changes == []
