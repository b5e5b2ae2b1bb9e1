"""A small change log for the identity tests: documents in memory, the real entries and appliers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest

from policies.change import Change, DocumentChange, Entry, Source
from policies.documents import Document, dump, parse
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState
from store.state import State

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Applier(Protocol):
    def load(self, snapshot: Log) -> None: ...
    def apply(self, entry: Entry) -> None: ...


@dataclass
class Log:
    """Commits without judging, and feeds its appliers in the same step, as the change log does."""

    stored: dict[tuple[str, str], Document] = field(default_factory=dict)
    appliers: list[Applier] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def documents(self) -> Iterable[Document]:
        return tuple(self.stored.values())

    def subscribe(self, applier: Applier) -> None:
        self.appliers.append(applier)
        applier.load(self)

    def put(self, *documents: Document) -> Entry:
        return self.take(Change("host", Source.HOST, "r-1", puts=documents))

    def delete(self, *keys: tuple[str, str]) -> Entry:
        return self.take(Change("host", Source.HOST, "r-1", deletes=keys))

    async def commit(self, change: Change, asker: object, now: datetime) -> Entry:
        return self.take(change)

    def take(self, change: Change) -> Entry:
        touched = []
        for document in change.puts:
            before = self.stored.get(document.key)
            after = dump(document)
            self.stored[document.key] = parse(after)
            touched.append(DocumentChange(document.key, before and dump(before), after, 1))
        for key in change.deletes:
            before = self.stored.pop(key, None)
            touched.append(DocumentChange(key, before and dump(before), None, 2))
        self.changes.append(change)
        entry = Entry(
            epoch=len(self.changes),
            at=NOW,
            actor=change.actor,
            source=change.source,
            request_id=change.request_id,
            comment="",
            documents=tuple(touched),
            added=(),
            removed=(),
            digest="",
            previous="",
            hash="",
        )
        for applier in self.appliers:
            applier.apply(entry)
        return entry


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    yield SqliteState(store)
    await store.close()
