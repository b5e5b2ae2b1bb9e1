"""`gatewarden migrate` on the embedded store. On MongoDB: `tests/e2e/test_mongo.py`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner, Result

from proxy.cli import main
from store.sqlite import SqliteStore


def migrate(**variables: str) -> Result:
    return CliRunner(env=variables).invoke(main, ["migrate", "--json"])


def test_a_store_says_its_schema_and_epoch(tmp_path: Path) -> None:
    async def make() -> None:
        store = SqliteStore(tmp_path / "gatewarden.db")
        await store.open()
        await store.close()

    asyncio.run(make())
    done = migrate(GATEWARDEN_DATA=str(tmp_path))
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == {"store": "sqlite", "schema": 1, "epoch": 0}


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    done = migrate(GATEWARDEN_DATA=str(tmp_path))
    assert done.exit_code == 1 and "serve" in done.output
    assert not list(tmp_path.iterdir())


def test_another_kind_of_store_is_refused_without_its_password(tmp_path: Path) -> None:
    url = "postgres://app:pass-canary@host/x"
    done = migrate(GATEWARDEN_DATA=str(tmp_path), GATEWARDEN_STORE=url)
    assert done.exit_code == 1 and "unsupported_store" in done.output
    assert "pass-canary" not in done.output
