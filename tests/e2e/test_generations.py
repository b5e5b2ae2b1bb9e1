"""A provider account that is deleted and made again is another account, whatever it is called."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from identity.issue import Origin, issue
from policies.change import Change, Source
from policies.documents import Restriction
from policies.loader import load_mapping
from tests.e2e.conftest import Demo

ALICE = "user:alice@example.com"
USE = "provider-account-access"
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def account(**fields: Any) -> dict[str, Any]:
    names = ("mini", "large", "tuned")
    models = [{"type": "integration/model/echo", "name": name} for name in names]
    return {"type": "provider-account/echo", "name": "acme", "integrations": models, **fields}


GRANTED = account(collaborators=[{"subject": "team:search", "role_id": USE}])
BINDING = {
    "type": "role-binding",
    "name": "alice-mini",
    "subjects": [{"type": "user", "name": "alice@example.com"}],
    "permissions": [{"resourceType": "model", "resourceFqn": "acme/mini", "role": USE}],
}
VIRTUAL = {
    "type": "provider-account/virtual-model",
    "name": "virt",
    "collaborators": [{"subject": "team:search", "role_id": USE}],
    "integrations": [
        {
            "type": "integration/model/virtual",
            "name": "best",
            "routing_config": {"targets": [{"target": "acme/mini"}]},
        }
    ],
}


def deny(id: str, **fields: Any) -> dict[str, Any]:
    rule = {"id": id, "effect": "deny", "subjects": ["any:user"], "actions": ["model:use"]}
    return {**rule, "message": id, **fields}


STOP = {
    "type": "policy",
    "name": "stop",
    "rules": [
        deny("by-name", resources=["model:acme/large"]),
        deny("by-pattern", resources=["model:*/tun*"]),
        deny(
            "by-condition",
            resources=["any:model"],
            when=[
                {"field": "resource.account", "operator": "EQUAL", "value": "acme"},
                {"field": "body.stream", "operator": "EXISTS", "value": True},
            ],
        ),
    ],
}


class Caller:
    """alice, and who changes the estate."""

    def __init__(self, gateway: Demo) -> None:
        self.gateway = gateway
        self.token = gateway.token("alice")

    async def change(
        self, *documents: dict[str, Any], delete: tuple[str, str] | None = None
    ) -> None:
        change = Change(
            "host",
            Source.HOST,
            "test",
            puts=load_mapping(list(documents)).plain(),
            deletes=(delete,) if delete else (),
        )
        runtime = self.gateway.process.runtime
        await runtime.changes.commit(change, None, runtime.clock.now())

    async def call(
        self, method: str, path: str, body: object = None, token: str | None = None
    ) -> tuple[int, dict[str, Any], str]:
        """(status, body, decision id)"""
        headers = {"authorization": f"Bearer {token or self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, self.gateway.url + path, json=body) as answer,
        ):
            return answer.status, await answer.json(), answer.headers.get("x-decision-id", "")

    async def chat(self, model: str, token: str | None = None, **more: Any) -> int:
        body = {"model": model, **CHAT, **more}
        status, said, _ = await self.call("POST", "/v1/chat/completions", body, token)
        # How we store an account is nobody's business; only what the caller wrote comes back.
        assert "~" in model or "~" not in json.dumps(said), said
        return status

    async def models(self) -> list[str]:
        _, said, _ = await self.call("GET", "/v1/models")
        assert "~" not in json.dumps(said)
        return [
            item["id"] for item in said["data"] if not item["id"].startswith(("echo/", "openai/"))
        ]

    async def record(self, decision: str) -> dict[str, Any]:
        folder = self.gateway.settings.data / "journal"
        for _ in range(100):
            for path in folder.rglob("*"):
                for line in path.read_bytes().splitlines() if path.is_file() else ():
                    if decision.encode() in line and b'"resource"' in line:
                        found: dict[str, Any] = json.loads(line)
                        return found
            await asyncio.sleep(0.02)
        raise AssertionError(decision)


@pytest.fixture
async def caller(gateway: Demo) -> Caller:
    """An estate whose account acme was granted, used, deleted, and made again without a grant."""
    caller = Caller(gateway)
    await caller.change(GRANTED, BINDING, VIRTUAL, STOP)
    assert await caller.models() == ["acme/mini", "virt/best"]
    assert await caller.chat("acme/mini") == await caller.chat("virt/best") == 200
    await caller.change(delete=("provider-account", "acme"))
    assert await caller.models() == []
    assert await caller.chat("acme/mini") == await caller.chat("virt/best") == 404
    await caller.change(account())
    return caller


async def test_no_old_allow_carries_over(caller: Caller) -> None:
    assert await caller.models() == []
    for model in ("acme/mini", "acme/large", "acme~1/mini", "acme~2/mini", "virt/best"):
        assert await caller.chat(model) == 404
        assert (await caller.call("GET", f"/v1/models/{model}"))[0] == 404


async def test_a_new_grant_works_under_the_callers_name_and_records_the_id(caller: Caller) -> None:
    await caller.change(GRANTED)
    assert await caller.models() == ["acme/mini"]
    status, shown, _ = await caller.call("GET", "/v1/models/acme/mini")
    assert (status, shown["id"], shown["owned_by"]) == (200, "acme/mini", "acme")
    body = {"model": "acme/mini", **CHAT}
    status, _, decision = await caller.call("POST", "/v1/chat/completions", body)
    assert status == 200
    assert "model:acme~2/mini" in json.dumps(await caller.record(decision))
    assert await caller.chat("acme~2/mini") == 404  # a name that nobody may say


async def test_an_alias_stands_for_the_account_that_it_was_made_for(caller: Caller) -> None:
    await caller.change(GRANTED)
    assert await caller.chat("virt/best") == 404
    await caller.change(VIRTUAL)
    assert await caller.chat("virt/best") == 200


async def test_an_old_deny_binds_every_generation(caller: Caller) -> None:
    await caller.change(GRANTED)
    assert await caller.models() == ["acme/mini"]
    assert await caller.chat("acme/mini") == 200
    for model in ("acme/large", "acme/tuned"):
        assert await caller.chat(model) == 403
        assert (await caller.call("GET", f"/v1/models/{model}"))[0] == 403
    assert await caller.chat("acme/mini", stream=True) == 403


async def test_a_token_that_was_restricted_to_the_old_model_may_not_use_the_new_one(
    gateway: Demo,
) -> None:
    caller = Caller(gateway)
    runtime = gateway.process.runtime
    await caller.change(GRANTED)
    only = Restriction(actions=("model:use",), resources=("model:acme/mini",))
    issued = issue(ALICE, Origin("host", "test"), now=runtime.clock.now(), restrictions=[only])
    await runtime.changes.commit(issued.change, None, runtime.clock.now())
    assert await caller.chat("acme/mini", issued.secret) == 200
    assert await caller.chat("echo/small", issued.secret) == 404
    await caller.change(delete=("provider-account", "acme"))
    await caller.change(GRANTED)
    assert await caller.chat("acme/mini") == 200
    assert await caller.chat("acme/mini", issued.secret) == 404


async def test_explain_answers_about_the_account_of_today(caller: Caller) -> None:
    await caller.change(GRANTED)
    body = {"action": "model:use", "resource": "model:acme/mini"}
    _, said, _ = await caller.call("POST", "/api/v1/explain", body)
    assert said["effect"] == "allow"
