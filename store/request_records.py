"""The port of the records store, and a page of records as a reader gets it.

Records lie on shelves (requests, decisions) in the order of their arrival; `seq` says the place, is never
given twice, and is the cursor of a list, newest first. What a reader may find is a filter that
`authz/scopes.py` made; each row that it finds is checked once more before it leaves, so that an index that
is wrong can hide something but never disclose it. Every list has a time window and a deadline, and says
`truncated` when that struck. The port is blocking: the shipper has a process of its own, and a server gives
it threads (`RequestRecords`). SQLite: `sqlite_request_records.py`; MongoDB: `mongo_request_records.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final, Protocol, TypeVar

from authz.filters import Clause, Filter
from store.errors import StoreError

_T = TypeVar("_T")
MAX_LIMIT: Final = 1000
SECONDS: Final = 5.0  # deadline of a list
_AT_ONCE: Final = 64  # fewest rows that are fetched together, as some may be left out
_READERS: Final = 2  # lists that run at the same time; the others wait


class BadWindow(StoreError):
    """A list without a span of time that goes forward, or with a limit out of range."""

    code = "bad_query"


class Shelf(StrEnum):
    REQUESTS = "requests"  # what came of a request: usage, cost, status, duration
    DECISIONS = "decisions"


@dataclass(frozen=True, slots=True)
class Entry:
    """One record on its way into the store: `writer` and `wseq` name its line in the journal."""

    shelf: Shelf
    writer: str
    wseq: int
    id: str
    at: int  # UTC µs
    keys: tuple[str, ...]  # `authz.keys.keys_of`
    body: bytes  # the line as it stands in the journal


@dataclass(frozen=True, slots=True)
class Payload:
    """What was said in a request, sealed by who gives it; kept apart from the record with the same id."""

    id: str
    at: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Lean:
    """What is left of a record once something in it was erased: its keys and its line, now."""

    id: str
    keys: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One record as it lies in the store."""

    seq: int
    id: str
    at: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Window:
    """`since` ≤ time < `until`, in UTC µs. Raises: BadWindow if that is never."""

    since: int
    until: int

    def __post_init__(self) -> None:
        if not 0 <= self.since < self.until < 1 << 62:
            raise BadWindow("the window of time is empty or out of range", hint="`since` < `until`")


@dataclass(frozen=True, slots=True)
class Found:
    """What a store found: rows, the newest first. All from `reached` on was looked at.

    `done`: there is nothing below; `struck`: the deadline did.
    """

    rows: tuple[Row, ...]
    reached: int
    done: bool = False
    struck: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What a reader gets. `next` is `before` of the next page, None at the end."""

    rows: tuple[Row, ...]
    next: int | None = None
    truncated: bool = False


class Shelves(Protocol):
    """The records store of one kind of database; blocking. Every method raises StoreUnavailable."""

    def cursor(self, writer: str) -> tuple[int, str]:
        """The seq and hash of the last line taken of a writer; (0, "") if none."""

    def settled(self, writer: str) -> int:
        """The seq up to which a writer's records are here and on the disk: what a prune may remove."""

    def take(
        self,
        entries: Sequence[Entry],
        heads: Mapping[str, tuple[int, str]],
        payloads: Iterable[Payload] = (),
    ) -> int:
        """Takes records in this order, then moves the cursors to `heads`; how many are new.

        A line (writer, wseq) that is there already stays as it is; if it was written anew with another
        id (a restart cut a tail that was not durable), it takes the place of the old one.
        """

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
        """At most `limit` rows that pass `filter` and lie in `window`, the newest first.

        Their places are below `before` and above `after`.
        """

    def head(self, shelf: Shelf) -> int:
        """The place of the record that came last; 0 if none did."""

    def get(self, shelf: Shelf, record_id: str) -> Row | None:
        """One record."""

    def payload(self, record_id: str) -> bytes | None:
        """What was said in one request, as it was given."""

    def seal(self, most: int = 1) -> int:
        """Writes what makes lists of records quick that have come to rest, for at most so many blocks a shelf.

        How many that was; for the process that ships records, after it did.
        """

    def forget(self, shelf: Shelf, before: int, chunk: int = 500) -> int:
        """Retention: nothing older than `before` (µs) is found any more, and at most `chunk` rows go for good.

        How many went; 0 when none is left. Ranges go from the oldest on, so an old record that arrived
        late goes with its neighbours.
        """

    def forget_payloads(self, before: int, chunk: int = 500) -> int:
        """The same of payloads, each by its own time."""

    def erase(self, shelf: Shelf, records: Sequence[Lean]) -> None:
        """Puts what is left of records into their places; what they had besides is not left on the disk."""

    def erase_payloads(self, ids: Sequence[str]) -> int:
        """Removes what was said in these requests; how many went."""

    def close(self) -> None: ...


class RequestRecords:
    """The records of a server: writes in one thread, reads in others, checks on the loop."""

    def __init__(
        self,
        writer: Shelves,
        reader: Callable[[], Shelves],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`reader` opens the store once more for a thread; what may be shared answers itself."""
        self._writer = writer
        self._open = reader
        self._clock = clock
        self._free: list[Shelves] = []
        self._opened: list[Shelves] = []
        self._write = ThreadPoolExecutor(1, thread_name_prefix="request-records")
        self._read = ThreadPoolExecutor(_READERS, thread_name_prefix="request-records-read")

    async def page(
        self,
        shelf: Shelf,
        filter: Filter,
        window: Window,
        *,
        allowed: Callable[[Row], bool],
        narrow: Iterable[Clause] = (),
        before: int | None = None,
        after: int = 0,
        limit: int = 100,
        seconds: float = SECONDS,
    ) -> Page:
        """A page of what `filter` and every clause of `narrow` let through, and `allowed` says yes to.

        With `after` it ends above that place.

        `allowed` runs on the loop. What it raises ends the list: half of one is no answer.

        Raises:
            BadWindow: the limit is out of range.
            StoreUnavailable: the store cannot be read.
            FilterTooWide: with `narrow`, the filter has too many arms.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise BadWindow(f"a limit is between 1 and {MAX_LIMIT}")
        wanted = filter.narrowed(narrow)
        if not wanted:
            return Page(())
        rows: list[Row] = []
        end = self._clock() + seconds
        while True:
            # One more than asked for tells whether there is a next page.
            number = max(limit + 1 - len(rows), _AT_ONCE)
            left = end - self._clock()
            if left <= 0:
                return Page(tuple(rows), before, True)
            found = await self._reading(
                lambda store, below=before, n=number, left=left: store.scan(  # type: ignore[misc]
                    shelf, wanted, window, below, n, left, after
                )
            )
            for row in found.rows:
                if allowed(row):
                    if len(rows) == limit:
                        return Page(tuple(rows), rows[-1].seq)
                    rows.append(row)
            before = found.reached
            if found.done:
                return Page(tuple(rows))
            if found.struck:
                return Page(tuple(rows), before, True)

    async def head(self, shelf: Shelf) -> int:
        """The place of the record that came last; 0 if none did."""
        return await self._reading(lambda store: store.head(shelf))

    async def get(self, shelf: Shelf, record_id: str) -> Row | None:
        """One record by its id; whether the reader may see it is the caller's question."""
        return await self._reading(lambda store: store.get(shelf, record_id))

    async def payload(self, record_id: str) -> bytes | None:
        """What was said in one request, as it was given."""
        return await self._reading(lambda store: store.payload(record_id))

    async def work(self, work: Callable[[Shelves], _T]) -> _T:
        """Runs `work` (taking, forgetting) in the writing thread."""
        return await asyncio.get_running_loop().run_in_executor(
            self._write, partial(work, self._writer)
        )

    async def close(self) -> None:
        """Waits for what runs, and closes the store."""
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._read.shutdown()
        self._write.shutdown()
        for store in {id(one): one for one in (*self._opened, self._writer)}.values():
            store.close()

    async def _reading(self, work: Callable[[Shelves], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._read, self._borrowed, work)

    def _borrowed(self, work: Callable[[Shelves], _T]) -> _T:
        """Runs `work` on a store that no other thread uses meanwhile."""
        try:
            store = self._free.pop()
        except IndexError:
            store = self._open()
            self._opened.append(store)
        try:
            return work(store)
        finally:
            self._free.append(store)
