"""The open streams of records of one process: how many there may be, and that they end with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from proxy.errors import Unavailable

MOST: Final = 32  # streams of one process
MOST_OF_ONE: Final = 4  # of one principal


class Tails:
    """Counts streams. Belongs to one event loop."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self.ended = asyncio.Event()

    @property
    def open(self) -> int:
        """How many are open."""
        return sum(self._of.values())

    def end(self) -> None:
        """Tells them all to end: the process does."""
        self.ended.set()

    def room(self, principal: str) -> None:
        """Returns if somebody may open one more. Raises: Unavailable."""
        if self._of.get(principal, 0) >= MOST_OF_ONE or self.open >= MOST or self.ended.is_set():
            raise Unavailable("too many streams are open", hint="close one", code="busy")

    @contextlib.contextmanager
    def one(self, principal: str) -> Iterator[None]:
        """A stream of somebody, while it is open."""
        self._of[principal] = self._of.get(principal, 0) + 1
        try:
            yield
        finally:
            self._of[principal] -= 1
            if not self._of[principal]:
                del self._of[principal]
