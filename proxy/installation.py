"""An installation on this host: its keys, its change log, and what is made once before a process serves.

For the gateway and for commands on the host. What is made once: the published key, the seeded change log, the
offer to the first administrator, the demo estate (`seeding.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from authz import collector
from conf.settings import EXAMPLES_PATH, MODEL_PATH, Settings
from identity.directory import Directory
from identity.first_admin import FirstAdmin
from identity.first_start import Keys, prepare
from policies.loader import shipped
from proxy import host, logs, seeding, shipping
from proxy.host import Places
from proxy.runtime import Clock
from store import opening
from store.changes import ChangeLog
from store.memory import Memory
from store.sealed import Sealer
from store.shelving import Place
from store.state import State

log = logs.get("installation")


# --- the store, for the gateway and for commands on the host -----------------------------------------


def database(settings: Settings) -> Path | None:
    """The file of the embedded store; None if the store is a server.

    Raises:
        UnsupportedStore: the store's URL is of a kind that this version does not have.
    """
    return opening.file_of(settings.store_url)


def established(settings: Settings) -> bool:
    """Whether there is data that was made with keys, so that none may be made. Blocking.

    A server is asked only where a new key could be made at all.

    Raises:
        StoreUnavailable, UnsupportedStore.
    """
    places = Places(settings.data)
    if places.established(database(settings)):
        return True
    return database(settings) is None and opening.holds_data(settings.store_url)


def keys_of(settings: Settings) -> Keys:
    """The installation's keys, made at its first start. Blocking.

    Raises:
        As `first_start.prepare`, and `established`.
    """
    given = settings.keys
    return prepare(
        settings.data,
        established=established(settings),
        sealing=given.sealing.get_secret_value() if given.sealing else None,
        signing=given.signing.get_secret_value() if given.signing else None,
        installation=given.installation,
    )


def change_log(
    settings: Settings, keys: Keys, clock: Clock, alarm: Callable[[str], None]
) -> tuple[ChangeLog, State]:
    """The change log, not yet started, and the short-lived state that lies beside it."""
    store, state = opening.stores(settings.store_url)
    changes = ChangeLog(
        store,
        model_text=MODEL_PATH.read_text("utf-8"),
        shipped=shipped(),
        sealer=Sealer(keys.sealing),
        clock=clock.now,
        alarm=alarm,
        memory=Memory(settings.data),
    )
    return changes, state


@contextlib.asynccontextmanager
async def started(changes: ChangeLog) -> AsyncIterator[ChangeLog]:
    """The change log between its start and its end."""
    with collector.paused():
        await changes.start()
    try:
        yield changes
    finally:
        await changes.close()


@contextlib.asynccontextmanager
async def on_host(settings: Settings) -> AsyncIterator[ChangeLog]:
    """The change log for a command on the host."""
    keys = keys_of(settings)
    changes, _ = change_log(settings, keys, Clock(), log.warning)
    async with started(changes):
        yield changes


def records_place(settings: Settings) -> Place:
    """Where the records lie. Raises: UnsupportedStore."""
    return Place.beside(settings.store_url, Places(settings.data).records)


# --- once before the first process serves ------------------------------------------------------------


def published(settings: Settings, keys: Keys) -> list[str]:
    """What the data folder must hold before any process starts; lines to show. Blocking."""
    places = Places(settings.data)
    host.publish_key(places, keys.root_key())
    if records_place(settings).uri == "":
        shipping.prepare(places.records)
    return [f"made {path}" for path in keys.created]


async def bootstrap(settings: Settings, keys: Keys, clock: Clock) -> list[str]:
    """Seeds the change log, applies the demo, offers the first administrator a token; lines to show.

    For a process that does not serve: one that does is told to by `running(shows=…)`, and loads only once.
    """
    lines = published(settings, keys)
    changes, state = change_log(settings, keys, clock, log.warning)
    directory, first = Directory(), FirstAdmin(settings.data, state)
    changes.subscribe(directory)
    changes.subscribe(first)
    async with started(changes):
        return lines + await furnish(settings, changes, directory, first, clock)


async def bootstrap_for_workers(settings: Settings, keys: Keys, clock: Clock) -> list[str]:
    """The same; the policy is loaded only if something is to be seeded, since each worker loads its own."""
    if settings.demo:
        return await bootstrap(settings, keys, clock)
    store, state = opening.stores(settings.store_url)
    await store.open()
    try:
        if not await seeding.bare(store):
            first = FirstAdmin(settings.data, state)
            first.needed = not await seeding.administered(store)
            return published(settings, keys) + await seeding.offer(first, clock.now())
    finally:
        await store.close()
    return await bootstrap(settings, keys, clock)


async def furnish(
    settings: Settings, changes: ChangeLog, directory: Directory, first: FirstAdmin, clock: Clock
) -> list[str]:
    """Seeds the change log, applies the demo, offers the first administrator a token; lines to show."""
    return await seeding.furnish(
        changes,
        directory,
        first,
        clock.now(),
        places=Places(settings.data),
        examples=EXAMPLES_PATH if settings.demo else None,
        url=own_url(settings),
    )


def own_url(settings: Settings) -> str:
    """The URL that people use, without a slash at its end."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    name = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host
    return f"http://{f'[{name}]' if ':' in name else name}:{settings.port}"
