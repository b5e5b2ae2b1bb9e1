"""Whether the store went back: what one process applied, compared with what the store says it holds.

A store that is restored from a backup brings back rights that were revoked since. So each process remembers
the head that it has applied (`memory.py`, in the data folder), and compares: where the store has another
entry at that place, or none, nothing is decided until somebody confirms (`gatewarden restore confirm`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from policies.change import Entry
from store.entries import decode
from store.errors import StoreError
from store.memory import Remembered, Revocation, revocation_of
from store.port import Head, Store

_log = logging.getLogger("gatewarden.store")
_ENTRIES = 200  # read at once


class Keeps(Protocol):
    """`memory.Memory`, or one that lasts as long as the process."""

    def read(self) -> Remembered | None: ...
    def keep(
        self, head: Head, resets: int, revocations: Iterable[Revocation]
    ) -> Remembered | None: ...
    def reset(self, head: Head) -> Remembered: ...
    def revocations(self) -> list[Revocation]: ...


class Forgetful:
    """Remembers the head while the process lives, and no revocations."""

    def __init__(self) -> None:
        self._found: Remembered | None = None

    def read(self) -> Remembered | None:
        return self._found

    def keep(self, head: Head, resets: int, revocations: Iterable[Revocation]) -> Remembered | None:
        if self._found is None or self._found.epoch < head.epoch:
            self._found = Remembered(head.epoch, head.hash, resets)
        return self._found

    def reset(self, head: Head) -> Remembered:
        self._found = Remembered(head.epoch, head.hash)
        return self._found

    def revocations(self) -> list[Revocation]:
        return []


class Remembering:
    """What one process has applied of a store that it trusts. The feed tells it of each entry."""

    def __init__(self, store: Store, memory: Keeps | None = None) -> None:
        self._store = store
        self._memory = memory or Forgetful()
        self._pending: list[Revocation] = []
        self._gap: tuple[int, int] | None = None  # entries that nobody told us of: after, up to
        self._kept = -1
        self._resets = 0
        self.head = Head()  # the last that was applied while the store was trusted
        self.remembered: Remembered | None = None  # as it was read last

    async def read(self) -> Remembered | None:
        """What is remembered. To be read before the store is, which may only be ahead of it.

        Raises:
            StoreError: it is there and cannot be read.
        """
        self.remembered = await asyncio.to_thread(self._memory.read)
        return self.remembered

    async def doubt(self, remembered: Remembered | None) -> str | None:
        """Why the store is not the one that is remembered; None when it is. Raises: StoreUnavailable."""
        if remembered is None or not remembered.epoch:
            return None
        found = await self._store.hash_at(remembered.epoch)
        if found == remembered.hash:
            return None
        what = "is not in the store" if found is None else "is another one in the store"
        return (
            f"the store was restored: entry {remembered.epoch}, which was applied here, {what};"
            " run `gatewarden restore confirm` on the host"
        )

    def loaded(self, head: Head) -> None:
        """The process starts over at `head`, of a store without doubt."""
        before = self.remembered
        self._resets = before.resets if before is not None else 0
        self._pending.clear()
        self._gap = (before.epoch, head.epoch) if before and before.epoch < head.epoch else None
        self._kept = before.epoch if before is not None else -1
        self.head = head

    def applied(self, entry: Entry, taken: Revocation | None) -> None:
        """The process has applied `entry`; `taken` is what `revocation_of` says of it."""
        if taken is not None:
            self._pending.append(taken)
        self.head = Head(entry.epoch, entry.hash, entry.digest)

    async def keep(self) -> None:
        """Writes down what is not written down yet. Raises: StoreError, OSError."""
        head = self.head
        if head.epoch <= self._kept:
            return
        await self._catch_up()
        pending = tuple(self._pending)
        found = await asyncio.to_thread(self._memory.keep, head, self._resets, pending)
        if found is not None and found.resets != self._resets:
            # Somebody confirmed a restored store. Ours is the one that is meant only if it holds our head.
            if await self._store.hash_at(head.epoch) == head.hash:
                self._resets = found.resets
            return
        self._kept = head.epoch
        self._pending = [one for one in self._pending if one.epoch > head.epoch]

    async def reset(self, head: Head) -> None:
        """Remembers another chain's head from now on: an operator has confirmed it. Raises: OSError."""
        self.remembered = await asyncio.to_thread(self._memory.reset, head)

    async def lost(self) -> list[Revocation]:
        """The mirrored revocations that the store does not hold, oldest first. Raises: StoreUnavailable."""
        found: list[Revocation] = []
        for one in reversed(await asyncio.to_thread(self._memory.revocations)):
            if await self._store.hash_at(one.epoch) == one.hash:
                break  # and so are all before it
            found.append(one)
        return found[::-1]

    async def _catch_up(self) -> None:
        """Mirrors what others committed while this process did not run."""
        found: list[Revocation] = []
        while self._gap is not None:
            after, until = self._gap
            raw = await self._store.entries(after, _ENTRIES)
            for one in raw:
                if one.epoch <= until:
                    try:
                        taken = revocation_of(decode(one.epoch, one.hash, one.body))
                    except StoreError as error:
                        _log.warning("an old entry is not mirrored: %s", error)
                        continue
                    if taken is not None:
                        found.append(taken)
            self._gap = (raw[-1].epoch, until) if raw and raw[-1].epoch < until else None
        self._pending[:0] = found
