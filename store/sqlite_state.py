"""`store.state.State` on the embedded store: one table beside the log."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from store.sqlite import SqliteStore


class SqliteState:
    """`store.state.State` in the table `state` of a SQLite store."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def put(self, space: str, key: str, value: bytes, until: datetime) -> None:
        sql = "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)"
        await self._store.write(lambda db: db.execute(sql, (space, key, value, until.timestamp())))

    async def put_new(
        self, space: str, key: str, value: bytes, until: datetime, now: datetime
    ) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            db.execute(
                "DELETE FROM state WHERE space = ? AND key = ? AND until <= ?",
                (space, key, now.timestamp()),
            )
            sql = "INSERT OR IGNORE INTO state VALUES (?, ?, ?, ?)"
            return db.execute(sql, (space, key, value, until.timestamp())).rowcount > 0

        return await self._store.write(work)

    async def get(self, space: str, key: str, now: datetime) -> bytes | None:
        sql = "SELECT value FROM state WHERE space = ? AND key = ? AND until > ?"
        found = await self._store.read(
            lambda db: db.execute(sql, (space, key, now.timestamp())).fetchone()
        )
        return found[0] if found is not None else None

    async def take_once(self, space: str, key: str, now: datetime) -> bytes | None:
        def work(db: sqlite3.Connection) -> bytes | None:
            sql = "DELETE FROM state WHERE space = ? AND key = ? RETURNING value, until"
            found = db.execute(sql, (space, key)).fetchone()
            return found[0] if found is not None and found[1] > now.timestamp() else None

        return await self._store.write(work)

    async def drop(self, space: str, key: str) -> bool:
        sql = "DELETE FROM state WHERE space = ? AND key = ?"
        return await self._store.write(lambda db: db.execute(sql, (space, key)).rowcount > 0)

    async def expire(self, now: datetime, limit: int = 1000) -> int:
        sql = (
            "DELETE FROM state WHERE (space, key) IN"
            " (SELECT space, key FROM state WHERE until <= ? LIMIT ?)"
        )
        return await self._store.write(
            lambda db: db.execute(sql, (now.timestamp(), limit)).rowcount
        )

    async def all(self, space: str, now: datetime) -> dict[str, bytes]:
        sql = "SELECT key, value FROM state WHERE space = ? AND until > ?"
        return await self._store.read(lambda db: dict(db.execute(sql, (space, now.timestamp()))))
