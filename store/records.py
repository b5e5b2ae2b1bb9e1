"""Decision and request records as a searchable copy of the journal, on SQLite.

The journal is the truth; this is filled from it by `shipper.py`, as late as it likes, and can be built
again. It runs in an executor of its own, so a slow disk never stops the loop or the journal. Newest
first; the id is the cursor. Which records somebody may see is not decided here (`authz/scopes.py`,
a later issue): a caller passes a `Query` that is already narrowed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec

from authz.chain import Line
from authz.records import canonical
from store.errors import StoreError, StoreUnavailable

_T = TypeVar("_T")
MAX_LIMIT: Final = 1000
VERSION: Final = 2

# Rows are long, so they lie in rowid tables: a `WITHOUT ROWID` table would keep one or two to a page.
# A request stands beside its decision in the same indexes, so that both touch the same pages. Nearly
# every decision is an allowed `model:use`; the indexes for the rest hold only the rest.
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS records (
  id TEXT NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
  action TEXT, resource TEXT NOT NULL, effect TEXT, reason TEXT, request TEXT NOT NULL,
  decision TEXT, line BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS others (id TEXT NOT NULL, at INTEGER NOT NULL, line BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS shipped (
  writer TEXT PRIMARY KEY, seq INTEGER NOT NULL, hash TEXT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS records_id ON records (id);
CREATE UNIQUE INDEX IF NOT EXISTS others_id ON others (id);
CREATE INDEX IF NOT EXISTS records_subject ON records (subject, id);
CREATE INDEX IF NOT EXISTS records_resource ON records (resource, id);
CREATE INDEX IF NOT EXISTS records_request ON records (request, id);
CREATE INDEX IF NOT EXISTS records_decision ON records (decision, id) WHERE decision IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_action ON records (action, id) WHERE action != 'model:use';
CREATE INDEX IF NOT EXISTS records_reason ON records (reason, id) WHERE reason != 'allowed';
CREATE INDEX IF NOT EXISTS records_denied ON records (id) WHERE effect = 'deny';
"""
# A partial index is used only by a query that says its condition in so many words.
_PARTIAL: Final = {
    ("action", "model:use"): "action != 'model:use'",
    ("reason", "allowed"): "reason != 'allowed'",
    ("effect", "allow"): "effect = 'deny'",
}
# 16 MB between two checkpoints, so that a page that many records touch is copied once for them all.
_WAL_PAGES: Final = 4000
_CACHE_KIB: Final = 16_384
_FILLED: Final = "a running gateway makes and fills it from the journal"


class RecordsUnavailable(StoreUnavailable):
    """The record store cannot be used."""


class BadQuery(StoreError):
    """A query asks for a field that its kind of record does not have, or a limit out of range."""

    code = "bad_query"


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; None means any. `since` ≤ time < `until` (UTC µs), ids before `before`."""

    kind: str = "decision"  # decision | request
    id: str | None = None
    since: int | None = None
    until: int | None = None
    subject: str | None = None
    action: str | None = None
    resource: str | None = None
    effect: str | None = None
    reason: str | None = None
    request: str | None = None
    decision: str | None = None  # of requests: the id of their decision
    before: str | None = None
    limit: int = 100
    seconds: float = 5.0  # deadline


@dataclass(frozen=True, slots=True)
class Page:
    """Records, newest first, as they stand in the journal. `truncated`: the deadline struck."""

    records: tuple[dict[str, Any], ...]
    next: str | None = None  # `before` of the next page
    truncated: bool = False


_FIELDS = {
    "decision": ("id", "subject", "action", "resource", "effect", "reason", "request"),
    "request": ("id", "subject", "resource", "request", "decision"),
}
_ALL = ("id", "subject", "action", "resource", "effect", "reason", "request", "decision")


class RecordFile:
    """The SQLite file itself; blocking. Each thread that reads uses one of its own."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Opens and, unless `read_only`, makes the tables.

        Raises:
            RecordsUnavailable: it cannot be opened, or is of a newer version.
        """
        try:
            if read_only:
                uri = f"{path.absolute().as_uri()}?mode=ro"
                self._db = sqlite3.connect(uri, uri=True, check_same_thread=False)
            else:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                path.chmod(0o600)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
                self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._db.execute("PRAGMA busy_timeout=5000")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise RecordsUnavailable("the record store was made by a newer version")
            if version < VERSION:
                if read_only:
                    raise RecordsUnavailable("no records were shipped yet", hint=_FILLED)
                self._make()
        except sqlite3.Error as error:
            raise RecordsUnavailable(
                f"the record store `{path.name}` cannot be opened", hint=_FILLED
            ) from error

    def _make(self) -> None:
        """Makes the tables. What an older version stored goes, and is shipped from the journal again."""
        self._db.execute("BEGIN IMMEDIATE")  # and look again: another process may have been first
        if 0 < self._db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
            for table in ("decisions", "requests", "others", "shipped"):
                self._db.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _TABLES.split(";"):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version={VERSION}")
        self._db.execute("COMMIT")

    def cursor(self, writer: str) -> tuple[int, str]:
        """The seq and hash of the last record shipped of a writer; (0, "") if none.

        Raises:
            RecordsUnavailable: the store cannot be read.
        """
        try:
            row = self._db.execute(
                "SELECT seq, hash FROM shipped WHERE writer = ?", (writer,)
            ).fetchone()
        except sqlite3.Error as error:
            raise RecordsUnavailable("records cannot be read") from error
        return (row[0], row[1]) if row else (0, "")

    def settled(self, writer: str) -> int:
        """The seq up to which a writer's records are here and on the disk (for pruning).

        Raises:
            RecordsUnavailable: they could not be brought there.
        """
        seq, _ = self.cursor(writer)
        try:
            # Commits are not synced one by one; this syncs all that were made until now.
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            raise RecordsUnavailable("records cannot be brought to the disk") from error
        return seq

    def ship(self, lines: Iterable[Line]) -> int:
        """Stores lines of one or more writers, in order, and moves the cursors: one transaction.

        A record that is there already (by id) is left as it is. How many are new.

        Raises:
            RecordsUnavailable: nothing was stored.
        """
        records, others = [], []
        heads: dict[str, tuple[int, str]] = {}
        for line in lines:
            heads[line.writer] = (line.seq, line.hash)
            kind, get, raw = line.type, line.body.get, canonical(line)
            if kind not in _FIELDS:
                others.append((line.id, line.at, raw))
                continue
            if kind == "decision":
                resource = get("resource") or (line.aside or {}).get("resource", "")
                found = (get("action", ""), resource, get("effect", ""), get("reason", ""))
            else:
                found = (None, get("model", ""), None, None)
            asked, of = get("request", ""), get("decision")
            records.append((line.id, line.at, kind, get("principal", ""), *found, asked, of, raw))
        before = self._db.total_changes
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._insert("records", records)
                self._insert("others", others)
                new = self._db.total_changes - before
                self._db.executemany(
                    "INSERT INTO shipped VALUES (?, ?, ?) ON CONFLICT (writer)"
                    " DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
                    [(writer, *head) for writer, head in heads.items()],
                )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise RecordsUnavailable("records cannot be stored") from error
        return new

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            self._db.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)

    def query(self, query: Query) -> Page:
        """A page of records, newest first.

        Raises:
            BadQuery: a field that this kind of record does not have, an unknown kind, a bad limit.
            RecordsUnavailable: the store cannot be read.
        """
        text, values = _statement(query)
        deadline = time.monotonic() + query.seconds
        self._db.set_progress_handler(lambda: time.monotonic() > deadline, 1000)
        found: list[dict[str, Any]] = []
        truncated = False
        try:
            for row in self._db.execute(text, values):
                found.append(msgspec.json.decode(row[0]))
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise RecordsUnavailable("records cannot be read") from error
            truncated = True
        except sqlite3.Error as error:
            raise RecordsUnavailable("records cannot be read") from error
        finally:
            self._db.set_progress_handler(None, 0)
        more = len(found) > query.limit
        found = found[: query.limit]
        return Page(
            tuple(found), str(found[-1]["id"]) if found and (more or truncated) else None, truncated
        )

    def delete_before(self, at: int, chunk: int = 1000) -> int:
        """Retention: deletes at most `chunk` records of each table older than `at` (µs); how many."""
        count = 0
        for table in ("records", "others"):
            count += self._db.execute(
                f"DELETE FROM {table} WHERE id IN"
                f" (SELECT id FROM {table} WHERE id < ? ORDER BY id LIMIT ?)",
                (f"{at:014x}", chunk),
            ).rowcount
        return count

    def close(self) -> None:
        self._db.close()


def _statement(query: Query) -> tuple[str, list[object]]:
    fields = _FIELDS.get(query.kind)
    if fields is None:
        raise BadQuery(f"`{query.kind}` is no kind of record", hint="decision or request")
    if not 1 <= query.limit <= MAX_LIMIT:
        raise BadQuery(f"a limit is between 1 and {MAX_LIMIT}")
    where, values = ["kind = ?"], list[object]([query.kind])
    for name in _ALL:
        value = getattr(query, name)
        if value is None:
            continue
        if name not in fields:
            raise BadQuery(f"a {query.kind} record has no `{name}`")
        where.append(f"{name} = ?")
        values.append(value)
        where += [text for (n, usual), text in _PARTIAL.items() if n == name and value != usual]
    if query.since is not None:  # an id is never older than its record: where the newest ones begin
        where.append("id >= ?")
        values.append(f"{max(0, query.since):014x}")
    # `at` may step back with the clock, ids never do: the exact test is on `at`.
    for test, edge in (("at >= ?", query.since), ("at < ?", query.until), ("id < ?", query.before)):
        if edge is not None:
            where.append(test)
            values.append(edge)
    values.append(query.limit + 1)
    return (
        f"SELECT line FROM records WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
        values,
    )


def query_file(path: Path, query: Query) -> Page:
    """The same on the file itself, for the command line; it may be open elsewhere.

    Raises:
        BadQuery, RecordsUnavailable: see `RecordFile.query`.
    """
    file = RecordFile(path, read_only=True)
    try:
        return file.query(query)
    finally:
        file.close()


class RecordStore:
    """The record store of a server: writes in one thread, reads in another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._write = ThreadPoolExecutor(1, thread_name_prefix="records")
        self._read = ThreadPoolExecutor(1, thread_name_prefix="records-read")
        self._file: RecordFile | None = None
        self._reader: RecordFile | None = None

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Opens the file, making it if need be.

        Raises:
            RecordsUnavailable: it cannot be opened.
        """
        store = cls(path)
        loop = asyncio.get_running_loop()
        store._file = await loop.run_in_executor(store._write, RecordFile, path)
        store._reader = await loop.run_in_executor(
            store._read, partial(RecordFile, path, read_only=True)
        )
        return store

    async def ship(self, lines: Iterable[Line]) -> int:
        """Stores lines of the journal; see `RecordFile.ship`."""
        return await self.work(lambda file: file.ship(lines))

    async def work(self, work: Callable[[RecordFile], _T]) -> _T:
        """Runs `work` in the writing thread."""
        if self._file is None:
            raise RecordsUnavailable("the record store is not open")
        return await asyncio.get_running_loop().run_in_executor(self._write, work, self._file)

    async def query(self, query: Query) -> Page:
        """A page of records, newest first; see `RecordFile.query`."""
        if self._reader is None:
            raise RecordsUnavailable("the record store is not open")
        return await asyncio.get_running_loop().run_in_executor(
            self._read, self._reader.query, query
        )

    async def get(self, kind: str, record_id: str) -> dict[str, Any] | None:
        """One record by its id."""
        page = await self.query(replace(Query(), kind=kind, id=record_id, limit=1))
        return page.records[0] if page.records else None

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        if self._file is not None:
            await loop.run_in_executor(self._write, self._file.close)
        if self._reader is not None:
            await loop.run_in_executor(self._read, self._reader.close)
        self._file = self._reader = None
        self._write.shutdown(wait=False)
        self._read.shutdown(wait=False)
