"""Counts refusals: 401 by address and minute, 403 and 404 by principal and minute.

A 401 is no decision, so it is written as a count. A principal whose decisions are refused beyond a rate
gets 429 for the rest of the minute, with one counting record, so that a client in a loop can neither
fill the journal nor search for names. Bounded: a flood of addresses ends up in one common count.
"""

from __future__ import annotations

from collections.abc import Callable

from authz.records import Record, RefusalCount

MINUTE = 60_000_000  # microseconds
MAX_KEYS = 10_000
OTHERS = "others"  # stands for addresses beyond the bound
TOO_MANY = "too_many_refusals"


class Refusals:
    """The counts of the minute that runs. Times are UTC microseconds."""

    def __init__(self, note: Callable[[Record], object], per_minute: int) -> None:
        self._note = note
        self._per_minute = per_minute
        self._minute = 0
        self._denied: dict[str, int] = {}  # principal -> refused decisions
        self._unauthenticated: dict[tuple[str, str], int] = {}  # (address, code) -> 401s

    def denied(self, principal: str, now: int) -> bool:
        """Counts one refused decision; True if it is within the rate and gets a record of its own."""
        self._turn(now)
        count = self._denied.get(principal, 0) + 1
        if count == 1 and len(self._denied) >= MAX_KEYS:
            return True  # principals are known callers: beyond the bound each refusal is recorded
        self._denied[principal] = count
        return count <= self._per_minute

    def unauthenticated(self, address: str, code: str, now: int) -> None:
        """Counts one 401."""
        self._turn(now)
        key = (address, code)
        if key not in self._unauthenticated and len(self._unauthenticated) >= MAX_KEYS:
            key = (OTHERS, code)
        self._unauthenticated[key] = self._unauthenticated.get(key, 0) + 1

    def seconds_left(self, now: int) -> int:
        """Until the minute ends, rounded up."""
        return (MINUTE - now % MINUTE) // 1_000_000 + 1

    def tick(self, now: int) -> None:
        """Called about each second: writes the minute that has ended."""
        self._turn(now)

    def flush(self) -> None:
        """Writes what was counted; at the end of the minute and of the process."""
        for principal, count in self._denied.items():
            if count > self._per_minute:
                self._note(
                    RefusalCount(
                        code=TOO_MANY,
                        minute=self._minute,
                        count=count - self._per_minute,
                        principal=principal,
                    )
                )
        for (address, code), count in self._unauthenticated.items():
            self._note(RefusalCount(code=code, minute=self._minute, count=count, address=address))
        self._denied = {}
        self._unauthenticated = {}

    def _turn(self, now: int) -> None:
        minute = now - now % MINUTE
        if minute != self._minute:
            self.flush()
            self._minute = minute
