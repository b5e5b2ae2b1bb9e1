"""A connection of SQLite and the thread it is used in: work comes in order, and nobody waits without end.

A disk that does not answer in time counts as one that does not answer. Its callers are told so, and until
it has answered nobody else queues behind it: a slow store must not hold up what a dead one would not.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from store.errors import StoreUnavailable

T = TypeVar("T")
BUSY_MS = 5_000  # how long a write waits for another process's write


class Lane:
    """A thread of our own, with deadlines."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._stuck = False  # something was given up and still runs

    async def run(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """What `work` comes to; after `seconds` it is given up, and may end or not.

        Raises:
            StoreUnavailable: it failed, took too long, or what was given up before still runs. And what
                `work` raises.
        """
        if self._stuck:
            raise StoreUnavailable("the store does not answer")
        job = self._thread.submit(work)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(job)
        except sqlite3.Error as error:
            raise StoreUnavailable("the store does not answer") from error
        except TimeoutError as error:
            if not job.done():
                self._refuse_until(job)
            raise StoreUnavailable("the store does not answer in time") from error

    def close(self) -> None:
        """Takes no more work; what runs is not waited for."""
        self._thread.shutdown(wait=False)

    def _refuse_until(self, job: Future[T]) -> None:
        loop = asyncio.get_running_loop()
        self._stuck = True

        def ended(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._free)

        job.add_done_callback(ended)

    def _free(self) -> None:
        self._stuck = False


def connect(path: Path) -> sqlite3.Connection:
    """A connection as every file of ours wants it. Raises: sqlite3.Error."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        _to_wal(db)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA secure_delete = ON")  # who was erased is not left in free pages
    except BaseException:
        db.close()
        raise
    return db


def _to_wal(db: sqlite3.Connection) -> None:
    """Sets the journal's mode, which does not wait for others by itself when a file is new."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # in a thread of our own


def in_transaction(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """What `work` comes to, written durably; nothing is written if it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        made = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return made
