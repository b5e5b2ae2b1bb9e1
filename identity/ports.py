"""What the identity folder needs of others: a snapshot to start from, a log to commit to.

`store.changes`, `store.sealed` and `store.state` satisfy these; tests hand in small ones of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from authz.decision import Asker
from policies.change import Change, Entry
from policies.documents import Document


class Snapshot(Protocol):
    """The estate as of one epoch: every stored document, parsed."""

    @property
    def documents(self) -> Iterable[Document]: ...


class Committer(Protocol):
    """What commits a change; with no asker the host itself asks."""

    async def commit(self, change: Change, asker: Asker | None, now: datetime) -> Entry: ...


class Seals(Protocol):
    """Seals with the installation's key (`store.sealed.Sealer`)."""

    def seal(self, plain: str | bytes, aad: str | bytes) -> bytes: ...
    def open(self, blob: bytes, aad: str | bytes) -> bytes: ...


class Keeps(Protocol):
    """Values under (space, key) until an instant, outside the change log (`store.state.State`)."""

    async def put(self, space: str, key: str, value: bytes, until: datetime) -> None: ...
    async def get(self, space: str, key: str, now: datetime) -> bytes | None: ...
    async def take_once(self, space: str, key: str, now: datetime) -> bytes | None: ...
    async def drop(self, space: str, key: str) -> bool: ...
