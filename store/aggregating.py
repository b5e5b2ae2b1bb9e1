"""Where the columns of an installation's records lie, and how they are opened: with the records, of their kind."""

from __future__ import annotations

from store.aggregates import ColumnStore
from store.shelving import Place
from store.sqlite_aggregates import SqliteColumns


def columns_at(place: Place, *, read_only: bool = False) -> ColumnStore:
    """The columns of the records at a place, which must have been opened before. Blocking.

    Raises:
        StoreUnavailable.
    """
    if not place.uri:
        return SqliteColumns(place.file, read_only=read_only)
    from store.mongo_aggregates import MongoColumns

    return MongoColumns.open(place.uri)
