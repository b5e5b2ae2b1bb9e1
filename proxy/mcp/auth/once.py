"""One of many processes makes a thing, the others wait for it and read it: a lease around `make`.

A refresh token that rotates may be sent once only: a second use looks like theft, and a good authorization server ends
the whole grant. So whoever does not get the lease looks again until the other is done, for a bounded time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from proxy.errors import Unavailable
from store.state import State

LEASE = timedelta(
    seconds=60
)  # longer than whatever is made may take, so it ends by itself only after a crash
PAUSE = 0.05
TRIES = 240
_SPACE = "mcp-auth-lease"

T = TypeVar("T")
Pause = Callable[[float], Awaitable[None]]


async def once(
    state: State,
    key: str,
    now: datetime,
    look: Callable[[], Awaitable[T | None]],
    make: Callable[[], Awaitable[T]],
    pause: Pause = asyncio.sleep,
) -> T:
    """What `look` finds, or what `make` makes while no other process makes it.

    Raises:
        Unavailable: the other did not finish in time. StoreUnavailable. Whatever `look` and `make` raise.
    """
    mine = os.urandom(16)
    for _ in range(TRIES):
        found = await look()
        if found is not None:
            return found
        if await state.put_new(_SPACE, key, mine, now + LEASE, now):
            try:
                # The holder before may have finished between the look and the lease.
                found = await look()
                return found if found is not None else await make()
            finally:
                if await state.get(_SPACE, key, now) == mine:
                    await state.drop(_SPACE, key)
        await pause(PAUSE)
    raise Unavailable("another process is renewing the credential for this server")
