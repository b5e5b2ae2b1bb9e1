"""Which principal got which provider-side id, kept in the store so that every worker knows it."""

from __future__ import annotations

from datetime import datetime

from store.state import State


class ResponseState:
    """`proxy.stateful.State` over the store's short-lived state."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def put(self, space: str, key: str, value: str, until: datetime) -> None:
        await self._state.put(space, key, value.encode(), until)

    async def get(self, space: str, key: str, now: datetime) -> str | None:
        found = await self._state.get(space, key, now)
        return None if found is None else found.decode()
