"""What a server says of its lists on a stream that waits, for a client of the other generation.

The rest that it says there belongs to calls and sessions of its own generation, and is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from proxy.mcp.link import Received, Stream

# What a `subscriptions/listen` request asks for to hear of every list.
ALL_LISTS: Mapping[str, bool] = {
    "promptsListChanged": True,
    "resourcesListChanged": True,
    "toolsListChanged": True,
}
_METHODS = frozenset(
    f"notifications/{name}/list_changed" for name in ("prompts", "resources", "tools")
)


class ListChanges:
    """A `Stream` of nothing else. That the server ends it says nothing to the client, which the gateway tells too."""

    __slots__ = ("_stream", "status")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.status = stream.status

    @property
    def streams(self) -> bool:
        return self._stream.streams

    async def received(self) -> AsyncIterator[Received]:
        async for received in self._stream.received():
            message = received.message
            if message is not None and message.method in _METHODS:
                yield received
        await asyncio.Event().wait()
