"""Policy for a stock Casbin, asked of a gateway: it decides there as here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import casbin
import pytest

from authz.conditions import Context
from authz.decision import Somebody
from authz.engine import Engine
from authz.rows import Row
from conf.settings import EXAMPLES_PATH, MODEL_PATH
from identity.issue import user_subject
from policies.loader import load_paths
from proxy.casbin_commands import PARTS, write_pages
from proxy.client import Client, ClientError
from store.entries import row_of
from tests.proxy.api.stack import Stack, commit, stack_on


async def page(stack: Stack, *, who: str = "root", **query: object) -> Any:
    got = await stack.call("GET", f"/export/casbin?{urlencode(query)}", who=who)
    assert got.status == 200, got.raw
    return got.json


async def test_one_page_holds_all_of_a_small_estate_at_one_epoch(stack: Stack) -> None:
    found = await page(stack)
    engine = stack.runtime.changes.engine
    assert (found["epoch"], found["policy_digest"]) == (engine.epoch, engine.digest)
    assert found["next"] is None and found["at"] is not None
    assert "[matchers]" in found["model"] and "Casbin" in found["readme"]
    assert set(json.loads(found["conditions"])) == {"aliases", "conditions"}
    assert "g, user:member@example.com, team:search\n" in found["policy"]


async def test_who_may_not_read_people_gets_ids(stack: Stack) -> None:
    found = await page(stack, who="auditor")
    assert "@example.com" not in found["policy"] and "user:u-" in found["policy"]
    assert "user:member@example.com" in (await page(stack, who="security"))["policy"]


async def test_it_shows_policy_as_it_was(stack: Stack) -> None:
    before = await page(stack)
    await stack.commit({"type": "team", "name": "search", "members": ["other@example.com"]})
    after = await page(stack)
    assert after["policy"] != before["policy"]
    assert await page(stack, at=before["epoch"]) == before
    got = await stack.call("GET", "/export/casbin?at=999")
    assert got.status == 400 and "`at`" in got.json["detail"]


@pytest.mark.parametrize("cursor", ["AAAA", "WyJjYXNiaW4gIDEiLCIxIl0"])
async def test_a_cursor_of_nothing_is_refused(stack: Stack, cursor: str) -> None:
    got = await stack.call("GET", f"/export/casbin?cursor={cursor}")
    assert got.status == 400 and "cursor" in got.json["detail"]


async def test_it_takes_the_right_to_ask_about_everybody(stack: Stack) -> None:
    assert (await stack.call("GET", "/export/casbin", who="member")).status == 403
    assert (await stack.call("GET", "/export/casbin", who=None)).status == 401


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Stack]:
    """A gateway that holds the demo estate."""
    async with stack_on(tmp_path, estate=()) as stack:
        await commit(stack.runtime.changes, *load_paths([EXAMPLES_PATH]).plain())
        await stack.mint("root", "virtualaccount:operator")
        await stack.mint("alice", user_subject("alice@example.com"))
        yield stack


async def test_the_command_s_files_decide_in_a_stock_casbin_as_the_gateway_does(
    demo: Stack, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    client = Client(demo.url, demo.tokens["root"])
    epoch = await asyncio.to_thread(lambda: write_pages(client.casbin(), folder))
    engine = demo.runtime.changes.engine
    assert epoch == engine.epoch
    assert sorted(path.name for path in folder.iterdir()) == sorted(PARTS)

    # On policy without conditions: what a condition comes to is up to the function that Casbin is given.
    policy = folder / "policy.csv"
    plain = [line for line in policy.read_text().splitlines() if not _has_condition(line)]
    policy.write_text("\n".join(plain))
    stock = casbin.Enforcer(str(folder / "model.conf"), str(policy))
    rows = await demo.store.rows_at(epoch, lambda texts: [row_of(text) for text in texts])
    ours = Engine.load(MODEL_PATH.read_text(), (row for row in rows if not _is_conditional(row)), 1)
    asked, different = 0, []
    for subject in ours.enforcer.subjects.names():
        if not subject.startswith(("user:", "virtualaccount:")):
            continue
        known = await demo.runtime.changes.people([subject.removeprefix("user:")])
        name = next((f"user:{person.email}" for person in known.values()), subject)
        for thing in ours.resources_of("model:"):
            mine = ours.decide(Somebody(subject), "model:use", thing, Context({}))
            asked += 1
            theirs = stock.enforce(name, thing, "model:use", {})  # type: ignore[no-untyped-call]
            if theirs != bool(mine):
                different.append((name, thing))
    assert asked > 20
    assert different == []


def _has_condition(line: str) -> bool:
    cells = line.split(", ")
    return cells[0] in ("p", "p2") and cells[5] != ""


def _is_conditional(row: Row) -> bool:
    return row.ptype in ("p", "p2") and row.values[4] != ""


async def test_half_an_export_leaves_no_files(demo: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    client = Client(demo.url, demo.tokens["alice"])
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(lambda: write_pages(client.casbin(), folder))
    assert caught.value.status == 403
    assert list(folder.iterdir()) == []
