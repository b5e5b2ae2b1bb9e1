"""Shipping beside serving: records reach the record store from a process of its own.

Checking lines and filling indexes costs more than a request may, so whoever serves keeps one child for
it (`kept`), niced; the lock in the data folder makes it the only one of this journal. The child (`main`)
needs no settings and no keys, is told the address of a server through a pipe, and ends with its parent. `Inline` ships in this process instead: for
tests, and where no child may be started. How lines are shipped: `store/shipper.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from proxy import children, logs
from store import payload_spool
from store.aggregates import ColumnStore
from store.aggregating import columns_at
from store.errors import StoreError
from store.intake import Intake
from store.request_records import Shelves
from store.shelving import Place
from store.shipper import Lease, Shipper

QUIET_SECONDS = 0.25  # between two passes
BUSY_SECONDS = 1.0  # after a large one: what is written together costs less
BUSY_RECORDS = 500
SEALED_AT_ONCE = 4  # pieces whose columns are made in one pass
TROUBLE_SECONDS = 5.0  # after one that failed
LAST_SECONDS = 5.0  # what a child that is told to end may still take to ship the rest
NICE = 10
RESTARTS = (1.0, 2.0, 5.0, 15.0, 30.0)  # waits before a child that died is started again
STEADY_SECONDS = 60.0  # one that lived so long begins with the first wait

log = logs.get("shipping")


def lease_of(records: Path) -> Lease:
    """The right to ship into a record store; for a server, that of the journal beside this name."""
    return Lease(records.with_suffix(".lock"))


def prepare(records: Path) -> None:
    """Makes the file of records, so that a query finds one from the start. Blocking."""
    try:
        Place(records).open().close()
    except (StoreError, OSError) as error:
        log.warning("the record store cannot be made", cause=str(error.__cause__ or error))


# --- in this process ----------------------------------------------------------------------------------


class Inline:
    """Ships in a thread of this process, unless another one ships."""

    def __init__(self, journal: Path, records: Path, uri: str = "") -> None:
        self._work = _Work(journal, Place(records, uri))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shipping")

    async def step(self) -> None:
        """One pass. What fails is logged: the journal keeps what is not shipped."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._work.once)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._work.close)
        self._thread.shutdown()


# --- the child, from outside --------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def kept(journal: Path, records: Path, level: str, uri: str = "") -> AsyncIterator[None]:
    """Keeps a child that ships until the block ends; then it ships the rest and is ended.

    It ships into the file `records`, or with `uri` to that server.
    """
    keeper = _Keeper(journal, records, level, uri)
    failed: Exception | None = None
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        try:
            yield
        except Exception as error:
            failed = error  # raised as itself below: a task group would wrap it
        finally:
            await keeper.end()
    if failed is not None:
        raise failed


class _Keeper:
    """Starts the child again whenever it dies. That it cannot run is no reason not to serve."""

    def __init__(self, journal: Path, records: Path, level: str, uri: str) -> None:
        # An argument is read by everybody on the host: what may hold a password goes through a pipe.
        self._told = uri.encode()
        self._arguments = [
            *children.command("proxy.shipping"),
            f"--journal={journal}",
            f"--records={records}",
            f"--parent={os.getpid()}",
            f"--level={level}",
            *(["--server"] if uri else []),
        ]
        self._ending = asyncio.Event()
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Until `end`."""
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._ending.is_set():
            begun = loop.time()
            try:
                # No variable of ours: the child needs no key and no secret.
                child = await asyncio.create_subprocess_exec(
                    *self._arguments,
                    env=children.variables(private=False),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.DEVNULL,
                )
            except Exception:
                log.exception("the shipping process cannot be started")
            else:
                self._child = child
                if self._ending.is_set():
                    child.terminate()
                await self._tell(child)
                code = await child.wait()
                if not self._ending.is_set():
                    log.error("the shipping process died and is started again", code=code)
            failures = 0 if loop.time() - begun > STEADY_SECONDS else failures + 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESTARTS[min(failures, len(RESTARTS)) - 1]):
                    await self._ending.wait()

    async def _tell(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin is not None
        with contextlib.suppress(OSError):  # it died at once: that is seen by who waits for it
            child.stdin.write(self._told)
            await child.stdin.drain()
        child.stdin.close()

    async def end(self) -> None:
        """Tells the child to end, and waits until it has."""
        self._ending.set()
        child = self._child
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(LAST_SECONDS * 2):
                await child.wait()
        except TimeoutError:
            log.warning("the shipping process did not end by itself")
            child.kill()


# --- the child, from inside ---------------------------------------------------------------------------


class _Work:
    """The store and the shipper; opened when first needed, and anew after a failure. In one thread at a time."""

    def __init__(self, journal: Path, place: Place) -> None:
        self._journal = journal
        self._place = place
        self._lease = lease_of(place.file)
        self._shelves: Shelves | None = None
        self._shipper: Shipper | None = None
        self._columns: ColumnStore | None = None
        self._trouble = ""

    def once(self) -> float:
        """One pass; how many seconds to wait until the next."""
        try:
            pause = self._pass()
            trouble = ""
        except (StoreError, OSError) as error:
            self._reset()
            pause, trouble = TROUBLE_SECONDS, str(error.__cause__ or error)
        if trouble != self._trouble:
            if trouble:
                log.warning("records are not shipped", cause=trouble)
            else:
                log.info("records are shipped again")
            self._trouble = trouble
        return pause

    def _pass(self) -> float:
        if not self._lease.take():
            return BUSY_SECONDS  # another process ships; it may end at any time
        if self._shelves is None or self._shipper is None:
            self._shelves = self._place.open()
            self._shipper = Shipper(self._journal, Intake(self._shelves))
        shipped = self._shipper.run_once()
        if shipped.broken:
            log.error("broken lines are left out: verify the log", lines=shipped.broken)
        said = payload_spool.beside(self._place.file)
        payload_spool.ship(said, self._shelves)
        if self._columns is None:
            self._columns = columns_at(self._place)
        sealed = self._columns.seal(SEALED_AT_ONCE) == SEALED_AT_ONCE
        sealed |= self._shelves.seal() > 0
        if not shipped.done or payload_spool.waiting(said) or sealed:
            return 0.0
        return BUSY_SECONDS if shipped.records > BUSY_RECORDS else QUIET_SECONDS

    def close(self) -> None:
        """Closes the store, and lets another process ship."""
        self._reset()
        self._lease.release()

    def _reset(self) -> None:
        if self._columns is not None:
            self._columns.close()
        if self._shelves is not None:
            self._shelves.close()
        self._columns = self._shelves = self._shipper = None


def ship(journal: Path, place: Place, stop: threading.Event, alone: Callable[[], bool]) -> None:
    """Ships until `stop` is set, and then what is left; or until nobody is there any more (`alone`)."""
    work = _Work(journal, place)
    while not stop.is_set() and not alone():
        stop.wait(work.once())
    until = time.monotonic() + LAST_SECONDS
    while not alone() and time.monotonic() < until and work.once() == 0.0:
        pass
    work.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """The child. SIGTERM ends it; SIGINT, which a terminal sends to it too, is its parent's business."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parser = argparse.ArgumentParser(description="ship records for a gateway")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--level", default="info")
    parser.add_argument("--server", action="store_true", help="the URI comes on standard input")
    given = parser.parse_args(arguments)
    logs.configure(given.level)
    os.nice(NICE)
    place = Place(given.records, sys.stdin.read() if given.server else "")
    ship(given.journal, place, stop, lambda: os.getppid() != given.parent)


if __name__ == "__main__":
    main()
    sys.exit(0)
