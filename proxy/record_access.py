"""The records store as the handlers and chores of one process have it: opened when it is first asked.

That it cannot be opened stops nobody who serves; whoever asks then gets 503, and the next one tries anew.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from proxy.payloads import open_payload
from store.errors import StoreUnavailable
from store.request_records import RequestRecords
from store.sealed import Sealer
from store.shelving import Place


class RecordAccess:
    """The one `RequestRecords` of a process. Belongs to one event loop."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._opened: RequestRecords | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def open(self) -> RequestRecords:
        """The records.

        Raises:
            StoreUnavailable: they cannot be opened.
        """
        if self._opened is not None:
            return self._opened
        async with self._lock:
            if self._closed:
                raise StoreUnavailable("the records are closed")
            if self._opened is None:
                try:
                    self._opened = await asyncio.to_thread(self.place.records)
                except OSError as error:
                    raise StoreUnavailable("the records cannot be opened") from error
        return self._opened

    async def close(self) -> None:
        """Waits for what runs, and closes the store."""
        async with self._lock:
            self._closed = True
            if self._opened is not None:
                await self._opened.close()
                self._opened = None


@dataclass(frozen=True, slots=True)
class Opened:
    """Opens what was said in a request, as it lies in the records store."""

    sealer: Sealer = field(repr=False)

    def opened(self, record_id: str, sealed: bytes) -> object:
        """Its JSON value. Raises: SealBroken."""
        return open_payload(self.sealer, record_id, sealed)
