"""How things lie in MongoDB: collections, indexes, and the documents in them.

`entries` is the truth: one header a commit, which takes all its epochs at once (`epochs` is unique). What
follows from a commit lies in its header, too (`effects`), until it stands in the other collections; then
it goes, because it holds what may have to be forgotten. What ends is marked `gone` and not removed, with
the epoch in `at`: so a writer who was paused cannot bring it back.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from pymongo import ASCENDING, HASHED
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from policies.change import Person
from policies.naming import Key
from store.errors import StoreTooNew, StoreUnavailable
from store.mongo_client import READ_SECONDS, WRITE_SECONDS, Found, driver
from store.port import Batch, Head, RawDocument, RawEntry, RawSecret
from store.schema import SCHEMA

LARGE = 8 * 2**20  # bytes of a commit that is too large for its header
MOST = 15 * 2**20  # bytes of one document, which must fit into one of MongoDB's
_ORPHANED = timedelta(days=1)  # after which chunks that have no header will get none
_effects = msgspec.msgpack.Decoder(list[Batch]).decode


def create(db: Database[Found]) -> None:
    """Makes the collections and indexes that are missing.

    Raises:
        StoreTooNew: a newer version made them. StoreUnavailable.
    """
    with driver(WRITE_SECONDS):
        for name, value in (("schema", SCHEMA), ("watermark", 0)):
            with contextlib.suppress(DuplicateKeyError):
                db.meta.insert_one({"_id": name, "value": value})
        found = db.meta.find_one({"_id": "schema"})
        schema = int(found["value"]) if found is not None else SCHEMA
        if schema > SCHEMA:
            raise StoreTooNew(
                f"the store has schema {schema}, this version reads {SCHEMA}",
                hint="start the version that wrote it, or a newer one",
            )
        db.entries.create_index("epochs", unique=True)
        db.entries.create_index("last")
        db.documents.create_index([("family", ASCENDING), ("gone", ASCENDING), ("name", ASCENDING)])
        db.documents.create_index(
            [("family", ASCENDING), ("fact", ASCENDING)],
            partialFilterExpression={"fact": {"$type": "string"}},
        )
        db.rows.create_index([("row", HASHED)])
        for pairs in (db.mentions, db.assertions):
            pairs.create_index([("text", ASCENDING), ("gone", ASCENDING)])
        db.people.create_index(
            "folded", unique=True, partialFilterExpression={"folded": {"$type": "string"}}
        )
        db.chunks.create_index("token")
        db.secrets.create_index("at")
        db.state.create_index("until")
        db.state.create_index("space")
        _sweep(db)


def _sweep(db: Database[Found]) -> None:
    """Removes the chunks of commits that were never made."""
    old = {"at": {"$lt": datetime.now(UTC) - _ORPHANED}}
    for token in db.chunks.distinct("token", old):
        if db.entries.find_one({"token": token}, {"_id": 1}) is None:
            db.chunks.delete_many({"token": token})


# --- headers ----------------------------------------------------------------------------------------


def header_of(batches: Sequence[Batch]) -> tuple[Found, list[Found]]:
    """The header of a commit, and the chunks that must be written before it."""
    last = batches[-1]
    token = secrets.token_hex(12)
    effects = msgspec.msgpack.encode(
        [replace(b, entry=replace(b.entry, body=b"")) for b in batches]
    )
    large = len(effects) + sum(len(b.entry.body) for b in batches) > LARGE
    chunks: list[Found] = []

    def kept(part: str, data: bytes) -> object:
        if not large:
            return data
        cut = [data[i : i + LARGE] for i in range(0, len(data), LARGE)]
        now = datetime.now(UTC)
        chunks.extend(
            {"_id": f"{token}/{part}/{i}", "token": token, "part": part, "at": now, "data": piece}
            for i, piece in enumerate(cut)
        )
        return len(cut)

    header = {
        "_id": batches[0].entry.epoch,
        "last": last.entry.epoch,
        "epochs": [b.entry.epoch for b in batches],
        "hash": last.entry.hash,
        "digest": last.digest,
        "token": token,
        "entries": [
            {
                "epoch": b.entry.epoch,
                "hash": b.entry.hash,
                "digest": b.digest,
                "body": kept(str(b.entry.epoch), b.entry.body),
            }
            for b in batches
        ],
        "effects": kept("effects", effects),
    }
    return header, chunks


def effects_of(db: Database[Found], header: Found) -> list[Batch] | None:
    """What a header's commit writes; None if another process has done it meanwhile."""
    data = header["effects"]
    if not isinstance(data, bytes):
        pieces = chunk_ids(header["token"], "effects", data)
        with driver(WRITE_SECONDS):
            found = {c["_id"]: c["data"] for c in db.chunks.find({"_id": {"$in": pieces}})}
            if len(found) < len(pieces):
                now = db.entries.find_one({"_id": header["_id"]}, {"effects": 1, "done": 1})
                if now is not None and ("effects" not in now or now.get("done")):
                    return None
                raise StoreUnavailable(f"parts of entry {header['_id']} are missing in the store")
        data = b"".join(found[piece] for piece in pieces)
    return _effects(data)


def chunk_ids(token: str, part: object, count: int) -> list[str]:
    return [f"{token}/{part}/{i}" for i in range(count)]


def entry_chunks(header: Found) -> list[str]:
    """The chunks that hold the bodies of a large commit."""
    return [
        piece
        for entry in header["entries"]
        if not isinstance(entry["body"], bytes)
        for piece in chunk_ids(header["token"], entry["epoch"], entry["body"])
    ]


def head_of(found: Found | None) -> Head:
    """The head that a header is; none is the head of an empty log."""
    return Head(found["last"], found["hash"], found["digest"]) if found is not None else Head()


HEAD_FIELDS = {"last": 1, "hash": 1, "digest": 1}
NEWEST = [("_id", -1)]


def head(db: Database[Found], session: Any = None) -> Head:
    """The head, as a majority has it."""
    with driver(READ_SECONDS, db.client):
        return head_of(db.entries.find_one({}, HEAD_FIELDS, sort=NEWEST, session=session))


def watermark(db: Database[Found], session: Any = None) -> int:
    """The epoch up to which everything has followed."""
    with driver(READ_SECONDS):
        found = db.meta.find_one({"_id": "watermark"}, session=session)
    return int(found["value"]) if found is not None else 0


# --- what follows -----------------------------------------------------------------------------------


def document_id(key: Key) -> str:
    return "/".join(key)


def of_document(raw: RawDocument, at: int) -> Found:
    return {
        "_id": document_id(raw.key),
        "family": raw.family,
        "name": raw.name,
        "gone": False,
        "version": raw.version,
        "source": raw.source,
        "epoch": raw.epoch,
        "fact": raw.fact,
        "at": at,
        "body": raw.body,
    }


def of_tombstone(key: Key, at: int) -> Found:
    return {"_id": document_id(key), "family": key[0], "name": key[1], "gone": True, "at": at}


def to_document(found: Found) -> RawDocument:
    return RawDocument(
        found["family"],
        found["name"],
        found["version"],
        found["source"],
        found["epoch"],
        found["body"],
        found["fact"],
    )


def of_row(row: str, at: int) -> Found:
    """A version of a row: it holds from `at`, and until `to` if that is an epoch."""
    made = hashlib.sha256(row.encode()).hexdigest()[:40]
    return {"_id": f"{made}@{at}", "row": row, "from": at, "to": None}


def of_pair(text: str, key: Key, at: int, *, gone: bool) -> Found:
    """A document's mention of a token, or its assertion of a row."""
    names = {"text": text, "family": key[0], "name": key[1]}
    return {"_id": names, **names, "gone": gone, "at": at}


def to_pair(found: Found) -> tuple[str, Key]:
    return found["text"], (found["family"], found["name"])


def of_person(person: Person, at: int) -> Found:
    return {
        "_id": person.id,
        "gone": False,
        "email": person.email,
        "folded": person.email.casefold(),
        "display_name": person.display_name,
        "at": at,
    }


def to_person(found: Found) -> Person:
    return Person(found["_id"], found["email"], found["display_name"])


def of_secret(secret: RawSecret, at: int) -> Found:
    return {
        "_id": secret.id,
        "gone": False,
        "family": secret.family,
        "name": secret.name,
        "field": secret.field,
        "blob": secret.blob,
        "at": at,
    }


def to_secret(found: Found) -> RawSecret:
    return RawSecret(found["_id"], found["family"], found["name"], found["field"], found["blob"])


def gone(name: str, at: int) -> Found:
    """What is left of a person or a secret: that it is gone."""
    return {"_id": name, "gone": True, "at": at}


def raw_entries(
    headers: Iterable[Found], after: int, chunks: dict[str, bytes]
) -> Iterator[RawEntry]:
    """The entries of headers after an epoch; `chunks` are those of the large ones."""
    for header in headers:
        for entry in header["entries"]:
            if entry["epoch"] > after:
                body = entry["body"]
                if not isinstance(body, bytes):
                    pieces = chunk_ids(header["token"], entry["epoch"], body)
                    body = b"".join(chunks.get(piece, b"") for piece in pieces)
                yield RawEntry(entry["epoch"], entry["hash"], body)
