"""The columns of requests beside their records in a SQLite file.

Columns are a copy: triggers drop those of a piece whose record goes or is changed (a line written anew,
somebody erased), and the next `seal` makes them again. They need no transaction with the records: a piece
without columns is read from its records.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from store.aggregate_columns import build
from store.aggregates import Span
from store.errors import StoreUnavailable
from store.request_records import Row, Shelf, Window
from store.scanning import PIECE_BITS

_SHELF: Final = Shelf.REQUESTS.value
_TABLES: Final = (
    f"""CREATE TABLE IF NOT EXISTS {_SHELF}_columns (
      piece INTEGER NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (piece, name)
    )""",
    *(
        f"""CREATE TRIGGER IF NOT EXISTS {_SHELF}_columns_{event} AFTER {event} ON {_SHELF} BEGIN
          DELETE FROM {_SHELF}_columns WHERE piece = old.seq >> {PIECE_BITS}; END"""
        for event in ("DELETE", "UPDATE")
    ),
)


class SqliteColumns:
    """`store.aggregates.ColumnStore` in the file of a `SqliteShelves`. For one thread at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Opens the file, which `SqliteShelves` has made.

        Raises:
            StoreUnavailable.
        """
        mode = "ro" if read_only else "rw"
        with _failing():
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.execute("PRAGMA busy_timeout=5000")
            if not read_only:
                self._db.execute("PRAGMA synchronous=NORMAL")
                for statement in _TABLES:
                    self._db.execute(statement)

    def spans(self, window: Window) -> tuple[list[Span], int]:
        with _failing():
            kept = self._db.execute("SELECT kept_since FROM shelves WHERE name = ?", (_SHELF,))
            since = int(kept.fetchone()[0])
            found = self._db.execute(
                f"SELECT piece, first, last FROM {_SHELF}_pieces WHERE last >= ? AND first < ?"
                " ORDER BY piece DESC",
                (max(window.since, since), window.until),
            )
            return [Span(*row) for row in found], since

    def columns(self, pieces: Sequence[int], names: Iterable[str]) -> dict[int, dict[str, bytes]]:
        if not pieces or not self._sealed_ever():
            return {}
        named = sorted(names)
        text = (
            f"SELECT piece, name, data FROM {_SHELF}_columns WHERE piece IN ({_marks(pieces)})"
            f" AND name IN ({_marks(named)})"
        )
        found: dict[int, dict[str, bytes]] = {}
        with _failing():
            for piece, name, data in self._db.execute(text, (*pieces, *named)):
                found.setdefault(piece, {})[name] = data
        return found

    def rows(self, piece: int) -> list[Row]:
        first = piece << PIECE_BITS
        with _failing():
            found = self._db.execute(
                f"SELECT seq, id, at, body FROM {_SHELF} WHERE seq BETWEEN ? AND ? ORDER BY seq",
                (first, first + (1 << PIECE_BITS) - 1),
            )
            return [Row(*row) for row in found]

    def seal(self, most: int = 64) -> int:
        with _failing():
            # What is about to go for good is not worth it, and the last piece is not full yet.
            open_pieces = self._db.execute(
                f"SELECT p.piece FROM {_SHELF}_pieces p, shelves s WHERE s.name = ?"
                f" AND p.piece < s.next >> {PIECE_BITS} AND p.first >= s.kept_since"
                f" AND NOT EXISTS (SELECT 1 FROM {_SHELF}_columns c WHERE c.piece = p.piece)"
                " ORDER BY p.piece DESC LIMIT ?",
                (_SHELF, most),
            ).fetchall()
            for (piece,) in open_pieces:
                # One transaction: no record goes between its being read and its column being there.
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    made = build(self.rows(piece))
                    self._db.executemany(
                        f"INSERT OR REPLACE INTO {_SHELF}_columns VALUES (?, ?, ?)",
                        [(piece, name, data) for name, data in made.items()],
                    )
                    self._db.execute("COMMIT")
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
        return len(open_pieces)

    def close(self) -> None:
        self._db.close()

    def _sealed_ever(self) -> bool:
        with _failing():
            asked = "SELECT 1 FROM sqlite_master WHERE name = ?"
            return self._db.execute(asked, (f"{_SHELF}_columns",)).fetchone() is not None


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable("figures cannot be read") from error
