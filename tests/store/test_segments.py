from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from authz.chain import Link
from store.segments import (
    NoFreeSlot,
    Reserve,
    SegmentFile,
    claim,
    last_line,
    recover,
    segments,
    whole_lines,
    writer_name,
    writers,
)
from store.verify import verify
from tests.store.journal_kit import PUBLIC, decision, lines, open_journal, types


async def written(folder: Path, count: int = 5, *, close: bool = False) -> Path:
    """A journal whose process died: `count` decisions, no `closed`. Its one segment."""
    journal = open_journal(folder)
    for n in range(count):
        await journal.append(decision(number=n)).durable()
    if close:
        await journal.close()
    else:
        os.close(journal._lock)
    return segments(journal.folder)[0].path


def test_a_writers_name_is_a_folder_name_whatever_the_host_is_called() -> None:
    assert writer_name("gw", "host/../x y", 3) == "gw@host-..-x-y@3"


def test_slots_are_taken_in_order_and_freed_with_their_process(tmp_path: Path) -> None:
    first, lock = claim(tmp_path, "gw", "h", 2)
    second, other = claim(tmp_path, "gw", "h", 2)
    assert [first.name, second.name] == ["gw@h@0", "gw@h@1"]
    with pytest.raises(NoFreeSlot):
        claim(tmp_path, "gw", "h", 2)
    os.close(lock)
    again, third = claim(tmp_path, "gw", "h", 2)
    assert again == first and (first.stat().st_mode & 0o777) == 0o700
    assert writers(tmp_path) == [first, second]
    os.close(other)
    os.close(third)


def test_only_whole_lines_are_lines() -> None:
    assert list(whole_lines(b"a\nbc\nd")) == [(0, b"a\n"), (2, b"bc\n")]
    assert list(whole_lines(b"")) == []


@pytest.mark.parametrize(
    "tail",
    [b'{"at":1', b"\x00" * 4096, b"half a line", b"{}\n", b"\xff\xfe\n\x00", b"\n", b"a\nb\nc"],
)
async def test_a_torn_tail_is_cut_into_a_record_and_the_chain_goes_on(
    tmp_path: Path, tail: bytes
) -> None:
    segment = await written(tmp_path)
    before = segment.read_bytes()
    segment.write_bytes(before + tail)
    journal = open_journal(tmp_path)
    assert await journal.append(decision(number=99)).durable()
    await journal.close()
    assert segment.read_bytes().startswith(before)
    record = next(line.body for line in lines(tmp_path) if line.type == "recovered")
    assert (record["length"], record["offset"]) == (len(tail), len(before))
    assert record["digest"] == hashlib.sha256(tail).hexdigest()
    assert [path.read_bytes() for path in journal.folder.glob("*.cut")] == [tail]
    seqs = [line.seq for line in lines(tmp_path)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert verify(tmp_path, PUBLIC).ok


async def test_the_last_line_torn_at_every_byte_is_recovered(tmp_path: Path) -> None:
    segment = await written(tmp_path / "a", 2)
    whole = segment.read_bytes()
    start = whole.rfind(b"\n", 0, -1) + 1
    for cut in range(start, len(whole), 97):
        folder = tmp_path / str(cut) / segment.parent.name
        folder.mkdir(parents=True)
        (folder / segment.name).write_bytes(whole[:cut])
        tail = recover(folder)
        assert tail.offset == start and tail.link.seq == 3
        assert [c.length for c in tail.cuts] == ([cut - start] if cut > start else [])


async def test_a_start_that_was_killed_before_it_recorded_the_cut_leaves_it_to_the_next(
    tmp_path: Path,
) -> None:
    segment = await written(tmp_path)
    segment.write_bytes(segment.read_bytes() + b"torn")
    assert len(recover(segment.parent).cuts) == 1
    assert len(recover(segment.parent).cuts) == 1  # the bytes are beside it until they are recorded
    await open_journal(tmp_path).close()
    assert types(tmp_path).count("recovered") == 1
    await open_journal(tmp_path).close()
    assert types(tmp_path).count("recovered") == 1


async def test_broken_lines_before_the_end_are_no_torn_write_and_stay(tmp_path: Path) -> None:
    segment = await written(tmp_path)
    raw = segment.read_bytes()
    segment.write_bytes(raw.replace(b'"r-2"', b'"r-x"'))
    journal = open_journal(tmp_path)
    await journal.close()
    assert b'"r-x"' in segment.read_bytes()
    report = verify(tmp_path, PUBLIC)
    assert not report.ok and report.notes
    text = segment.read_text()
    assert '"kept":true' in text


async def test_no_seq_is_used_twice_when_segments_vanished(tmp_path: Path) -> None:
    segment = await written(tmp_path, close=True)
    end = last_line(segment)
    assert end is not None
    segment.unlink()
    journal = open_journal(tmp_path)
    await journal.close()
    assert lines(tmp_path)[0].seq == end.seq + 1
    assert any("missing" in fault.message for fault in verify(tmp_path, PUBLIC).faults)


async def test_an_empty_last_segment_is_used(tmp_path: Path) -> None:
    segment = await written(tmp_path, close=True)
    end = last_line(segment)
    assert end is not None
    (segment.parent / f"{end.seq + 1:020d}.jsonl").touch()
    (segment.parent / f"{end.seq + 1:020d}.jsonl").write_bytes(b"torn")
    await open_journal(tmp_path).close()
    assert verify(tmp_path, PUBLIC).ok and len(segments(segment.parent)) == 2


def test_an_empty_folder_begins_a_chain(tmp_path: Path) -> None:
    assert recover(tmp_path).link == Link()
    assert last_line(tmp_path / "none") is None


def test_a_failed_write_does_not_count_and_is_cut_before_the_next(tmp_path: Path) -> None:
    failing = [True]

    def sync(handle: int) -> None:
        if failing[0]:
            raise OSError(5, "no")
        os.fdatasync(handle)

    file = SegmentFile(tmp_path / "s", 0, sync)
    with pytest.raises(OSError, match="no"):
        file.write(b"a long line that fails\n")
    failing[0] = False
    file.write(b"short\n")
    assert (tmp_path / "s").read_bytes() == b"short\n" and file.offset == 6
    file.close()


def test_the_reserve_takes_space_and_gives_it_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, 8192)
    reserve.make()
    assert reserve.held and (tmp_path / "reserve").stat().st_blocks * 512 >= 8192
    reserve.release()
    assert not (tmp_path / "reserve").exists()
    Reserve(tmp_path / "nowhere", 8192).make()  # no room is no error
