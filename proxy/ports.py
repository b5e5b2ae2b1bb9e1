"""What the data plane needs of the other folders, as small as it is used.

The real parts (`authz.engine.Engine`, `store.changes.ChangeLog`, `store.journal.Journal`,
`identity.directory.Directory`, `identity.pins.Pins`, `proxy.catalogue.Catalogue`,
`proxy.metrics.Metrics`) satisfy these; `proxy/app.py` puts them together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from authz.conditions import Context
from authz.decision import Asker, Decision
from authz.records import Record
from identity.principal import Principal
from proxy.providers.base import Upstream


class Decides(Protocol):
    """The engine."""

    epoch: int

    @property
    def digest(self) -> str: ...

    def decide(self, asker: Asker, action: str, resource: str, context: Context) -> Decision: ...
    def visible(
        self, asker: Asker, action: str, resources: Iterable[str], context: Context
    ) -> tuple[str, ...]: ...
    def teams_of(self, subject: str) -> tuple[str, ...]: ...
    def subject_closure(self, subject: str) -> frozenset[str]: ...


class Policy(Protocol):
    """The change log: the engine of now, how far it is, and how old that knowledge is."""

    @property
    def engine(self) -> Decides: ...

    @property
    def known(self) -> int:
        """The last epoch that is known to be committed, applied here or not."""
        ...

    def age(self, now: datetime) -> float:
        """Seconds since the last successful poll."""
        ...

    async def poll(self) -> int: ...


class Ticket(Protocol):
    """A record on its way."""

    id: str

    async def durable(self) -> bool:
        """Waits until it is on the disk; False in mode `available` if it cannot be.

        Raises JournalUnavailable in mode `strict`.
        """
        ...


class Journal(Protocol):
    """The decision log."""

    def append(self, record: Record) -> Ticket: ...
    def note(self, record: Record) -> str: ...
    def tick(self, now: int) -> None:
        """Starts to write what is pending, if nothing is being written (`now` in UTC µs)."""
        ...


class Authenticates(Protocol):
    """The directory."""

    def authenticate(self, secret: str, now: datetime) -> Principal:
        """Raises Unauthenticated."""
        ...

    def recheck(self, principal: Principal, now: datetime) -> Principal:
        """Raises Unauthenticated: the credential or the account has ended since."""
        ...


class PinsMetadata(Protocol):
    @property
    def any(self) -> bool: ...
    def pinned(self, principal_id: str, groups: Collection[str]) -> Mapping[str, str]: ...


class Models(Protocol):
    """The catalogue."""

    def model(self, name: str) -> Upstream | None: ...
    def models(self) -> list[Upstream]: ...


class Counts(Protocol):
    """The metrics."""

    def count(self, name: str, *labels: str, by: float = 1) -> None: ...
    def decided(self, effect: str, reason: str, action: str) -> None: ...
    def answered(
        self,
        route: str,
        status: str,
        seconds: float,
        first_byte: float | None,
        taken: int | None,
        made: int | None,
    ) -> None: ...
    def observe(self, name: str, seconds: float, *labels: str) -> None: ...
