"""Whole estates in one call: progress while it runs, more room, and a guard against deleting by accident."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.api import routes
from proxy.metrics import exposition
from tests.proxy.api.stack import Got, Stack

LINES = {"Accept": "application/x-ndjson"}


def teams(count: int) -> list[dict[str, Any]]:
    return [{"type": "team", "name": f"t{number}", "members": []} for number in range(count)]


def lines(got: Got) -> list[dict[str, Any]]:
    assert (got.status, got.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in got.raw.splitlines()]


async def test_progress_comes_before_the_result(stack: Stack) -> None:
    got = await stack.call("PUT", "/apply", {"manifests": teams(3)}, headers=LINES)
    *before, last = lines(got)
    assert before and all(set(line) == {"progress"} for line in before)
    assert before[-1]["progress"] == {"stage": "write", "done": 3, "of": 3}
    assert last["status"] == 200 and last["result"]["changed"] is True
    assert last["epoch"] == last["result"]["epoch"] == stack.runtime.changes.head
    assert stack.record(last["decision_id"])
    assert got.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "who", "status", "code"),
    [
        (
            {"manifests": [{"type": "team", "name": "x", "colour": 1}]},
            "root",
            422,
            "invalid_documents",
        ),
        ({"manifests": []}, "root", 400, "invalid_body"),
        ({"manifest": [], "x": 1}, "root", 400, "invalid_body"),
        ({"manifests": teams(1)}, "member", 403, "forbidden"),
    ],
)
async def test_a_problem_is_the_last_line_with_its_status(
    stack: Stack, body: dict[str, Any], who: str, status: int, code: str
) -> None:
    head = stack.runtime.changes.head
    last = lines(await stack.call("PUT", "/apply", body, who=who, headers=LINES))[-1]
    assert (last["problem"]["status"], last["problem"]["code"]) == (status, code)
    plain = await stack.call("PUT", "/apply", body, who=who)
    assert (plain.status, plain.code) == (status, code)
    assert stack.runtime.changes.head == head


async def test_metrics_count_what_came_of_it_and_not_the_status_line(stack: Stack) -> None:
    wrong = [{"type": "team", "name": "x", "colour": 1}]
    for manifests in (teams(2), wrong):
        lines(await stack.call("PUT", "/apply", {"manifests": manifests}, headers=LINES))
    told = exposition([stack.runtime.metrics.snapshot()]).decode()
    for status in ("2xx", "4xx"):
        assert f'gatewarden_requests_total{{route="apply",status="{status}"}} 1.0' in told


async def test_without_a_valid_token_there_are_no_lines(stack: Stack) -> None:
    got = await stack.call("PUT", "/apply", {"manifests": teams(1)}, who=None, headers=LINES)
    assert (got.status, got.code) == (401, "missing_credential")


async def test_only_who_may_write_whole_kinds_may_send_a_large_estate(stack: Stack) -> None:
    body = json.dumps({"manifests": teams(1), "comment": "x"}).encode()
    large = body + b" " * (routes.ESTATE + 1 - len(body))
    taken = await stack.call("PUT", "/apply", data=large)
    assert taken.status == 200, taken.raw
    for who in ("member", "manager"):
        refused = await stack.call("PUT", "/apply", data=large, who=who)
        assert (refused.status, refused.code) == (413, "body_too_large")


async def test_the_revision_stands_in_the_log(stack: Stack) -> None:
    body = {"manifests": teams(1), "source": "gitops", "revision": "4f2a9c1"}
    assert (await stack.call("PUT", "/apply", body)).status == 200
    entry = (await stack.call("GET", "/changes")).json["data"][0]
    assert (entry["revision"], entry["source"]) == ("4f2a9c1", "gitops")
    wrong = await stack.call("PUT", "/apply", {**body, "revision": "a b\n"})
    assert (wrong.status, wrong.code) == (400, "invalid_body")


async def test_prune_of_a_great_part_needs_its_number(stack: Stack) -> None:
    given: dict[str, Any] = {"source": "gitops", "prune": True}
    assert (await stack.call("PUT", "/apply", {**given, "manifests": teams(20)})).status == 200
    few = {**given, "manifests": teams(9)}  # 11 of 20 go
    plan = await stack.call("PUT", "/apply", {**few, "dry_run": True})
    assert plan.status == 200 and "11 of the 20" in plan.json["plan"]["alarms"][0]
    for said in (0, 10):
        refused = await stack.call("PUT", "/apply", {**few, "yes_delete": said})
        assert (refused.status, refused.code) == (409, "guard_refused")
        assert "`yes_delete` to 11" in refused.json["hint"]
    meant = await stack.call("PUT", "/apply", {**few, "yes_delete": 11})
    assert meant.status == 200 and len(meant.json["plan"]["deleted"]) == 11
    small = await stack.call("PUT", "/apply", {**given, "manifests": teams(1)})
    assert small.status == 200 and len(small.json["plan"]["deleted"]) == 8


@pytest.mark.parametrize("switch", [{"access": True}, {"replay": 5}])
async def test_what_is_about_a_plan_needs_a_dry_run(stack: Stack, switch: dict[str, Any]) -> None:
    got = await stack.call("PUT", "/apply", {"manifests": teams(1), **switch})
    assert (got.status, got.code) == (400, "invalid_body")


async def test_recorded_decisions_are_replayed_for_those_who_may_read_them(stack: Stack) -> None:
    body = {"manifests": teams(1), "dry_run": True, "replay": 5}
    refused = await stack.call("PUT", "/apply", body, who="security")
    assert (refused.status, refused.code) == (403, "forbidden")


async def test_a_plan_stands_where_long_questions_are_not_answered(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.runtime, "inquiries", None)
    body = {"manifests": teams(1), "dry_run": True, "access": True}
    got = await stack.call("PUT", "/apply", body)
    assert got.status == 200 and got.json["access"] is None
    assert "not known" in got.json["plan"]["alarms"][0]
    many = await stack.call("PUT", "/apply", {**body, "replay": 5})
    assert (many.status, many.code) == (503, "unavailable")
    monkeypatch.undo()  # before the stack is taken down


STOP: dict[str, Any] = {
    "type": "policy",
    "name": "stop",
    "rules": [
        {
            "id": "acme",
            "effect": "deny",
            "subjects": ["team:search"],
            "actions": ["model:use"],
            "resources": ["provider-account:acme"],
        }
    ],
}


async def test_a_plan_says_who_loses_what_group_first(stack: Stack) -> None:
    body = {"manifests": [STOP], "dry_run": True, "access": True}
    found = (await stack.call("PUT", "/apply", body)).json["access"]
    (line,) = [item for item in found["lines"] if item["subject"] == "team:search"]
    assert (line["effect"], line["action"], line["people"]) == ("loses", "model:use", 2)
    used = {
        (pair["effect"], pair["resource"])
        for pair in found["pairs"]
        if pair["action"] == "model:use"
    }
    assert used == {("loses", "model:acme/mini")}
    assert {"member@example.com", "manager@example.com"} <= set(found["people"].values())


async def test_whom_the_caller_may_not_read_is_counted_and_not_named(stack: Stack) -> None:
    grants = [
        {
            "actions": ["policy:read", "policy:write"],
            "resources": ["any:policy"],
        }
    ]
    writer = {"type": "role", "name": "writer", "resourceType": "tenant", "grants": grants}
    await stack.commit(writer, {"type": "user", "name": "other@example.com", "roles": ["writer"]})
    body = {"manifests": [STOP], "dry_run": True, "access": True}
    got = await stack.call("PUT", "/apply", body, who="other")
    assert got.status == 200, got.raw
    found = got.json["access"]
    assert found["pairs_total"] >= 2 and found["pairs"] == []
    assert b"manager@example.com" not in got.raw and b"member@example.com" not in got.raw
