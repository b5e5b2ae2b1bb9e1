from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.recording import request_record
from authz.records import RefusalCount
from store.journal import Journal, JournalMode, JournalUnavailable
from store.segments import NoFreeSlot
from store.verify import verify
from store.writer import Limits
from tests.store.journal_kit import (
    KEY,
    OTHER_KEY,
    PUBLIC,
    Clock,
    decision,
    lines,
    open_journal,
    types,
)


class Disk:
    """fdatasync that can be made to fail, to wait, and that counts."""

    def __init__(self) -> None:
        self.fail = 0
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()

    def sync(self, handle: int) -> None:
        self.calls += 1
        self.reached.set()
        self.gate.wait(10)
        if self.fail:
            raise OSError(self.fail, os.strerror(self.fail))
        os.fdatasync(handle)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_what_is_durable_is_on_the_disk_in_the_order_of_its_taking(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    tickets = [journal.append(decision(number=n)) for n in range(20)]
    assert await tickets[-1].durable()
    found = [line.id for line in lines(tmp_path) if line.type == "decision"]
    assert found == [ticket.id for ticket in tickets] == sorted(found)
    assert await tickets[0].durable()  # again, and at once
    await journal.close()
    assert types(tmp_path)[:2] == ["opened", "checkpoint"]
    assert types(tmp_path)[-2:] == ["closed", "checkpoint"]
    assert verify(tmp_path, PUBLIC).ok


async def test_everything_taken_in_one_turn_goes_with_one_sync(tmp_path: Path) -> None:
    disk = Disk()
    journal = open_journal(tmp_path, sync=disk.sync)
    disk.calls = 0
    await asyncio.gather(*(journal.append(decision(number=n)).durable() for n in range(100)))
    assert disk.calls == 1
    await journal.close()


async def test_what_arrives_during_a_write_is_the_next_batch(tmp_path: Path) -> None:
    disk = Disk()
    journal = open_journal(tmp_path, sync=disk.sync)
    disk.calls = 0
    disk.gate.clear()
    disk.reached.clear()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(journal.append(decision()).durable())
        await until(disk.reached.is_set)
        rest = [group.create_task(journal.append(decision()).durable()) for _ in range(50)]
        await until(lambda: journal.depth == 51)
        assert journal.age >= 0 and not first.done()
        disk.gate.set()
    assert all(task.result() for task in rest)
    assert disk.calls == 2
    await journal.close()


async def test_a_cancelled_waiter_disturbs_nobody_and_its_record_stays(tmp_path: Path) -> None:
    disk = Disk()
    journal = open_journal(tmp_path, sync=disk.sync)
    disk.gate.clear()
    disk.reached.clear()
    async with asyncio.TaskGroup() as group:
        tickets = [journal.append(decision(number=n)) for n in range(4)]
        tasks = [group.create_task(ticket.durable()) for ticket in tickets]
        twice = group.create_task(tickets[1].durable())
        await until(disk.reached.is_set)
        tasks[1].cancel()
        await asyncio.sleep(0)
        disk.gate.set()
    assert tasks[1].cancelled() and twice.result()
    assert [task.result() for task in (tasks[0], tasks[2], tasks[3])] == [True] * 3
    assert len([t for t in types(tmp_path) if t == "decision"]) == 4
    await journal.close()


async def test_a_record_nobody_waits_for_goes_with_the_next_commit_or_tick(tmp_path: Path) -> None:
    clock = Clock()
    journal = open_journal(tmp_path, clock)
    journal.note(RefusalCount(code="missing_credential", minute=0, count=2))
    assert journal.depth == 1
    await journal.append(decision()).durable()
    assert journal.depth == 0 and "refusals" in types(tmp_path)
    journal.note(RefusalCount(code="missing_credential", minute=60, count=1))
    journal.tick(clock.wall())
    await until(lambda: journal.depth == 0)
    assert types(tmp_path).count("refusals") == 2
    await journal.close()


async def test_a_checkpoint_is_made_in_time_also_when_nothing_happened(tmp_path: Path) -> None:
    clock = Clock()
    journal = open_journal(tmp_path, clock, checkpoint_seconds=60)
    before = types(tmp_path).count("checkpoint")
    clock.move(59_000_000)
    journal.tick(clock.wall())
    clock.move(1_000_000)
    journal.tick(clock.wall())
    await until(lambda: types(tmp_path).count("checkpoint") == before + 1)
    await journal.close()


async def test_a_checkpoint_is_made_after_so_many_records_within_a_batch_too(
    tmp_path: Path,
) -> None:
    head = (3, "ab" * 32)
    journal = open_journal(tmp_path, limits=Limits(checkpoint_records=10), change_head=lambda: head)
    await asyncio.gather(*(journal.append(decision(number=n)).durable() for n in range(35)))
    await journal.close()
    run = 0
    for line in lines(tmp_path):
        run = 0 if line.type == "checkpoint" else run + 1
        assert run <= 10
    last = lines(tmp_path)[-1].body
    assert (last["change_epoch"], last["change_head"]) == head
    assert verify(tmp_path, PUBLIC).writers[0].change == head


async def test_a_clock_that_steps_is_a_record_and_ids_go_on(tmp_path: Path) -> None:
    clock = Clock()
    journal = open_journal(tmp_path, clock)
    first = journal.append(decision())
    clock.move(500_000)
    second = journal.append(decision())
    clock.wall_us -= 7_000_000
    third = journal.append(decision())
    clock.wall_us += 9_000_000
    fourth = journal.append(decision())
    await fourth.durable()
    await journal.close()
    steps = [line.body for line in lines(tmp_path) if line.type == "clock-step"]
    assert [step["found"] - step["expected"] for step in steps] == [-7_000_000, 9_000_000]
    assert first.id < second.id < third.id < fourth.id
    assert third.at < second.at  # the time is told as the clock told it


async def test_a_clock_that_went_back_while_nobody_ran_is_a_record(tmp_path: Path) -> None:
    clock = Clock()
    journal = open_journal(tmp_path, clock)
    last = journal.append(decision())
    await journal.close()
    clock.wall_us -= 5_000_000
    journal = open_journal(tmp_path, clock)
    assert journal.append(decision()).id > last.id
    await journal.close()
    assert types(tmp_path).count("clock-step") == 1
    assert verify(tmp_path, PUBLIC).ok


async def test_a_restart_goes_on_with_the_chain(tmp_path: Path) -> None:
    for _ in range(3):
        journal = open_journal(tmp_path)
        await journal.append(decision()).durable()
        await journal.close()
    assert [line.seq for line in lines(tmp_path)] == list(range(1, 16))
    assert len(list(tmp_path.rglob("0*.jsonl"))) == 1


async def test_each_process_has_a_slot_of_its_own(tmp_path: Path) -> None:
    one = open_journal(tmp_path, slots=2)
    two = open_journal(tmp_path, slots=2)
    assert {one.writer, two.writer} == {"gatewarden@localhost@0", "gatewarden@localhost@1"}
    with pytest.raises(NoFreeSlot):
        open_journal(tmp_path, slots=2)
    await one.close()
    three = open_journal(tmp_path, slots=2)
    assert three.writer == one.writer
    await two.close()
    await three.close()
    assert verify(tmp_path, PUBLIC).ok


@pytest.mark.parametrize("effect", ["allow", "deny"])
async def test_strict_raises_for_allow_and_deny_and_recovers_by_itself(
    tmp_path: Path, effect: str
) -> None:
    disk, clock = Disk(), Clock()
    journal = open_journal(tmp_path, clock, sync=disk.sync)
    assert await journal.append(decision()).durable()
    disk.fail = errno.EIO
    failed = journal.append(decision(effect, 1))
    with pytest.raises(JournalUnavailable, match="EIO"):
        await failed.durable()
    assert not journal.writable
    calls = disk.calls
    with pytest.raises(JournalUnavailable):  # at once: the disk failed a moment ago
        await journal.append(decision(effect, 2)).durable()
    assert disk.calls == calls
    disk.fail = 0
    clock.move(200_000)
    assert await journal.append(decision(effect, 3)).durable()
    assert await failed.durable()  # nothing that was taken is lost: it was kept in memory
    assert journal.writable
    await journal.close()
    found = [line.body["request"] for line in lines(tmp_path) if line.type == "decision"]
    assert found == ["r-0", "r-1", "r-2", "r-3"]
    gap = next(line.body for line in lines(tmp_path) if line.type == "gap")
    assert gap["phase"] == "end" and gap["cause"] == "EIO" and "allowed" not in gap
    assert verify(tmp_path, PUBLIC).ok


async def test_available_goes_on_and_chains_the_count_of_what_was_lost(tmp_path: Path) -> None:
    disk, clock = Disk(), Clock()
    journal = open_journal(
        tmp_path, clock, sync=disk.sync, mode=JournalMode.AVAILABLE, pending_limit=3
    )
    disk.fail = errno.ENOSPC
    assert not await journal.append(decision()).durable()
    assert not await journal.append(decision("deny")).durable()
    for effect in ("allow", "deny", "deny", "allow", "deny"):
        assert not await journal.append(decision(effect)).durable()
    journal.note(RefusalCount(code="x", minute=0, count=1))
    disk.fail = 0
    clock.move(200_000)
    journal.tick(clock.wall())
    await until(lambda: journal.writable)
    await journal.close()
    gap = [line.body for line in lines(tmp_path) if line.type == "gap"][-1]
    assert gap["phase"] == "end" and gap["cause"] == "ENOSPC"
    # three were kept in memory and written late, the others are counted
    assert (gap["allowed"], gap["denied"], gap["other"]) == (1, 3, 1)
    assert types(tmp_path).count("decision") == 3
    assert verify(tmp_path, PUBLIC).ok


async def test_a_journal_that_is_full_in_memory_refuses_at_once(tmp_path: Path) -> None:
    disk = Disk()
    journal = open_journal(tmp_path, sync=disk.sync, pending_limit=5)
    disk.gate.clear()
    disk.reached.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(journal.append(decision()).durable())
        await until(disk.reached.is_set)
        waiting = [group.create_task(journal.append(decision()).durable()) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(JournalUnavailable, match="overflow"):
            await journal.append(decision()).durable()
        disk.gate.set()
    assert all(task.result() for task in waiting)
    await until(lambda: journal.writable)
    await journal.close()
    assert verify(tmp_path, PUBLIC).ok


async def test_a_journal_opened_on_a_failing_disk_recovers_by_itself(tmp_path: Path) -> None:
    disk, clock = Disk(), Clock()
    disk.fail = errno.ENOSPC
    journal = open_journal(tmp_path, clock, sync=disk.sync)
    assert not journal.writable
    disk.fail = 0
    clock.move(200_000)
    assert await journal.append(decision()).durable()
    await journal.close()
    assert types(tmp_path)[0] == "opened"
    assert verify(tmp_path, PUBLIC).ok


async def test_closing_on_a_failing_disk_says_how_much_is_lost(tmp_path: Path) -> None:
    disk = Disk()
    journal = open_journal(tmp_path, sync=disk.sync)
    journal.note(decision())
    disk.fail = errno.EIO
    with pytest.raises(JournalUnavailable, match="2 records"):
        await journal.close()
    open_again = open_journal(tmp_path)  # the slot is free
    await open_again.close()
    assert verify(tmp_path, PUBLIC).ok


async def test_a_record_that_cannot_be_written_takes_nobody_along(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    good = journal.append(decision())
    bad = journal.append(RefusalCount(code=object(), minute=0, count=1))  # type: ignore[arg-type]
    last = journal.append(decision())
    assert await last.durable() and await good.durable()
    with pytest.raises(JournalUnavailable) as caught:
        await bad.durable()
    assert caught.value.code == "record_refused" and journal.refused == 1
    await journal.close()
    assert verify(tmp_path, PUBLIC).ok


async def test_after_closing_nothing_is_taken(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await journal.close()
    await journal.close()
    with pytest.raises(JournalUnavailable, match="closed"):
        await journal.append(decision()).durable()


async def test_checkpoints_are_copied_to_a_second_place_that_may_fail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    second = tmp_path / "second"
    second.write_text("a file, not a folder")
    journal = open_journal(tmp_path / "journal", copy_to=second)
    await journal.append(decision()).durable()
    await until(lambda: bool(journal.copy_error))
    assert "checkpoints are not copied" in caplog.text
    second.unlink()
    await journal.close()
    assert not journal.copy_error
    copied = (second / f"{journal.writer}.checkpoints.jsonl").read_bytes()
    assert copied == (journal.folder / "checkpoints.jsonl").read_bytes()
    assert verify(tmp_path / "journal", PUBLIC, second=second).ok


async def test_a_key_is_rotated_by_a_record_signed_with_the_old_one(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await journal.rotate_key(OTHER_KEY)
    await journal.append(decision()).durable()
    await journal.close()
    assert verify(tmp_path, PUBLIC).ok
    (journal.folder / "keys.jsonl").unlink()  # the chain has it too
    assert verify(tmp_path, PUBLIC).ok


async def test_a_restart_with_a_new_key_needs_the_old_one_once(tmp_path: Path) -> None:
    for key, previous in ((KEY, None), (OTHER_KEY, KEY), (OTHER_KEY, KEY), (OTHER_KEY, None)):
        journal = open_journal(tmp_path, signing_key=key, previous_key=previous)
        await journal.close()
    assert types(tmp_path).count("key-rotation") == 1
    assert verify(tmp_path, PUBLIC).ok


async def test_prune_removes_only_whole_shipped_and_old_segments(tmp_path: Path) -> None:
    clock = Clock()
    journal = open_journal(tmp_path, clock, limits=Limits(segment_bytes=4096))
    for n in range(40):
        clock.move(1_000_000)
        await journal.append(decision(number=n)).durable()
    count = len(list(journal.folder.glob("0*.jsonl")))
    assert count > 4
    assert await journal.prune(shipped=0, before=clock.wall()) == 0
    assert await journal.prune(shipped=journal.seq, before=0) == 0
    shipped = lines(tmp_path)[20].seq
    assert 0 < await journal.prune(shipped=shipped, before=clock.wall()) < count - 1
    assert lines(tmp_path)[0].seq <= shipped + 1
    assert verify(tmp_path, PUBLIC).ok
    assert await journal.prune(shipped=journal.seq, before=clock.wall()) > 0
    await journal.close()
    report = verify(tmp_path, PUBLIC)
    assert report.ok and report.writers[0].first > 1
    await open_journal(tmp_path, clock).close()
    assert verify(tmp_path, PUBLIC).ok


async def test_segments_rotate_by_size(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=Limits(segment_bytes=2048))
    for n in range(12):
        await journal.append(decision(number=n)).durable()
    await journal.close()
    sizes = [path.stat().st_size for path in sorted(journal.folder.glob("0*.jsonl"))]
    assert len(sizes) > 3 and all(size >= 2048 for size in sizes[:-1])
    assert verify(tmp_path, PUBLIC).ok


async def test_the_chain_holds_no_claimed_text_but_the_file_can_forget_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    record = request_record(
        request_id="r",
        decision_id="d",
        principal="p",
        credential="c",
        status=200,
        claimed={"customer": "Ada"},
    )
    await journal.append(record).durable()
    await journal.append(record).durable()
    await journal.close()
    found = [line for line in lines(tmp_path) if line.type == "request"]
    assert all(line.aside and line.aside["claimed"] == {"customer": "Ada"} for line in found)
    assert "Ada" not in str([line.body for line in found])
    # salted: the same text has another digest each time
    assert found[0].body["aside_digest"] != found[1].body["aside_digest"]


async def test_many_callers_come_and_go(tmp_path: Path) -> None:
    journal: Journal = open_journal(tmp_path, limits=Limits(segment_bytes=1 << 16))
    answered: list[str] = []

    async def caller(number: int) -> None:
        for n in range(20):
            ticket = journal.append(decision(number=number))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0 if (number + n) % 7 == 0 else 30):
                    await ticket.durable()
                    answered.append(ticket.id)

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(caller(number))
    await journal.close()
    found = {line.id for line in lines(tmp_path)}
    assert set(answered) <= found
    assert len([t for t in types(tmp_path) if t == "decision"]) == 1000
    assert verify(tmp_path, PUBLIC).ok
