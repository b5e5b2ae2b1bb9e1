"""What is done before anybody is served: by the process that serves, and before several workers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from conf.settings import Settings, load
from identity.first_admin import ADMIN, FirstAdmin
from policies.change import Change, Source
from policies.documents import Document, parse
from proxy import app, demo, installation, seeding
from proxy.host import Places
from proxy.runtime import Clock
from store.opening import stores

TEAM: dict[str, Any] = {"type": "team", "name": "ops", "members": ["ann@acme.com"]}


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("GATEWARDEN_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("GATEWARDEN_PORT", "0")
    return load()


def offered(settings: Settings) -> Path:
    return settings.data / "first-admin"


async def written(settings: Settings, documents: Iterable[Document]) -> bool:
    """Commits documents on the host; whether the gateway then finds that somebody administers."""
    clock = Clock()
    changes, state = installation.change_log(settings, installation.keys_of(settings), clock, print)
    first = FirstAdmin(settings.data, state)
    changes.subscribe(first)
    async with installation.started(changes):
        change = Change("host", Source.HOST, "test", tuple(documents))
        await changes.commit(change, None, clock.now())
    return not first.needed


async def test_a_process_that_serves_alone_seeds_and_offers_by_itself(settled: Settings) -> None:
    keys = installation.keys_of(settled)
    lines = installation.published(settled, keys)
    assert all(line.startswith("made ") for line in lines)
    async with app.running(settled, keys, shows=lines.append) as process:
        assert process.runtime.changes.head > 0
        assert any(str(offered(settled)) in line for line in lines)
        assert offered(settled).exists()


async def test_it_applies_the_demo_and_so_offers_nothing(settled: Settings) -> None:
    settled = settled.model_copy(update={"demo": True})
    keys = installation.keys_of(settled)
    installation.published(settled, keys)
    lines: list[str] = []
    async with app.running(settled, keys, shows=lines.append) as process:
        token = demo.read(Places(settled.data).demo)["DEMO_TOKEN_ALICE"]
        runtime = process.runtime
        assert runtime.directory.authenticate(token, runtime.clock.now()).id.startswith("user:")
    assert "Paste this into a second terminal:" in lines
    assert not offered(settled).exists()


async def test_before_workers_an_empty_store_is_seeded(settled: Settings) -> None:
    lines = await installation.bootstrap_for_workers(
        settled, installation.keys_of(settled), Clock()
    )
    assert any("nobody administers yet" in line for line in lines)
    store, _ = stores(settled.store_url)
    await store.open()
    assert not await seeding.bare(store)
    await store.close()


async def test_before_workers_the_offer_is_renewed_and_nothing_is_written(
    settled: Settings,
) -> None:
    keys = installation.keys_of(settled)
    await installation.bootstrap_for_workers(settled, keys, Clock())
    before = offered(settled).read_text()
    store, _ = stores(settled.store_url)
    await store.open()
    head = await store.head()
    await installation.bootstrap_for_workers(settled, keys, Clock())
    assert await store.head() == head
    await store.close()
    assert offered(settled).read_text() != before


async def test_before_workers_an_administrator_ends_the_offer(settled: Settings) -> None:
    keys = installation.keys_of(settled)
    await installation.bootstrap_for_workers(settled, keys, Clock())
    await written(settled, [parse({**TEAM, "roles": [ADMIN]})])
    lines = await installation.bootstrap_for_workers(settled, keys, Clock())
    assert not any("nobody administers yet" in line for line in lines)
    assert not offered(settled).exists()


@pytest.mark.parametrize(
    "document",
    [
        {"type": "user", "name": "ann@acme.com", "roles": [ADMIN]},
        {"type": "user", "name": "ann@acme.com", "roles": [ADMIN], "state": "suspended"},
        {"type": "user", "name": "tenant-admin@acme.com"},
        {**TEAM, "roles": [ADMIN]},
        {"type": "team", "name": "tenant-admin-fans", "members": ["ann@acme.com"]},
    ],
)
async def test_who_administers_is_found_without_the_policy_as_with_it(
    settled: Settings, document: dict[str, Any]
) -> None:
    found = await written(settled, [parse(document)])
    store, _ = stores(settled.store_url)
    await store.open()
    try:
        assert await seeding.administered(store) == found
    finally:
        await store.close()
