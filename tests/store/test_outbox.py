from __future__ import annotations

from pathlib import Path

import pytest

from store.outbox import Outbox, OutboxDamaged, settled_in
from store.segments import segments
from store.shipper import Shipper
from store.writer import Limits
from tests.store.journal_kit import decision, open_journal


async def test_a_batch_that_was_not_settled_comes_again_and_none_is_left_out(
    tmp_path: Path,
) -> None:
    journal = open_journal(
        tmp_path / "journal", limits=Limits(segment_bytes=4500, checkpoint_records=8)
    )
    path = tmp_path / "cursors.json"
    seen: list[int] = []
    for n in range(30):
        await journal.append(decision(number=n)).durable()
        outbox = Outbox(path)  # a process that starts anew each time
        Shipper(tmp_path / "journal", outbox).run_once()
        batch = [line.seq for line in outbox.take()]
        if n % 3 == 0:
            continue  # and dies before it has sent
        seen += batch
        outbox.settle()
    assert len(segments(journal.folder)) > 3
    await journal.close()
    outbox = Outbox(path)
    Shipper(tmp_path / "journal", outbox).drain()
    seen += [line.seq for line in outbox.take()]
    outbox.settle(7)
    assert sorted(set(seen)) == seen == list(range(1, seen[-1] + 1))
    again = Outbox(path)
    assert again.epoch == 7 and again.settled(journal.writer) == seen[-1]
    assert path.stat().st_mode & 0o077 == 0


def test_cursors_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cursors.json"
    path.write_text("{")
    with pytest.raises(OutboxDamaged, match="cannot be read"):
        Outbox(path)
    assert settled_in(path, "w") == settled_in(tmp_path / "none", "w") == 0
