"""What a data folder remembers of the log, and what of it is kept when things go wrong."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from store.errors import StoreError
from store.memory import Memory, Remembered, Revocation, revocation_of
from store.port import Head
from tests.store.change_kit import NOW, account, change_log, credential, put


def taken(epoch: int, **fields: object) -> Revocation:
    return Revocation(epoch, f"hash{epoch}", "2026-11-25T12:00:00+00:00", "host", "", **fields)  # type: ignore[arg-type]


def test_the_highest_head_is_kept_and_a_lower_one_changes_nothing(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    assert memory.read() is None
    memory.keep(Head(7, "seven"), 0, [])
    memory.keep(Head(5, "five"), 0, [taken(4)])
    assert Memory(tmp_path).read() == Remembered(7, "seven")
    assert memory.revocations() == []


def test_only_the_owner_may_read_what_is_remembered(tmp_path: Path) -> None:
    Memory(tmp_path).keep(Head(3, "three"), 0, [taken(2)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes) == {"head.json", "head.lock", "revocations.jsonl"}
    assert set(modes.values()) == {0o600}


def test_revocations_are_mirrored_once_although_several_processes_tell_of_them(
    tmp_path: Path,
) -> None:
    first, second = Memory(tmp_path), Memory(tmp_path)
    first.keep(Head(3, "hash3"), 0, [taken(2), taken(3, credentials=("t1",), rows=2)])
    second.keep(Head(4, "hash4"), 0, [taken(2), taken(3), taken(4)])
    assert [one.epoch for one in second.revocations()] == [2, 3, 4]
    assert second.revocations()[1] == taken(3, credentials=("t1",), rows=2)


def test_who_did_not_see_a_confirmation_does_not_undo_it(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.keep(Head(9, "nine"), 0, [])
    assert memory.reset(Head(4, "four")) == Remembered(4, "four", 1)
    assert memory.keep(Head(10, "ten"), 0, [taken(10)]) == Remembered(4, "four", 1)
    assert memory.keep(Head(5, "five"), 1, []) == Remembered(5, "five", 1)


def test_a_torn_line_costs_that_line_only(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.keep(Head(2, "two"), 0, [taken(2)])
    with (tmp_path / "revocations.jsonl").open("ab") as file:
        file.write(b'{"epoch":3,"ha')
    memory.keep(Head(4, "four"), 0, [taken(4)])
    assert [one.epoch for one in memory.revocations()] == [2, 4]


def test_the_mirror_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    memory = Memory(tmp_path, mirror_bytes=2_000)
    for epoch in range(1, 60):
        memory.keep(Head(epoch, str(epoch)), 0, [taken(epoch)])
    kept = [one.epoch for one in memory.revocations()]
    assert kept[-1] == 59 and kept == list(range(kept[0], 60)) and kept[0] > 1
    assert sum(path.stat().st_size for path in tmp_path.glob("revocations*")) < 4_500


def test_a_head_that_cannot_be_read_is_an_error_and_not_an_empty_memory(tmp_path: Path) -> None:
    (tmp_path / "head.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        Memory(tmp_path).read()


async def test_what_an_entry_takes_away_is_rows_denies_and_credentials(tmp_path: Path) -> None:
    log = change_log(tmp_path)
    await log.start()
    granted = account("acme", "user:ann@acme.com=provider-account-access")
    given = await log.commit(put(granted, credential("t1", "user:ann@acme.com")), None, NOW)
    assert revocation_of(given) is None
    ended = await log.commit(
        put(account("acme"), deletes=(("credential", "t1"),), comment="why"), None, NOW
    )
    found = revocation_of(ended)
    assert found is not None
    assert (found.epoch, found.comment, found.credentials) == (ended.epoch, "why", ("t1",))
    assert len(found.removed) == found.rows == len(ended.removed) > 0
    await log.close()
