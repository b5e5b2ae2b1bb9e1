"""Whether the change log and the decision log agree: each holds something that proves the other whole.

The change log names every writer since its first record, so a chain cannot vanish with its folder. The
signed checkpoints name the head of the change log, so that cannot be rewritten. Read only, and without
any key; `verify.py` looked at the decision log before. Why so: `docs/adr/0005`.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from store.entries import hash_of
from store.errors import StoreError
from store.verify import Fault, VerifyReport

LOG_WRITER = b'"log-writer"'  # as it stands in the JSON


class _Entry(msgspec.Struct):
    """What is needed of an entry: its place in the chain, and the keys of its documents."""

    epoch: int
    previous: str
    documents: list[list[msgspec.Raw]]  # family, name, and what is not looked at


_decode = msgspec.json.Decoder(_Entry).decode


RawEntries = Iterable[tuple[int, str, object]]  # epoch, hash and body, in order


def crosscheck(report: VerifyReport, store: Path) -> VerifyReport:
    """The report of `verify`, with what does not agree with the change log in the file `store`.

    The journal is read first, so that what is written meanwhile is no fault.
    """
    if not store.exists():
        note = f"{store.name}: there is no change log here to compare with"
        return dataclasses.replace(report, notes=(*report.notes, note))
    return crosscheck_entries(report, store.name, _entries(store))


def crosscheck_entries(report: VerifyReport, store: str, entries: RawEntries) -> VerifyReport:
    """The same with the entries of a change log that is called `store`, wherever they are read from."""
    faults, notes = list(report.faults), list(report.notes)
    wanted = {writer.change[0] for writer in report.writers}
    heads: dict[int, str] = {}
    known: dict[str, int] = {}
    try:
        faults += _read(store, entries, wanted, heads, known)
    except (sqlite3.Error, StoreError) as error:
        faults.append(Fault("", store, 0, 0, f"the change log cannot be read: {error}"))
    else:
        found = {writer.writer: writer for writer in report.writers}
        for name, epoch in known.items():
            if name not in found or not found[name].records:
                text = f"the chain is missing: entry {epoch} of the change log says that it began"
                faults.append(Fault(name, "", 0, 0, text))
        for name, writer in found.items():
            epoch, head = writer.change
            if epoch and heads.get(epoch) != head:
                what = "is another one" if epoch in heads else "is not there"
                text = f"entry {epoch} of the change log, which its last checkpoint names, {what}"
                faults.append(Fault(name, "", 0, writer.signed, text))
            if name not in known:
                notes.append(f"{name}: the change log does not know this writer")
    return dataclasses.replace(report, faults=tuple(faults), notes=tuple(notes))


def _entries(store: Path) -> RawEntries:
    db = sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)
    try:
        yield from db.execute("SELECT epoch, hash, body FROM entries ORDER BY epoch")
    finally:
        db.close()


def _read(
    store: str, entries: RawEntries, wanted: set[int], heads: dict[int, str], known: dict[str, int]
) -> list[Fault]:
    """Walks the change log: the hashes of the `wanted` entries, the writers it knows, its faults."""
    faults: list[Fault] = []

    def fault(epoch: int, message: str) -> None:
        faults.append(Fault("", store, 0, epoch, f"entry {epoch} of the change log {message}"))

    last, previous = 0, ""
    for epoch, recorded, body in entries:
        if epoch in wanted:
            heads[epoch] = recorded
        try:
            if not isinstance(body, bytes) or hash_of(body) != recorded:
                raise ValueError
            entry = _decode(body)
        except ValueError:  # msgspec's errors are ValueErrors, too
            fault(epoch, "is not what was written")
        else:
            if (entry.epoch, entry.epoch) != (epoch, last + 1) or entry.previous != previous:
                fault(epoch, "does not continue the entry before it")
            for family, name, *_ in entry.documents:
                if bytes(family) == LOG_WRITER:
                    known.setdefault(msgspec.json.decode(name), epoch)
        last, previous = epoch, recorded
    return faults
