"""Reading the change log itself: entries as they were committed, from anywhere."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from change_kit import ANN, BOB, NOW, change_log, put, user

from store.errors import LogDamaged


async def test_entries_are_read_from_anywhere_in_order_and_as_they_were_committed(
    tmp_path: Path,
) -> None:
    log = change_log(tmp_path)
    await log.start()
    first = log.head
    made = [await log.commit(put(user(name), comment=name), None, NOW) for name in (ANN, BOB)]
    assert await log.entries(first, 10) == made
    assert await log.entries(first, 1) == made[:1]
    assert await log.entries(first + 1, 10) == made[1:]
    assert await log.entries(log.head, 10) == []
    assert [entry.epoch for entry in await log.entries(-5, 2)] == [1, 2][: log.head]
    await log.close()


async def test_an_entry_that_was_changed_is_not_shown_as_if_it_were_whole(tmp_path: Path) -> None:
    log = change_log(tmp_path)
    await log.start()
    await log.commit(put(user(ANN), comment="true"), None, NOW)
    with closing(sqlite3.connect(tmp_path / "gatewarden.db")) as database, database:
        database.execute(
            "UPDATE entries SET body = replace(body, 'true', 'fake') WHERE epoch = ?", (log.head,)
        )
    with pytest.raises(LogDamaged):
        await log.entries(log.head - 1, 1)
    assert log.problem is None  # what is applied is whole; it is the reader who is told
    await log.close()
