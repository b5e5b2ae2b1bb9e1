"""Questions that the gateway puts to a client of 2025 for a server of 2026, and how their answers find the way back.

The answer is a request of its own, and may reach another process than the one that waits: it is then left in the shared
short-lived state, where the one that waits looks for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from proxy.mcp import jsonrpc
from proxy.mcp.jsonrpc import Id, Message
from store.state import State

SPACE = "mcp-answer"
PATIENCE = 600.0  # seconds that a question waits for its answer
LOOK = 0.25  # seconds between two looks for an answer that reached another process
KEEP = timedelta(seconds=60)
_OURS = "gw-ask-"


class Unanswered(Exception):
    """The client did not answer in time."""


class Questions:
    """The questions of one process."""

    def __init__(
        self,
        state: State,
        now: Callable[[], datetime],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._state = state
        self._now = now
        self._pause = pause
        self._answers: dict[str, Message | None] = {}  # by key; None while it waits

    @staticmethod
    def id() -> str:
        """A new id, which nobody can guess."""
        return f"{_OURS}{secrets.token_urlsafe(16)}"

    @staticmethod
    def is_ours(id: Id | None) -> bool:
        """Whether an id is one of a question of the gateway's."""
        return isinstance(id, str) and id.startswith(_OURS)

    async def answer(self, session: str, id: str) -> Message:
        """Waits for the client's answer in that session.

        Raises:
            Unanswered. StoreUnavailable.
        """
        key = _key(session, id)
        self._answers[key] = None
        waited = 0.0
        try:
            while waited < PATIENCE:
                here = self._answers[key]
                if here is not None:
                    return here
                raw = await self._state.take_once(SPACE, key, self._now())
                if raw is not None:
                    return jsonrpc.parse(raw)
                await self._pause(LOOK)
                waited += LOOK
            raise Unanswered
        finally:
            del self._answers[key]

    async def answered(self, session: str, message: Message) -> None:
        """Takes an answer. Raises StoreUnavailable."""
        if not isinstance(message.id, str) or not self.is_ours(message.id):
            return
        key = _key(session, message.id)
        if key in self._answers:
            self._answers[key] = message
        else:
            await self._state.put(SPACE, key, message.raw, self._now() + KEEP)


def _key(session: str, id: str) -> str:
    return hashlib.sha256(f"{len(session)}/{session}/{id}".encode()).hexdigest()
