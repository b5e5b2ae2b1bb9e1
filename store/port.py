"""What the change log needs of a store: an append-only log with a head, and what is materialised from it.

Values cross this border as text and bytes; what they mean is the business of `entries.py` and
`changes.py`. INVARIANT: a commit is all or nothing, and durable when it returns. `sqlite.py` implements
it; the contract that every store passes is `tests/contract/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from policies.change import Person
from policies.naming import Key

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry: its epoch, its hash and the digest of all rows after it."""

    epoch: int = 0
    hash: str = ""
    digest: str = "0" * 64


@dataclass(frozen=True, slots=True)
class RawEntry:
    """An entry as it is kept."""

    epoch: int
    hash: str
    body: bytes


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document as it is kept. `fact` is what `estate.Names` holds of it, as JSON, or None."""

    family: str
    name: str
    version: int
    source: str
    epoch: int
    body: bytes
    fact: str | None = None

    @property
    def key(self) -> Key:
        return (self.family, self.name)


@dataclass(frozen=True, slots=True)
class RawSecret:
    """A sealed secret and the document and field that it belongs to."""

    id: str
    family: str
    name: str
    field: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one entry writes."""

    entry: RawEntry
    digest: str
    documents: tuple[RawDocument, ...] = ()
    deleted: tuple[Key, ...] = ()
    rows_added: tuple[str, ...] = ()
    rows_removed: tuple[str, ...] = ()
    mentioned: tuple[tuple[str, Key], ...] = ()
    unmentioned: tuple[tuple[str, Key], ...] = ()
    asserted: tuple[tuple[str, Key], ...] = ()
    unasserted: tuple[tuple[str, Key], ...] = ()
    people: tuple[Person, ...] = ()
    left: tuple[str, ...] = ()
    secrets: tuple[RawSecret, ...] = ()
    secrets_ended: tuple[str, ...] = ()


class Snapshot(Protocol):
    """The store as of one moment, for a process that starts."""

    head: Head

    async def rows(self, consume: Callable[[Iterator[str]], T]) -> T:
        """What `consume` makes of the text of every row; it runs off the loop."""
        ...

    async def documents(self, families: Iterable[str] | None = None) -> list[RawDocument]:
        """The documents of these families, or all."""
        ...

    async def facts(self) -> list[tuple[Key, str | None]]:
        """(key, fact) of every document but credentials and of users those that have a fact."""
        ...

    async def ended(self) -> list[Key]:
        """The stored keys that once were: tombstones, without credentials."""
        ...


class Store(Protocol):
    """One installation's change log and what follows from it."""

    async def open(self) -> None:
        """Opens, creating what is missing.

        Raises:
            StoreUnavailable. StoreTooNew: a newer version wrote it.
        """
        ...

    async def close(self) -> None: ...

    async def head(self) -> Head:
        """The head, once every commit that this process has begun has ended."""
        ...

    async def commit(self, expected: Head, batches: Sequence[Batch]) -> None:
        """Writes entries after `expected`: all of them durably, or none.

        Raises:
            HeadMoved: the head is another. StoreUnavailable: whether it was written is not known.
        """
        ...

    async def time(self) -> datetime | None:
        """What time it is for the store, in UTC; None if its clock is that of this host.

        Raises:
            StoreUnavailable.
        """
        ...

    async def changed(self) -> bool:
        """Whether anything may have been committed since the last call; True when in doubt."""
        ...

    async def entries(self, after: int, limit: int) -> list[RawEntry]:
        """The entries after an epoch, in order, at most `limit`."""
        ...

    async def hash_at(self, epoch: int) -> str | None:
        """The hash of the entry at an epoch; None if there is none."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]: ...

    async def documents(self, keys: Iterable[Key]) -> list[RawDocument]: ...

    async def page(self, family: str, after: str, limit: int) -> list[RawDocument]:
        """Documents of a family whose name is above `after`, by name, at most `limit`."""
        ...

    async def dependents(self, tokens: Iterable[str]) -> list[tuple[str, Key]]:
        """(token, key) of each document that mentions one of these."""
        ...

    async def assertions(self, rows: Iterable[str]) -> list[tuple[str, Key]]:
        """(row, key) of each document that asserts one of these shareable rows."""
        ...

    async def people(self, ids: Iterable[str]) -> list[Person]: ...

    async def people_by_email(self, folded: Iterable[str]) -> list[Person]:
        """Those who have one of these casefolded addresses now."""
        ...

    async def erase_person(self, user_id: str) -> bool:
        """Forgets who a user id is, whether or not the user still exists."""
        ...

    async def secret(self, secret_id: str) -> RawSecret | None: ...

    async def rows_at(self, epoch: int, consume: Callable[[Iterator[str]], T]) -> T:
        """What `consume` makes of the text of every row that held at `epoch`; it runs off the loop."""
        ...

    async def origins(self, rows: Iterable[str], epoch: int) -> dict[str, int]:
        """The epoch that added each of these rows, as of `epoch`; what did not hold then is left out."""
        ...

    async def rematerialise(self, epoch: int, rows: Iterable[str]) -> None:
        """Replaces the rows of now by these, which the log says they are."""
        ...
