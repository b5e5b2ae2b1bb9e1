"""A store that is restored from a backup serves nothing until somebody confirms it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from policies.change import Source
from store.changes import ChangeLog
from store.errors import StoreRestored, StoreUnavailable
from store.memory import Memory
from tests.store.change_kit import NOW, Alarms, change_log, credential, put, team


def opened(path: Path, folder: str = "var", **fields: object) -> ChangeLog:
    (path / folder).mkdir(exist_ok=True)
    return change_log(path, memory=Memory(path / folder), **fields)


def copy(source: Path, to: Path) -> None:
    """What a backup tool does, in either direction: into the file that is there."""
    one, other = sqlite3.connect(source), sqlite3.connect(to)
    with other:
        one.backup(other)
    one.close()
    other.close()


async def with_a_backup(path: Path) -> ChangeLog:
    """A log whose newest entry ended a token, and a backup from before."""
    log = opened(path)
    await log.start()
    await log.commit(put(team("search"), credential("t1", "user:ann@acme.com")), None, NOW)
    copy(path / "gatewarden.db", path / "backup.db")
    await log.commit(put(deletes=(("credential", "t1"),), comment="stolen"), None, NOW)
    return log


async def test_a_process_that_starts_on_a_restored_store_decides_nothing(tmp_path: Path) -> None:
    log = await with_a_backup(tmp_path)
    head = log.head
    await log.close()
    copy(tmp_path / "backup.db", tmp_path / "gatewarden.db")
    alarms = Alarms()
    log = opened(tmp_path, alarm=alarms)
    await log.start()
    assert log.age(NOW) == float("inf")
    assert log.problem is not None and "gatewarden restore confirm" in log.problem
    assert f"entry {head}" in alarms[0]
    with pytest.raises(StoreRestored):
        await log.commit(put(team("new")), None, NOW)
    await log.poll()
    assert log.problem is not None and len(alarms) == 1
    await log.close()


async def test_a_process_that_runs_notices_at_its_next_poll(tmp_path: Path) -> None:
    log = await with_a_backup(tmp_path)
    copy(tmp_path / "backup.db", tmp_path / "gatewarden.db")
    with pytest.raises(StoreRestored):
        await log.poll()
    assert log.age(NOW) == float("inf") and log.problem is not None
    with pytest.raises(StoreRestored):
        await log.commit(put(team("new")), None, NOW)
    # And it has told the folder, so that a restart makes no difference.
    await log.close()
    log = opened(tmp_path)
    await log.start()
    assert log.doubt is not None
    await log.close()


async def test_a_store_that_went_on_after_it_was_restored_is_found_out_too(tmp_path: Path) -> None:
    log = await with_a_backup(tmp_path)
    await log.close()
    copy(tmp_path / "backup.db", tmp_path / "gatewarden.db")
    other = opened(tmp_path, "elsewhere")  # a data folder that remembers nothing
    await other.start()
    for name in ("a", "b", "c"):
        await other.commit(put(team(name)), None, NOW)
    await other.close()
    log = opened(tmp_path)
    await log.start()
    assert log.doubt is not None and "another one" in log.doubt
    await log.close()


async def test_confirming_lists_what_was_lost_is_recorded_and_processes_go_on(
    tmp_path: Path,
) -> None:
    running = await with_a_backup(tmp_path)
    await running.remember()
    copy(tmp_path / "backup.db", tmp_path / "gatewarden.db")
    with pytest.raises(StoreRestored):
        await running.poll()
    host = opened(tmp_path)
    await host.start()
    lost = await host.lost()
    assert [(one.credentials, one.comment) for one in lost] == [(("t1",), "stolen")]
    restored = host.head
    entry = await host.confirm_restored("r", NOW)
    assert (entry.epoch, entry.source) == (restored + 1, Source.RECOVERY)
    assert f"entry {restored} " in entry.comment and f"entry {lost[0].epoch} " in entry.comment
    assert host.problem is None and host.age(NOW) == 0
    # A process that ran all the time does not undo it, and follows again.
    await running.remember()
    await running.poll()
    assert running.problem is None and running.head == entry.epoch
    await running.commit(put(deletes=(("credential", "t1"),)), None, NOW)
    await host.poll()
    assert host.engine.digest == running.engine.digest
    for log in (host, running):
        await log.close()
    again = opened(tmp_path)
    await again.start()
    assert again.problem is None
    with pytest.raises(StoreRestored, match="nothing to confirm"):
        await again.confirm_restored("r", NOW)
    await again.close()


async def test_what_others_committed_while_this_folder_slept_is_mirrored_at_its_start(
    tmp_path: Path,
) -> None:
    log = opened(tmp_path)
    await log.start()
    await log.commit(put(credential("t1", "user:ann@acme.com")), None, NOW)
    await log.close()
    other = opened(tmp_path, "elsewhere")
    await other.start()
    await other.commit(put(deletes=(("credential", "t1"),)), None, NOW)
    await other.close()
    log = opened(tmp_path)
    await log.start()
    await log.close()
    assert [one.credentials for one in Memory(tmp_path / "var").revocations()] == [("t1",)]


async def test_two_processes_of_one_folder_never_take_each_other_for_a_restored_store(
    tmp_path: Path,
) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    await one.start()
    await two.start()
    for number in range(6):
        log, behind = (one, two) if number % 2 else (two, one)
        await log.commit(put(team(f"t{number}")), None, NOW)
        await log.remember()
        await behind.remember()
        third = opened(tmp_path)
        await third.start()
        assert third.problem is None
        await third.close()
        await behind.poll()
        assert behind.problem is None and behind.head == log.head
    await one.close()
    await two.close()


async def test_without_a_memory_a_running_process_still_notices(tmp_path: Path) -> None:
    log = change_log(tmp_path)
    await log.start()
    copy(tmp_path / "gatewarden.db", tmp_path / "backup.db")
    await log.commit(put(team("search")), None, NOW)
    copy(tmp_path / "backup.db", tmp_path / "gatewarden.db")
    with pytest.raises(StoreUnavailable):
        await log.poll()
    assert await log.poll() == 0 and log.problem is not None
    await log.close()
