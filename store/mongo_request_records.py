"""The records store on MongoDB: a collection a shelf, indexed by `{keys: 1, _id: -1}`.

`_id` is the place of a record. Places are reserved before they are filled, so a crash leaves a gap, which
harms nothing; what a piece of places holds is widened before its records come, so no list passes one over.
One process ships by lease; should two do so for a moment, a line still comes once (unique by writer and
number). Blocking: of a driver's client threads may share one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Self

import pymongo
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from authz.filters import Filter
from store.errors import StoreTooNew
from store.filters import KEY_BYTES, Asked, Numbers
from store.known_values import MOST, names_in, rewritten, values_in
from store.mongo_aggregates import MongoColumns
from store.mongo_client import (
    READ_SECONDS,
    WRITE_SECONDS,
    Connection,
    connect,
    driver,
)
from store.mongo_client import (
    Found as Document,
)
from store.mongo_postings import INDEX, MongoPostings
from store.mongo_rows import MongoRows, row_of
from store.request_records import Entry, Found, Lean, Payload, Row, Shelf, Window
from store.scanning import PIECE_BITS, pieces, places, walk

VERSION: Final = 1
_DUPLICATE: Final = 11000
_SPACE: Final = "records"  # what our collections are called: `records_requests`, …


class MongoShelves:
    """`store.request_records.Shelves` in the database of an installation."""

    def __init__(
        self, connection: Connection, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Makes collections and indexes if need be. The connection stays the caller's.

        Raises:
            StoreUnavailable, StoreTooNew.
        """
        self._connection = connection
        self._clock = clock
        self._own: asyncio.AbstractEventLoop | None = None
        self._postings = {
            shelf: MongoPostings(connection.db, f"{_SPACE}_{shelf}") for shelf in Shelf
        }
        with self._within(WRITE_SECONDS):
            self._numbers = Numbers(self._make())

    @classmethod
    def open(cls, uri: str, *, clock: Callable[[], float] = time.monotonic) -> Self:
        """On a connection of its own, which `close` ends; for a process without a loop. Raises: as above."""
        loop = asyncio.new_event_loop()  # the driver's client wants one, and never runs it
        try:
            connection = connect(uri, loop)
        except BaseException:
            loop.close()
            raise
        try:
            made = cls(connection, clock=clock)
        except BaseException:
            connection.close()
            loop.close()
            raise
        made._own = loop
        return made

    def _make(self) -> bytes:
        for shelf in Shelf:
            kept = self._kept(shelf)
            kept.create_index(INDEX)
            kept.create_index([("writer", 1), ("wseq", 1)], unique=True)
            kept.create_index("id", unique=True)
        self._kept("payloads").create_index("at")
        meta = self._kept("meta").find_one_and_update(
            {"_id": "meta"},
            {"$setOnInsert": {"secret": os.urandom(KEY_BYTES), "version": VERSION}},
            upsert=True,
            return_document=pymongo.ReturnDocument.AFTER,
        )
        if meta is None or meta["version"] > VERSION:
            raise StoreTooNew("the records were written by a newer version")
        return bytes(meta["secret"])

    def _kept(self, name: str) -> Collection[Document]:
        return self._connection.db[f"{_SPACE}_{name}"]

    def _within(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        return driver(seconds, self._connection.client)

    # --- taking -------------------------------------------------------------------------------------

    def cursor(self, writer: str) -> tuple[int, str]:
        with self._within(READ_SECONDS):
            found = self._kept("writers").find_one({"_id": writer})
        return (found["seq"], found["hash"]) if found is not None else (0, "")

    def settled(self, writer: str) -> int:
        return self.cursor(writer)[0]  # written to a majority's disks, or not at all

    def take(
        self,
        entries: Sequence[Entry],
        heads: Mapping[str, tuple[int, str]],
        payloads: Iterable[Payload] = (),
    ) -> int:
        new = 0
        with self._within(WRITE_SECONDS):
            for shelf in Shelf:
                new += self._place(shelf, [one for one in entries if one.shelf is shelf])
            said = [{"_id": one.id, "at": one.at, "body": one.body} for one in payloads]
            _insert(self._kept("payloads"), said)
            # Last: whatever ended in the middle is taken again, and found to be there.
            for name, (seq, digest) in heads.items():
                self._kept("writers").update_one(
                    {"_id": name}, {"$set": {"seq": seq, "hash": digest}}, upsert=True
                )
        return new

    def _place(self, shelf: Shelf, entries: Sequence[Entry]) -> int:
        fresh = self._missing(shelf, entries)
        if not fresh:
            return 0
        self._learn(shelf, fresh)  # before they have a place: see `_asked`
        reserved = self._kept("shelves").find_one_and_update(
            {"_id": shelf.value},
            {"$inc": {"next": len(fresh)}},
            upsert=True,
            return_document=pymongo.ReturnDocument.AFTER,
        )
        assert reserved is not None
        placed = list(enumerate(fresh, reserved["next"] - len(fresh) + 1))
        for piece, (first, last) in pieces(placed).items():
            self._kept(f"{shelf}_pieces").update_one(
                {"_id": piece}, {"$min": {"first": first}, "$max": {"last": last}}, upsert=True
            )
        new = _insert(
            self._kept(shelf),
            [
                {
                    "_id": seq,
                    "writer": one.writer,
                    "wseq": one.wseq,
                    "id": one.id,
                    "at": one.at,
                    "keys": self._numbers.of(one.keys),
                    "body": one.body,
                }
                for seq, one in placed
            ],
        )
        self._unsealed(shelf, [seq for seq, _ in placed])  # if another process was much faster
        return new

    def _learn(self, shelf: Shelf, entries: Sequence[Entry]) -> None:
        """Takes note of the values that these records have."""
        kept = self._kept(f"{shelf}_values")
        said = {self._numbers.of([name])[0]: keys for name, keys in values_in(entries).items()}
        known = {one["_id"]: one for one in kept.find({"_id": {"$in": list(said)}})}
        for name, keys in said.items():
            had = known.get(name, {"many": False, "values": ()})
            fresh = set(self._numbers.of(keys)).difference(had["values"])
            if had["many"] or not fresh:
                continue
            change: Document = {"$addToSet": {"values": {"$each": sorted(fresh)}}}
            if len(had["values"]) + len(fresh) > MOST:
                change = {"$set": {"many": True, "values": []}}
            else:
                change["$setOnInsert"] = {"many": False}
            kept.update_one({"_id": name}, change, upsert=True)

    def _missing(self, shelf: Shelf, entries: Sequence[Entry]) -> list[Entry]:
        """The entries that are not there yet; a line that was written anew loses its old record."""
        fresh: list[Entry] = []
        for writer in dict.fromkeys(one.writer for one in entries):
            mine = [one for one in entries if one.writer == writer]
            span = {"$gte": min(one.wseq for one in mine), "$lte": max(one.wseq for one in mine)}
            fields = {"wseq": 1, "id": 1}
            found = list(self._kept(shelf).find({"writer": writer, "wseq": span}, fields))
            had = {one["wseq"]: one["id"] for one in found}
            stale = [one.wseq for one in mine if had.get(one.wseq, one.id) != one.id]
            if stale:
                self._kept(shelf).delete_many({"writer": writer, "wseq": {"$in": stale}})
                self._unsealed(shelf, [one["_id"] for one in found if one["wseq"] in stale])
            fresh += [one for one in mine if had.get(one.wseq) != one.id]
        order = {id(one): place for place, one in enumerate(entries)}
        return sorted(fresh, key=lambda one: order[id(one)])

    # --- what is made of records --------------------------------------------------------------------

    def seal(self, most: int = 1) -> int:
        with self._within(WRITE_SECONDS):
            return sum(self._postings[shelf].seal(self._head(shelf), most) for shelf in Shelf)

    def _unsealed(self, shelf: Shelf, places: Sequence[int]) -> None:
        """Drops what was made of what stands, or stood, at these places."""
        self._postings[shelf].unseal(places)
        self._uncounted(shelf, places)

    def _uncounted(self, shelf: Shelf, places: Iterable[int]) -> None:
        """Drops the columns that hold what stood at these places: they would keep what is gone."""
        if shelf is Shelf.REQUESTS:
            MongoColumns(self._connection).unseal(places)

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
        with self._within(READ_SECONDS):
            since = max(window.since, self._kept_since(shelf))
            lowest, highest = self._places(shelf, since, window.until)
            asked, highest = self._asked(shelf, filter, highest)
        if not asked:
            return Found((), 0, done=True)
        if before is not None:
            highest = min(highest, before - 1)
        lowest = max(lowest, after + 1)
        rows = MongoRows(self._kept(shelf), self._postings[shelf], asked, since, window.until)

        def fetch(bottom: int, top: int, number: int, left: float) -> tuple[list[Row], bool]:
            if left <= 0:
                return [], True
            # The deadline is the server's too: its planner alone may take long when little is found.
            with self._within(left + READ_SECONDS), pymongo.timeout(left):
                return rows.between(bottom, top, number)

        return walk(fetch, lowest, highest, limit, seconds, self._clock)

    def _asked(self, shelf: Shelf, filter: Filter, highest: int) -> tuple[Asked, int]:
        """The filter as it is run, and the highest place that it may be run on."""
        names = {self._numbers.of([name])[0]: name for name in names_in(filter)}
        known: dict[str, frozenset[int]] = {}
        if names:  # the place first: what comes after it may have values that are not seen here
            highest = min(highest, self._head(shelf))
            found = self._kept(f"{shelf}_values").find({"_id": {"$in": list(names)}, "many": False})
            known = {names[one["_id"]]: frozenset(one["values"]) for one in found}
        return rewritten(filter, self._numbers, known), highest

    def _kept_since(self, shelf: Shelf) -> int:
        found = self._kept("shelves").find_one({"_id": shelf.value}) or {}
        return int(found.get("kept_since", 0))

    def _places(self, shelf: Shelf, since: int, until: int) -> tuple[int, int]:
        """Where the records of a span of time lie."""
        kept = self._kept(f"{shelf}_pieces")
        lowest = kept.find_one({"last": {"$gte": since}}, sort=[("_id", 1)])
        highest = kept.find_one({"first": {"$lt": until}}, sort=[("_id", -1)])
        return places(
            None if lowest is None else lowest["_id"], None if highest is None else highest["_id"]
        )

    def head(self, shelf: Shelf) -> int:
        with self._within(READ_SECONDS):
            return self._head(shelf)

    def _head(self, shelf: Shelf) -> int:
        found = self._kept("shelves").find_one({"_id": shelf.value}) or {}
        return int(found.get("next", 0))

    def get(self, shelf: Shelf, record_id: str) -> Row | None:
        with self._within(READ_SECONDS):
            wanted = {"id": record_id, "at": {"$gte": self._kept_since(shelf)}}
            found = self._kept(shelf).find_one(wanted)
        return None if found is None else row_of(found)

    def payload(self, record_id: str) -> bytes | None:
        with self._within(READ_SECONDS):
            found = self._kept("payloads").find_one({"_id": record_id})
        return None if found is None else bytes(found["body"])

    # --- forgetting ---------------------------------------------------------------------------------

    def forget(self, shelf: Shelf, before: int, chunk: int = 500) -> int:
        kept = self._kept(shelf)
        with self._within(WRITE_SECONDS):
            self._kept("shelves").update_one(
                {"_id": shelf.value}, {"$max": {"kept_since": before}}, upsert=True
            )
            found = list(kept.find({}, {"at": 1}, sort=[("_id", 1)], limit=chunk))
            gone = [one["_id"] for one in found if one["at"] < before]
            if not gone:
                return 0
            count = kept.delete_many({"_id": {"$in": gone}}).deleted_count
            self._uncounted(shelf, gone)
            lowest = kept.find_one({}, {"_id": 1}, sort=[("_id", 1)])
            floor = gone[-1] + 1 if lowest is None else lowest["_id"]
            self._kept(f"{shelf}_pieces").delete_many({"_id": {"$lt": floor >> PIECE_BITS}})
            self._postings[shelf].forget(floor)
        return count

    def forget_payloads(self, before: int, chunk: int = 500) -> int:
        kept = self._kept("payloads")
        with self._within(WRITE_SECONDS):
            found = kept.find({"at": {"$lt": before}}, {"_id": 1}, sort=[("at", 1)], limit=chunk)
            gone = [one["_id"] for one in found]
            return kept.delete_many({"_id": {"$in": gone}}).deleted_count if gone else 0

    def erase(self, shelf: Shelf, records: Sequence[Lean]) -> None:
        with self._within(WRITE_SECONDS):
            for one in records:
                left = {"keys": self._numbers.of(one.keys), "body": one.body}
                before = self._kept(shelf).find_one_and_update({"id": one.id}, {"$set": left})
                if before is not None:
                    self._unsealed(shelf, [before["_id"]])

    def erase_payloads(self, ids: Sequence[str]) -> int:
        with self._within(WRITE_SECONDS):
            return self._kept("payloads").delete_many({"_id": {"$in": list(ids)}}).deleted_count

    def close(self) -> None:
        """Ends the connection, if it is ours."""
        if self._own is not None:
            self._connection.close()
            self._own.close()
            self._own = None


def _insert(kept: Collection[Document], documents: list[Document]) -> int:
    """Inserts what is not there yet; how many that was."""
    if not documents:
        return 0
    try:
        return len(kept.insert_many(documents, ordered=False).inserted_ids)
    except BulkWriteError as error:
        details: dict[str, Any] = dict(error.details or {})
        problems = details.get("writeErrors", ())
        if details.get("writeConcernErrors") or any(
            one.get("code") != _DUPLICATE for one in problems
        ):
            raise
        return int(details.get("nInserted", 0))
