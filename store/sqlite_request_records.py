"""The records store on SQLite: a table a shelf, and a full-text index over the keys of its records.

The index is contentless and knows neither positions nor columns (`detail=none`), so a key costs a byte or
two; FTS5 walks it from the newest record on. An index without content forgets a row only when it is told
once more what was in it: hence the column `keys`. A file of its own, filled again from the journal if it
is lost; one process writes, any number read.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from authz.filters import Filter
from store.errors import StoreTooNew, StoreUnavailable
from store.filters import KEY_BYTES, Asked, Numbers, finds_all, match_text, tokens
from store.known_values import MOST, names_in, rewritten, values_in
from store.request_records import Entry, Found, Lean, Payload, Row, Shelf, Window
from store.scanning import PIECE_BITS, pieces, places, walk

VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE meta (secret BLOB NOT NULL);
CREATE TABLE writers (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL, hash TEXT NOT NULL
);
CREATE TABLE shelves (
  name TEXT PRIMARY KEY, next INTEGER NOT NULL, kept_since INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE payloads (id TEXT PRIMARY KEY, at INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX payloads_at ON payloads (at);
"""
_SHELF: Final = """
CREATE TABLE {0} (
  seq INTEGER PRIMARY KEY, writer INTEGER NOT NULL, wseq INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
  at INTEGER NOT NULL, keys BLOB NOT NULL, body BLOB NOT NULL, UNIQUE (writer, wseq)
);
CREATE TABLE {0}_pieces (piece INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE TABLE {0}_values (
  name INTEGER NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (name, value)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE {0}_keys USING fts5 (
  keys, content='', detail=none, columnsize=0, tokenize='ascii'
);
INSERT INTO shelves VALUES ('{0}', 1, 0);
"""
_MANY: Final = -1  # in place of values: there are too many
_CACHE_KIB: Final = 32_768
_WAL_PAGES: Final = 4000
_STEPS: Final = 2000  # of SQLite's machine between two looks at the clock


class SqliteShelves:
    """`store.request_records.Shelves` in a SQLite file. For one thread at a time."""

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the file and, unless `read_only`, makes it if need be.

        Raises:
            StoreUnavailable, StoreTooNew.
        """
        self._clock = clock
        with _failing(f"the records in `{path.name}` cannot be opened"):
            if read_only:
                uri = f"{path.absolute().as_uri()}?mode=ro"
                self._db = sqlite3.connect(
                    uri, uri=True, isolation_level=None, check_same_thread=False
                )
            else:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                path.chmod(0o600)
                self._db.execute("PRAGMA journal_mode=WAL")
                # The journal is the truth: what a power cut takes from here is shipped again.
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
            self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._db.execute("PRAGMA busy_timeout=5000")
            version = self._version()
            if version > VERSION:
                raise StoreTooNew("the records were written by a newer version")
            if version < VERSION:
                if read_only:
                    raise StoreUnavailable("no records were shipped yet")
                self._make()
            self._numbers = Numbers(self._db.execute("SELECT secret FROM meta").fetchone()[0])

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _make(self) -> None:
        with self._change():
            if self._version():
                return  # another process was first
            for statement in _statements(_TABLES, *(_SHELF.format(shelf) for shelf in Shelf)):
                self._db.execute(statement)
            self._db.execute("INSERT INTO meta VALUES (?)", (os.urandom(KEY_BYTES),))
            self._db.execute(f"PRAGMA user_version={VERSION}")

    # --- taking -------------------------------------------------------------------------------------

    def cursor(self, writer: str) -> tuple[int, str]:
        with _failing("records cannot be read"):
            row = self._db.execute(
                "SELECT seq, hash FROM writers WHERE name = ?", (writer,)
            ).fetchone()
        return (row[0], row[1]) if row else (0, "")

    def settled(self, writer: str) -> int:
        seq, _ = self.cursor(writer)
        with _failing("records cannot be brought to the disk"):
            # Commits are not synced one by one; this syncs all that were made until now.
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return seq

    def take(
        self,
        entries: Sequence[Entry],
        heads: Mapping[str, tuple[int, str]],
        payloads: Iterable[Payload] = (),
    ) -> int:
        new = 0
        with _failing("records cannot be stored"), self._change():
            for shelf in Shelf:
                new += self._place(shelf, [one for one in entries if one.shelf is shelf])
            self._db.executemany(
                "INSERT OR IGNORE INTO payloads VALUES (?, ?, ?)",
                [(one.id, one.at, one.body) for one in payloads],
            )
            for name, (seq, digest) in heads.items():
                self._db.execute(
                    "UPDATE writers SET seq = ?, hash = ? WHERE number = ?",
                    (seq, digest, self._writer(name)),
                )
        return new

    def _writer(self, name: str) -> int:
        self._db.execute(
            "INSERT INTO writers (name, seq, hash) VALUES (?, 0, '') ON CONFLICT DO NOTHING",
            (name,),
        )
        found = self._db.execute("SELECT number FROM writers WHERE name = ?", (name,)).fetchone()
        return int(found[0])

    def _place(self, shelf: Shelf, entries: Sequence[Entry]) -> int:
        if not entries:
            return 0
        numbers = {name: self._writer(name) for name in {one.writer for one in entries}}
        self._learn(shelf, entries)
        seq = start = self._db.execute(
            "SELECT next FROM shelves WHERE name = ?", (shelf.value,)
        ).fetchone()[0]
        placed: list[tuple[int, Entry]] = []
        texts: list[tuple[int, str]] = []
        insert = f"INSERT OR IGNORE INTO {shelf} VALUES (?, ?, ?, ?, ?, ?, ?)"
        for one in entries:
            writer = numbers[one.writer]
            keys = self._numbers.of(one.keys)
            values = (seq, writer, one.wseq, one.id, one.at, _packed(keys), one.body)
            taken = self._db.execute(insert, values).rowcount
            if not taken and self._make_room(shelf, writer, one):
                taken = self._db.execute(insert, values).rowcount
            if taken:
                placed.append((seq, one))
                texts.append((seq, tokens(keys)))
                seq += 1
        self._db.executemany(f"INSERT INTO {shelf}_keys (rowid, keys) VALUES (?, ?)", texts)
        self._db.executemany(
            f"INSERT INTO {shelf}_pieces VALUES (?, ?, ?) ON CONFLICT (piece) DO UPDATE"
            " SET first = min(first, excluded.first), last = max(last, excluded.last)",
            [(piece, *times) for piece, times in pieces(placed).items()],
        )
        self._db.execute("UPDATE shelves SET next = ? WHERE name = ?", (seq, shelf.value))
        return int(seq - start)

    def _learn(self, shelf: Shelf, entries: Sequence[Entry]) -> None:
        """Takes note of the values that these records have."""
        for key, said in values_in(entries).items():
            (name,) = self._numbers.of([key])
            if _MANY in (had := self._values(shelf, name)):
                continue
            fresh = {*self._numbers.of(said)} - had
            if len(had) + len(fresh) > MOST:
                self._db.execute(f"DELETE FROM {shelf}_values WHERE name = ?", (name,))
                fresh = {_MANY}
            self._db.executemany(
                f"INSERT INTO {shelf}_values VALUES (?, ?)", [(name, one) for one in fresh]
            )

    def _values(self, shelf: Shelf, name: int) -> frozenset[int]:
        rows = self._db.execute(f"SELECT value FROM {shelf}_values WHERE name = ?", (name,))
        return frozenset(value for (value,) in rows)

    def _make_room(self, shelf: Shelf, writer: int, entry: Entry) -> bool:
        """Lets go of another record that the same line held before a restart wrote it anew; whether there was one."""
        had = self._db.execute(
            f"SELECT seq, id, keys FROM {shelf} WHERE writer = ? AND wseq = ?", (writer, entry.wseq)
        ).fetchone()
        if had is None or had[1] == entry.id:
            return False
        self._remove(shelf, [(had[0], had[2])])
        return True

    # --- finding ------------------------------------------------------------------------------------

    def scan(
        self,
        shelf: Shelf,
        filter: Filter,
        window: Window,
        before: int | None,
        limit: int,
        seconds: float,
        after: int = 0,
    ) -> Found:
        if not filter:
            return Found((), 0, done=True)
        with _failing("records cannot be read"):
            since = max(window.since, self._kept_since(shelf))
            lowest, highest = self._places(shelf, since, window.until)
            asked, highest = self._asked(shelf, filter, highest)
        if not asked:
            return Found((), 0, done=True)
        if before is not None:
            highest = min(highest, before - 1)
        lowest = max(lowest, after + 1)
        where, values = f"FROM {shelf} r WHERE seq BETWEEN ? AND ?", tuple[object, ...]()
        if not finds_all(asked):
            # CROSS JOIN: the index leads, in its own order, and is left once enough is found.
            where = (
                f"FROM {shelf}_keys CROSS JOIN {shelf} r ON r.seq = {shelf}_keys.rowid"
                f" WHERE {shelf}_keys MATCH ? AND {shelf}_keys.rowid BETWEEN ? AND ?"
            )
            values = (match_text(asked),)
        order = "seq" if not values else f"{shelf}_keys.rowid"
        text = (
            f"SELECT r.seq, r.id, r.at, r.body {where} AND r.at >= ? AND r.at < ?"
            f" ORDER BY {order} DESC LIMIT ?"
        )

        def fetch(bottom: int, top: int, number: int, left: float) -> tuple[list[Row], bool]:
            said = (*values, bottom, top, since, window.until, number)
            return self._rows(text, said, left)

        return walk(fetch, lowest, highest, limit, seconds, self._clock)

    def _asked(self, shelf: Shelf, filter: Filter, highest: int) -> tuple[Asked, int]:
        """The filter as it is run, and the highest place that it may be run on."""
        names = names_in(filter)
        if names:  # the place first: what comes after it may have values that are not seen here
            highest = min(highest, self._head(shelf))
        found = {name: self._values(shelf, self._numbers.of([name])[0]) for name in names}
        known = {name: said for name, said in found.items() if said and _MANY not in said}
        return rewritten(filter, self._numbers, known), highest

    def _rows(self, text: str, values: Sequence[object], seconds: float) -> tuple[list[Row], bool]:
        """The rows of a statement, and whether its time ran out."""
        end, clock = self._clock() + seconds, self._clock
        rows: list[Row] = []
        with _failing("records cannot be read"):
            self._db.set_progress_handler(lambda: clock() > end, _STEPS)
            try:
                rows.extend(Row(*row) for row in self._db.execute(text, values))
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    raise
                return rows, True
            finally:
                self._db.set_progress_handler(None, 0)
        return rows, False

    def _kept_since(self, shelf: Shelf) -> int:
        found = self._db.execute("SELECT kept_since FROM shelves WHERE name = ?", (shelf.value,))
        return int(found.fetchone()[0])

    def _places(self, shelf: Shelf, since: int, until: int) -> tuple[int, int]:
        """Where the records of a span of time lie."""
        ends = [
            self._db.execute(
                f"SELECT piece FROM {shelf}_pieces WHERE {test} ORDER BY piece {order} LIMIT 1",
                (edge,),
            ).fetchone()
            for test, edge, order in (("last >= ?", since, "ASC"), ("first < ?", until, "DESC"))
        ]
        return places(*(end[0] if end else None for end in ends))

    def head(self, shelf: Shelf) -> int:
        with _failing("records cannot be read"):
            return self._head(shelf)

    def _head(self, shelf: Shelf) -> int:
        found = self._db.execute("SELECT next FROM shelves WHERE name = ?", (shelf.value,))
        return int(found.fetchone()[0]) - 1

    def get(self, shelf: Shelf, record_id: str) -> Row | None:
        text = f"SELECT seq, id, at, body FROM {shelf} WHERE id = ? AND at >= ?"
        with _failing("records cannot be read"):
            found = self._db.execute(text, (record_id, self._kept_since(shelf))).fetchone()
        return Row(*found) if found else None

    def payload(self, record_id: str) -> bytes | None:
        with _failing("payloads cannot be read"):
            found = self._db.execute(
                "SELECT body FROM payloads WHERE id = ?", (record_id,)
            ).fetchone()
        return bytes(found[0]) if found else None

    def seal(self, most: int = 1) -> int:
        return 0  # the index of texts keeps up by itself

    # --- forgetting ---------------------------------------------------------------------------------

    def forget(self, shelf: Shelf, before: int, chunk: int = 500) -> int:
        with _failing("records cannot be removed"), self._change():
            self._db.execute(
                "UPDATE shelves SET kept_since = max(kept_since, ?) WHERE name = ?",
                (before, shelf.value),
            )
            rows = self._db.execute(
                f"SELECT seq, keys, at FROM {shelf} ORDER BY seq LIMIT ?", (chunk,)
            ).fetchall()
            gone = [(seq, keys) for seq, keys, at in rows if at < before]
            self._remove(shelf, gone)
            lowest = self._db.execute(f"SELECT min(seq) FROM {shelf}").fetchone()[0]
            if gone:
                self._db.execute(
                    f"DELETE FROM {shelf}_pieces WHERE piece < ?",
                    ((gone[-1][0] + 1 if lowest is None else lowest) >> PIECE_BITS,),
                )
        return len(gone)

    def _remove(self, shelf: Shelf, rows: Iterable[tuple[int, bytes]]) -> None:
        rows = list(rows)
        self._db.executemany(
            f"INSERT INTO {shelf}_keys ({shelf}_keys, rowid, keys) VALUES ('delete', ?, ?)",
            [(seq, tokens(_unpacked(keys))) for seq, keys in rows],
        )
        self._db.executemany(f"DELETE FROM {shelf} WHERE seq = ?", [(seq,) for seq, _ in rows])

    def forget_payloads(self, before: int, chunk: int = 500) -> int:
        with _failing("payloads cannot be removed"), self._change():
            return self._db.execute(
                "DELETE FROM payloads WHERE id IN"
                " (SELECT id FROM payloads WHERE at < ? ORDER BY at LIMIT ?)",
                (before, chunk),
            ).rowcount

    def erase(self, shelf: Shelf, records: Sequence[Lean]) -> None:
        with _failing("records cannot be erased"), self._wiping(), self._change():
            for one in records:
                had = self._db.execute(
                    f"SELECT seq, keys FROM {shelf} WHERE id = ?", (one.id,)
                ).fetchone()
                if had is None:
                    continue
                seq, keys = had[0], self._numbers.of(one.keys)
                self._db.execute(
                    f"INSERT INTO {shelf}_keys ({shelf}_keys, rowid, keys) VALUES ('delete', ?, ?)",
                    (seq, tokens(_unpacked(had[1]))),
                )
                self._db.execute(
                    f"INSERT INTO {shelf}_keys (rowid, keys) VALUES (?, ?)", (seq, tokens(keys))
                )
                self._db.execute(
                    f"UPDATE {shelf} SET keys = ?, body = ? WHERE seq = ?",
                    (_packed(keys), one.body, seq),
                )

    def erase_payloads(self, ids: Sequence[str]) -> int:
        with _failing("payloads cannot be erased"), self._wiping(), self._change():
            return self._db.executemany(
                "DELETE FROM payloads WHERE id = ?", [(one,) for one in ids]
            ).rowcount

    @contextlib.contextmanager
    def _wiping(self) -> Iterator[None]:
        """What goes is overwritten, and leaves the file beside too as soon as no reader needs it."""
        self._db.execute("PRAGMA secure_delete=ON")
        try:
            yield
        finally:
            self._db.execute("PRAGMA secure_delete=OFF")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction that takes the right to write at its begin: it never waits in the middle."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise


@contextlib.contextmanager
def _failing(said: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(said) from error


def _statements(*scripts: str) -> Iterator[str]:
    for script in scripts:
        yield from (text for text in script.split(";") if text.strip())


def _packed(numbers: Sequence[int]) -> bytes:
    return struct.pack(f">{len(numbers)}q", *numbers)


def _unpacked(raw: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(raw) // 8}q", raw)
