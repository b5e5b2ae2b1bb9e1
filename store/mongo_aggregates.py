"""The columns of requests beside their records in MongoDB.

A piece is sealed once all its places are given away, though another process may still have to fill one. What adds,
removes or changes a record then calls `unseal` for its place. The column of times is there, but empty, before a piece
is read, and filled last: without it the others are not whole, and who finds it gone read too early.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Sequence
from typing import Final, Self

from pymongo import ReplaceOne
from pymongo.collection import Collection

from store.aggregate_columns import AT, build
from store.aggregates import Span
from store.mongo_client import READ_SECONDS, WRITE_SECONDS, Connection, connect, driver
from store.mongo_client import Found as Document
from store.request_records import Row, Shelf, Window
from store.scanning import PIECE_BITS

_SHELF: Final = f"records_{Shelf.REQUESTS}"


class MongoColumns:
    """`store.aggregates.ColumnStore` in the database of a `MongoShelves`. Threads may share one."""

    def __init__(self, connection: Connection) -> None:
        """The connection stays the caller's."""
        self._connection = connection
        self._own: asyncio.AbstractEventLoop | None = None
        self._full = 0  # up to here everything is sealed

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
        wanted = {"_id": {"$in": [_id(piece, name) for piece in pieces for name in names]}}
        found: dict[int, dict[str, bytes]] = {}
        with self._within(READ_SECONDS):
            for one in self._kept("columns").find(wanted):
                piece, _, name = one["_id"].partition("/")
                if "data" in one:
                    found.setdefault(int(piece, 16), {})[name] = bytes(one["data"])
        return {piece: had for piece, had in found.items() if AT in had}

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
            if full == self._full:
                return 0  # nothing new: who ships asks often
            wanted = {"_id": {"$lt": full}, "first": {"$gte": int(shelf.get("kept_since", 0))}}
            pieces = [one["_id"] for one in self._kept("pieces").find(wanted, {"_id": 1})]
            sealed = self._sealed()
            open_pieces = sorted(set(pieces) - sealed, reverse=True)[:most]
            self._full = full if len(open_pieces) < most else 0
            for piece in open_pieces:
                self._write(piece)
        return len(open_pieces)

    def _write(self, piece: int) -> None:
        kept, by = self._kept("columns"), os.urandom(8)
        times = {"_id": _id(piece, AT)}
        kept.replace_one(times, {"by": by}, upsert=True)  # before anything is read
        made = build(self.rows(piece))
        said = made.pop(AT)
        kept.bulk_write(
            [
                ReplaceOne({"_id": _id(piece, name)}, {"data": data}, upsert=True)
                for name, data in made.items()
            ]
        )
        done = kept.update_one({**times, "by": by}, {"$set": {"data": said}})
        if not done.matched_count:  # something changed meanwhile
            self._drop(piece)

    def _sealed(self) -> set[int]:
        whole = {"_id": {"$regex": f"^[0-9a-f]+/{AT}$"}, "data": {"$exists": True}}
        found = self._kept("columns").find(whole, {"_id": 1})
        return {int(one["_id"].partition("/")[0], 16) for one in found}

    def unseal(self, places: Iterable[int]) -> None:
        """Drops the columns of the pieces that these places lie in. After they were changed, not before."""
        with self._within(WRITE_SECONDS):
            for piece in sorted({place >> PIECE_BITS for place in places}):
                if self._kept("columns").delete_one({"_id": _id(piece, AT)}).deleted_count:
                    self._drop(piece)

    def _drop(self, piece: int) -> None:
        ids = {"$gte": _id(piece, ""), "$lt": _id(piece + 1, "")}
        self._kept("columns").delete_many({"_id": ids})

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


def _id(piece: int, name: str) -> str:
    return f"{piece:012x}/{name}"
