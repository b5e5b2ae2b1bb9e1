"""How an entry is written: canonical JSON, chained by SHA-256. And how one is read again.

`hash` covers the whole entry but itself, `previous` included. A reader that is older than `min_reader`
must stop: it could misread what it does not know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from authz.rows import Row
from policies.change import DocumentChange, Entry, Source
from policies.upcast import stamped, upcast
from store.errors import LogDamaged, StoreTooNew

SCHEMA = 2  # what this version writes
READER = 2  # what this version reads: 2 brought each document's source, and the revision
_row_values = msgspec.json.Decoder(list[str]).decode
_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_entry = msgspec.json.Decoder(dict[str, Any]).decode


def row_of(text: str) -> Row:
    """The row that `Row.text` wrote."""
    values = _row_values(text)
    return Row(values[0], tuple(values[1:]))


def encode(entry: Entry) -> bytes:
    """The canonical body: everything but the hash."""
    body: dict[str, object] = {
        "epoch": entry.epoch,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "source": entry.source.value,
        "request_id": entry.request_id,
        "comment": entry.comment,
        "documents": (
            [
                *change.key,
                _stored(change.key[0], change.before),
                _stored(change.key[0], change.after),
                change.version,
                change.source.value,
            ]
            for change in entry.documents
        ),
        "added": ([row.ptype, *row.values] for row in entry.added),
        "removed": ([row.ptype, *row.values] for row in entry.removed),
        "digest": entry.digest,
        "previous": entry.previous,
        "revision": entry.revision,
        "schema": entry.schema,
        "min_reader": entry.min_reader,
    }
    # Item by item: nothing else runs in this process while one piece is written, whatever thread writes it.
    parts = (f"{_json(name)}:{_json_of(body[name])}" for name in sorted(body))
    return f"{{{','.join(parts)}}}".encode("utf-8", "surrogatepass")


def _json_of(value: object) -> str:
    return f"[{','.join(map(_json, value))}]" if isinstance(value, Iterator) else _json(value)


def hash_of(body: bytes) -> str:
    """The hash of a body, as hex."""
    return hashlib.sha256(body).hexdigest()


def decode(epoch: int, recorded: str, body: bytes) -> Entry:
    """The entry of a body.

    Raises:
        StoreTooNew: a newer version wrote it. LogDamaged: it is not what was hashed, or not an entry.
    """
    if not isinstance(body, bytes) or hash_of(body) != recorded:
        raise LogDamaged(f"entry {epoch} of the change log is not what was written")
    try:
        data = _entry(body)
        needs = int(data["min_reader"])
        if needs > READER:
            raise StoreTooNew(
                f"entry {epoch} of the change log needs reader {needs}, this version is {READER}",
                hint="update this process",
            )
        made_by = data["source"]
        return Entry(
            epoch=int(data["epoch"]),
            at=datetime.fromisoformat(data["at"]),
            actor=data["actor"],
            source=Source(made_by),
            request_id=data["request_id"],
            comment=data["comment"],
            documents=tuple(
                DocumentChange(
                    (family, name),
                    _current(family, before),
                    _current(family, after),
                    version,
                    Source(source[0] if source else made_by),
                )
                for family, name, before, after, version, *source in data["documents"]
            ),
            added=_rows(data["added"]),
            removed=_rows(data["removed"]),
            digest=data["digest"],
            previous=data["previous"],
            hash=recorded,
            schema=int(data["schema"]),
            min_reader=needs,
            revision=data.get("revision", ""),
        )
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise LogDamaged(f"entry {epoch} of the change log cannot be read") from error


def _stored(family: str, data: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return stamped(family, data) if data is not None else None


def _current(family: str, data: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return upcast(family, data) if data is not None else None


def _rows(listed: Iterable[list[str]]) -> tuple[Row, ...]:
    return tuple(Row(ptype, tuple(values)) for ptype, *values in listed)
