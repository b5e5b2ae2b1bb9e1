"""What an auditor runs: a bundle and its verification, the replay of the log, the access review as a file."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import stat
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from conf.settings import load
from proxy import app, installation, review_text
from proxy.cli import main
from proxy.host import Places
from proxy.runtime import Clock
from tests.proxy.api.stack import Stack, stack_on


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("GATEWARDEN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWARDEN_DATA", str(tmp_path / "var"))


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, arguments)


async def ask(stack: Stack, *arguments: str, who: str = "root") -> Result:
    more = {"GATEWARDEN_URL": stack.url, "GATEWARDEN_TOKEN": stack.tokens[who]}
    return await asyncio.to_thread(run, *arguments, **more)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack_on(tmp_path) as made:
        yield made


@pytest.fixture
async def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a demo estate that has decided something and does not run any more."""
    monkeypatch.setenv("GATEWARDEN_DEMO", "true")
    monkeypatch.setenv("GATEWARDEN_PORT", "0")
    settings = load()
    keys = installation.keys_of(settings)
    await installation.bootstrap(settings, keys, Clock())
    async with app.running(settings, keys) as process:
        written = (settings.data / "demo.env").read_text()
        (secret,) = re.findall(r"^(?:export )?GATEWARDEN_TOKEN=['\"]?([^'\"\n]+)", written, re.M)
        url = f"http://127.0.0.1:{process.port}"
        for command in (("whoami",), ("can",), ("who", "model:use", "acme/mini")):
            got = await asyncio.to_thread(
                run, *command, GATEWARDEN_URL=url, GATEWARDEN_TOKEN=secret
            )
            assert got.output
    monkeypatch.delenv("GATEWARDEN_DEMO")
    return settings.data


# --- the bundle ---------------------------------------------------------------------------------------


def contents(file: Path) -> dict[str, bytes] | None:
    """What the members of an archive hold; None if it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception:
        return None


async def test_a_bundle_verifies_with_the_public_key_and_nothing_else(
    installed: Path, tmp_path: Path
) -> None:
    file = tmp_path / "log.zip"
    made = await asyncio.to_thread(run, "log", "bundle", "-o", str(file), "--since", "2020-01-01")
    assert made.exit_code == 0 and "whole" in made.stdout, made.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = tmp_path / "key.pem"
    key.write_bytes(Places(installed).public_key.read_bytes())
    elsewhere = {"GATEWARDEN_DATA": str(tmp_path / "nothing")}
    verify = ("log", "verify", "--bundle", str(file), "--public-key", str(key))
    got = run(*verify, "--json", **elsewhere)
    told = json.loads(got.stdout)
    assert got.exit_code == 0 and told["whole"] and told["records"] > 4
    assert told["window"]["since"] == "2020-01-01T00:00:00.000Z"
    whole, held = file.read_bytes(), contents(file)
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        raw = bytearray(whole)
        raw[at] ^= 1
        file.write_bytes(raw)
        if contents(file) == held:
            continue  # another way to pack the very same text
        broken = run(*verify, **elsewhere)
        assert broken.exit_code == 1 and "NOT whole" in broken.output, at
    assert run("log", "verify", "--bundle", str(file), **elsewhere).exit_code == 1  # no key


async def test_a_bundle_command_says_what_is_wrong(installed: Path, tmp_path: Path) -> None:
    backwards = ("--since", "2026-01-02", "--until", "2026-01-01")
    wrong = await asyncio.to_thread(run, "log", "bundle", "-o", str(tmp_path / "x.zip"), *backwards)
    assert wrong.exit_code == 1 and "before" in wrong.output
    nowhere = await asyncio.to_thread(run, "log", "bundle", "-o", str(tmp_path / "no" / "x.zip"))
    assert nowhere.exit_code == 1 and "cannot be written" in nowhere.output
    none = run("log", "bundle", "-o", "x.zip", GATEWARDEN_DATA=str(tmp_path / "nothing"))
    assert none.exit_code == 1 and "no decision log" in none.output
    assert not (tmp_path / "nothing").exists()


# --- the replay ---------------------------------------------------------------------------------------


async def test_the_decisions_of_a_true_log_are_given_again(installed: Path) -> None:
    got = await asyncio.to_thread(run, "log", "replay", "--json")
    told = json.loads(got.stdout)
    assert got.exit_code == 0 and told["asked"] >= 2 and told["differences"] == []
    said = await asyncio.to_thread(run, "log", "replay", "--action", "self:read")
    assert "differ" in said.stdout
    none = await asyncio.to_thread(run, "log", "replay", "--since", "2999-01-01")
    assert none.exit_code == 0 and none.stdout.startswith("0 decisions")


# --- the access review --------------------------------------------------------------------------------


async def test_the_review_is_a_csv_with_a_line_for_each_grant(stack: Stack, tmp_path: Path) -> None:
    got = await ask(stack, "access-review")
    assert got.exit_code == 0, got.output
    rows = list(csv.DictReader(io.StringIO(got.stdout)))
    one = next(row for row in rows if row["subject"] == "user:member@example.com")
    assert one["granted_by"] == "host" and one["since"].startswith("2026-11-25")
    file = tmp_path / "review.json"
    made = await ask(stack, "access-review", "--format", "json", "-o", str(file))
    assert made.exit_code == 0 and stat.S_IMODE(file.stat().st_mode) == 0o600
    told = json.loads(file.read_text())
    assert len(told["data"]) == len(rows) and told["epoch"] == stack.runtime.changes.head


async def test_a_review_of_the_past_is_asked_by_epoch_and_refused_to_others(stack: Stack) -> None:
    now = await ask(stack, "access-review", "--at", str(stack.runtime.changes.head))
    assert now.exit_code == 0
    assert (await ask(stack, "access-review", "--at", "99999")).exit_code == 1
    assert (await ask(stack, "access-review", who="member")).exit_code == 1


HOSTILE = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", "  =cmd|' /C calc'!A0", "|x", "%0A")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_a_formula_for_a_spreadsheet(text: str) -> None:
    assert not review_text.cell(text).lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))


def test_a_comment_with_line_breaks_and_escape_codes_stays_one_cell_of_one_line() -> None:
    made = review_text.cell('a\r\n"b",=c\x1b[31m\u202e\x9b1m')
    assert made.isprintable() and "\x1b" not in made


def test_a_hostile_page_gives_a_csv_with_as_many_rows_as_lines() -> None:
    entry = {
        "epoch": 1,
        "at": "t",
        "actor": "=x",
        "source": "s",
        "comment": "a\n=b",
        "revision": "",
    }
    line: dict[str, Any] = {
        "subject": "user:u-1",
        "effect": "allow",
        "action": "model:use",
        "resource": '=HYPERLINK("http://x")',
        "condition": "",
        "rule": "r",
        "path": ["user:u-1", "-team"],
        "within": "",
        "since": "t",
        "granted": entry,
        "joined": None,
    }
    page: dict[str, Any] = {"epoch": 3, "at": None, "people": {}, "data": [line, line]}
    text = "".join(review_text.as_csv([page], lambda _: str))
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) == 3 and len(text.splitlines()) == 3
    assert not [c for row in rows for c in row if c.startswith(("=", "+", "-", "@"))]
    whole = json.loads("".join(review_text.as_json([page, page])))
    assert len(whole["data"]) == 4
