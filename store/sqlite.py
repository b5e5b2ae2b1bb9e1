"""The embedded store: SQLite in WAL mode, one writer thread and one reader thread of our own.

`synchronous=FULL`: a commit returns when it is on the disk. Several processes may open one file; the
compare-and-set on the head decides who is first. Nothing here knows what a document or a row means.
Deadlines: `lane.py`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from policies.change import Person
from policies.naming import Key
from store.errors import HeadMoved, StoreTooNew, StoreUnavailable
from store.lane import Lane, connect, in_transaction
from store.port import Batch, Head, RawDocument, RawEntry, RawSecret
from store.schema import SCHEMA, TABLES

T = TypeVar("T")
READ_SECONDS = 10.0  # after which a read that has not ended is given up
_WHOLE_SECONDS = 3600.0  # of the one write that may be as large as the store
WRITE_SECONDS = 60.0  # the same for a write, whose end nobody then knows
_MANY = 400  # values in one statement, below SQLite's limit in every build
_DOCUMENT = "family, name, version, source, epoch, body, fact"


def _nothing(step: str) -> None:
    """The place where tests let a commit fail."""


class SqliteStore:
    """`store.port.Store` on one SQLite file. Its `write` and `read` also serve `state.py`."""

    def __init__(self, path: Path, *, fault: Callable[[str], None] = _nothing) -> None:
        """`fault` is called at each step of a commit, and may raise, to show that none is half done."""
        self._path = path
        self._fault = fault
        self._writer = Lane("store-write")
        self._reader = Lane("store-read")
        self._write_db: sqlite3.Connection | None = None
        self._read_db: sqlite3.Connection | None = None
        self._version = -1  # the data_version that was seen last
        self._identity = (0, 0)  # of the file that was opened: device and inode

    # --- life -----------------------------------------------------------------------------------

    async def open(self) -> None:
        self._write_db = await self._writer.run(self._create)
        self._read_db = await self._reader.run(self._connect)

    async def close(self) -> None:
        for lane, db in ((self._writer, self._write_db), (self._reader, self._read_db)):
            if db is not None:
                with contextlib.suppress(StoreUnavailable):  # stuck: it ends with the process
                    await lane.run(db.close, READ_SECONDS)
            lane.close()
        self._write_db = self._read_db = None

    def _connect(self) -> sqlite3.Connection:
        return connect(self._path)

    def _create(self) -> sqlite3.Connection:
        if not self._path.exists():
            # Made here and not by SQLite, so that nobody else can read it at any moment.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        db = self._connect()
        # Two processes may start on an empty folder at once: one makes the tables, the other waits.
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in TABLES.split(";"):
                if statement.strip():
                    db.execute(statement)
            db.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
            (found,) = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            db.close()
            raise
        if int(found) > SCHEMA:
            db.close()
            raise StoreTooNew(
                f"the store has schema {found}, this version reads {SCHEMA}",
                hint="start the version that wrote it, or a newer one",
            )
        found = self._path.stat()
        self._identity = (found.st_dev, found.st_ino)
        return db

    def _check_place(self) -> None:
        """An open file lives on when its name is removed or taken by another: what is written there is lost.

        Raises:
            StoreUnavailable.
        """
        try:
            found = self._path.stat()
        except OSError as error:
            raise StoreUnavailable("the file of the store is gone", hint="put it back") from error
        if (found.st_dev, found.st_ino) != self._identity:
            raise StoreUnavailable("the file of the store was replaced", hint="restart the gateway")

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` reads, in the reader's thread. Raises: StoreUnavailable."""
        db = self._opened(self._read_db)
        return await self._reader.run(lambda: work(db), READ_SECONDS)

    async def write(
        self, work: Callable[[sqlite3.Connection], T], seconds: float | None = None
    ) -> T:
        """What `work` writes, in one durable transaction of the writer's thread.

        Raises:
            StoreUnavailable: nothing is written, unless it was given up in mid-work. What `work` raises;
            nothing is written then.
        """
        db = self._opened(self._write_db)

        def transaction() -> T:
            self._check_place()
            return in_transaction(db, work)

        return await self._writer.run(transaction, seconds or WRITE_SECONDS)

    @staticmethod
    def _opened(db: sqlite3.Connection | None) -> sqlite3.Connection:
        if db is None:
            raise StoreUnavailable("the store is closed")
        return db

    # --- the log --------------------------------------------------------------------------------

    async def head(self) -> Head:
        # In the writer's thread: so it is behind every write that was begun.
        db = self._opened(self._write_db)
        return await self._writer.run(lambda: _head(db), WRITE_SECONDS)

    async def commit(self, expected: Head, batches: Sequence[Batch]) -> None:
        def work(db: sqlite3.Connection) -> None:
            self._fault("begun")
            found = _head(db)
            if (found.epoch, found.hash) != (expected.epoch, expected.hash):
                raise HeadMoved(f"the head is at {found.epoch}, not at {expected.epoch}")
            for batch in batches:
                self._write_batch(db, batch)
            self._fault("written")

        await self.write(work)
        self._fault("committed")

    def _write_batch(self, db: sqlite3.Connection, batch: Batch) -> None:
        epoch = batch.entry.epoch
        db.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?)",
            (epoch, batch.entry.hash, batch.digest, batch.entry.body),
        )
        self._fault("entry")
        db.executemany(
            "INSERT OR REPLACE INTO documents"
            " (family, name, version, source, epoch, body, fact) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (d.family, d.name, d.version, d.source, d.epoch, d.body, d.fact)
                for d in batch.documents
            ),
        )
        db.executemany("DELETE FROM documents WHERE family = ? AND name = ?", batch.deleted)
        db.executemany(
            "INSERT OR REPLACE INTO tombstones VALUES (?, ?, ?)",
            ((*key, epoch) for key in batch.deleted),
        )
        self._fault("documents")
        db.executemany(
            "UPDATE rows SET until = ? WHERE row = ? AND until IS NULL",
            ((epoch, row) for row in batch.rows_removed),
        )
        db.executemany(
            "INSERT INTO rows VALUES (?, ?, NULL)"
            " ON CONFLICT (row, since) DO UPDATE SET until = NULL",
            ((row, epoch) for row in batch.rows_added),
        )
        self._fault("rows")
        for table, gone, come in (
            ("mentions", batch.unmentioned, batch.mentioned),
            ("assertions", batch.unasserted, batch.asserted),
        ):
            first = "token" if table == "mentions" else "row"
            db.executemany(
                f"DELETE FROM {table} WHERE {first} = ? AND family = ? AND name = ?",
                ((text, *key) for text, key in gone),
            )
            db.executemany(
                f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?)",
                ((text, *key) for text, key in come),
            )
        self._fault("mentions")
        db.executemany("UPDATE people SET folded = NULL WHERE id = ?", ((u,) for u in batch.left))
        # First all addresses are freed, so that two people can swap theirs in one change.
        db.executemany(
            "UPDATE people SET folded = NULL WHERE id = ?", ((p.id,) for p in batch.people)
        )
        db.executemany(
            # Not `OR REPLACE`: that would drop whoever else has the address.
            "INSERT INTO people VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " email = excluded.email, folded = excluded.folded, display_name = excluded.display_name",
            ((p.id, p.email, p.email.casefold(), p.display_name) for p in batch.people),
        )
        self._fault("people")
        db.executemany("DELETE FROM secrets WHERE id = ?", ((s,) for s in batch.secrets_ended))
        db.executemany(
            "INSERT OR REPLACE INTO secrets VALUES (?, ?, ?, ?, ?)",
            ((s.id, s.family, s.name, s.field, s.blob) for s in batch.secrets),
        )
        self._fault("secrets")

    async def time(self) -> datetime | None:
        return None

    async def changed(self) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            self._check_place()
            (version,) = db.execute("PRAGMA data_version").fetchone()
            before, self._version = self._version, version
            return bool(version != before)

        return await self.read(work)

    async def entries(self, after: int, limit: int) -> list[RawEntry]:
        sql = "SELECT epoch, hash, body FROM entries WHERE epoch > ? ORDER BY epoch LIMIT ?"
        return await self.read(
            lambda db: [RawEntry(*found) for found in db.execute(sql, (after, limit))]
        )

    async def hash_at(self, epoch: int) -> str | None:
        sql = "SELECT hash FROM entries WHERE epoch = ?"
        found = await self.read(lambda db: db.execute(sql, (epoch,)).fetchone())
        return found[0] if found is not None else None

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqliteSnapshot]:
        """A consistent view, on a connection of its own that is closed afterwards."""
        lane = Lane("store-load")
        try:
            db = await lane.run(self._connect, READ_SECONDS)
            try:
                await lane.run(lambda: db.execute("BEGIN"), READ_SECONDS)
                head = await lane.run(lambda: _head(db), READ_SECONDS)

                async def run(work: Callable[[sqlite3.Connection], Any]) -> Any:
                    return await lane.run(lambda: work(db))  # all there is: as long as it takes

                yield SqliteSnapshot(head, run)
            finally:
                await lane.run(db.close)
        finally:
            lane.close()

    async def rows_at(self, epoch: int, consume: Callable[[Iterator[str]], T]) -> T:
        sql = "SELECT row FROM rows WHERE since <= ? AND (until IS NULL OR until > ?)"

        def work(db: sqlite3.Connection) -> T:
            return consume(row for (row,) in db.execute(sql, (epoch, epoch)))

        lane = Lane("store-past")  # of its own: it may read all there is
        try:
            db = await lane.run(self._connect, READ_SECONDS)
            try:
                return await lane.run(lambda: work(db))
            finally:
                await lane.run(db.close)
        finally:
            lane.close()

    async def origins(self, rows: Iterable[str], epoch: int) -> dict[str, int]:
        sql = (
            "SELECT row, since FROM rows WHERE since <= {epoch} AND (until IS NULL OR until > {epoch})"
            " AND row IN ({{}})"
        ).format(epoch=int(epoch))
        values = [(row,) for row in rows]
        return await self.read(lambda db: dict(_in_many(db, sql, values)))

    async def rematerialise(self, epoch: int, rows: Iterable[str]) -> None:
        def work(db: sqlite3.Connection) -> None:
            wanted = set(rows)
            held = {row for (row,) in db.execute("SELECT row FROM rows WHERE until IS NULL")}
            db.executemany(
                "UPDATE rows SET until = ? WHERE row = ? AND until IS NULL",
                ((epoch, row) for row in held - wanted),
            )
            db.executemany(
                "INSERT INTO rows VALUES (?, ?, NULL)"
                " ON CONFLICT (row, since) DO UPDATE SET until = NULL",
                ((row, epoch) for row in wanted - held),
            )

        await self.write(work, _WHOLE_SECONDS)

    # --- what follows from it -------------------------------------------------------------------

    async def documents(self, keys: Iterable[Key]) -> list[RawDocument]:
        wanted = list(keys)
        # A join, because SQLite scans the whole table for `(family, name) IN (VALUES …)`.
        sql = (
            f"WITH wanted (f, n) AS (VALUES {{}}) SELECT {_DOCUMENT}"
            " FROM wanted CROSS JOIN documents ON family = f AND name = n"
        )
        return await self.read(
            lambda db: [RawDocument(*found) for found in _in_many(db, sql, wanted)]
        )

    async def page(self, family: str, after: str, limit: int) -> list[RawDocument]:
        sql = (
            f"SELECT {_DOCUMENT} FROM documents WHERE family = ? AND name > ? ORDER BY name LIMIT ?"
        )
        return await self.read(
            lambda db: [RawDocument(*found) for found in db.execute(sql, (family, after, limit))]
        )

    async def dependents(self, tokens: Iterable[str]) -> list[tuple[str, Key]]:
        return await self._pairs(
            "SELECT token, family, name FROM mentions WHERE token IN ({})", tokens
        )

    async def assertions(self, rows: Iterable[str]) -> list[tuple[str, Key]]:
        return await self._pairs("SELECT row, family, name FROM assertions WHERE row IN ({})", rows)

    async def _pairs(self, sql: str, texts: Iterable[str]) -> list[tuple[str, Key]]:
        values = [(text,) for text in texts]
        return await self.read(
            lambda db: [(text, (family, name)) for text, family, name in _in_many(db, sql, values)]
        )

    async def people(self, ids: Iterable[str]) -> list[Person]:
        return await self._people("id", ids)

    async def people_by_email(self, folded: Iterable[str]) -> list[Person]:
        return await self._people("folded", folded)

    async def _people(self, column: str, texts: Iterable[str]) -> list[Person]:
        sql = f"SELECT id, email, display_name FROM people WHERE {column} IN ({{}})"
        values = [(text,) for text in texts]
        return await self.read(lambda db: [Person(*found) for found in _in_many(db, sql, values)])

    async def erase_person(self, user_id: str) -> bool:
        sql = "DELETE FROM people WHERE id = ?"
        return await self.write(lambda db: db.execute(sql, (user_id,)).rowcount > 0)

    async def secret(self, secret_id: str) -> RawSecret | None:
        sql = "SELECT id, family, name, field, blob FROM secrets WHERE id = ?"
        found = await self.read(lambda db: db.execute(sql, (secret_id,)).fetchone())
        return RawSecret(*found) if found is not None else None


class SqliteSnapshot:
    """`store.port.Snapshot`: one read transaction."""

    def __init__(
        self, head: Head, run: Callable[[Callable[[sqlite3.Connection], Any]], Any]
    ) -> None:
        self.head = head
        self._run = run

    async def rows(self, consume: Callable[[Iterator[str]], T]) -> T:
        def work(db: sqlite3.Connection) -> T:
            cursor = db.execute("SELECT row FROM rows WHERE until IS NULL")
            return consume(row for (row,) in cursor)

        result: T = await self._run(work)
        return result

    async def documents(self, families: Iterable[str] | None = None) -> list[RawDocument]:
        wanted = None if families is None else [(family,) for family in families]

        def work(db: sqlite3.Connection) -> list[RawDocument]:
            sql = f"SELECT {_DOCUMENT} FROM documents"
            found = (
                db.execute(sql)
                if wanted is None
                else _in_many(db, f"{sql} WHERE family IN ({{}})", wanted)
            )
            return [RawDocument(*one) for one in found]

        result: list[RawDocument] = await self._run(work)
        return result

    async def facts(self) -> list[tuple[Key, str | None]]:
        sql = (
            "SELECT family, name, fact FROM documents WHERE family NOT IN ('user', 'credential')"
            " UNION ALL SELECT family, name, fact FROM documents"
            " WHERE family = 'user' AND fact IS NOT NULL"
        )
        result: list[tuple[Key, str | None]] = await self._run(
            lambda db: [((family, name), fact) for family, name, fact in db.execute(sql)]
        )
        return result

    async def ended(self) -> list[Key]:
        sql = "SELECT family, name FROM tombstones WHERE family != 'credential'"
        result: list[Key] = await self._run(lambda db: list(db.execute(sql)))
        return result


def _head(db: sqlite3.Connection) -> Head:
    sql = "SELECT epoch, hash, digest FROM entries ORDER BY epoch DESC LIMIT 1"
    found = db.execute(sql).fetchone()
    return Head(*found) if found is not None else Head()


def _in_many(
    db: sqlite3.Connection, sql: str, values: Iterable[tuple[Any, ...]]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a query over many values, some hundreds at a time; `{}` stands for them in `sql`."""
    listed = list(values)
    for start in range(0, len(listed), _MANY):
        part = listed[start : start + _MANY]
        marks = ", ".join(
            "?" if len(one) == 1 else f"({', '.join('?' * len(one))})" for one in part
        )
        yield from db.execute(sql.format(marks), [value for one in part for value in one])
