"""`gatewarden people erase`, asking a real control plane."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from tests.proxy.api.stack import Stack, stack_on


@pytest.fixture
async def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    async with stack_on(tmp_path) as made:
        monkeypatch.setenv("GATEWARDEN_URL", made.url)
        monkeypatch.setenv("GATEWARDEN_TOKEN", made.tokens["root"])
        yield made


async def run(*arguments: str, typed: str | None = None) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, arguments, input=typed)


async def there(stack: Stack) -> bool:
    return await stack.runtime.changes.person_by_email("member@example.com") is not None


async def test_it_asks_first_and_then_erases(stack: Stack) -> None:
    refused = await run("people", "erase", "member@example.com", typed="n\n")
    assert refused.exit_code == 1 and await there(stack)
    done = await run("people", "erase", "member@example.com", typed="y\n")
    assert done.exit_code == 0 and "cannot be taken back" in done.stderr
    assert not await there(stack)


async def test_a_script_gets_json_and_is_not_asked(stack: Stack) -> None:
    done = await run("people", "erase", "member@example.com", "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["deleted"] is True and not await there(stack)


async def test_whoever_may_not_is_told_so(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWARDEN_TOKEN", stack.tokens["security"])
    refused = await run("people", "erase", "member@example.com", "--yes")
    assert refused.exit_code == 1 and await there(stack)
