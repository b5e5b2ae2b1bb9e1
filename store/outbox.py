"""What is to leave the journal for somewhere else, and how far it has got: a cursor for each writer.

Filled by the `Shipper` like a record store, a batch at a time; the cursors move, and reach the disk, only once
the batch is `settled`. So a line may leave twice, after a crash, and none is skipped. Blocking.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from authz.chain import Line
from store.errors import StoreError


class OutboxDamaged(StoreError):
    """The file of cursors cannot be read."""

    code = "outbox_damaged"


class _Cursors(msgspec.Struct):
    writers: dict[str, tuple[int, str]] = {}
    epoch: int = 0


def settled_in(path: Path, writer: str) -> int:
    """Up to which record of a writer everything has left, by the file of cursors; 0 if it does not say."""
    try:
        return Outbox(path).settled(writer)
    except (OutboxDamaged, OSError):
        return 0


class Outbox:
    """The cursors in a file, and the batch that is under way."""

    def __init__(self, path: Path) -> None:
        """Raises: OutboxDamaged. OSError."""
        self._path = path
        try:
            self._settled = msgspec.json.decode(path.read_bytes(), type=_Cursors)
        except FileNotFoundError:
            self._settled = _Cursors()
        except msgspec.DecodeError as error:
            raise OutboxDamaged(
                f"`{path}` cannot be read", hint="remove it: everything is sent once more"
            ) from error
        self._moved: dict[str, tuple[int, str]] = {}
        self._batch: list[Line] = []

    @property
    def epoch(self) -> int:
        """The last entry of the change log that has left."""
        return self._settled.epoch

    def settled(self, writer: str) -> int:
        """The seq of the last record of a writer that has left."""
        return self._settled.writers.get(writer, (0, ""))[0]

    # Filled by the shipper

    def cursor(self, writer: str) -> tuple[int, str]:
        """The seq and hash of the last line taken of a writer."""
        return self._moved.get(writer) or self._settled.writers.get(writer, (0, ""))

    def ship(self, lines: Iterable[Line]) -> int:
        """Takes lines into the batch; how many of them are new."""
        count = 0
        for line in lines:
            if line.seq <= self.cursor(line.writer)[0]:
                continue
            self._batch.append(line)
            self._moved[line.writer] = (line.seq, line.hash)
            count += 1
        return count

    # Emptied by whoever sends

    def take(self) -> list[Line]:
        """The batch; it is the caller's to send, and to `settle`."""
        batch, self._batch = self._batch, []
        return batch

    def settle(self, epoch: int | None = None) -> None:
        """The batch has left, and the change log up to `epoch`: on the disk when this returns.

        Raises:
            OSError: the cursors stay; it will be sent again.
        """
        fresh = _Cursors(
            {**self._settled.writers, **self._moved},
            self._settled.epoch if epoch is None else epoch,
        )
        if fresh == self._settled:
            return
        beside = self._path.with_suffix(".new")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, msgspec.json.encode(fresh))
            os.fsync(handle)
        finally:
            os.close(handle)
        beside.replace(self._path)
        self._settled = fresh
        self._moved = {}
