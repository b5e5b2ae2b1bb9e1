"""What holds for every route: the record before the answer, freshness, epochs, errors in one form."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.api import body as bodies
from proxy.api.site import ROUTES
from store.entries import decode
from tests.proxy.api.stack import NOW, Stack, stack_on
from tests.proxy.api.test_matrix import BEFORE, DOCUMENTS, MANIFEST

BOUNDED = {
    "permissions": [
        {
            "resource_fqn": "acme",
            "resource_type": "provider-account",
            "role_id": "provider-account-access",
        }
    ]
}
TEAM = {"type": "team", "name": "ml", "members": []}


# The record


async def test_nothing_is_answered_or_done_while_the_journal_cannot_take_the_record(
    stack: Stack,
) -> None:
    stack.full[0] = True
    epoch = stack.runtime.changes.engine.epoch
    for method, path, body in (
        ("GET", "/whoami", None),
        ("GET", "/teams", None),
        ("PUT", "/teams/ml", TEAM),
        ("DELETE", "/teams/none", None),  # a refusal as well
    ):
        got = await stack.call(method, path, body)
        assert (got.status, got.code) == (503, "journal_unavailable")
        assert got.headers["retry-after"]
    assert stack.runtime.changes.engine.epoch == epoch
    stack.full[0] = False
    for _ in range(50):  # the journal tries the disk again at most each 100 ms
        await asyncio.sleep(0.02)
        if (await stack.call("GET", "/whoami")).status == 200:
            break
    assert (await stack.call("PUT", "/teams/ml", TEAM)).status == 201


async def test_a_refusal_is_a_record_with_the_reason(stack: Stack) -> None:
    got = await stack.call("DELETE", "/teams/search", who="auditor")
    assert got.status == 403
    record = str(stack.record(got.headers["x-decision-id"]))
    assert "team:delete" in record and "no_grant" in record and "team:search" in record
    assert got.json["decision_id"] == got.headers["x-decision-id"]


async def test_the_name_of_an_unknown_thing_is_kept_out_of_the_chain(stack: Stack) -> None:
    got = await stack.call("GET", "/teams/secret-plans-canary")
    assert got.status == 404
    record = stack.record(got.headers["x-decision-id"])
    assert "unknown_resource" in str(record)


def _mutation(name: str, stack: Stack) -> tuple[str, object]:
    """(path, body) of a call that really changes something."""
    match name:
        case "PUT /apply":
            return "/apply", {"manifests": [MANIFEST]}
        case "POST /personal-access-tokens":
            return "/personal-access-tokens", {"name": "laptop"}
        case "POST /personal-access-tokens/for-user":
            return "/personal-access-tokens/for-user", {
                "name": "desk-pc",
                "email": "other@example.com",
            }
        case "DELETE /personal-access-tokens/revoke/all":
            return "/personal-access-tokens/revoke/all?email=other@example.com", None
        case "DELETE /personal-access-tokens/{id}":
            return f"/personal-access-tokens/{stack.token_ids['member']}", None
        case "POST /mcp-servers/{name}/catalogue/approve":
            return "/mcp-servers/tools/catalogue/approve", {"tools": ["say"]}
        case "POST /erasures":
            return "/erasures", {"person": "other@example.com"}
        case "DELETE /virtual-accounts/{name}/tokens/{id}":
            return f"/virtual-accounts/checkout/tokens/{stack.token_ids['checkout']}", None
        case "POST /virtual-accounts/{name}/unbind":
            return "/virtual-accounts/bot/unbind", None
        case "POST /virtual-accounts/{name}/regenerate-token":
            return "/virtual-accounts/target/regenerate-token", {}
        case _:
            method, _, path = name.partition(" ")
            collection = path.removeprefix("/").removesuffix("/{name}")
            document: dict[str, Any] = DOCUMENTS[collection]
            return (
                path.replace("{name}", str(document["name"])),
                document if method == "PUT" else None,
            )


MUTATING = [route.name for route in ROUTES if route.mutates and not route.public]


@pytest.mark.parametrize("name", MUTATING)
async def test_every_mutating_route_writes_an_entry(stack: Stack, name: str) -> None:
    # docs/attacks.md L11, L12, L13: with actor, source and request id
    await stack.commit(*BEFORE)
    if "unbind" in name:
        bot = {"type": "virtual-account", "name": "bot", "ownedBy": {"team": "search"}, **BOUNDED}
        assert (await stack.call("PUT", "/virtual-accounts/bot", bot, who="manager")).status == 201
    epoch = stack.runtime.changes.engine.epoch
    path, body = _mutation(name, stack)
    who = "root" if name == "POST /personal-access-tokens" else "ops"
    got = await stack.call(name.partition(" ")[0], path, body, who=who)
    assert got.status in (200, 201), got.raw
    (raw,) = await stack.store.entries(epoch, 10)
    entry = decode(raw.epoch, raw.hash, raw.body)
    me = (await stack.call("GET", "/whoami", who=who)).json["id"]
    assert (entry.actor, entry.request_id) == (me, got.headers["x-request-id"])
    assert got.headers["x-policy-epoch"] == str(entry.epoch) == str(got.json["epoch"])


# Freshness and epochs


async def test_a_policy_that_is_too_old_decides_nothing(stack: Stack) -> None:
    # docs/attacks.md D1: our own fault is 503, never 401 or 403
    stack.now[0] = NOW + timedelta(seconds=601)
    got = await stack.call("GET", "/whoami")
    assert (got.status, got.code) == (503, "policy_stale") and got.headers["retry-after"]
    await stack.runtime.changes.poll()
    assert (await stack.call("GET", "/whoami")).status == 200


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        ("1", 200, None),
        ("999999", 400, "epoch_unknown"),
        ("-1", 400, "invalid_header"),
        ("x", 400, "invalid_header"),
        ("9" * 400, 400, "invalid_header"),
    ],
)
async def test_a_caller_may_demand_an_epoch(
    stack: Stack, value: str, status: int, code: str | None
) -> None:
    got = await stack.call("GET", "/whoami", headers={"x-min-epoch": value})
    assert got.status == status and (code is None or got.code == code)


async def test_what_was_committed_can_be_demanded_at_once(stack: Stack) -> None:
    epoch = (await stack.call("PUT", "/teams/ml", TEAM)).headers["x-policy-epoch"]
    got = await stack.call("GET", "/teams/ml", headers={"x-min-epoch": epoch})
    assert got.status == 200 and int(got.headers["x-policy-epoch"]) >= int(epoch)


async def test_of_two_writers_with_one_etag_one_wins(stack: Stack) -> None:
    etag = (await stack.call("PUT", "/teams/ml", TEAM)).headers["etag"]
    both = await asyncio.gather(
        *(
            stack.call(
                "PUT", "/teams/ml", {**TEAM, "description": text}, headers={"If-Match": etag}
            )
            for text in ("one", "two")
        )
    )
    assert sorted(got.status for got in both) == [200, 412]


async def test_of_two_creators_one_wins(stack: Stack) -> None:
    both = await asyncio.gather(
        *(
            stack.call(
                "PUT", "/teams/ml", {**TEAM, "description": text}, headers={"If-None-Match": "*"}
            )
            for text in ("one", "two")
        )
    )
    assert sorted(got.status for got in both) == [201, 412]


# Errors


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1", 404, "not_found"),
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/v2/whoami", 404, "not_found"),
        ("POST", "/api/v1/whoami", 405, "method_not_allowed"),
        ("HEAD", "/api/v1/whoami", 405, None),
        ("OPTIONS", "/api/v1/teams", 405, "method_not_allowed"),
        ("PATCH", "/api/v1/teams/search", 405, "method_not_allowed"),
        ("GET", "/api/v1/whoami?x=1", 400, "invalid_query"),
        ("GET", "/api/v1/teams/search?dry_run=true", 400, "invalid_query"),
    ],
)
async def test_every_refusal_is_a_problem_document(
    stack: Stack, method: str, path: str, status: int, code: str | None
) -> None:
    got = await stack.call(method, path)
    assert got.status == status
    assert got.headers["content-type"].startswith("application/problem+json")
    assert got.headers["x-request-id"]
    if status == 405:
        assert got.headers["allow"]
    if code is not None:
        assert got.code == code
        assert set(got.json) == {
            "type", "title", "status", "detail", "code", "hint", "request_id", "decision_id", "problems",
        }  # fmt: skip


async def test_a_bug_of_ours_says_nothing_of_itself(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("canary-cause")

    monkeypatch.setattr(type(stack.runtime.changes), "person", broken)
    got = await stack.call("GET", "/whoami")
    assert (got.status, got.code) == (500, "internal_error")
    assert b"canary-cause" not in got.raw


async def test_too_many_refusals_are_answered_429(tmp_path: Path) -> None:
    async with stack_on(tmp_path, limits={"refusals_per_minute": 3}) as stack:
        statuses = [
            (await stack.call("GET", f"/teams/guess-{n}", who="member")).status for n in range(5)
        ]
        assert statuses == [404, 404, 404, 429, 429]
        got = await stack.call("GET", "/teams/guess", who="member")
        assert got.code == "too_many_refusals" and int(got.headers["retry-after"]) > 0
        assert (await stack.call("GET", "/whoami", who="member")).status == 200


async def test_a_body_that_never_ends_is_not_waited_for(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.client.port)
    writer.write(
        b"PUT /api/v1/teams/ml HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + stack.tokens["root"].encode() + b"\r\n"
        b"Content-Length: 100\r\n\r\n{"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408") and b"application/problem+json" in head
    writer.close()
    await writer.wait_closed()
