"""The change log in MongoDB as a command on the host reads it: from its first entry on, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from store import mongo_layout as layout
from store.mongo_client import connect, driver


def read_log(uri: str) -> Iterator[tuple[int, str, bytes]]:
    """Epoch, hash and body of every entry, in order. Blocking, and for no loop.

    Raises:
        StoreUnavailable.
    """
    with contextlib.closing(asyncio.new_event_loop()) as unused:
        connection = connect(uri, unused)
        try:
            with driver(None):
                fields = {"effects": 0}
                for header in connection.db.entries.find({}, fields, sort=[("_id", 1)]):
                    pieces = layout.entry_chunks(header)
                    chunks = connection.db.chunks.find({"_id": {"$in": pieces}}) if pieces else ()
                    found = {one["_id"]: one["data"] for one in chunks}
                    for raw in layout.raw_entries([header], 0, found):
                        yield raw.epoch, raw.hash, raw.body
        finally:
            connection.close()
