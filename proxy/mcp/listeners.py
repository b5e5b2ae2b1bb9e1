"""Who listens for changes, and what of it concerns them: an applier of the change log, after the servers.

A `list_changed` is sent when, and only when, what the list shows this principal is another. So what a server says of
its lists is no news by itself: it makes the gateway ask the server, and what comes of that may be.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from policies.change import Entry
from proxy import logs
from proxy.mcp.primitive import Primitive
from proxy.mcp.view import View

log = logs.get("mcp.listeners")

LOOK = 60.0  # seconds between two looks, whatever happens
# Changes of these alone touch what nobody else may do.
_OWN = frozenset({"credential", "log-writer"})
GROUPS: Mapping[str, tuple[Primitive, ...]] = {
    "notifications/tools/list_changed": (Primitive.TOOL,),
    "notifications/prompts/list_changed": (Primitive.PROMPT,),
    "notifications/resources/list_changed": (Primitive.RESOURCE, Primitive.TEMPLATE),
}


class Listener:
    """One open stream. `look` makes its principal's view as of now."""

    __slots__ = ("_look", "_prints", "_wake", "view")

    def __init__(self, look: Callable[[], View | None]) -> None:
        self._look = look
        self._wake = asyncio.Event()
        view = look()
        assert view is not None
        self.view: View = view
        self._prints = {primitive: view.print(primitive) for primitive in Primitive}

    def wake(self) -> None:
        self._wake.set()

    async def changed(self) -> list[str] | None:
        """Waits for what has changed for the principal: methods of notifications; None once nothing is left."""
        while True:
            # A condition on the time makes a grant end without any change.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._wake.wait()
            self._wake.clear()
            view = self._look()
            if view is None:
                return None
            self.view = view
            now = {primitive: view.print(primitive) for primitive in Primitive}
            before, self._prints = self._prints, now
            methods = [
                method
                for method, primitives in GROUPS.items()
                if any(before[one] != now[one] for one in primitives)
            ]
            if methods:
                return methods


class Listeners:
    """The open streams of this process."""

    def __init__(self) -> None:
        self._open: set[Listener] = set()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[Listener]:
        """The listener is woken for as long as the block runs."""
        self._open.add(listener)
        try:
            yield listener
        finally:
            self._open.discard(listener)

    def load(self, snapshot: object) -> None:
        """Everybody looks again."""
        self._wake_all()

    def apply(self, entry: Entry) -> None:
        """Whoever may be concerned looks again, each in its own turn of the loop."""
        if any(change.key[0] not in _OWN for change in entry.documents):
            self._wake_all()

    def _wake_all(self) -> None:
        for listener in self._open:
            listener.wake()
