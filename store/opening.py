"""Which store a URL means: a SQLite file, or a MongoDB replica set. The driver is loaded only if it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from store.errors import UnsupportedStore
from store.port import Store
from store.schema import SCHEMA
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState
from store.state import State

_FILE = "sqlite:///"
_SERVER = ("mongodb", "mongodb+srv")


def _nothing(step: str) -> None:
    """The place where tests let a commit fail."""


def file_of(url: str) -> Path | None:
    """The file of an embedded store; None if the store is a server.

    Raises:
        UnsupportedStore.
    """
    if url.startswith(_FILE) and url != _FILE:
        return Path(url.removeprefix(_FILE))
    kind = url.partition("://")[0] if "://" in url else ""  # the rest may hold a password
    if kind not in _SERVER:
        raise UnsupportedStore(
            f"the store `{kind}` is not supported" if kind else "the store is not a URL",
            hint="use sqlite:///<path>, mongodb://<host>/<database>?replicaSet=<name> or mongodb+srv://",
        )
    return None


def stores(url: str, *, fault: Callable[[str], None] = _nothing) -> tuple[Store, State]:
    """The change log's store, not yet open, and the short-lived state beside it.

    Raises:
        UnsupportedStore.
    """
    path = file_of(url)
    if path is not None:
        embedded = SqliteStore(path, fault=fault)
        return embedded, SqliteState(embedded)
    from store.mongo import MongoStore
    from store.mongo_state import MongoState

    shared = MongoStore(url, fault=fault)
    return shared, MongoState(shared)


async def migrate(url: str) -> tuple[int, int]:
    """Makes what a store lacks; its schema and its epoch.

    Raises:
        StoreUnavailable, StoreTooNew, UnsupportedStore.
    """
    store, _ = stores(url)
    await store.open()
    try:
        # Who opens a store has brought it to the schema of this version.
        return SCHEMA, (await store.head()).epoch
    finally:
        await store.close()


def entries_of(url: str) -> Iterator[tuple[int, str, bytes]]:
    """Epoch, hash and body of every entry of a server's log, in order. Blocking.

    Raises:
        StoreUnavailable.
    """
    from store.mongo_log import read_log

    return read_log(url)


def holds_data(url: str) -> bool:
    """Whether anything was ever committed. Blocking. Raises: StoreUnavailable, UnsupportedStore."""
    path = file_of(url)
    if path is not None:
        return path.exists()
    return next(entries_of(url), None) is not None
