"""The access review: every rule that reaches somebody, with who wrote it, at one epoch."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from authz.conditions import Context
from authz.decision import Somebody
from authz.population import is_person
from authz.search import can
from proxy.access_review import EVERYBODY
from tests.proxy.api.stack import ESTATE, NOW, Stack

MINI = ("model:use", "model:acme/mini")


async def review(stack: Stack, *, who: str = "root", **query: object) -> list[Any]:
    """All lines, page by page."""
    found: list[Any] = []
    cursor = ""
    while True:
        got = await stack.call(
            "GET", f"/access-review?{urlencode({**query, 'cursor': cursor})}", who=who
        )
        assert got.status == 200, got.raw
        found += got.json["data"]
        if got.json["next"] is None:
            return found
        cursor = got.json["next"]


async def test_a_grant_through_a_team_says_path_date_and_who_granted_it(stack: Stack) -> None:
    lines = [
        line
        for line in await review(stack, limit=1000)
        if line["path"][-1] == "team:search" and line["resource"].endswith("acme")
    ]
    assert len(lines) >= 2
    for line in lines:
        assert line["path"][0] == line["subject"] and line["effect"] == "allow"
        assert line["rule"].startswith("provider-account/acme")
        assert line["granted"]["actor"] == "host" and line["granted"]["source"] == "host"
        assert line["since"] == max(line["granted"]["at"], line["joined"]["at"])


async def test_who_joins_later_has_it_since_then(stack: Stack) -> None:
    stack.now[0] = NOW + timedelta(days=3)
    await stack.runtime.changes.poll()
    team = {
        "type": "team",
        "name": "search",
        "members": ["member@example.com", "manager@example.com", "other@example.com"],
        "managers": ["manager@example.com"],
    }
    assert (await stack.call("PUT", "/teams/search", team)).status == 200
    lines = [line for line in await review(stack) if line["path"][-1:] == ["team:search"]]
    whole = {line["subject"]: line for line in lines if line["resource"].endswith("acme")}
    late = [line for line in whole.values() if line["joined"]["epoch"] != line["granted"]["epoch"]]
    assert len(late) == 1
    assert late[0]["since"].startswith("2026-11-28") and late[0]["joined"]["source"] == "manual"
    assert late[0]["granted"]["at"].startswith("2026-11-25")


async def test_whoever_may_use_a_thing_stands_in_the_review(stack: Stack) -> None:
    engine = stack.runtime.changes.engine
    subjects = {line["subject"] for line in await review(stack) if line["effect"] == "allow"}
    for subject in engine.enforcer.subjects.names():
        if subject.startswith(("user:", "virtualaccount:")) and engine.decide(
            Somebody(subject), *MINI, Context({"time.now": NOW})
        ):
            assert subject in subjects


async def test_what_everybody_has_stands_once(stack: Stack) -> None:
    lines = await review(stack)
    everyone = [line for line in lines if line["subject"] in ("any:user", "team:everyone")]
    assert everyone
    rules = {line["rule"] for line in everyone}
    assert not [
        line for line in lines if line["subject"].startswith("user:") and line["rule"] in rules
    ]


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
async def test_pages_of_any_size_give_the_same_lines_at_one_epoch(stack: Stack, limit: int) -> None:
    whole = await review(stack, limit=1000)
    if limit > 1 or len(whole) < 400:
        assert await review(stack, limit=limit) == whole
    assert [line["subject"] for line in whole] == sorted(line["subject"] for line in whole)


async def test_it_shows_what_was_then_and_the_cursor_keeps_its_epoch(stack: Stack) -> None:
    before = await review(stack)
    epoch = stack.runtime.changes.head
    first = await stack.call("GET", "/access-review?limit=3")
    await stack.commit({"type": "team", "name": "search", "members": ["other@example.com"]})
    second = await stack.call("GET", f"/access-review?limit=3&cursor={first.json['next']}")
    assert second.json["epoch"] == epoch
    assert first.json["data"] + second.json["data"] == before[:6]
    assert await review(stack) != before
    assert await review(stack, at=epoch) == before


@pytest.mark.parametrize(
    "query", ["cursor=AAAA", "cursor=WyJ4IiwiMSJd", "at=999", "at=9999-01-01T00:00:00Z", "x=1"]
)
async def test_a_wrong_parameter_is_refused(stack: Stack, query: str) -> None:
    assert (await stack.call("GET", f"/access-review?{query}")).status == 400


async def test_an_auditor_reads_it_by_ids(stack: Stack) -> None:
    got = await stack.call("GET", "/access-review?limit=5", who="auditor")
    assert got.status == 200 and got.json["people"] == {}
    assert (await stack.call("GET", "/access-review", who="member")).status == 403


async def test_every_rule_that_lets_somebody_do_something_stands_in_the_review(
    stack: Stack,
) -> None:
    lines = await review(stack, limit=1000)
    shared = {line["rule"] for line in lines if line["subject"] in EVERYBODY}
    own: dict[str, set[str]] = {}
    for line in lines:
        own.setdefault(line["subject"], set()).add(line["rule"])
    engine = stack.runtime.changes.engine
    people = [name for name in engine.enforcer.subjects.names() if is_person(name)]
    assert len(people) >= 7
    for subject in people:
        for ability in can(engine, Somebody(subject), Context({"time.now": NOW}), limit=10_000):
            if ability is not None:
                assert set(ability.rules) <= own.get(subject, set()) | shared, subject


async def test_a_grant_that_was_taken_back_and_given_again_is_as_old_as_the_second(
    stack: Stack,
) -> None:
    def granted(*subjects: str) -> dict[str, Any]:
        document = next(one for one in ESTATE if one["name"] == "acme")
        roles = [{"subject": one, "role_id": "provider-account-access"} for one in subjects]
        return {**document, "collaborators": roles}

    for day, subjects in enumerate(
        (("virtualaccount:checkout",), (), ("virtualaccount:checkout",)), 1
    ):
        stack.now[0] = NOW + timedelta(days=day)
        await stack.runtime.changes.poll()
        put = await stack.call("PUT", "/provider-accounts/acme", granted(*subjects))
        assert put.status == 200, put.raw
    lines = [
        line
        for line in await review(stack)
        if line["subject"] == "virtualaccount:checkout" and line["path"] == [line["subject"]]
    ]
    assert lines and all(line["since"].startswith("2026-11-28") for line in lines)
    assert all(line["joined"] is None for line in lines)
    then = [
        line
        for line in await review(stack, at=lines[0]["granted"]["epoch"] - 2)
        if line["subject"] == "virtualaccount:checkout"
    ]
    assert {line["since"][:10] for line in then} >= {"2026-11-26"}


async def test_a_refusal_and_what_bounds_an_account_stand_in_the_review(stack: Stack) -> None:
    await stack.commit(
        {
            "type": "policy",
            "name": "stop",
            "rules": [
                {
                    "id": "one",
                    "effect": "deny",
                    "subjects": ["team:search"],
                    "actions": ["model:use"],
                    "resources": ["model:acme/mini"],
                }
            ],
        },
    )
    bot = {
        "type": "virtual-account",
        "name": "bot",
        "ownedBy": {"team": "search"},
        "permissions": [
            {
                "resource_fqn": "provider-account:acme",
                "resource_type": "provider-account",
                "role_id": "provider-account-access",
            }
        ],
    }
    put = await stack.call("PUT", "/virtual-accounts/bot", bot, who="manager")
    assert put.status in (200, 201), put.raw
    lines = await review(stack)
    denied = [line for line in lines if line["effect"] == "deny"]
    assert {line["path"][-1] for line in denied} == {"team:search"} and len(denied) == 2
    bound = [line for line in lines if line["subject"] == "virtualaccount:bot"]
    assert bound and {line["within"] for line in bound} == {"bound:search"}
