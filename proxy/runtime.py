"""What the handlers of one process share. `app.py` fills it; nobody else makes one.

The settings are seen through protocols, so that this side of the house does not import `conf`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from identity.directory import Directory
from identity.first_admin import FirstAdmin
from identity.pins import Pins
from proxy.catalogue import Catalogue
from proxy.erasing import Erasing
from proxy.inquiry import Inquiries
from proxy.mcp.auth.parts import AuthParts
from proxy.metrics import Metrics
from proxy.record_access import RecordAccess
from proxy.tails import Tails
from store.changes import ChangeLog
from store.journal import Journal
from store.replicas import Replicas

if TYPE_CHECKING:
    from collections.abc import Callable


class LimitsOf(Protocol):
    """`conf.settings.LimitSettings`, as far as the control plane reads it."""

    @property
    def refusals_per_minute(self) -> int: ...


class PolicyOf(Protocol):
    """`conf.settings.PolicySettings`."""

    @property
    def max_stale(self) -> float: ...
    @property
    def poll_seconds(self) -> float: ...


class SettingsOf(Protocol):
    """`conf.settings.Settings`."""

    @property
    def contact(self) -> str: ...
    @property
    def trusted_proxies(self) -> tuple[str, ...]: ...
    @property
    def limits(self) -> LimitsOf: ...
    @property
    def policy(self) -> PolicyOf: ...


class PayloadsOf(Protocol):
    """Opens what was said in a request, as it lies in the records store."""

    def opened(self, record_id: str, sealed: bytes) -> object:
        """Its JSON value. Raises: SealBroken."""


class Clock:
    """The time of the process, in UTC; tests hand in one that stands still."""

    def __init__(self, read: Callable[[], datetime] | None = None) -> None:
        self._read = read

    def now(self) -> datetime:
        """Now, aware, UTC."""
        return datetime.now(UTC) if self._read is None else self._read()


@dataclass(slots=True)
class Runtime:
    """One process: its settings, its policy, who is who, and where things are written down."""

    settings: SettingsOf
    changes: ChangeLog
    directory: Directory
    pins: Pins
    catalogue: Catalogue
    first_admin: FirstAdmin
    journal: Journal
    metrics: Metrics
    clock: Clock
    replicas: Replicas | None = None  # None: this process is the only one
    inquiries: Inquiries | None = None  # None: long questions are not answered here
    records: RecordAccess | None = None  # None: no records can be read here
    mcp_auth: AuthParts | None = None  # None: MCP is not served
    erasing: Erasing | None = None  # None: nothing can be erased here
    payloads: PayloadsOf | None = None  # None: no payload can be read here
    tails: Tails = field(default_factory=Tails)
