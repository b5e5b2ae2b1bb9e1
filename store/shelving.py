"""Where the records of an installation lie, and how that is opened: beside the change log's store, of its kind.

With an embedded store they are a file of their own in the data folder; with a server they are collections
of the same database. The driver is loaded only if it is used. What opens answers `Shelves`; a server shares
what it opens between threads, a file is opened once for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from store.opening import file_of
from store.request_records import RequestRecords, Shelves
from store.sqlite_request_records import SqliteShelves


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or a server by its URI (which holds a password). The file's name is also that of the lease."""

    file: Path
    uri: str = field(default="", repr=False)

    @classmethod
    def beside(cls, store_url: str, file: Path) -> Self:
        """The place that goes with a store.

        Raises:
            UnsupportedStore.
        """
        return cls(file, store_url if file_of(store_url) is None else "")

    def open(self, *, read_only: bool = False) -> Shelves:
        """The records store. Blocking.

        Raises:
            StoreUnavailable, StoreTooNew.
        """
        if not self.uri:
            return SqliteShelves(self.file, read_only=read_only)
        from store.mongo_request_records import MongoShelves

        return MongoShelves.open(self.uri)

    def records(self) -> RequestRecords:
        """The records of a server. Blocking. Raises: as `open`."""
        writer = self.open()
        if self.uri:
            return RequestRecords(writer, lambda: writer)
        return RequestRecords(writer, lambda: SqliteShelves(self.file, read_only=True))
