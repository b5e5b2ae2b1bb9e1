"""What is taken away is gone on the next request, whoever held what. Numbers are those of docs/attacks.md 3.1."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from authz.conditions import Context
from authz.rows import row
from identity.directory import Directory
from identity.errors import Refusal, Unauthenticated
from identity.issue import Origin, revoke
from policies.documents import Restriction
from store.errors import StoreUnavailable
from tests.attacks.house import MESSAGES, USE, House, other_process

HOST = Origin("host", "attack")


async def token_id(house: House, who: str) -> str:
    (token,) = (await house.call("GET", "/api/v1/personal-access-tokens", who=who)).json["data"]
    found: str = token["id"]
    return found


async def test_k1_k10_a_revoked_token_is_refused_on_both_planes_when_the_delete_has_answered(
    house: House,
) -> None:
    """K1, K9, K10: the release gate. No time to live, nothing to wait for."""
    path = f"/api/v1/personal-access-tokens/{await token_id(house, 'alice')}"
    assert (await house.chat()).status == 200
    assert (await house.call("DELETE", path)).status in (200, 204)
    for got in (
        await house.chat(),
        await house.call("GET", "/v1/models"),
        await house.call("GET", "/api/v1/whoami"),
        await house.call("DELETE", path),
    ):
        assert got.status == 401, got.raw


async def test_k3_constant_use_prolongs_nothing(house: House) -> None:
    """K3: a token that is used all the time ends like any other; nothing of it is cached by use."""
    stop = asyncio.Event()
    seen: list[int] = []
    users: list[list[int]] = []

    async def use() -> None:
        users.append(own := [])
        while not stop.is_set():
            own.append((await house.chat()).status)
            seen.append(own[-1])

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(use())
        while len(seen) < 20:
            await asyncio.sleep(0)
        await house.runtime.changes.commit(
            revoke([await token_id(house, "alice")], HOST), None, house.runtime.clock.now()
        )
        for _ in range(5):
            assert (await house.chat()).status == 401
        stop.set()
    for own in users:  # of several at once, one that began before the end may be answered after it
        refused = own.index(401) if 401 in own else len(own)
        assert set(own[:refused]) <= {200} and set(own[refused:]) <= {401}


@pytest.mark.parametrize("end", ["token", "person"])
async def test_k4_a_request_in_flight_brings_nothing_back(house: House, end: str) -> None:
    """K4, K17: what was under way when the right ended leaves nothing behind that a later request finds."""
    slow = {"model": "echo/small", "messages": MESSAGES, "x_echo": {"delay_ms": 300}}
    person = await house.runtime.changes.person_by_email("alice@example.com")
    assert person is not None
    key = ("credential", await token_id(house, "alice")) if end == "token" else ("user", person.id)
    async with asyncio.TaskGroup() as group:
        flying = [
            group.create_task(house.call("POST", "/v1/chat/completions", slow)) for _ in range(3)
        ]
        await under_way(house, 3)
        await house.commit(deletes=[key])
        assert (await house.chat()).status == 401
    assert {task.result().status for task in flying} <= {200, 401}
    for _ in range(3):
        assert (await house.chat()).status == 401
        assert (await house.call("GET", "/api/v1/whoami")).status == 401


async def under_way(house: House, count: int) -> None:
    """Returns when `count` requests have been decided, which is after they were authenticated."""
    before = house.runtime.journal.seq
    async with asyncio.timeout(10):
        while house.runtime.journal.seq < before + count:
            await asyncio.sleep(0.005)


async def test_k4_a_stream_that_has_not_begun_does_not_begin_after_the_revocation(
    house: House,
) -> None:
    """K4, K17: between the credential's check and the first byte of a stream lies the upstream's silence."""
    slow = {
        "model": "echo/small",
        "messages": MESSAGES,
        "stream": True,
        "x_echo": {"delay_ms": 300, "chunks": 40, "gap_ms": 100},
    }
    mine = await token_id(house, "alice")
    async with asyncio.timeout(3), asyncio.TaskGroup() as group:
        flying = group.create_task(house.call("POST", "/v1/chat/completions", slow))
        await under_way(house, 1)
        await house.commit(deletes=[("credential", mine)])
    got = flying.result()
    assert got.status == 401 or b"revoked_credential" in got.raw, got.raw
    assert b"[DONE]" not in got.raw


async def test_k5_records_of_use_and_rights_are_apart(house: House) -> None:
    """K5: requests write to the journal only; the store that holds rights does not move with traffic."""
    store = house.demo.settings.data / "gatewarden.db"
    head, written = house.runtime.changes.head, store.stat().st_mtime_ns
    documents = [d.document for d in await house.runtime.changes.documents("credential", "", 100)]
    for _ in range(5):
        assert (await house.chat()).status == 200
        assert (await house.chat("echo/secret")).status == 404
    assert house.runtime.changes.head == head
    assert store.stat().st_mtime_ns == written
    after = [d.document for d in await house.runtime.changes.documents("credential", "", 100)]
    assert after == documents


@pytest.mark.parametrize(
    ("what", "status"),
    [
        (("team", "search"), 404),  # the right came from the team
        (("provider-account", "echo"), 404),  # the model is gone
        (("user", "alice@example.com"), 401),
    ],
)
async def test_k6_a_deletion_takes_everything_along_that_hung_on_it(
    house: House, what: tuple[str, str], status: int
) -> None:
    """K6: and what takes the name again inherits nothing."""
    if what[0] == "user":
        person = await house.runtime.changes.person_by_email(what[1])
        assert person is not None
        what = ("user", person.id)
    # A team that owns accounts is not deleted without them.
    also = [("virtual-account", "checkout")] if what[0] == "team" else []
    assert (await house.chat()).status == 200
    await house.commit(deletes=[what, *also])
    assert (await house.chat()).status == status
    again: dict[str, dict[str, Any]] = {
        "team": {"type": "team", "name": "search", "members": ["alice@example.com"]},
        "provider-account": {
            "type": "provider-account/echo",
            "name": "echo",
            "integrations": [{"type": "integration/model/echo", "name": "small"}],
        },
        "user": {"type": "user", "name": "alice@example.com"},
    }
    await house.commit(again[what[0]])
    assert (await house.chat()).status == status


async def test_k6_an_account_s_token_ends_with_the_account(house: House) -> None:
    """K6: no key outlives what it belongs to."""
    assert (await house.chat(who="checkout")).status == 200
    await house.commit(deletes=[("virtual-account", "checkout")])
    assert (await house.chat(who="checkout")).status == 401
    await house.commit({"type": "virtual-account", "name": "checkout"})
    assert (await house.chat(who="checkout")).status == 401


async def test_k7_an_administrator_s_token_gets_the_same_checks_first(house: House) -> None:
    """K7: no early way out for the privileged, on either plane."""
    account = {"type": "virtual-account", "name": "operator", "roles": ["tenant-admin"]}
    assert (await house.call("GET", "/api/v1/users", who="operator")).status == 200
    assert (await house.chat("echo/secret", who="operator")).status == 200
    await house.commit({**account, "state": "suspended"})
    for path in ("/api/v1/users", "/api/v1/whoami", "/v1/models"):
        got = await house.call("GET", path, who="operator")
        assert (got.status, got.headers["www-authenticate"][:6]) == (401, "Bearer"), got.raw
    await house.commit(account)  # absent is not "active": who is suspended stays so
    assert (await house.call("GET", "/api/v1/whoami", who="operator")).status == 401
    await house.commit({**account, "state": "active"})
    assert (await house.call("GET", "/api/v1/users", who="operator")).status == 200


async def test_k8_a_part_that_missed_a_revocation_decides_nothing_until_it_has_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K8: an eviction that fails is neither a failed revocation nor a stale right: 503, then right."""
    failed = asyncio.Event()

    def fails(directory: Directory, entry: object) -> None:
        failed.set()
        raise MemoryError("canary-of-the-cause")

    mine = await token_id(house, "alice")
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "apply", fails)
        entry = await house.runtime.changes.commit(
            revoke([mine], HOST), None, house.runtime.clock.now()
        )
    assert failed.is_set() and entry.epoch == house.runtime.changes.head
    statuses = set()
    async with asyncio.timeout(5):
        while (status := (await house.chat()).status) != 401:
            statuses.add(status)
    assert statuses <= {503}
    assert (await house.chat(who="bob")).status == 200


async def test_k11_a_token_works_at_once_although_it_was_probed_before(house: House) -> None:
    """K11: that a token was unknown is not remembered."""
    restricted = Restriction(actions=("model:use",), resources=("model:echo/small",))
    issued = await house.mint("user:alice@example.com", [restricted])
    await house.commit(deletes=[("credential", issued.credential.name)])
    assert (await house.chat(who=issued.secret)).status == 401
    fresh = await house.mint("user:alice@example.com")
    assert (await house.chat(who=fresh.secret)).status == 200


async def test_k12_a_valid_token_is_never_not_found_while_the_policy_moves(house: House) -> None:
    """K12, K16: requests run while entries, large ones too, are applied; none sees half a policy."""
    done = asyncio.Event()
    seen: set[int] = set()

    async def use(who: str) -> None:
        while not done.is_set():
            seen.add((await house.chat(who=who)).status)
            seen.add((await house.call("GET", "/api/v1/whoami", who=who)).status)

    async with asyncio.TaskGroup() as group:
        for who in ("alice", "checkout"):
            group.create_task(use(who))
        for number in range(3):
            members = [f"p{number}-{n}@example.com" for n in range(600)]
            await house.commit({"type": "team", "name": f"t{number}", "members": members})
        await house.commit(deletes=[("team", f"t{n}") for n in range(3)])
        done.set()
    assert seen == {200}


async def test_k13_a_deleted_model_is_gone_in_every_process(house: House) -> None:
    """K2, K13: one feed carries credentials, rows and the catalogue to the other processes."""
    keys = house.demo.settings.data / "keys"
    assert keys.is_dir()
    async with other_process(house.demo.settings.data) as other:
        assert other.catalogue.model("echo/small") is not None
        secret = house.token("alice")
        principal = other.directory.authenticate(secret, house.runtime.clock.now())
        await house.commit(
            deletes=[("provider-account", "echo"), ("credential", principal.credential_id)]
        )
        await other.changes.poll()
        assert other.catalogue.model("echo/small") is None
        assert not other.changes.engine.knows("model:echo/small")
        with pytest.raises(Unauthenticated) as refused:
            other.directory.authenticate(secret, house.runtime.clock.now())
        assert refused.value.refusal is Refusal.REVOKED


async def test_k14_a_grant_reaches_a_token_that_is_in_use(house: House) -> None:
    """K14: nothing is fixed at the first use of a token, neither what it may nor what it may not."""
    binding = {
        "type": "role-binding",
        "name": "alice-secret",
        "subjects": [{"type": "user", "name": "alice@example.com"}],
        "permissions": [
            {"resourceType": "model", "resourceFqn": "echo/secret", "role": USE},
        ],
    }
    assert (await house.chat("echo/secret")).status == 404
    assert "echo/secret" not in await house.models()
    await house.commit(binding)
    assert (await house.chat("echo/secret")).status == 200
    assert "echo/secret" in await house.models()
    await house.commit(deletes=[("role-binding", "alice-secret")])
    assert (await house.chat("echo/secret")).status == 404
    assert "echo/secret" not in await house.models()


async def test_k15_an_entry_that_a_poll_missed_is_found_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K15: the watcher is a cursor over the log, so there is no event that could be lost."""
    async with other_process(house.demo.settings.data) as other:
        await house.commit({"type": "team", "name": "late", "members": ["alice@example.com"]})
        store = other.changes._feed._store

        async def fails(*_: object) -> Any:
            raise StoreUnavailable("the store does not answer")

        with monkeypatch.context() as patch:
            patch.setattr(store, "entries", fails)
            with pytest.raises(StoreUnavailable):
                await other.changes.poll()  # has seen that the store changed, and no more
        assert await other.changes.poll() == 1
        assert other.changes.engine.digest == house.runtime.changes.engine.digest


async def test_k15_a_process_whose_rows_differ_from_the_log_loads_them_anew(house: House) -> None:
    """K15: each entry carries the digest of all rows, so a difference is seen at the next one."""
    async with other_process(house.demo.settings.data) as other:
        engine = other.changes.engine
        principal = other.directory.authenticate(house.token("alice"), house.runtime.clock.now())
        engine.apply([row("g", principal.id, "role:tenant-admin")], [], engine.epoch)
        assert engine.decide(principal, "policy:write", "any:policy", Context({}))
        await house.commit({"type": "team", "name": "next", "members": []})
        await other.changes.poll()
        assert not other.changes.engine.decide(principal, "policy:write", "any:policy", Context({}))
        assert other.changes.engine.digest == house.runtime.changes.engine.digest


async def test_k17_the_person_is_checked_on_each_request_and_not_only_the_token(
    house: House,
) -> None:
    """K17: suspending somebody ends every token of theirs, and their open streams."""
    slow = {
        "model": "echo/small",
        "messages": MESSAGES,
        "stream": True,
        "x_echo": {"chunks": 100, "gap_ms": 50},
    }
    second = await house.mint("user:alice@example.com")
    async with (
        asyncio.timeout(4),
        house.session.post(
            f"{house.demo.url}/v1/chat/completions",
            json=slow,
            headers={"authorization": f"Bearer {second.secret}"},
        ) as answer,
    ):
        assert answer.status == 200
        first = await answer.content.readany()
        await house.commit(
            {"type": "user", "name": "alice@example.com", "state": "suspended",
             "suspended_by": ["admin"]}
        )  # fmt: skip
        rest = await answer.content.read()
    assert b"[DONE]" not in first + rest
    assert b'"code":"suspended"' in rest.replace(b" ", b""), rest
    for who in ("alice", second.secret):
        assert (await house.chat(who=who)).status == 401
        assert (await house.call("GET", "/api/v1/whoami", who=who)).status == 401
    lifted = {"state": "active", "suspended_by": []}
    await house.commit({"type": "user", "name": "alice@example.com", **lifted})
    assert (await house.chat(who=second.secret)).status == 200


async def test_k18_one_token_is_ended_without_a_restart_and_without_the_others(
    house: House,
) -> None:
    """K18: each token has an id, an end if it was given one, and is revoked alone."""
    issued = [await house.mint("user:alice@example.com") for _ in range(3)]
    path = f"/api/v1/personal-access-tokens/{issued[1].credential.name}"
    assert (await house.call("DELETE", path)).status in (200, 204)
    statuses = [(await house.chat(who=one.secret)).status for one in issued]
    assert statuses == [200, 401, 200]
    made = await house.call(
        "POST", "/api/v1/personal-access-tokens", {"name": "x", "expirationDate": "2000-01-01"}
    )
    assert made.status in (400, 422), made.raw
    assert "token" not in json.dumps(made.json.get("token", ""))
