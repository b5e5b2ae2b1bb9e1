"""Refusals that are no decisions, counted by who and minute: a 401 leaves a count, not a record each.

So that nobody can fill the log without a credential. Pure: `now` is passed in, and the records that
are due are handed out for the journal to note.
"""

from __future__ import annotations

from typing import Final

from authz.records import RefusalCount

MINUTE_US: Final = 60_000_000
MAX_KEYS: Final = 10_000  # addresses, principals and codes of one minute that are told apart
OTHERS: Final = "*"  # what the rest is counted under


class Refusals:
    """Counts refusals of the current minute by code and address (401) or principal (429)."""

    def __init__(self, limit: int = MAX_KEYS) -> None:
        self._limit = limit
        self._minute = 0
        self._counts: dict[tuple[str, str, str], int] = {}
        self._who: dict[str, int] = {}

    def count(
        self, now: int, code: str, *, address: str = "", principal: str = ""
    ) -> list[RefusalCount]:
        """Counts one refusal at `now` (UTC µs). Returns the records of a minute that has ended."""
        due = self.due(now)
        self._minute = self._minute or now - now % MINUTE_US
        key = (code, address, principal)
        if key not in self._counts and len(self._counts) >= self._limit:
            key = (code, OTHERS if address else "", OTHERS if principal else "")
        self._counts[key] = self._counts.get(key, 0) + 1
        if key[2]:
            self._who[key[2]] = self._who.get(key[2], 0) + 1
        return due

    def refused(self, principal: str) -> int:
        """How many refusals of this principal the current minute has (for the 429)."""
        return self._who.get(principal, 0)

    def due(self, now: int) -> list[RefusalCount]:
        """The records of the counted minute, once another one has begun. To be called each tick."""
        if not self._counts or self._minute == now - now % MINUTE_US:
            return []
        return self.drain()

    def drain(self) -> list[RefusalCount]:
        """Everything counted so far (at the end of the process)."""
        counts, minute = self._counts, self._minute
        self._counts, self._who, self._minute = {}, {}, 0
        return [
            RefusalCount(code=code, minute=minute, count=n, address=address, principal=principal)
            for (code, address, principal), n in sorted(counts.items())
        ]
