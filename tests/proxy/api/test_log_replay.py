"""Recorded decisions asked again over the API: a true log differs nowhere, whoever reads sees his part only."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from authz.conditions import Context
from authz.decision import Somebody
from authz.recording import decision_record
from store.intake import Intake
from store.shipper import Shipper
from tests.proxy.api.stack import NOW, Stack

TODAY, DAY = datetime.now(UTC), timedelta(days=1)  # by the journal's own clock
WINDOW = {"since": (TODAY - DAY).isoformat(), "until": (TODAY + DAY).isoformat()}
ASKED = (
    ("GET", "/whoami", None),
    ("GET", "/teams", None),
    ("GET", "/teams/search", None),
    ("GET", "/users/root@example.com", None),
    ("PUT", "/teams/search?dry_run=true", {"type": "team", "name": "search", "members": []}),
    ("GET", "/changes", None),
    ("GET", "/access/who?action=model:use&resource=model:acme/mini", None),
    ("GET", "/provider-accounts/acme", None),
    ("GET", "/teams/nothing", None),
)


def ship(stack: Stack) -> None:
    assert stack.runtime.records is not None
    shelves = stack.runtime.records.place.open()
    try:
        Shipper(stack.folder / "journal", Intake(shelves)).drain()
    finally:
        shelves.close()


async def shipped(stack: Stack) -> None:
    await asyncio.to_thread(ship, stack)


async def replayed(stack: Stack, *, who: str = "root", **query: object) -> Any:
    asked = {**WINDOW, **query}
    got = await stack.call("GET", f"/decisions/replay?{urlencode(asked)}", who=who)
    assert got.status == 200, got.raw
    return got.json


async def false_record(stack: Stack, address: str) -> str:
    """A record of an allow that policy never gave; its id."""
    person = await stack.runtime.changes.person_by_email(address)
    assert person is not None
    asker, other = Somebody(f"user:{person.id}"), "model:acme/mini"
    decision = stack.runtime.changes.engine.decide(
        asker, "model:use", other, Context({"time.now": NOW})
    )
    record = decision_record(decision, principal=asker.id, credential="c")
    turned = {"allow": "deny", "deny": "allow"}[record.effect]
    ticket = stack.runtime.journal.append(
        type(record)(
            **{**{n: getattr(record, n) for n in record.__struct_fields__}, "effect": turned}
        )
    )
    await ticket.durable()
    return ticket.id


async def test_what_was_decided_here_is_what_policy_gives_again(stack: Stack) -> None:
    for who in ("root", "member", "manager", "auditor", "other", "restricted", "ops", "checkout"):
        for method, path, body in ASKED:
            await stack.call(method, path, body, who=who)
    before = {"type": "team", "name": "search", "members": ["other@example.com"]}
    assert (await stack.call("PUT", "/teams/search", before)).status == 200
    for method, path, body in ASKED:
        await stack.call(method, path, body, who="member")
    await shipped(stack)
    found = await replayed(stack, limit=1000)
    assert found["data"] == [] and found["asked"] > 50 and found["next"] is None
    assert found["unanswerable"] == 0


async def test_a_false_record_stands_out_and_is_shown_to_those_who_may_read_it(
    stack: Stack,
) -> None:
    await stack.call("GET", "/whoami", who="member")
    false = await false_record(stack, "other@example.com")
    await shipped(stack)
    for who in ("root", "auditor", "other"):
        (difference,) = (await replayed(stack, who=who))["data"]
        assert (difference["id"], difference["what"]) == (false, "effect")
        assert (difference["recorded"], difference["effect"]) == ("allow", "deny")
    mine = await replayed(stack, who="member")
    assert mine["data"] == [] and mine["asked"] == 1
    assert (await replayed(stack, action="self:read"))["data"] == []


async def test_pages_cover_the_log_and_a_read_is_a_record(stack: Stack) -> None:
    for _ in range(5):
        await stack.call("GET", "/whoami", who="member")
    await shipped(stack)
    asked, cursor, pages = 0, "", 0
    while cursor is not None:
        found = await replayed(stack, limit=2, cursor=cursor)
        asked, cursor, pages = asked + found["asked"], found["next"], pages + 1
    assert asked == 5 and pages >= 3
    lists = [
        record["body"]
        for record in stack.records()
        if record.get("body", {}).get("action") == "data:read"
    ]
    assert len(lists) == pages and all(body["resource"] == "data:decisions" for body in lists)


@pytest.mark.parametrize("query", ["cursor=AAAA", "since=yesterday", "x=1", "limit=0"])
async def test_a_wrong_parameter_is_refused(stack: Stack, query: str) -> None:
    assert (await stack.call("GET", f"/decisions/replay?{query}")).status == 400
