"""Whose a task at a server is, and which tool it runs (MCP 2025-11-25, tasks): to anybody else it is unknown."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from store.state import State

SPACE = "mcp-task"
KEEP = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Task:
    """`tool` is the id that was decided when the task was made."""

    principal: str
    tool: str


class Tasks:
    """The tasks that went through this gateway."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def made(self, server: str, id: str, task: Task, now: datetime) -> None:
        """Raises StoreUnavailable."""
        value = json.dumps([task.principal, task.tool]).encode()
        await self._state.put(SPACE, _key(server, id), value, now + KEEP)

    async def find(self, server: str, id: object, principal: str, now: datetime) -> Task | None:
        """The task, if it is this principal's. Raises StoreUnavailable."""
        if not isinstance(id, str):
            return None
        raw = await self._state.get(SPACE, _key(server, id), now)
        if raw is None:
            return None
        task = Task(*json.loads(raw))
        return task if task.principal == principal else None


def _key(server: str, id: str) -> str:
    return hashlib.sha256(f"{len(server)}/{server}/{id}".encode()).hexdigest()
