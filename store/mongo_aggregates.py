"""The columns of requests beside their records in MongoDB.

A piece is sealed (`mongo_seals.py`) once all its places are given away, though another process may still have to fill
one. What adds, removes or changes a record then calls `unseal` for its place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Self

from pymongo.collection import Collection

from store.aggregate_columns import build
from store.aggregates import Span
from store.mongo_client import READ_SECONDS, WRITE_SECONDS, Connection, connect, driver
from store.mongo_client import Found as Document
from store.mongo_seals import MongoSeals
from store.request_records import Row, Shelf, Window
from store.scanning import PIECE_BITS

_SHELF: Final = f"records_{Shelf.REQUESTS}"


class MongoColumns:
    """`store.aggregates.ColumnStore` in the database of a `MongoShelves`. Threads may share one."""

    def __init__(self, connection: Connection) -> None:
        """The connection stays the caller's."""
        self._connection = connection
        self._own: asyncio.AbstractEventLoop | None = None
        self._seals = MongoSeals(self._kept("columns"))

    @classmethod
    def open(cls, uri: str) -> Self:
        """On a connection of its own, which `close` ends. Raises: StoreUnavailable."""
        loop = asyncio.new_event_loop()  # the driver's client wants one, and never runs it
        try:
            made = cls(connect(uri, loop))
        except BaseException:
            loop.close()
            raise
        made._own = loop
        return made

    def spans(self, window: Window) -> tuple[list[Span], int]:
        with self._within(READ_SECONDS):
            shelf = self._connection.db["records_shelves"].find_one({"_id": Shelf.REQUESTS.value})
            since = int((shelf or {}).get("kept_since", 0))
            wanted = {
                "last": {"$gte": max(window.since, since)},
                "first": {"$lt": window.until},
            }
            found = self._kept("pieces").find(wanted, sort=[("_id", -1)])
            return [Span(one["_id"], one["first"], one["last"]) for one in found], since

    def columns(self, pieces: Sequence[int], names: Iterable[str]) -> dict[int, dict[str, bytes]]:
        with self._within(READ_SECONDS):
            return self._seals.read(pieces, names)

    def rows(self, piece: int) -> list[Row]:
        first = piece << PIECE_BITS
        wanted = {"_id": {"$gte": first, "$lt": first + (1 << PIECE_BITS)}}
        with self._within(READ_SECONDS):
            fields = {"id": 1, "at": 1, "body": 1}
            found = self._connection.db[_SHELF].find(wanted, fields, sort=[("_id", 1)])
            return [Row(one["_id"], one["id"], one["at"], bytes(one["body"])) for one in found]

    def seal(self, most: int = 64) -> int:
        with self._within(WRITE_SECONDS):
            shelf = self._connection.db["records_shelves"].find_one({"_id": Shelf.REQUESTS.value})
            if shelf is None:
                return 0
            full = int(shelf.get("next", 0)) >> PIECE_BITS

            def known() -> list[int]:
                # What is about to go for good is not worth it.
                kept = {"_id": {"$lt": full}, "first": {"$gte": int(shelf.get("kept_since", 0))}}
                return [one["_id"] for one in self._kept("pieces").find(kept, {"_id": 1})]

            return self._seals.seal(full, known, self._made, most)

    def _made(self, piece: int) -> Iterator[tuple[str, bytes]]:
        yield from build(self.rows(piece)).items()

    def unseal(self, places: Iterable[int]) -> None:
        """Drops the columns of the pieces that these places lie in. After they were changed, not before."""
        with self._within(WRITE_SECONDS):
            self._seals.unseal(place >> PIECE_BITS for place in places)

    def close(self) -> None:
        """Ends the connection, if it is ours."""
        if self._own is not None:
            self._connection.close()
            self._own.close()
            self._own = None

    def _kept(self, name: str) -> Collection[Document]:
        return self._connection.db[f"{_SHELF}_{name}"]

    def _within(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        return driver(seconds, self._connection.client)
