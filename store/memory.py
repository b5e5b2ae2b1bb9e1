"""What a data folder remembers of the change log, so that a restored store does not bring back rights.

`head.json` is the highest head that was applied here. `revocations.jsonl` mirrors what was taken away since
(bounded): removed rows, added denies, ended credentials. They lie beside the store and not in it, because
the store is what is restored. Several processes may share the folder. Blocking; a few milliseconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.change import Entry
from store.errors import StoreError
from store.port import Head
from store.segments import sync_folder

MIRROR_BYTES = 32 * 1024 * 1024  # of one file; the one before it is kept, too
_MOST_ROWS = 1_000  # of one entry; more are counted


@dataclass(frozen=True, slots=True)
class Remembered:
    """The highest head that was applied here. `resets` counts how often a restored store was confirmed."""

    epoch: int
    hash: str
    resets: int = 0


@dataclass(frozen=True, slots=True)
class Revocation:
    """What one entry took away. `removed` and `denies` are rows (`ptype`, values), `credentials` ids."""

    epoch: int
    hash: str
    at: str
    actor: str
    comment: str
    removed: tuple[tuple[str, ...], ...] = ()
    denies: tuple[tuple[str, ...], ...] = ()
    credentials: tuple[str, ...] = ()
    rows: int = 0  # of both kinds, also those that are not listed


def revocation_of(entry: Entry) -> Revocation | None:
    """What an entry takes away; None if it takes nothing."""
    denies = [row for row in entry.added if row.ptype == "p" and row.values[3] == "deny"]
    ended = tuple(
        change.key[1]
        for change in entry.documents
        if change.key[0] == "credential" and change.after is None
    )
    if not (entry.removed or denies or ended):
        return None
    return Revocation(
        entry.epoch,
        entry.hash,
        entry.at.isoformat(),
        entry.actor,
        entry.comment,
        tuple((row.ptype, *row.values) for row in entry.removed[:_MOST_ROWS]),
        tuple((row.ptype, *row.values) for row in denies[:_MOST_ROWS]),
        ended,
        len(entry.removed) + len(denies),
    )


class Memory:
    """The two files in one data folder."""

    def __init__(self, folder: Path, *, mirror_bytes: int = MIRROR_BYTES) -> None:
        self._head = folder / "head.json"
        self._mirror = folder / "revocations.jsonl"
        self._older = folder / "revocations.1.jsonl"
        self._lock = folder / "head.lock"
        self._most = mirror_bytes

    def read(self) -> Remembered | None:
        """What is remembered; None if nothing is.

        Raises:
            StoreError: the file is there and cannot be read.
        """
        try:
            body = json.loads(self._head.read_bytes())
            return Remembered(int(body["epoch"]), str(body["hash"]), int(body["resets"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"`{self._head}` cannot be read, so a restored store could not be told",
                hint="if it is beyond repair, remove it once you know that the store is the newest",
                code="memory_unreadable",
            ) from error

    def keep(self, head: Head, resets: int, revocations: Iterable[Revocation]) -> Remembered | None:
        """Remembers `head` if it is higher, and the revocations up to it; what is remembered then.

        Nothing is written if somebody confirmed a restored store meanwhile (`resets` differs).

        Raises:
            StoreError: what is there cannot be read. OSError.
        """
        with self._locked():
            found = self.read()
            if found is not None and (found.resets != resets or found.epoch >= head.epoch):
                return found
            after = found.epoch if found is not None else 0
            self._append(one for one in revocations if after < one.epoch <= head.epoch)
            return self._write(Remembered(head.epoch, head.hash, resets))

    def reset(self, head: Head) -> Remembered:
        """Remembers `head` although it is another chain's: an operator has confirmed it. Raises: OSError."""
        with self._locked():
            found = self.read()
            resets = found.resets + 1 if found is not None else 0
            return self._write(Remembered(head.epoch, head.hash, resets))

    def revocations(self) -> list[Revocation]:
        """What is mirrored, oldest first, each entry once."""
        found: dict[tuple[int, str], Revocation] = {}
        for path in (self._older, self._mirror):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
                for line in lines:
                    with contextlib.suppress(ValueError, KeyError, TypeError):  # a torn line
                        one = _revocation(json.loads(line))
                        found[one.epoch, one.hash] = one
        return list(found.values())

    def _append(self, revocations: Iterable[Revocation]) -> None:
        lines = "".join(_line(one) for one in revocations).encode()
        if not lines:
            return
        with contextlib.suppress(FileNotFoundError):
            if self._mirror.stat().st_size + len(lines) > self._most:
                self._mirror.replace(self._older)
        handle = os.open(self._mirror, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            # After a line that was torn by a crash: on a line of its own.
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                lines = b"\n" + lines
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def _write(self, remembered: Remembered) -> Remembered:
        beside = self._head.with_suffix(".new")
        body = {"epoch": remembered.epoch, "hash": remembered.hash, "resets": remembered.resets}
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(json.dumps(body).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._head)
        sync_folder(self._head.parent)
        return remembered

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _line(one: Revocation) -> str:
    body = {name: getattr(one, name) for name in Revocation.__dataclass_fields__}
    return json.dumps(body, ensure_ascii=True, separators=(",", ":")) + "\n"


def _revocation(body: dict[str, Any]) -> Revocation:
    return Revocation(
        int(body["epoch"]),
        str(body["hash"]),
        str(body["at"]),
        str(body["actor"]),
        str(body["comment"]),
        tuple(tuple(map(str, row)) for row in body["removed"]),
        tuple(tuple(map(str, row)) for row in body["denies"]),
        tuple(map(str, body["credentials"])),
        int(body["rows"]),
    )
