"""The shared store: MongoDB as a replica set, for several hosts.

The log comes first: inserting a commit's header is the compare-and-set, and everything else follows from
it, done by whoever comes first and as often as it may be (`mongo_layout.py`, `mongo_effects.py`). A read
that plans depend on waits until all that was committed has followed. Nothing here knows what a document or
a row means.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from policies.change import Person
from policies.naming import Key
from store import mongo_effects as effects
from store import mongo_layout as layout
from store.errors import HeadMoved, StoreUnavailable
from store.lane import Lane
from store.mongo_client import (
    READ_SECONDS,
    WRITE_SECONDS,
    Connection,
    Found,
    connect,
    driver,
)
from store.mongo_snapshot import MongoSnapshot, row_texts
from store.port import Batch, Head, RawDocument, RawEntry, RawSecret

T = TypeVar("T")
_MANY = 5000  # values in one question
_PER_SECOND = 2000  # things that are written in a second, when it goes badly
_WHOLE_SECONDS = 3600.0  # of what may be as large as the store


def _nothing(step: str) -> None:
    """The place where tests let a commit fail."""


class MongoStore:
    """`store.port.Store` on one database of a replica set."""

    def __init__(self, uri: str, *, fault: Callable[[str], None] = _nothing) -> None:
        """`uri` goes to the driver whole. `fault` is called at each step of a commit, and may raise."""
        self._uri = uri
        self._fault = fault
        self._writer = Lane("store-write")
        self._connection: Connection | None = None
        self._complete = Head()  # the head at which everything had followed
        self._seen: Head | None = None  # the head that `changed` saw last

    # --- life -----------------------------------------------------------------------------------

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        # No less than the driver takes to find that nobody is there.
        made = await self._writer.run(lambda: connect(self._uri, loop), WRITE_SECONDS)
        try:
            await self._writer.run(lambda: layout.create(made.db), WRITE_SECONDS)
        except BaseException:
            made.close()
            raise
        self._connection = made

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(StoreUnavailable):  # stuck: it ends with the process
                await self._writer.run(connection.close, READ_SECONDS)
        self._writer.close()

    def opened(self) -> Connection:
        """Raises: StoreUnavailable, it is closed."""
        if self._connection is None:
            raise StoreUnavailable("the store is closed")
        return self._connection

    # --- the log --------------------------------------------------------------------------------

    async def head(self) -> Head:
        # In the writer's thread: so it is behind every write that was begun.
        db = self.opened().db
        return await self._writer.run(lambda: layout.head(db), WRITE_SECONDS)

    async def commit(self, expected: Head, batches: Sequence[Batch]) -> None:
        db = self.opened().db
        _check(expected, batches)
        size = sum(len(b.documents) + len(b.rows_added) + len(b.rows_removed) for b in batches)
        await self._writer.run(
            lambda: self._commit(db, expected, batches), WRITE_SECONDS + size / _PER_SECOND
        )
        self._fault("committed")

    def _commit(self, db: Any, expected: Head, batches: Sequence[Batch]) -> None:
        self._fault("begun")
        found = effects.completed(db)
        self._complete = found
        if (found.epoch, found.hash) != (expected.epoch, expected.hash):
            raise HeadMoved(f"the head is at {found.epoch}, not at {expected.epoch}")
        if not batches:
            return
        _check_addresses(db, batches)
        header = _write_header(db, batches)
        self._fault("entry")
        for batch in batches:
            effects.materialise(db, batch, self._fault)
        effects.finish(db, header)
        self._complete = layout.head_of(header)
        self._fault("written")

    async def time(self) -> datetime | None:
        motor = self.opened().motor
        async with self.opened().asking():
            said = await motor.command(
                "hello"
            )  # the primary, by whose clock what is shared expires
        found: datetime = said["localTime"]
        return found.replace(tzinfo=UTC)

    async def changed(self) -> bool:
        head = await self._head()
        before, self._seen = self._seen, head
        return before != head

    async def _head(self) -> Head:
        entries = self.opened().motor.entries
        async with self.opened().asking():
            return layout.head_of(
                await entries.find_one({}, layout.HEAD_FIELDS, sort=layout.NEWEST)
            )

    async def entries(self, after: int, limit: int) -> list[RawEntry]:
        db = self.opened().motor
        async with self.opened().asking(WRITE_SECONDS):  # they may be large
            headers: list[Found] = []
            count = 0
            cursor = db.entries.find({"last": {"$gt": after}}, {"effects": 0}, sort=[("last", 1)])
            async for header in cursor.limit(limit):
                headers.append(header)
                count += sum(epoch > after for epoch in header["epochs"])
                if count >= limit:
                    break
            await cursor.close()
            pieces = [piece for header in headers for piece in layout.entry_chunks(header)]
            chunks: dict[str, bytes] = {}
            if pieces:
                async for chunk in db.chunks.find({"_id": {"$in": pieces}}):
                    chunks[chunk["_id"]] = chunk["data"]
        return list(layout.raw_entries(headers, after, chunks))[:limit]

    async def hash_at(self, epoch: int) -> str | None:
        entries = self.opened().motor.entries
        async with self.opened().asking():
            header = await entries.find_one(
                {"epochs": epoch}, {"entries.epoch": 1, "entries.hash": 1}
            )
        found = header["entries"] if header is not None else ()
        return next((one["hash"] for one in found if one["epoch"] == epoch), None)

    # --- all there is ---------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[MongoSnapshot]:
        connection = self.opened()
        lane = Lane("store-load")
        try:
            made = await lane.run(lambda: MongoSnapshot.take(connection, lane), _WHOLE_SECONDS)
            try:
                yield made
            finally:
                await lane.run(made.end)
        finally:
            lane.close()

    async def rows_at(self, epoch: int, consume: Callable[[Iterator[str]], T]) -> T:
        await self._ready()
        db = self.opened().db
        held = {"from": {"$lte": epoch}, "$or": [{"to": None}, {"to": {"$gt": epoch}}]}

        def work() -> T:
            with driver(None):
                return consume(row_texts(db, held))

        lane = Lane("store-past")  # of its own: it may read all there is
        try:
            return await lane.run(work)
        finally:
            lane.close()

    async def rematerialise(self, epoch: int, rows: Iterable[str]) -> None:
        db = self.opened().db

        def work() -> None:
            effects.completed(db)
            effects.rematerialise(db, set(rows), epoch)

        await self._writer.run(work, _WHOLE_SECONDS)

    # --- what follows from it -------------------------------------------------------------------

    async def _ready(self) -> None:
        """Waits until what was committed has followed, or does it."""
        if await self._head() != self._complete:
            db = self.opened().db
            # As long as it takes: every step has its own deadline, and giving up would begin it anew.
            self._complete = await self._writer.run(lambda: effects.completed(db), _WHOLE_SECONDS)

    async def _find(
        self, kept: str, field: str, values: Iterable[Any], also: Found | None = None
    ) -> list[Found]:
        """What has one of these values in a field, some thousands at a time."""
        listed = list(values)
        if not listed:
            return []
        await self._ready()
        collection = self.opened().motor[kept]
        found: list[Found] = []
        for start in range(0, len(listed), _MANY):
            wanted = {field: {"$in": listed[start : start + _MANY]}, **(also or {"gone": False})}
            async with self.opened().asking():
                found += await collection.find(wanted).to_list(None)
        return found

    async def origins(self, rows: Iterable[str], epoch: int) -> dict[str, int]:
        held = {"from": {"$lte": epoch}, "$or": [{"to": None}, {"to": {"$gt": epoch}}]}
        found = await self._find("rows", "row", rows, held)
        return {one["row"]: one["from"] for one in found}

    async def documents(self, keys: Iterable[Key]) -> list[RawDocument]:
        found = await self._find("documents", "_id", map(layout.document_id, keys))
        return [layout.to_document(one) for one in found]

    async def page(self, family: str, after: str, limit: int) -> list[RawDocument]:
        await self._ready()
        wanted = {"family": family, "gone": False, "name": {"$gt": after}}
        async with self.opened().asking():
            cursor = self.opened().motor.documents.find(wanted, sort=[("name", 1)], limit=limit)
            return [layout.to_document(one) for one in await cursor.to_list(None)]

    async def dependents(self, tokens: Iterable[str]) -> list[tuple[str, Key]]:
        return [layout.to_pair(one) for one in await self._find("mentions", "text", tokens)]

    async def assertions(self, rows: Iterable[str]) -> list[tuple[str, Key]]:
        return [layout.to_pair(one) for one in await self._find("assertions", "text", rows)]

    async def people(self, ids: Iterable[str]) -> list[Person]:
        return [layout.to_person(one) for one in await self._find("people", "_id", ids)]

    async def people_by_email(self, folded: Iterable[str]) -> list[Person]:
        return [layout.to_person(one) for one in await self._find("people", "folded", folded)]

    async def erase_person(self, user_id: str) -> bool:
        db = self.opened().db

        def work() -> bool:
            head = effects.completed(db)
            with driver(WRITE_SECONDS):
                known = {"_id": user_id, "gone": False}
                # A mark stays, so that nobody who is late writes the person again.
                done = db.people.replace_one(known, layout.gone(user_id, head.epoch))
            return done.matched_count > 0

        return await self._writer.run(work, WRITE_SECONDS)

    async def secret(self, secret_id: str) -> RawSecret | None:
        found = await self._find("secrets", "_id", [secret_id])
        return layout.to_secret(found[0]) if found else None


def _check(expected: Head, batches: Sequence[Batch]) -> None:
    """What could never follow from an entry must not get into the log. Raises: StoreUnavailable."""
    for epoch, batch in enumerate(batches, expected.epoch + 1):
        if batch.entry.epoch != epoch:
            raise StoreUnavailable(f"entry {batch.entry.epoch} does not follow the one before it")
        for raw in batch.documents:
            if len(raw.body) + len(raw.fact or "") > layout.MOST:
                raise StoreUnavailable(f"{raw.family} `{raw.name}` is too large for this store")


def _check_addresses(db: Any, batches: Sequence[Batch]) -> None:
    """Whether every address is free for who gets it. Nobody can take it meanwhile: the head would move.

    Raises:
        StoreUnavailable.
    """
    holders: dict[str, str] = {}
    changed: set[str] = set()
    for batch in batches:
        freed = {*batch.left, *(person.id for person in batch.people)}
        changed |= freed
        holders = {folded: name for folded, name in holders.items() if name not in freed}
        for person in batch.people:
            if holders.setdefault(person.email.casefold(), person.id) != person.id:
                raise StoreUnavailable("two people cannot have one address")
    if holders:
        taken = {"folded": {"$in": list(holders)}, "_id": {"$nin": list(changed)}}
        with driver(READ_SECONDS):
            if db.people.find_one(taken, {"_id": 1}) is not None:
                raise StoreUnavailable("two people cannot have one address")


def _write_header(db: Any, batches: Sequence[Batch]) -> Found:
    """The header that was written; from here on the commit is made.

    Raises:
        HeadMoved: somebody else was first. StoreUnavailable.
    """
    header, chunks = layout.header_of(batches)
    with driver(WRITE_SECONDS):
        for chunk in chunks:
            db.chunks.insert_one(chunk)
    with driver(WRITE_SECONDS):
        try:
            db.entries.insert_one(header)
        except DuplicateKeyError as error:
            # Waits until a majority has it, so that who polls now sees who was first.
            surely = db.entries.with_options(read_concern=ReadConcern("linearizable"))
            first = surely.find_one({"epochs": header["_id"]}, {"token": 1})
            if first is None or first["token"] != header["token"]:
                if chunks:
                    db.chunks.delete_many({"token": header["token"]})
                raise HeadMoved(f"entry {header['_id']} is another's") from error
    return header
