"""Tokens on the real change log: engine and directory move together, in one step."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from authz.conditions import Context
from conf.settings import MODEL_PATH
from identity.directory import Directory
from identity.errors import InvalidTokenRequest, Refusal, Unauthenticated
from identity.first_admin import FirstAdmin, mint_on_host, redeem
from identity.issue import Issued, Origin, issue, regenerate, revoke
from identity.pins import Pins
from policies.change import Change, Source
from policies.documents import (
    Document,
    MetadataConfig,
    MetadataRule,
    Restriction,
    Team,
    User,
    VirtualAccount,
)
from policies.errors import InvalidDocuments
from policies.loader import shipped
from store.changes import ChangeLog
from store.sealed import Sealer
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState

HOST = Origin("host", "r-1", Source.HOST)
DAY = timedelta(days=1)


@dataclass
class House:
    changes: ChangeLog
    directory: Directory
    first: FirstAdmin
    pins: Pins
    now: datetime

    async def put(self, *documents: Document) -> None:
        await self.changes.commit(Change("host", Source.HOST, "r", documents), None, self.now)

    async def delete(self, *keys: tuple[str, str]) -> None:
        await self.changes.commit(Change("host", Source.HOST, "r", (), keys), None, self.now)

    async def give(self, subject: str, restrictions: list[Restriction] | None = None) -> Issued:
        issued = issue(subject, HOST, now=self.now, restrictions=restrictions)
        await self.changes.commit(issued.change, None, self.now)
        return issued

    def refusal(self, issued: Issued) -> Refusal:
        with pytest.raises(Unauthenticated) as refused:
            self.directory.authenticate(issued.secret, self.now)
        return refused.value.refusal


async def start(folder: Path, key: bytes, now: datetime) -> House:
    store = SqliteStore(folder / "gatewarden.db")
    changes = ChangeLog(
        store,
        model_text=MODEL_PATH.read_text(),
        shipped=shipped(),
        sealer=Sealer(key),
        clock=lambda: now,
    )
    house = House(changes, Directory(), FirstAdmin(folder, SqliteState(store)), Pins(), now)
    for applier in (house.directory, house.first, house.pins):
        changes.subscribe(applier)
    await changes.start()
    return house


@pytest.fixture
async def key() -> bytes:
    return os.urandom(32)


@pytest.fixture
async def house(tmp_path: Path, key: bytes, now: datetime) -> AsyncIterator[House]:
    house = await start(tmp_path, key, now)
    yield house
    await house.changes.close()


async def test_first_administrator_may_administer(house: House, tmp_path: Path) -> None:
    offer = await house.first.offer(house.now)
    assert offer is not None
    secret = offer.path.read_text().strip()
    issued = await redeem(
        house.first,
        secret,
        "root@acme.org",
        changes=house.changes,
        now=house.now,
        request_id="r-1",
    )
    principal = house.directory.authenticate(issued.secret, house.now)
    assert principal.id.startswith("user:u-")
    decided = house.changes.engine.decide(principal, "policy:write", "any:policy", Context({}))
    assert decided, decided
    assert not house.first.needed


async def test_wrong_e_mail_leaves_the_offer(house: House) -> None:
    offer = await house.first.offer(house.now)
    assert offer is not None
    secret = offer.path.read_text().strip()
    for wrong in ("", "u-root", "no-address", "a b@acme.org", "@", "a@b\nx", "a@" + "b" * 400):
        with pytest.raises((InvalidDocuments, InvalidTokenRequest)):
            await redeem(
                house.first, secret, wrong, changes=house.changes, now=house.now, request_id="r"
            )
    await redeem(
        house.first,
        secret,
        "root@acme.org",
        changes=house.changes,
        now=house.now,
        request_id="r",
    )


async def test_host_mints_for_users_and_accounts_that_exist(house: House) -> None:
    await house.put(VirtualAccount(name="checkout"), User(name="o'hara+x@acme.org"))
    for subject in ("user:o'hara+x@acme.org", "virtualaccount:checkout"):
        issued = await mint_on_host(house.changes, subject, now=house.now, request_id="r")
        assert house.directory.authenticate(issued.secret, house.now)
    with pytest.raises(InvalidDocuments):
        await mint_on_host(house.changes, "virtualaccount:nobody", now=house.now, request_id="r")


async def test_revoked_token_is_refused_when_the_commit_answers(house: House) -> None:
    """K1, K10: the scenario that must never go red."""
    await house.put(User(name="ann@acme.org"))
    issued = await house.give("user:ann@acme.org")
    subject = house.directory.authenticate(issued.secret, house.now).id
    ids = house.directory.credentials_of(subject)
    await house.changes.commit(revoke(ids, HOST), None, house.now)
    assert house.refusal(issued) is Refusal.REVOKED


async def test_deleted_account_ends_its_tokens_and_its_name_brings_none_back(
    house: House,
) -> None:
    """K6, K17: and an account that takes the name again is somebody else."""
    await house.put(VirtualAccount(name="checkout"))
    issued = await house.give("virtualaccount:checkout")
    before = house.directory.authenticate(issued.secret, house.now)
    await house.delete(("virtual-account", "checkout"))
    assert house.refusal(issued) is Refusal.REVOKED
    await house.put(VirtualAccount(name="checkout"))
    assert house.refusal(issued) is Refusal.REVOKED
    again = await house.give("virtualaccount:checkout")
    after = house.directory.authenticate(again.secret, house.now)
    assert after.id != before.id
    await house.delete(("virtual-account", after.id.partition(":")[2]))
    assert house.refusal(again) is Refusal.REVOKED


async def test_restricted_token_may_only_what_it_names(house: House) -> None:
    await house.put(User(name="ann@acme.org"))
    may = [Restriction(actions=("self:read",), resources=("self:caller",))]
    empty, narrow, full = [
        house.directory.authenticate((await house.give("user:ann@acme.org", r)).secret, house.now)
        for r in ([], may, None)
    ]
    decide = house.changes.engine.decide
    for asker, action, allowed in (
        (full, "self:read", True),
        (full, "self:manage-tokens", True),
        (narrow, "self:read", True),
        (narrow, "self:manage-tokens", False),
        (empty, "self:read", False),
    ):
        assert bool(decide(asker, action, "self:caller", Context({}))) is allowed


async def test_second_process_refuses_after_its_poll(
    house: House, tmp_path: Path, key: bytes
) -> None:
    """K2, K13: one feed carries credentials, rows and pins."""
    await house.put(User(name="ann@acme.org"))
    issued = await house.give("user:ann@acme.org")
    other = await start(tmp_path, key, house.now)
    try:
        assert other.directory.authenticate(issued.secret, house.now)
        await house.changes.commit(revoke([issued.credential.name], HOST), None, house.now)
        await other.changes.poll()
        assert other.refusal(issued) is Refusal.REVOKED
    finally:
        await other.changes.close()


async def test_restart_keeps_tokens_and_grace(house: House, tmp_path: Path, key: bytes) -> None:
    await house.put(VirtualAccount(name="checkout"))
    old = await house.give("virtualaccount:checkout")
    new = regenerate("virtualaccount:checkout", [old.credential], HOST, now=house.now, grace=DAY)
    await house.changes.commit(new.change, None, house.now)
    other = await start(tmp_path, key, house.now)
    try:
        for issued in (old, new):
            assert other.directory.authenticate(
                issued.secret, house.now
            ) == house.directory.authenticate(issued.secret, house.now)
        with pytest.raises(Unauthenticated):
            other.directory.authenticate(old.secret, house.now + DAY)
    finally:
        await other.changes.close()


async def test_pins_follow_teams_by_id(house: House) -> None:
    rule = MetadataRule(id="r1", subjects=("team:search",), metadata_override={"cost": "42"})
    await house.put(
        Team(name="search", members=("user:ann@acme.org",)), MetadataConfig(rules=(rule,))
    )
    issued = await house.give("user:ann@acme.org")
    principal = house.directory.authenticate(issued.secret, house.now)
    closure = house.changes.engine.subject_closure(principal.id)
    assert house.pins.pinned(principal.id, closure) == {"cost": "42"}
    assert house.pins.pinned("user:u-other", ()) == {}
