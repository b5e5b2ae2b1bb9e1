"""What follows from a commit, written so that it may be done twice, by several, and late.

Everything new is inserted; what is there already is replaced only if it is older (`at`). So nobody who
was paused for an hour can undo what came after, and a process that finds work undone does it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pymongo import ReplaceOne, UpdateOne
from pymongo.collection import Collection as Kept
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from store import mongo_layout as layout
from store.mongo_client import READ_SECONDS, WRITE_SECONDS, Found, driver
from store.port import Batch, Head

T = TypeVar("T")
_PART = 2000  # written at once
_DUPLICATE = 11000
_PATIENCE = 0.25  # seconds that another process is given to end its commit itself


def completed(db: Database[Found]) -> Head:
    """The head, once all that follows from it stands; what others left undone is done here.

    Raises:
        StoreUnavailable.
    """
    patient = time.monotonic() + _PATIENCE
    while True:
        head = layout.head(db)
        mark = layout.watermark(db)
        if mark >= head.epoch:
            return head
        if time.monotonic() < patient:
            time.sleep(0.01)  # in a thread of our own
            continue
        with driver(READ_SECONDS):
            header = db.entries.find_one({"_id": {"$gt": mark}}, {"entries": 0}, sort=[("_id", 1)])
        if header is not None:
            _complete(db, header)


def _complete(db: Database[Found], header: Found) -> None:
    batches = None
    if "effects" in header and not header.get("done"):
        batches = layout.effects_of(db, header)
    for batch in batches or ():
        materialise(db, batch)
    finish(db, header)


def finish(db: Database[Found], header: Found) -> None:
    """Forgets what a header carried, now that it stands elsewhere, and says so."""
    this = {"_id": header["_id"]}
    with driver(WRITE_SECONDS):
        if not isinstance(header.get("effects", b""), bytes):
            # In this order: who finds it in the middle knows that the chunks are not needed.
            db.entries.update_one(this, {"$set": {"done": True}})
            db.chunks.delete_many({"token": header["token"], "part": "effects"})
        db.entries.update_one(this, {"$unset": {"effects": "", "done": ""}})
        db.meta.update_one(
            {"_id": "watermark", "value": {"$lt": header["last"]}},
            {"$set": {"value": header["last"]}},
        )


def materialise(
    db: Database[Found], batch: Batch, fault: Callable[[str], None] = lambda step: None
) -> None:
    """Writes what follows from one entry. Raises: StoreUnavailable."""
    at = batch.entry.epoch
    put(
        db.documents,
        [layout.of_document(raw, at) for raw in batch.documents],
        [layout.of_tombstone(key, at) for key in batch.deleted],
    )
    fault("documents")
    end_rows(db, batch.rows_removed, at)
    add_rows(db, batch.rows_added, at)
    fault("rows")
    for kept, ended, come in (
        (db.mentions, batch.unmentioned, batch.mentioned),
        (db.assertions, batch.unasserted, batch.asserted),
    ):
        put(
            kept,
            [layout.of_pair(text, key, at, gone=True) for text, key in ended],
            [layout.of_pair(text, key, at, gone=False) for text, key in come],
        )
    fault("mentions")
    _people(db, batch, at)
    fault("people")
    put(
        db.secrets,
        [layout.gone(name, at) for name in batch.secrets_ended],
        [layout.of_secret(secret, at) for secret in batch.secrets],
    )
    fault("secrets")


def _people(db: Database[Found], batch: Batch, at: int) -> None:
    # First all addresses are freed, so that two people can swap theirs in one change.
    free: list[Any] = [
        UpdateOne({"_id": name, "at": {"$lt": at}}, {"$set": {"folded": None, "at": at}})
        for name in batch.left
    ]
    free += [
        UpdateOne({"_id": person.id, "at": {"$lt": at}}, {"$set": {"folded": None}})
        for person in batch.people
    ]
    _write(db.people, free)
    put(db.people, [layout.of_person(person, at) for person in batch.people])


def add_rows(db: Database[Found], rows: Iterable[str], at: int) -> list[Found]:
    """Adds versions that hold from `at`; those that were there."""
    found: list[Found] = []
    for part in _parts([layout.of_row(row, at) for row in rows]):
        found += _insert(db.rows, part)
    return found


def end_rows(db: Database[Found], rows: Iterable[str], at: int) -> None:
    """Ends the versions that began before `at`."""
    _write(
        db.rows,
        [
            UpdateOne({"row": row, "from": {"$lt": at}, "to": None}, {"$set": {"to": at}})
            for row in rows
        ],
    )


def rematerialise(db: Database[Found], rows: Collection[str], at: int) -> None:
    """Makes the rows that hold now these."""
    with driver(None):
        held = {found["row"] for found in db.rows.find({"to": None}, {"_id": 0, "row": 1})}
    wanted = set(rows)
    _write(
        db.rows,
        [UpdateOne({"row": row, "to": None}, {"$set": {"to": at}}) for row in held - wanted],
    )
    there = add_rows(db, wanted - held, at)
    _write(db.rows, [UpdateOne({"_id": one["_id"]}, {"$set": {"to": None}}) for one in there])


def put(kept: Kept[Found], *listed: Iterable[Found]) -> None:
    """Writes what is newer than what is there; of two with one `_id` the later."""
    documents: dict[object, Found] = {}
    for some in listed:
        for one in some:
            name = one["_id"]
            documents[tuple(name.values()) if isinstance(name, dict) else name] = one
    for part in _parts(list(documents.values())):
        there = _insert(kept, part)
        _write(
            kept,
            [ReplaceOne({"_id": one["_id"], "at": {"$lt": one["at"]}}, one) for one in there],
        )


def _insert(kept: Kept[Found], documents: Sequence[Found]) -> list[Found]:
    """Inserts what is not there; what is."""
    with driver(WRITE_SECONDS):
        try:
            kept.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            failed = error.details.get("writeErrors", [])
            others = [one for one in failed if one["code"] != _DUPLICATE]
            if others or error.details.get("writeConcernErrors"):
                raise
            return [documents[one["index"]] for one in failed]
    return []


def _write(kept: Kept[Found], operations: Sequence[Any]) -> None:
    for part in _parts(operations):
        with driver(WRITE_SECONDS):
            kept.bulk_write(part, ordered=False)


def _parts(listed: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(listed), _PART):
        yield listed[start : start + _PART]
