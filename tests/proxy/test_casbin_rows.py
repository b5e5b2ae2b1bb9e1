"""Policy for a stock Casbin in pages: put together they are the files, whatever is committed meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from authz.rows import Row
from policies.casbin_export import casbin_files
from policies.documents import Document
from proxy.casbin_rows import PARTS, CasbinRows
from store.changes import ChangeLog
from store.entries import row_of
from store.errors import LogDamaged
from store.past import Moment, Past
from store.sqlite import SqliteStore
from tests.store.change_kit import ANN, MODEL, NOW, account, change_log, put, team, user

NAMES = {"readme": "README.md", "model": "model.conf", "conditions": "conditions.json"}


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[ChangeLog]:
    made = change_log(tmp_path)
    await made.start()
    grant = "team:search=provider-account-access"
    await committed(made, user(ANN), team("search", ANN), account("acme", grant))
    yield made
    await made.close()


@pytest.fixture
async def store(log: ChangeLog, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "gatewarden.db")
    await made.open()
    yield made
    await made.close()


async def committed(log: ChangeLog, *documents: Document) -> None:
    await log.commit(put(*documents), None, NOW)


async def rows_at(store: SqliteStore, epoch: int) -> list[Row]:
    return await store.rows_at(epoch, lambda texts: [row_of(text) for text in texts])


async def moment_of(store: SqliteStore, epoch: int | None = None) -> Moment:
    return await Past(store, MODEL).moment(epoch)


async def whole(
    rows: CasbinRows, moment: Moment, *, people: bool = False
) -> tuple[dict[str, str], int]:
    """The parts put together, and how many pages they took."""
    parts = dict.fromkeys(PARTS, "")
    start: int | None = 0
    stamp, pages = "", 0
    while start is not None:
        piece = await rows.piece(moment, people=people, start=start, stamp=stamp)
        for name, text in piece.parts.items():
            parts[name] += text
        start, stamp, pages = piece.next, piece.stamp, pages + 1
    return parts, pages


@pytest.mark.parametrize("size", [1, 7, 100, 4096, 1024 * 1024])
async def test_the_pages_put_together_are_the_files(store: SqliteStore, size: int) -> None:
    moment = await moment_of(store)
    rows = CasbinRows(store, MODEL, page_bytes=size)
    parts, pages = await whole(rows, moment)
    rows.close()
    files = casbin_files(await rows_at(store, moment.epoch), MODEL)
    for name, text in parts.items():
        assert text == files[NAMES.get(name, "policy.csv")], name
    assert (pages == 1) == (size == 1024 * 1024)


async def test_every_page_holds_whole_lines(store: SqliteStore) -> None:
    moment = await moment_of(store)
    rows = CasbinRows(store, MODEL, page_bytes=10)
    start: int | None = 0
    stamp = ""
    while start is not None:
        piece = await rows.piece(moment, people=False, start=start, stamp=stamp)
        assert all(text.endswith("\n") for text in piece.parts.values() if text)
        start, stamp = piece.next, piece.stamp
    rows.close()


async def test_a_moment_stays_while_others_are_committed(
    store: SqliteStore, log: ChangeLog
) -> None:
    moment = await moment_of(store)
    before = casbin_files(await rows_at(store, moment.epoch), MODEL)["policy.csv"]
    rows = CasbinRows(store, MODEL, page_bytes=200)
    first = await rows.piece(moment, people=False, start=0, stamp="")
    await committed(log, team("search"))
    later = await moment_of(store)
    assert (await whole(rows, later))[0]["policy"] != before
    text = first.parts["policy"]
    start = first.next
    while start is not None:
        piece = await rows.piece(moment, people=False, start=start, stamp=first.stamp)
        text += piece.parts["policy"]
        start = piece.next
    rows.close()
    assert text == before
    again = CasbinRows(store, MODEL)  # another process: the same text, and so the same pages
    assert (await again.piece(moment, people=False, start=0, stamp="")).stamp == first.stamp
    again.close()


async def test_people_stand_by_their_e_mail_where_they_may_be_seen(store: SqliteStore) -> None:
    moment = await moment_of(store)
    rows = CasbinRows(store, MODEL)
    named, unnamed = [
        (await whole(rows, moment, people=seen))[0]["policy"] for seen in (True, False)
    ]
    rows.close()
    assert f"user:{ANN}, team:search" in named and "user:u-" not in named
    assert ANN not in unnamed and "user:u-" in unnamed


async def test_pages_of_another_text_do_not_go_on(store: SqliteStore) -> None:
    rows = CasbinRows(store, MODEL, page_bytes=100)
    piece = await rows.piece(await moment_of(store), people=False, start=100, stamp="other")
    rows.close()
    assert piece.parts == {} and piece.next is None and piece.stamp != "other"


async def test_rows_that_the_log_does_not_name_are_not_exported(store: SqliteStore) -> None:
    moment = await moment_of(store)
    rows = CasbinRows(store, MODEL)
    with pytest.raises(LogDamaged):
        await rows.piece(Moment(moment.epoch, moment.at, "0" * 64), people=False, start=0, stamp="")


@pytest.mark.parametrize("damage", ['["p","x"]', "nonsense"])
async def test_rows_that_cannot_be_read_are_said_to_be_damaged(
    store: SqliteStore, tmp_path: Path, damage: str
) -> None:
    moment = await moment_of(store)
    with sqlite3.connect(tmp_path / "gatewarden.db") as db:
        db.execute("UPDATE rows SET row = ? WHERE row = (SELECT max(row) FROM rows)", (damage,))
    with pytest.raises(LogDamaged, match=f"epoch {moment.epoch}"):
        await CasbinRows(store, MODEL).piece(moment, people=False, start=0, stamp="")
    with pytest.raises(LogDamaged, match=f"epoch {moment.epoch} cannot be read"):
        await Past(store, MODEL).held(moment)
