"""Short-lived things that all processes share: put, get, take once, expire. Never policy.

Sessions, login state, one-time links, leases: each under a space and a key, until an instant. What is
past its instant is gone, whether or not it was swept. `now` is passed in.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime

from store.sqlite import SqliteStore


class State:
    """Values under (space, key), durable when `put` returns."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def put(self, space: str, key: str, value: bytes, until: datetime) -> None:
        """Keeps `value` until that instant, in place of what was there."""
        sql = "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)"
        await self._store.write(lambda db: db.execute(sql, (space, key, value, until.timestamp())))

    async def put_new(
        self, space: str, key: str, value: bytes, until: datetime, now: datetime
    ) -> bool:
        """Keeps `value` unless something is there; whether it was kept. A lease is taken this way."""

        def work(db: sqlite3.Connection) -> bool:
            db.execute(
                "DELETE FROM state WHERE space = ? AND key = ? AND until <= ?",
                (space, key, now.timestamp()),
            )
            sql = "INSERT OR IGNORE INTO state VALUES (?, ?, ?, ?)"
            return db.execute(sql, (space, key, value, until.timestamp())).rowcount > 0

        return await self._store.write(work)

    async def get(self, space: str, key: str, now: datetime) -> bytes | None:
        """The value, or None; an instant equal to its end is past it."""
        sql = "SELECT value FROM state WHERE space = ? AND key = ? AND until > ?"
        found = await self._store.read(
            lambda db: db.execute(sql, (space, key, now.timestamp())).fetchone()
        )
        return found[0] if found is not None else None

    async def take_once(self, space: str, key: str, now: datetime) -> bytes | None:
        """The value, to one caller only: of two at the same time the other gets None."""

        def work(db: sqlite3.Connection) -> bytes | None:
            sql = "DELETE FROM state WHERE space = ? AND key = ? RETURNING value, until"
            found = db.execute(sql, (space, key)).fetchone()
            return found[0] if found is not None and found[1] > now.timestamp() else None

        return await self._store.write(work)

    async def drop(self, space: str, key: str) -> bool:
        """Whether something was there; it is gone now."""
        sql = "DELETE FROM state WHERE space = ? AND key = ?"
        return await self._store.write(lambda db: db.execute(sql, (space, key)).rowcount > 0)

    async def expire(self, now: datetime, limit: int = 1000) -> int:
        """Sweeps what is past its instant, at most `limit` of it; how many went."""
        sql = (
            "DELETE FROM state WHERE (space, key) IN"
            " (SELECT space, key FROM state WHERE until <= ? LIMIT ?)"
        )
        return await self._store.write(
            lambda db: db.execute(sql, (now.timestamp(), limit)).rowcount
        )
