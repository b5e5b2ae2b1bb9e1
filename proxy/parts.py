"""What the data plane is made of: its limits and the parts that it was given by `proxy/app.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from proxy.body import MAX_DEPTH
from proxy.headers import Network
from proxy.outbound import Outbound
from proxy.payloads import Payloads
from proxy.ports import Authenticates, Counts, Journal, Models, PinsMetadata, Policy
from proxy.stateful import MemoryState, State


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a request; `conf/settings.py` has the same defaults and a sentence for each."""

    contact: str = "your platform team"
    body_bytes: int = 32 << 20
    form_bytes: int = 128 << 20
    body_depth: int = MAX_DEPTH
    body_seconds: float = 60.0
    stream_seconds: float = 3600.0
    max_stale: float = 600.0
    refusals_per_minute: int = 600
    trusted_proxies: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that serves a request. Time is handed in, so that tests need not wait."""

    policy: Policy
    directory: Authenticates
    pins: PinsMetadata
    catalogue: Models
    journal: Journal
    outbound: Outbound
    metrics: Counts
    state: State = field(default_factory=MemoryState)
    payloads: Payloads | None = None  # None: nothing of what is said is kept
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], datetime] = utc_now
    timer: Callable[[], float] = time.perf_counter
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
