"""The way of what was said from a server into the records store: small files in a folder, each shipped once.

A server writes a file at a time, whole and under its final name only then; whoever ships reads it, gives it to
the store and removes it. Taking a payload twice does no harm, so a crash between the two does none. Nothing
here is part of the proof, so nothing waits for the disk; what is sealed inside was sealed by who wrote it.
The folder has a limit: what goes beyond it is refused, and the server counts it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from store.request_records import Payload, Shelves

_SUFFIX: Final = ".spool"
_PART: Final = ".part"
_BROKEN: Final = ".broken"
AT_ONCE: Final = 32  # files of one pass: a transaction each


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    id: str
    at: int
    principal: str
    body: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_Kept])


def beside(records: Path) -> Path:
    """The folder that goes with a record store by its file's name."""
    return records.with_name("payloads")


class Spool:
    """The writing side; for one thread at a time. `name` tells the writers of one folder apart."""

    def __init__(self, folder: Path, name: str, limit: int) -> None:
        """Raises: OSError: the folder cannot be made."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._name = name
        self._limit = limit
        self._run = os.urandom(8).hex()  # no name is ever taken twice
        self._number = 0
        for left in folder.glob(f"{name}-*{_PART}"):  # of a process that died in the middle
            left.unlink(missing_ok=True)

    def put(self, payloads: Iterable[tuple[Payload, str]]) -> bool:
        """Writes payloads, each with the id of who spoke; False if the folder is full.

        Raises:
            OSError: they cannot be written.
        """
        raw = _encoder.encode([_Kept(one.id, one.at, who, one.body) for one, who in payloads])
        if self._size() + len(raw) > self._limit:
            return False
        self._number += 1
        name = f"{self._name}-{self._run}-{self._number:08d}"
        part = self._folder / f"{name}{_PART}"
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
            part.rename(part.with_suffix(_SUFFIX))
        except OSError:
            part.unlink(missing_ok=True)
            raise
        return True

    def _size(self) -> int:
        total = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # shipped meanwhile
                    total += entry.stat().st_size
        return total


def waiting(folder: Path) -> list[Path]:
    """The files that are to be shipped, the oldest first."""
    try:
        found = [path for path in folder.iterdir() if path.suffix == _SUFFIX]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: (_written(path), path.name))


def ship(folder: Path, shelves: Shelves) -> int:
    """Gives what waits to the store; how many payloads that were.

    Raises:
        StoreUnavailable: the store cannot take them; they stay. OSError: the folder cannot be read.
    """
    taken = 0
    for path in waiting(folder)[:AT_ONCE]:
        kept = _read(path)
        if kept is None:
            continue
        shelves.take([], {}, [Payload(one.id, one.at, one.body) for one in kept])
        path.unlink(missing_ok=True)
        taken += len(kept)
    return taken


def forget(folder: Path, principal: str) -> int:
    """Takes what one person said out of what waits; how many payloads went. Blocking; raises OSError."""
    gone = 0
    for path in waiting(folder):
        kept = _read(path)
        if kept is None:
            continue
        rest = [one for one in kept if one.principal != principal]
        if len(rest) == len(kept):
            continue
        gone += len(kept) - len(rest)
        if rest:
            part = path.with_suffix(_PART)
            part.write_bytes(_encoder.encode(rest))
            part.chmod(0o600)
            part.replace(path)
        else:
            path.unlink(missing_ok=True)
    return gone


def _read(path: Path) -> list[_Kept] | None:
    """What stands in a file; None, and set aside, if it cannot be read."""
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:  # another process was first
        return None
    except msgspec.MsgspecError:
        path.replace(path.with_suffix(_BROKEN))
        return None


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
