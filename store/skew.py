"""How far the clock of this process is from the store's, which all processes share.

Expiry, leases and conditions on the time are judged by the local clock: a process whose clock is off would
take what has ended for valid. It is asked for now and then, never while somebody waits.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

_log = logging.getLogger("gatewarden.store")

MOST_SECONDS = 2.0


class Skew:
    """The difference, as it was when the store was asked last."""

    def __init__(
        self,
        store_time: Callable[[], Awaitable[datetime | None]],
        clock: Callable[[], datetime],
    ) -> None:
        """`store_time` answers None for a store on this host, which has no other clock."""
        self._store_time = store_time
        self._clock = clock
        self.seconds: float | None = (
            None  # above 0: this clock is ahead. None: nothing to compare with
        )

    async def look(self) -> None:
        """Asks the store. Raises: StoreUnavailable; what was seen last stands."""
        before = self._clock()
        there = await self._store_time()
        after = self._clock()
        fine = self.ok
        if there is None:
            self.seconds = None
        elif before <= there <= after:  # how long the answer took says nothing about the clocks
            self.seconds = 0.0
        else:
            self.seconds = ((before if there < before else after) - there).total_seconds()
        if self.ok != fine:
            (_log.warning if self.ok else _log.error)("%s", self.detail)

    @property
    def ok(self) -> bool:
        """Whether requests may be judged by this clock."""
        return abs(self.seconds or 0.0) <= MOST_SECONDS

    @property
    def detail(self) -> str:
        """The difference, for people."""
        if self.seconds is None:
            return "the store has no other clock"
        side = "ahead of" if self.seconds > 0 else "behind"
        return (
            f"{abs(self.seconds):.1f} s {side} the store" if self.seconds else "that of the store"
        )
