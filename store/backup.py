"""Backup and restore of the embedded store: one file, consistent, readable by its owner only.

A backup may be made while gateways run. A restore needs that none does: they hold what was in the file.
Neither holds the keys (`<data>/keys`) or the decision log; those are backed up as files. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from store.entries import hash_of
from store.errors import StoreError
from store.port import Head
from store.replicas import SPACE, live, read
from store.schema import SCHEMA
from store.segments import is_held, sync_folder, writers


class BackupError(StoreError):
    """The file cannot be made, is no backup, or must not be put in place now."""

    code = "backup_error"


def backup(database: Path, target: Path) -> Head:
    """Writes a copy of the store to the new file `target`; the head of the copy.

    Raises:
        BackupError.
    """
    if not database.exists():
        raise BackupError(f"there is no store at `{database}`")
    if target.exists():
        raise BackupError(f"`{target}` exists already", hint="name a new file")
    beside = target.with_name(f"{target.name}.part")
    try:
        _copy(database, beside)
        head = check(beside)
        os.link(beside, target)  # and not over a file that was made meanwhile
        sync_folder(target.absolute().parent)
    except FileExistsError as error:
        raise BackupError(f"`{beside}` or `{target}` is in the way", hint="remove it") from error
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"the backup cannot be written: {error}") from error
    finally:
        beside.unlink(missing_ok=True)
    return head


def restore(source: Path, database: Path, journal: Path, now: datetime) -> tuple[Head, Path | None]:
    """Puts a backup in the place of the store; its head, and where the store that was there is now.

    Raises:
        BackupError: it is no sound backup, or a gateway runs.
    """
    head = check(source)
    alive = in_use(database, journal, now)
    if alive:
        raise BackupError(
            f"a gateway runs on this store: {', '.join(alive)}",
            hint="stop it first; one that was killed counts for 15 seconds",
        )
    beside = database.with_name(f"{database.name}.part")
    kept: Path | None = None
    try:
        beside.unlink(missing_ok=True)
        _copy(source, beside)
        if database.exists():
            with (
                contextlib.closing(sqlite3.connect(database)) as db,
                contextlib.suppress(sqlite3.Error),
            ):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            kept = database.with_name(f"{database.name}.before-{now:%Y%m%dT%H%M%S%fZ}")
            for ending in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    database.with_name(f"{database.name}{ending}").rename(f"{kept}{ending}")
            database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
        beside.rename(database)
        sync_folder(database.absolute().parent)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"the backup cannot be put in place: {error}") from error
    finally:
        beside.unlink(missing_ok=True)
    return head, kept


def check(path: Path) -> Head:
    """The head of a backup that is sound.

    Raises:
        BackupError.
    """
    try:
        with _reading(path) as db:
            (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
            (schema,) = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
            sql = "SELECT epoch, hash, digest, body FROM entries ORDER BY epoch DESC LIMIT 1"
            last = db.execute(sql).fetchone()
    except (sqlite3.Error, TypeError, OSError) as error:
        raise BackupError(f"`{path}` is not a backup of a store") from error
    if sound != "ok" or last is None or hash_of(last[3]) != last[1]:
        raise BackupError(f"`{path}` is damaged")
    if int(schema) > SCHEMA:
        raise BackupError(f"a newer version wrote `{path}`", hint="restore it with that version")
    return Head(*last[:3])


def in_use(database: Path, journal: Path, now: datetime) -> tuple[str, ...]:
    """The processes that serve from this store: by the locks of their journals, and by what they say."""
    found = (
        {place.name for place in writers(journal) if is_held(place)} if journal.exists() else set()
    )
    with contextlib.suppress(sqlite3.Error, OSError), _reading(database) as db:
        sql = "SELECT key, value FROM state WHERE space = ? AND until > ?"
        told = dict(db.execute(sql, (SPACE, now.timestamp())))
        found |= {one.name for one in live(read(told), now)}
    return tuple(sorted(found))


def _copy(source: Path, target: Path) -> None:
    """A consistent copy in one new file, on the disk. Raises: OSError, sqlite3.Error."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with _reading(source) as db, contextlib.closing(sqlite3.connect(target)) as made:
        db.backup(made)
        made.execute("DELETE FROM state WHERE space = ?", (SPACE,))  # who ran then
        made.commit()
        made.execute("PRAGMA journal_mode = DELETE")
    with target.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        yield db
