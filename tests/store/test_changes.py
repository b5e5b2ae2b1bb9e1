"""The change log: what is committed holds here, elsewhere and after a restart, or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from change_kit import (
    ANN,
    BOB,
    NOW,
    Alarms,
    Asker,
    account,
    change_log,
    credential,
    put,
    team,
    user,
)

from authz.conditions import Context
from authz.rows import digest_after, digest_text
from policies.authorise import authorise
from policies.change import Entry, Source
from policies.compile import STRUCTURE_ROWS
from policies.documents import User, dump, parse
from policies.errors import Conflict, GuardRefused, InvalidDocuments, NotAuthorised
from policies.loader import shipped
from store.changes import ChangeLog, Snapshot
from store.entries import encode, hash_of
from store.errors import LogDamaged, SealBroken, StoreTooNew, StoreUnavailable
from store.sealed import Sealer

USE = "provider-account-access"


@asynccontextmanager
async def running(path: Path, **fields: Any) -> AsyncIterator[ChangeLog]:
    log = change_log(path, **fields)
    await log.start()
    try:
        yield log
    finally:
        await log.close()


async def admin(log: ChangeLog, address: str = ANN) -> Asker:
    await log.commit(put(user(address, roles=["tenant-admin"])), None, NOW)
    person = await log.person_by_email(address)
    assert person is not None
    return Asker(f"user:{person.id}")


async def use(log: ChangeLog, address: str) -> bool:
    person = await log.person_by_email(address)
    assert person is not None
    asker = Asker(f"user:{person.id}")
    return bool(log.engine.decide(asker, "model:use", "model:acme/mini", Context()))


class Follower:
    """An applier that remembers what it heard."""

    def __init__(self) -> None:
        self.loaded: list[int] = []
        self.entries: list[Entry] = []
        self.names: set[str] = set()

    def load(self, snapshot: Snapshot) -> None:
        self.loaded.append(snapshot.epoch)
        self.names = {document.name for document in snapshot.documents}

    def apply(self, entry: Entry) -> None:
        self.entries.append(entry)


# --- start ------------------------------------------------------------------------------------------


async def test_the_first_start_commits_what_is_shipped_as_entry_one(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        assert log.head == 1 and log.problem is None
        (raw,) = await log._store.entries(0, 10)
        entry = log._feed.read(raw)
        assert entry.source is Source.SHIPPED and entry.previous == ""
        assert set(STRUCTURE_ROWS) <= set(entry.added)
        assert entry.digest == digest_text(digest_after(0, entry.added, ())) == log.engine.digest
    async with running(tmp_path) as log:
        assert log.head == 1


async def test_two_processes_may_start_on_an_empty_folder_at_once(tmp_path: Path) -> None:
    logs = [change_log(tmp_path) for _ in range(3)]
    await asyncio.gather(*(log.start() for log in logs))
    for log in logs:
        await log.poll()
    assert {log.head for log in logs} == {1}
    assert len({log.engine.digest for log in logs}) == 1
    for log in logs:
        await log.close()


async def test_a_newer_version_brings_its_documents_but_not_over_edited_or_deleted_ones(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as log:
        edited = parse(
            {"type": "role", "name": "auditor", "description": "ours", "resourceType": "tenant"}
        )
        await log.commit(put(edited, deletes=(("role", "tenant-member"),)), None, NOW)
        head = log.head
    new = parse({"type": "role", "name": "brought", "resourceType": "tenant"})
    changed = [
        parse({**dump(one), "description": "newer"}) if one.key[0] == "role" else one
        for one in shipped()
    ]
    async with running(tmp_path, shipped=[*changed, new]) as log:
        assert log.head == head + 1

        async def text(name: str) -> object:
            stored = await log.document(("role", name))
            return None if stored is None else dump(stored.document).get("description")

        assert await text("auditor") == "ours"
        assert await text("tenant-member") is None
        assert await text("tenant-admin") == "newer"
        assert await log.document(("role", "brought")) is not None


async def test_a_restart_has_what_was_committed(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        await log.commit(put(team("s", ANN), account("acme", f"team:s={USE}")), None, NOW)
        digest, head = log.engine.digest, log.head
        assert await use(log, ANN)
    follower = Follower()
    log = change_log(tmp_path)
    log.subscribe(follower)
    await log.start()
    assert (log.engine.digest, log.head) == (digest, head)
    assert await use(log, ANN)
    assert {"acme", "s"} <= follower.names
    # The names are there too: the next change knows what exists.
    await log.commit(put(account("beta", f"team:s={USE}")), None, NOW)
    with pytest.raises(InvalidDocuments):
        await log.commit(put(team("S")), None, NOW)
    await log.close()


# --- commits ----------------------------------------------------------------------------------------


async def test_a_commit_holds_for_the_next_question_and_chains(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        first = await log.commit(put(team("s", ANN), account("acme", f"team:s={USE}")), None, NOW)
        assert await use(log, ANN)
        second = await log.commit(put(team("s")), None, NOW)
        assert not await use(log, ANN)
        assert (second.epoch, second.previous) == (first.epoch + 1, first.hash)
        assert log.engine.epoch == log.head == second.epoch


async def test_a_change_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        documents = (team("s", ANN), account("acme", f"team:s={USE}"))
        await log.commit(put(*documents), None, NOW)
        head = log.head
        entry = await log.commit(put(*documents), None, NOW)
        assert log.head == head == entry.epoch and entry.documents == ()


async def test_a_change_is_authorised_by_rows(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        root = await admin(log)
        await log.commit(put(team("s", BOB, managers=[BOB])), root, NOW)
        bob = await log.person_by_email(BOB)
        assert bob is not None
        manager = Asker(f"user:{bob.id}")
        await log.commit(put(team("s", BOB, "new@acme.com", managers=[BOB])), manager, NOW)
        head = log.head
        with pytest.raises(NotAuthorised):
            await log.commit(put(user(BOB, roles=["tenant-admin"])), manager, NOW)
        assert log.head == head


async def test_an_account_of_a_manager_is_bound_when_it_is_committed(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        root = await admin(log)
        await log.commit(put(account("acme"), team("s", BOB, managers=[BOB])), root, NOW)
        bob = await log.person_by_email(BOB)
        assert bob is not None
        grant = [{"resource_type": "provider-account", "resource_fqn": "acme", "role_id": USE}]
        made = parse(
            {
                "type": "virtual-account",
                "name": "v",
                "permissions": grant,
                "ownedBy": {"team": "s"},
            }
        )
        await log.commit(put(made), Asker(f"user:{bob.id}"), NOW)
        stored = await log.document(("virtual-account", "v"))
        assert stored is not None and dump(stored.document)["bounded_by"] == "s"
        bounded = Asker("virtualaccount:v", bound="bound:s")
        assert not log.engine.decide(bounded, "model:use", "model:acme/mini", Context())


async def test_stale_expectations_conflict_and_everything_else_is_rebased(tmp_path: Path) -> None:
    async with running(tmp_path) as one, running(tmp_path) as two:
        await one.commit(put(team("s"), team("t")), None, NOW)
        await two.poll()
        await one.commit(put(team("s", ANN)), None, NOW)
        # `two` has not polled: its head is old. What it does not touch is no conflict.
        await two.commit(put(team("t", ANN), expect={("team", "t"): 1}), None, NOW)
        with pytest.raises(Conflict):
            await two.commit(put(team("s", BOB), expect={("team", "s"): 1}), None, NOW)
        await one.poll()
        assert one.engine.digest == two.engine.digest
        assert one.head == two.head


async def test_changes_at_once_all_commit_and_tokens_share_a_transaction(tmp_path: Path) -> None:
    written: list[str] = []
    async with running(tmp_path, fault=written.append) as log:
        await admin(log)
        person = await log.person_by_email(ANN)
        assert person is not None
        written.clear()
        entries = await asyncio.gather(
            *(
                log.commit(
                    put(credential(f"t{n}", f"user:{person.id}"), request_id=f"r{n}"), None, NOW
                )
                for n in range(20)
            ),
            *(log.commit(put(team(f"s{n}", ANN)), None, NOW) for n in range(5)),
        )
        assert len({entry.epoch for entry in entries}) == 25
        assert [entry.request_id for entry in entries[:20]] == [f"r{n}" for n in range(20)]
        assert written.count("begun") < 12  # one for each team, few for all the tokens
        assert log.head == max(entry.epoch for entry in entries)


async def test_two_processes_that_write_at_once_both_see_everything(tmp_path: Path) -> None:
    async with running(tmp_path) as one, running(tmp_path) as two:
        await asyncio.gather(
            *(
                log.commit(put(team(f"{name}{n}", f"{name}{n}@acme.com")), None, NOW)
                for n in range(10)
                for name, log in (("a", one), ("b", two))
            )
        )
        await asyncio.gather(one.poll(), two.poll())
        assert one.head == two.head == 21
        assert one.engine.digest == two.engine.digest


async def test_the_same_new_address_at_once_is_one_person(tmp_path: Path) -> None:
    async with running(tmp_path) as one, running(tmp_path) as two:
        await asyncio.gather(
            one.commit(put(team("a", "new@acme.com")), None, NOW),
            two.commit(put(team("b", "NEW@acme.com")), None, NOW),
        )
        await asyncio.gather(one.poll(), two.poll())
        person = await one.person_by_email("new@acme.com")
        assert person is not None
        assert set(one.engine.groups_of(f"user:{person.id}")) == {"team:a", "team:b"}


async def test_a_caller_who_hangs_up_leaves_the_log_and_the_others_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(log.commit(put(team(f"s{n}")), None, NOW)) for n in range(10)
            ]
            for n in range(0, 10, 3):
                for _ in range(n):
                    await asyncio.sleep(0)
                tasks[n].cancel()
        kept = [n for n, task in enumerate(tasks) if not task.cancelled()]
        assert len(kept) >= 6
        await log.commit(put(team("last")), None, NOW)
        await log.poll()
        for n in kept:
            assert log.engine.knows(f"team:s{n}")
        async with running(tmp_path) as other:
            assert other.engine.digest == log.engine.digest


# --- guards -----------------------------------------------------------------------------------------


async def test_the_last_administrator_is_not_replaced_by_nobody(tmp_path: Path) -> None:
    alarms = Alarms()
    async with running(tmp_path, alarm=alarms) as log:
        await admin(log)
        deny = parse(
            {
                "type": "policy",
                "name": "lockout",
                "rules": [
                    {
                        "id": "x",
                        "effect": "deny",
                        "subjects": ["any:user"],
                        "actions": ["role:assign"],
                        "resources": ["any:role"],
                    }
                ],
            }
        )
        digest = log.engine.digest
        with pytest.raises(GuardRefused):
            await log.commit(put(deny), None, NOW)
        with pytest.raises(GuardRefused):
            await log.commit(put(user(ANN, roles=["auditor"])), None, NOW)
        assert log.engine.digest == digest
        # With another one it may go.
        await log.commit(
            put(user(BOB, roles=["tenant-admin"]), user(ANN, roles=["auditor"])), None, NOW
        )
        assert not alarms


async def test_a_pure_revocation_commits_with_an_alarm(tmp_path: Path) -> None:
    alarms = Alarms()
    async with running(tmp_path, alarm=alarms) as log:
        await admin(log)
        await log.commit(put(user(ANN, state="suspended"), source=Source.SCIM), None, NOW)
        assert ["nobody active" in text for text in alarms] == [True]


async def test_what_a_deletion_leaves_dangling_is_an_alarm(tmp_path: Path) -> None:
    alarms = Alarms()
    async with running(tmp_path, alarm=alarms) as log:
        await log.commit(put(team("s"), account("acme", f"team:s={USE}")), None, NOW)
        await log.commit(put(deletes=(("team", "s"),)), None, NOW)
        assert len(alarms) == 1 and "provider-account/acme still names team/s" in alarms[0]


async def test_a_change_is_guarded_while_a_large_entry_is_being_applied(tmp_path: Path) -> None:
    async with running(tmp_path) as log, running(tmp_path) as other:
        await admin(log)
        await log.commit(put(user(BOB, roles=["tenant-admin"])), None, NOW)
        await other.poll()
        members = [f"p{n}@acme.com" for n in range(1500)]
        await other.commit(put(team("big", *members)), None, NOW)
        async with asyncio.TaskGroup() as group:
            group.create_task(log.poll())
            for _ in range(5):
                await asyncio.sleep(0)
            demoted = group.create_task(log.commit(put(user(BOB, roles=["auditor"])), None, NOW))
        assert demoted.result().epoch == log.head == 5
        await other.poll()
        assert other.engine.digest == log.engine.digest


# --- nothing half done ------------------------------------------------------------------------------

STEPS = ["begun", "entry", "documents", "rows", "mentions", "people", "secrets", "written"]


@pytest.mark.parametrize("step", STEPS)
async def test_a_commit_that_fails_at_any_step_leaves_nothing(tmp_path: Path, step: str) -> None:
    failing = [False]

    def fault(now: str) -> None:
        if failing[0] and now == step:
            raise sqlite3.OperationalError("disk I/O error")

    async with running(tmp_path, fault=fault) as log:
        await log.commit(put(team("s", ANN)), None, NOW)
        before = (log.head, log.engine.digest)
        failing[0] = True
        with pytest.raises(StoreUnavailable):
            await log.commit(put(team("s", BOB), account("acme", f"team:s={USE}")), None, NOW)
        failing[0] = False
        assert (log.head, log.engine.digest) == before
        assert await log.document(("provider-account", "acme")) is None
        assert await log.person_by_email(BOB) is None
        assert not log.names.lives("provider-account:acme")
        async with running(tmp_path) as other:
            assert (other.head, other.engine.digest) == before
        await log.commit(put(team("s", BOB), account("acme", f"team:s={USE}")), None, NOW)
        assert await use(log, BOB)


async def test_a_commit_whose_end_was_not_seen_is_found_in_the_log(tmp_path: Path) -> None:
    def fault(step: str) -> None:
        if failing and step == "committed":
            failing.clear()
            raise sqlite3.OperationalError("connection lost")

    failing: list[int] = []
    async with running(tmp_path, fault=fault) as log:
        failing.append(1)
        entry = await log.commit(put(team("s", ANN)), None, NOW)
        assert not failing
        assert log.head == entry.epoch == 2
        assert log.engine.knows("team:s")


# --- damage -----------------------------------------------------------------------------------------


def tamper(path: Path, sql: str, *values: object) -> None:
    db = sqlite3.connect(path / "gatewarden.db")
    with db:
        assert db.execute(sql, values).rowcount
    db.close()


async def test_rows_that_do_not_match_the_log_are_rebuilt_with_an_alarm(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        await log.commit(put(team("s", ANN), account("acme", f"team:s={USE}")), None, NOW)
        digest = log.engine.digest
    tamper(
        tmp_path,
        "UPDATE rows SET row = replace(row, 'team:s', 'any:user') WHERE row LIKE '%open-models%'",
    )
    tamper(tmp_path, "DELETE FROM rows WHERE row LIKE '%bound:s%'")
    alarms = Alarms()
    async with running(tmp_path, alarm=alarms) as log:
        assert log.engine.digest == digest
        assert len(alarms) == 1 and "rebuilt" in alarms[0]
    alarms = Alarms()
    async with running(tmp_path, alarm=alarms) as log:
        assert not alarms and log.engine.digest == digest


async def test_a_log_that_was_changed_does_not_start(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        await log.commit(put(team("s", ANN), account("acme", f"team:s={USE}")), None, NOW)
    tamper(
        tmp_path,
        "UPDATE entries SET body = CAST(replace(body, 'team:s', 'any:user') AS BLOB) WHERE epoch = 2",
    )
    tamper(tmp_path, "DELETE FROM rows WHERE row LIKE '%open-models%'")
    log = change_log(tmp_path)
    with pytest.raises(LogDamaged):
        await log.start()
    assert log.problem is not None
    await log.close()


async def test_an_entry_that_a_newer_version_wrote_stops_the_feed(tmp_path: Path) -> None:
    alarms = Alarms()
    async with running(tmp_path, alarm=alarms) as log, running(tmp_path) as newer:
        await newer.commit(put(team("s")), None, NOW)
        (raw,) = await newer._store.entries(1, 1)
        body = encode(replace(newer._feed.read(raw), min_reader=99))
        db = sqlite3.connect(tmp_path / "gatewarden.db")
        with db:
            db.execute(
                "UPDATE entries SET body = ?, hash = ? WHERE epoch = 2", (body, hash_of(body))
            )
        db.close()
        for _ in range(2):
            with pytest.raises(StoreTooNew):
                await log.poll()
        assert log.head == 1
        assert log.problem is not None and "99" in log.problem
        assert len(alarms) == 1  # said once
        with pytest.raises(StoreTooNew):
            await log.commit(put(team("t")), None, NOW)


async def test_a_store_of_a_newer_version_does_not_open(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    tamper(tmp_path, "UPDATE meta SET value = '99' WHERE name = 'schema'")
    with pytest.raises(StoreTooNew):
        await change_log(tmp_path).start()


# --- the feed ---------------------------------------------------------------------------------------


async def test_appliers_hear_every_entry_in_order_and_in_the_same_step_as_the_engine(
    tmp_path: Path,
) -> None:
    log = change_log(tmp_path)

    class Watch(Follower):
        def apply(self, entry: Entry) -> None:
            super().apply(entry)
            assert log.engine.epoch == entry.epoch
            assert log.head == entry.epoch

    follower = Watch()
    log.subscribe(follower)
    await log.start()
    async with running(tmp_path) as other:
        await other.commit(put(team("s")), None, NOW)
        await log.commit(put(team("t")), None, NOW)
        await other.commit(put(team("u")), None, NOW)
        assert await log.poll() == 1
        assert await log.poll() == 0
    assert follower.loaded == [0]
    assert [entry.epoch for entry in follower.entries] == [1, 2, 3, 4]
    await log.close()


async def test_an_applier_that_fails_makes_the_process_not_ready(tmp_path: Path) -> None:
    alarms = Alarms()
    log = change_log(tmp_path, alarm=alarms)

    class Broken(Follower):
        def apply(self, entry: Entry) -> None:
            if entry.epoch == 2:
                raise RuntimeError("no")

    broken = Broken()
    log.subscribe(broken)
    await log.start()
    await log.commit(put(team("s")), None, NOW)
    assert log.problem is not None and len(alarms) == 1
    # It may hold what was revoked: nothing is decided until all of it is loaded anew.
    assert log.age(NOW) == float("inf")
    await log.poll()
    assert log.problem is None and log.age(NOW) == 0
    assert broken.loaded == [0, 2]
    await log.close()


async def test_an_error_that_nobody_expected_does_not_end_the_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms = Alarms()
    async with running(tmp_path, alarm=alarms) as log, running(tmp_path) as other:
        failed = asyncio.Event()

        async def broken(*_: object) -> bool:
            failed.set()
            raise KeyError("canary")

        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            with monkeypatch.context() as patch:
                patch.setattr(log._feed._store, "changed", broken)
                group.create_task(log.run_feed(stop))
                await failed.wait()
                await asyncio.sleep(0)
                assert log.problem == "the log cannot be followed"
                assert len(alarms) == 1
            entry = await other.commit(put(team("s")), None, NOW)
            assert await log.wait(entry.epoch, 5)
            stop.set()
        assert log.problem is None


async def test_a_large_entry_is_applied_aside_and_swapped_with_the_appliers(tmp_path: Path) -> None:
    log = change_log(tmp_path)
    follower = Follower()
    log.subscribe(follower)
    await log.start()
    members = [f"p{n}@acme.com" for n in range(1500)]
    seen: set[tuple[bool, bool]] = set()
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            seen.add((log.engine.epoch == 2, bool(follower.entries[1:])))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        entry = await log.commit(put(team("big", *members)), None, NOW)
        done.set()
    assert len(entry.added) > 2000
    assert seen <= {(False, False), (True, True)}  # never one without the other
    assert log.engine.digest == entry.digest
    await log.close()


async def test_waiting_for_an_epoch_ends_when_it_is_applied(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        assert await log.wait(1, 0)
        assert not await log.wait(2, 0)
        async with asyncio.TaskGroup() as group:
            waits = group.create_task(log.wait(2, 5))
            await asyncio.sleep(0)
            await log.commit(put(team("s")), None, NOW)
        assert waits.result()


async def test_the_feed_polls_until_it_is_stopped_and_says_how_old_it_is(tmp_path: Path) -> None:
    clock = [NOW]
    async with running(tmp_path, clock=lambda: clock[0]) as log, running(tmp_path) as other:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(log.run_feed(stop))
            entry = await other.commit(put(team("s")), None, NOW)
            assert await log.wait(entry.epoch, 5)
            stop.set()
        assert log.age(NOW) == 0
        assert log.age(NOW + timedelta(seconds=7)) == 7
        clock[0] = NOW + timedelta(seconds=7)
        await log.poll()
        assert log.age(NOW + timedelta(seconds=7)) == 0
    # A store that is gone makes it older, and raises nothing.
    assert change_log(tmp_path).age(NOW) == float("inf")


# --- reading ----------------------------------------------------------------------------------------


async def test_documents_are_read_by_what_they_are_called_now(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        await log.commit(put(team("s", ANN), team("t")), None, NOW)
        await log.commit(put(deletes=(("team", "s"),)), None, NOW)
        await log.commit(put(team("s", BOB)), None, NOW)
        stored = await log.document(("team", "s"))
        assert stored is not None and stored.key == ("team", "s~2")
        back = await log.render(stored.document)
        assert (back.name, dump(back)["members"]) == ("s", [BOB])
        assert [s.key[1] for s in await log.documents("team", "", 10)] == ["s~2", "t"]
        assert [s.key[1] for s in await log.documents("team", "s~2", 10)] == ["t"]
        assert await log.document(("team", "nothing")) is None


async def test_a_user_is_rendered_with_address_and_name_until_erased(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        await log.commit(put(user(ANN, displayName="Ann")), None, NOW)
        person = await log.person_by_email("ANN@acme.com")
        assert person is not None and await log.person(f"user:{person.id}") == person
        stored = await log.document(("user", person.id))
        assert stored is not None
        back = await log.render(stored.document)
        assert isinstance(back, User) and (back.name, back.display_name) == (ANN, "Ann")
        assert await log.erase_person(person.id)
        assert (await log.render(stored.document)).name == person.id
    # The file's pages are reused in time; what must never hold it is the log.
    async with running(tmp_path) as log:
        for raw in await log._store.entries(0, 100):
            assert b"ann@" not in raw.body and b"Ann" not in raw.body


async def test_a_secret_is_sealed_and_opens_only_where_it_belongs(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        await log.commit(put(account("acme"), account("beta", secret="sk-other")), None, NOW)
        stored = await log.document(("provider-account", "acme"))
        assert stored is not None
        reference = dump(stored.document)["auth_data"]["api_key"]
        assert await log.secret(reference) == "sk-canary"
        # Moved below another document's name in the table, it does not open.
        tamper(tmp_path, "UPDATE secrets SET name = 'beta' WHERE id = ?", reference[7:])
        with pytest.raises(SealBroken):
            await log.secret(reference)
        tamper(tmp_path, "UPDATE secrets SET name = 'acme' WHERE id = ?", reference[7:])
        # Neither when the stored address was changed behind our back.
        tamper(
            tmp_path,
            'UPDATE documents SET body = replace(body, \'{"type"\', \'{"base_url":"https://evil.example","type"\')'
            " WHERE family = 'provider-account' AND name = 'acme'",
        )
        with pytest.raises(SealBroken):
            await log.secret(reference)
        await log.commit(put(deletes=(("provider-account", "beta"),)), None, NOW)
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"sk-canary" not in files and b"sk-other" not in files
    async with running(tmp_path, sealer=Sealer(bytes(range(1, 33)))) as log:
        with pytest.raises(SealBroken):
            await log.secret(reference)


async def test_an_ended_secret_is_gone(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        await log.commit(put(account("acme")), None, NOW)
        stored = await log.document(("provider-account", "acme"))
        assert stored is not None
        reference = dump(stored.document)["auth_data"]["api_key"]
        await log.commit(put(account("acme", secret="sk-next")), None, NOW)
        with pytest.raises(SealBroken):
            await log.secret(reference)


async def test_the_plan_of_a_bounded_account_may_be_shown_before_it_is_made(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        root = await admin(log)
        await log.commit(put(account("acme"), team("s", BOB, managers=[BOB])), root, NOW)
        bob = await log.person_by_email(BOB)
        assert bob is not None
        grant = [{"resource_type": "provider-account", "resource_fqn": "acme", "role_id": USE}]
        made = parse(
            {"type": "virtual-account", "name": "v", "permissions": grant, "ownedBy": {"team": "s"}}
        )
        plan = await log.plan(put(made))
        authorise(log.engine, Asker(f"user:{bob.id}"), plan, Context())
        assert log.head == 3
