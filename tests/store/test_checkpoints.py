from __future__ import annotations

import os
from pathlib import Path

import pytest

from store.checkpoints import SecondPlace, UnknownKey, append_after, key_to_start, rotations
from store.segments import claim
from store.verify import verify
from tests.store.journal_kit import KEY, OTHER_KEY, PUBLIC, open_journal


def test_a_torn_line_of_an_earlier_failure_is_cut_before_appending(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_after(path, b"one\n")
    path.write_bytes(b"one\ntw")
    append_after(path, b"two\n", sync=True)
    assert path.read_bytes() == b"one\ntwo\n"


def test_the_second_place_makes_up_for_a_failure_with_the_next_copy(tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.touch()
    place = SecondPlace(tmp_path / "gw@h@0", second)
    place.copy([b"1\n"])
    assert place.error
    second.unlink()
    place.copy([b"2\n"])
    assert not place.error
    assert (second / "gw@h@0.checkpoints.jsonl").read_bytes() == b"1\n2\n"


async def test_a_key_that_nobody_introduced_is_refused_with_a_hint(tmp_path: Path) -> None:
    await open_journal(tmp_path).close()
    with pytest.raises(UnknownKey) as caught:
        open_journal(tmp_path, signing_key=OTHER_KEY)
    assert "old key" in caught.value.hint
    await open_journal(tmp_path).close()  # the slot was let go of


async def test_a_slot_that_was_idle_during_a_rotation_trusts_the_other_writers(
    tmp_path: Path,
) -> None:
    one, two = open_journal(tmp_path), open_journal(tmp_path)
    await two.close()
    await one.rotate_key(OTHER_KEY)
    assert [r.public for r in rotations(tmp_path)] == [
        OTHER_KEY.public_key().public_bytes_raw().hex()
    ]
    assert key_to_start(two.folder, OTHER_KEY, None) is OTHER_KEY
    await open_journal(tmp_path, signing_key=OTHER_KEY).close()
    await one.close()


async def test_a_new_chain_introduces_the_key_when_no_other_one_has(tmp_path: Path) -> None:
    """As on a host that got another name: its old chains are never gone on with."""
    await open_journal(tmp_path, host="old").close()
    await open_journal(tmp_path, host="new", signing_key=OTHER_KEY, previous_key=KEY).close()
    assert verify(tmp_path, PUBLIC).ok
    await open_journal(tmp_path, host="newer", signing_key=OTHER_KEY, previous_key=KEY).close()
    assert len(rotations(tmp_path)) == 1  # once is enough
    assert verify(tmp_path, PUBLIC).ok


def test_a_new_folder_takes_any_key(tmp_path: Path) -> None:
    folder, lock = claim(tmp_path, "gw", "h", 1)
    assert key_to_start(folder, KEY, OTHER_KEY) is KEY
    os.close(lock)
