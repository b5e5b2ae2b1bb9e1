"""Shipping beside serving: records reach the record store from a process of its own.

Checking lines and filling indexes costs more than a request may, so whoever serves keeps one child for
it (`kept`), niced; the lock on `records.lock` makes it the only one of an installation. The child (`main`)
needs no settings and no keys, ends with its parent, and reads files only. `Inline` ships in this process
instead: for tests, and where nothing may be started. How lines are shipped: `store/shipper.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from proxy import logs
from store.records import RecordFile, RecordStore, RecordsUnavailable
from store.shipper import Lease, Shipper

QUIET_SECONDS = 0.25  # between two passes
BUSY_SECONDS = 1.0  # the same after a large one: what is written together costs less
BUSY_RECORDS = 500
NICE = 10
LAST_SECONDS = 5.0  # what a child that is told to end may still ship
END_SECONDS = LAST_SECONDS + 5
RESTART_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)  # waits before a child that died is started again

log = logs.get("shipping")


# --- in this process ----------------------------------------------------------------------------------


class Inline:
    """Ships in threads of this process."""

    def __init__(self, journal: Path, records: Path) -> None:
        self._journal = journal
        self._path = records
        self._lease = Lease(lease_of(records))
        self._store: RecordStore | None = None
        self._shipper: Shipper | None = None

    async def step(self) -> None:
        """One pass, unless another process ships."""
        # A store that stands still must not stop anything: the journal keeps what is not shipped.
        try:
            if not self._lease.take():
                return
            if self._store is None:
                self._store = await RecordStore.open(self._path)
            await self._store.work(self._pass)
        except (RecordsUnavailable, OSError) as error:
            log.warning("records are not shipped", cause=str(error))

    def _pass(self, file: RecordFile) -> None:
        if self._shipper is None:
            self._shipper = Shipper(self._journal, file)
        self._shipper.run_once()

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()
        self._lease.release()


def lease_of(records: Path) -> Path:
    """The lock that says who ships into a record store."""
    return records.with_suffix(".lock")
