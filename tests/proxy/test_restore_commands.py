"""Backup, restore, confirm and recover, as somebody on the host types them."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from conf.settings import Settings, load
from policies.change import Change, Entry, Source
from policies.documents import parse
from policies.loader import load_mapping
from proxy import app, installation
from proxy.cli import main
from proxy.host import Places
from proxy.runtime import Clock


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("GATEWARDEN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWARDEN_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("GATEWARDEN_PORT", "0")


@pytest.fixture
async def settings(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Settings]:
    """An installation with the demo estate that does not run."""
    monkeypatch.setenv("GATEWARDEN_DEMO", "true")
    settings = load()
    await installation.bootstrap(settings, installation.keys_of(settings), Clock())
    monkeypatch.delenv("GATEWARDEN_DEMO")
    yield load()


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, arguments)


async def answer(*arguments: str) -> dict[str, Any]:
    result = await run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


async def commit(settings: Settings, *puts: dict[str, Any], **fields: Any) -> Entry:
    change = Change(
        "host", fields.pop("source", Source.HOST), "test",
        tuple(load_mapping(list(puts)).plain()), **fields,
    )  # fmt: skip
    async with installation.on_host(settings) as changes:
        return await changes.commit(change, None, Clock().now())


def token_of(settings: Settings) -> str:
    """The name of a demo person's token that is not the operator's."""
    db = sqlite3.connect(settings.data / "gatewarden.db")
    found = db.execute("SELECT name FROM documents WHERE family = 'credential' ORDER BY name")
    name: str = found.fetchone()[0]
    db.close()
    return name


def test_the_commands_have_help_that_names_what_they_take() -> None:
    for command in ("backup", "restore", "recover"):
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0
    assert "confirm" in CliRunner().invoke(main, ["restore", "--help"]).stdout


async def test_a_backup_is_whole_private_and_never_over_a_file(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "b.db"
    made = await answer("backup", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.glob("b.db*")) == ["b.db"]
    async with installation.on_host(settings) as changes:
        assert (made["epoch"], made["hash"]) == (changes.head, changes.head_hash)
    again = await run("backup", str(file))
    assert again.exit_code == 1 and "exists already" in again.stderr


async def test_a_restore_serves_nothing_until_it_is_confirmed_and_can_revoke_again(
    settings: Settings, tmp_path: Path
) -> None:
    file, token = tmp_path / "b.db", token_of(settings)
    await answer("backup", str(file))
    ended = await commit(settings, deletes=(("credential", token),), comment="stolen laptop")
    restored = await answer("restore", str(file))
    assert restored["epoch"] == ended.epoch - 1 and Path(restored["kept"]).exists()

    keys = installation.keys_of(settings)
    async with app.running(settings, keys) as process:
        assert not process.health.ready
        detail = {c.name: c.detail for c in process.health.checks()}["policy"]
        assert "gatewarden restore confirm" in detail
        assert process.runtime.changes.age(Clock().now()) == float("inf")

        # Other commands on the host change nothing either.
        minted = await run("token", "create", "--for", "user:alice@example.com")
        assert minted.exit_code == 1 and "restore confirm" in minted.output

        seen = await run("restore", "confirm")
        assert seen.exit_code == 1
        assert f"credential {token}" in seen.stdout and "stolen laptop" in seen.stdout
        assert not process.health.ready

        done = await answer("restore", "confirm", "--yes", "--revoke-again")
        assert done["revoked_again"] == [token]
        # The process that ran all the time goes on by itself.
        async with asyncio.timeout(5):
            while not process.health.ready or process.runtime.changes.head < done["epoch"]:
                await asyncio.sleep(0.02)
        changes = process.runtime.changes
        assert await changes.document(("credential", token)) is None
        entries = await changes.entries(restored["epoch"], 10)
        assert [entry.source for entry in entries[:2]] == [Source.RECOVERY, Source.RECOVERY]
        assert ended.hash in entries[0].comment
    assert (await answer("restore", "confirm"))["needed"] is False


async def test_a_restore_is_refused_while_a_gateway_runs(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "b.db"
    await answer("backup", str(file))
    before = (settings.data / "gatewarden.db").stat().st_ino
    async with app.running(settings, installation.keys_of(settings)):
        refused = await run("restore", str(file))
        assert refused.exit_code == 1 and "a gateway runs on this store" in refused.stderr
        assert (settings.data / "gatewarden.db").stat().st_ino == before
    assert (await run("restore", str(file))).exit_code == 0


async def test_what_is_no_backup_is_not_put_in_place(settings: Settings, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.db"
    wrong.write_bytes(b"garbage" * 1000)
    refused = await run("restore", str(wrong))
    assert refused.exit_code == 1 and "not a backup" in refused.stderr
    await answer("backup", str(tmp_path / "b.db"))
    db = sqlite3.connect(tmp_path / "b.db")
    db.execute("UPDATE entries SET body = X'00' WHERE epoch = (SELECT max(epoch) FROM entries)")
    db.commit()
    db.close()
    refused = await run("restore", str(tmp_path / "b.db"))
    assert refused.exit_code == 1 and "damaged" in refused.stderr


async def test_a_store_copied_over_while_a_gateway_runs_stops_it(
    settings: Settings, tmp_path: Path
) -> None:
    file, token = tmp_path / "b.db", token_of(settings)
    await answer("backup", str(file))
    async with app.running(settings, installation.keys_of(settings)) as process:
        changes = process.runtime.changes
        change = Change("host", Source.HOST, "test", deletes=(("credential", token),))
        await changes.commit(change, None, Clock().now())
        one, other = sqlite3.connect(file), sqlite3.connect(settings.data / "gatewarden.db")
        with other:
            one.backup(other)
        one.close()
        other.close()
        async with asyncio.timeout(5):
            while process.health.ready:
                await asyncio.sleep(0.02)
        assert changes.age(Clock().now()) == float("inf")
        assert "restore confirm" in str(changes.problem)
        assert token in (await run("restore", "confirm")).stdout


@pytest.mark.parametrize("state", ["suspended", "gitops", "new"])
async def test_recover_makes_somebody_a_working_admin_whatever_they_were(
    settings: Settings, state: str
) -> None:
    email = "carol@example.com"
    if state == "suspended":
        await commit(
            settings,
            {
                "type": "user",
                "name": email,
                "state": "suspended",
                "suspended_by": ["admin", "scim"],
            },
        )
    elif state == "gitops":
        await commit(settings, {"type": "user", "name": email}, source=Source.GITOPS)
    done = await answer("recover", "--email", email)
    assert done["administers"] is True
    async with installation.on_host(settings) as changes:
        (entry,) = await changes.entries(done["epoch"] - 1, 1)
        assert entry.source is Source.RECOVERY
        stored = await changes.document(("user", done["user"].removeprefix("user:")))
        assert stored is not None and stored.document == parse(
            {**entry.documents[0].after, "name": stored.document.name}  # type: ignore[dict-item]
        )
    again = await answer("recover", "--email", email)
    assert again["epoch"] == done["epoch"]


async def test_recover_works_when_no_admin_is_left(settings: Settings) -> None:
    async with installation.on_host(settings) as changes:
        admins = [
            stored.document.name
            for stored in await changes.documents("user", "", 1000)
            if "tenant-admin" in getattr(stored.document, "roles", ())
        ]
        assert admins
        change = Change(
            "host", Source.SCIM, "test", deletes=tuple(("user", name) for name in admins)
        )
        await changes.commit(change, None, Clock().now())
    done = await answer("recover", "--email", "dave@example.com")
    assert done["administers"] is True


async def test_recover_refuses_what_is_no_address(settings: Settings) -> None:
    refused = await run("recover", "--email", "operator")
    assert refused.exit_code == 1 and "not an e-mail address" in refused.stderr
    assert Places(settings.data).data.exists()
