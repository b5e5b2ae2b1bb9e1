"""The MongoDB store as of one moment: a snapshot session, in which everything has followed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure

from policies.naming import Key
from store import mongo_effects as effects
from store import mongo_layout as layout
from store.errors import StoreUnavailable
from store.lane import Lane
from store.mongo_client import READ_SECONDS, Connection, Found, driver
from store.port import Head, RawDocument

T = TypeVar("T")
_BATCH = 20_000  # rows in one answer of the server
_UNAVAILABLE = 246  # the server: a collection or an index is too new for this moment


def row_texts(db: Database[Found], held: Found, session: Any = None) -> Iterator[str]:
    """The text of the rows that a filter takes, as they come."""
    with db.rows.find(held, {"_id": 0, "row": 1}, session=session, batch_size=_BATCH) as cursor:
        # A batch at once: at a million rows, the cursor's own step for each costs seconds.
        for batch in _ahead(iter(lambda: cursor.to_list(_BATCH), [])):
            yield from [found["row"] for found in batch]


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, the next of which is already being fetched while one is looked at."""
    with ThreadPoolExecutor(1, "store-ahead") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


class MongoSnapshot:
    """`store.port.Snapshot`, read in a thread of its own."""

    def __init__(self, db: Database[Found], session: ClientSession, head: Head, lane: Lane) -> None:
        self.head = head
        self._db = db
        self._session = session
        self._lane = lane

    @classmethod
    def take(cls, connection: Connection, lane: Lane) -> Self:
        """A moment in which everything had followed. Blocking. Raises: StoreUnavailable."""
        db = connection.db
        deadline = time.monotonic() + READ_SECONDS
        while True:
            effects.completed(db)
            with driver(READ_SECONDS):
                # Its reads have one moment, and that must be the session's only concern.
                session = connection.client.start_session(snapshot=True)
            try:
                head = layout.head(db, session)
                if layout.watermark(db, session) >= head.epoch:
                    return cls(db, session, head, lane)
            except StoreUnavailable as error:
                cause = error.__cause__
                if not isinstance(cause, OperationFailure) or cause.code != _UNAVAILABLE:
                    session.end_session()
                    raise
            session.end_session()
            if time.monotonic() > deadline:
                raise StoreUnavailable("the store is never at rest", hint="try again")
            time.sleep(0.01)  # in a thread of our own

    def end(self) -> None:
        self._session.end_session()

    async def _run(self, work: Callable[[], T]) -> T:
        def run() -> T:
            with driver(None):  # all there is: as long as it takes
                return work()

        return await self._lane.run(run)

    async def rows(self, consume: Callable[[Iterator[str]], T]) -> T:
        return await self._run(lambda: consume(row_texts(self._db, {"to": None}, self._session)))

    async def documents(self, families: Iterable[str] | None = None) -> list[RawDocument]:
        wanted: Found = {"gone": False}
        if families is not None:
            wanted["family"] = {"$in": list(families)}
        return await self._run(
            lambda: [
                layout.to_document(found)
                for found in self._db.documents.find(wanted, session=self._session)
            ]
        )

    async def facts(self) -> list[tuple[Key, str | None]]:
        most = {"family": {"$nin": ["user", "credential"]}, "gone": False}
        users = {"family": "user", "fact": {"$type": "string"}}
        return await self._run(lambda: [*self._keys(most), *self._keys(users)])

    def _keys(self, wanted: Found) -> Iterator[tuple[Key, str | None]]:
        fields = {"_id": 0, "family": 1, "name": 1, "fact": 1}
        for found in self._db.documents.find(wanted, fields, session=self._session):
            yield (found["family"], found["name"]), found.get("fact")

    async def ended(self) -> list[Key]:
        wanted = {"gone": True, "family": {"$ne": "credential"}}
        return await self._run(lambda: [key for key, _ in self._keys(wanted)])
