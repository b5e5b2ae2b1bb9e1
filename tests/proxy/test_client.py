"""The command line's client against the real control plane, and against what is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.client import Client, ClientError
from tests.proxy.api.stack import Stack, stack_on


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack_on(tmp_path) as made:
        yield made


@pytest.fixture
def root(stack: Stack) -> Client:
    return Client(stack.url, stack.tokens["root"])


async def _failed(call: Any, *args: Any, **more: Any) -> ClientError:
    with pytest.raises(ClientError) as raised:
        await asyncio.to_thread(call, *args, **more)
    return raised.value


async def test_the_commands_are_answered(stack: Stack, root: Client) -> None:
    me = await asyncio.to_thread(root.whoami)
    assert me.body["name"] == "root@example.com" and me.epoch == me.body["epoch"]
    answer = await asyncio.to_thread(
        root.explain, "model:use", "model:acme/mini", subject="team:search"
    )
    assert answer.body["effect"] == "allow"
    team = {"type": "team", "name": "ml", "members": []}
    plan = await asyncio.to_thread(root.apply, [team], dry_run=True)
    assert plan.body["changed"] and plan.body["dry_run"]
    done = await asyncio.to_thread(root.apply, [team], comment="why")
    assert done.epoch == done.body["epoch"]
    gone = await asyncio.to_thread(root.delete, "team", "ml")
    assert gone.epoch == done.epoch + 1


async def test_export_reads_everything_that_the_token_may_read(stack: Stack, root: Client) -> None:
    found = await asyncio.to_thread(lambda: [item["document"] for item in root.export()])
    keys = {(item["type"].partition("/")[0], item["name"]) for item in found}
    assert {("team", "search"), ("user", "root@example.com"), ("provider-account", "acme")} <= keys
    assert ("gateway-data-access-config", "data-access") in keys
    again = await asyncio.to_thread(root.apply, found, dry_run=True)
    assert again.body["changed"] is False, again.body["plan"]
    nothing = Client(stack.url, stack.tokens["checkout"])
    assert await asyncio.to_thread(lambda: list(nothing.export())) == []


async def test_tokens_are_made_listed_and_ended(stack: Stack, root: Client) -> None:
    made = await asyncio.to_thread(root.create_token, "laptop", expires="2030-01-31")
    listed = await asyncio.to_thread(lambda: list(root.tokens()))
    assert made.body["id"] in [item["id"] for item in listed]
    await asyncio.to_thread(root.revoke_token, made.body["id"])
    error = await _failed(Client(stack.url, made.body["token"]).whoami)
    assert (error.status, error.code) == (401, "invalid_credential")
    ops = Client(stack.url, stack.tokens["ops"])
    other = await asyncio.to_thread(ops.create_token, "desk-pc", email="member@example.com")
    assert other.body["token"].startswith("gw_pat_")


async def test_an_error_says_what_is_wrong_and_where(stack: Stack, root: Client) -> None:
    bad = {"type": "team", "name": "ml", "members": [], "colour": "red"}
    error = await _failed(root.apply, [bad])
    assert (error.status, error.code) == (422, "invalid_documents")
    assert error.problems[0].file == "request[0]" and "colour" in error.problems[0].message
    assert error.request_id
    missing = await _failed(root.delete, "teams", "nothing")
    assert missing.status == 404 and missing.decision_id
    assert (await _failed(root.delete, "colour", "red")).code == "unknown_collection"


async def test_a_server_that_is_none_is_named(unused_tcp_port: int) -> None:
    error = await _failed(Client(f"http://127.0.0.1:{unused_tcp_port}", "gw_pat_x").whoami)
    assert error.code == "unreachable" and "gw_pat_x" not in str(error)


@pytest.mark.parametrize(
    ("url", "token", "code"),
    [
        ("", "t", "no_url"),
        ("ftp://x", "t", "no_url"),
        ("file:///etc/passwd", "t", "no_url"),
        ("http://user:secret@x", "t", "no_url"),
        ("http://x?a=1", "t", "no_url"),
        ("http://x", "", "no_token"),
        ("http://x", "a\nb", "no_token"),
        ("http://x", "é", "no_token"),
    ],
)
def test_an_unusable_url_or_token_is_refused_at_once(url: str, token: str, code: str) -> None:
    with pytest.raises(ClientError) as raised:
        Client(url, token)
    assert raised.value.code == code and "secret" not in str(raised.value)


def test_the_token_is_not_in_the_repr() -> None:
    assert "gw_pat_canary" not in repr(Client("http://127.0.0.1:1", "gw_pat_canary"))


async def test_a_redirect_is_not_followed_with_the_token() -> None:
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.path)
        raise web.HTTPFound("/stolen")

    async def stranger(request: web.Request) -> web.Response:
        return web.Response(text="hello", status=418)

    app = web.Application()
    app.router.add_get("/api/v1/whoami", elsewhere)
    app.router.add_get("/api/v1/teams", stranger)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        assert (await _failed(Client(url, "t").whoami)).code == "redirected"
        assert seen == ["/api/v1/whoami"]
        error = await _failed(Client(url, "t").call, "GET", "/teams")
        assert (error.code, error.status) == ("unexpected_answer", 418)
