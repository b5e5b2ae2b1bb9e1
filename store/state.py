"""Short-lived things that all processes share: put, get, take once, expire. Never policy.

Sessions, login state, one-time links, leases: each under a space and a key, until an instant. What is
past its instant is gone, whether or not it was swept. `now` is passed in. Every store brings its own
(`sqlite_state.py`, `mongo_state.py`); the contract is `tests/contract/test_state.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class State(Protocol):
    """Values under (space, key), durable when `put` returns. Every method raises StoreUnavailable."""

    async def put(self, space: str, key: str, value: bytes, until: datetime) -> None:
        """Keeps `value` until that instant, in place of what was there."""
        ...

    async def put_new(
        self, space: str, key: str, value: bytes, until: datetime, now: datetime
    ) -> bool:
        """Keeps `value` unless something is there; whether it was kept. A lease is taken this way."""
        ...

    async def get(self, space: str, key: str, now: datetime) -> bytes | None:
        """The value, or None; an instant equal to its end is past it."""
        ...

    async def all(self, space: str, now: datetime) -> dict[str, bytes]:
        """Everything in a space that is not past its instant, by key."""
        ...

    async def take_once(self, space: str, key: str, now: datetime) -> bytes | None:
        """The value, to one caller only: of two at the same time the other gets None."""
        ...

    async def drop(self, space: str, key: str) -> bool:
        """Whether something was there; it is gone now."""
        ...

    async def expire(self, now: datetime, limit: int = 1000) -> int:
        """Sweeps what is past its instant, at most `limit` of it; how many went."""
        ...
