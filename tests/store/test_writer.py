from __future__ import annotations

import os
from pathlib import Path

import pytest

from authz.chain import Ids
from store.segments import recover
from store.tickets import Ticket
from store.verify import verify
from store.writer import ChainWriter, Limits, Stamp
from tests.store.journal_kit import KEY, NOON, OTHER_KEY, PUBLIC, decision, lines, types

IDS = Ids("00000001")
STAMP = Stamp(NOON)


def made(tmp_path: Path, **more: object) -> ChainWriter:
    folder = tmp_path / "gw@h@0"
    folder.mkdir(exist_ok=True)
    return ChainWriter(folder, recover(folder), key=KEY, limits=Limits(**more))  # type: ignore[arg-type]


def items(count: int) -> list[Ticket]:
    return [Ticket(None, NOON, IDS.next(NOON), decision(number=n)) for n in range(count)]  # type: ignore[arg-type]


def test_a_batch_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = made(tmp_path)
    writer.commit(items(2), STAMP, checkpoint=True)
    link, before = writer.link, lines(tmp_path)
    real = os.pwrite

    def short(handle: int, data: bytes, offset: int) -> int:
        if len(data) < 500:  # the disk takes half of it, then none
            raise OSError(28, "full")
        return real(handle, data[: len(data) // 2], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", short)
        with pytest.raises(OSError, match="full"):
            writer.commit(items(9), STAMP)
    assert writer.link == link and lines(tmp_path) == before
    writer.commit(items(1), STAMP, checkpoint=True)
    writer.close()
    assert verify(tmp_path, PUBLIC).ok


def test_the_begin_of_a_gap_is_written_into_the_reserve(tmp_path: Path) -> None:
    writer = made(tmp_path)
    writer.commit(items(1), STAMP, checkpoint=True)
    writer.take_reserve()
    assert (writer.folder / "reserve").exists()
    writer.begin_gap("ENOSPC", STAMP)
    assert not (writer.folder / "reserve").exists()
    assert types(tmp_path)[-2:] == ["gap", "checkpoint"]
    writer.close()


def test_after_a_gap_ordinary_records_wait_for_room_for_the_next_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = made(tmp_path)
    writer.take_reserve()
    writer.begin_gap("ENOSPC", STAMP)

    def full(handle: int, offset: int, size: int) -> None:
        raise OSError(28, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="reserve"):
            writer.regain_reserve()
    writer.regain_reserve()
    assert (writer.folder / "reserve").exists()
    writer.close()


def test_checkpoints_name_the_newest_of_the_other_writers(tmp_path: Path) -> None:
    writer = made(tmp_path)
    writer.commit(items(1), STAMP, checkpoint=True)
    folder = tmp_path / "gw@h@1"
    folder.mkdir()
    other = ChainWriter(folder, recover(folder), key=KEY, limits=Limits())
    other.commit(items(1), STAMP, checkpoint=True)
    assert lines(tmp_path)[-1].body["peers"] == {"gw@h@0": [2, writer.link.hash]}
    writer.close()
    other.close()


def test_rotating_to_the_same_key_does_nothing(tmp_path: Path) -> None:
    writer = made(tmp_path)
    writer.rotate_key(KEY, STAMP)
    assert not lines(tmp_path)
    writer.rotate_key(OTHER_KEY, STAMP)
    assert types(tmp_path) == ["key-rotation", "checkpoint"]
    writer.close()


def test_a_prune_that_was_killed_half_way_is_no_fault(tmp_path: Path) -> None:
    writer = made(tmp_path, segment_bytes=1000)
    for _ in range(6):
        writer.commit(items(2), STAMP)
    kept = {path: path.read_bytes() for path in sorted(writer.folder.glob("0*.jsonl"))}
    assert writer.prune(writer.link.seq, NOON + 1, STAMP) == 6
    writer.close()
    assert verify(tmp_path, PUBLIC).ok
    for path, raw in list(kept.items())[::-1][:4]:  # oldest go first, so the newest may remain
        if not path.exists():
            path.write_bytes(raw)
        assert verify(tmp_path, PUBLIC).ok
