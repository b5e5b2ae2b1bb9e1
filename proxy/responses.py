"""Which principal got which provider-side id, kept in the store so that every worker knows it.

The one place where a request of the data plane asks the store: so it does not wait for it for long.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from store.errors import StoreUnavailable
from store.state import State

SECONDS = 2.0  # that a request waits for the store


class ResponseState:
    """`proxy.stateful.State` over the store's short-lived state."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def put(self, space: str, key: str, value: str, until: datetime) -> None:
        """Raises: StoreUnavailable; whether it is kept is not known then."""
        try:
            async with asyncio.timeout(SECONDS):
                await self._state.put(space, key, value.encode(), until)
        except TimeoutError as error:
            raise StoreUnavailable("the store does not answer in time", hint="try again") from error

    async def get(self, space: str, key: str, now: datetime) -> str | None:
        """Raises: StoreUnavailable."""
        try:
            async with asyncio.timeout(SECONDS):
                found = await self._state.get(space, key, now)
        except TimeoutError as error:
            raise StoreUnavailable("the store does not answer in time", hint="try again") from error
        return None if found is None else found.decode()
