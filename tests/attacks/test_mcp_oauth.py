"""The gateway as authorization server of MCP clients: tokens for another place, confused deputies, what ends with what.

Numbers are those of docs/attacks.md (5.4 H2, H3; 3.7 P11, P18).
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from tests.attacks.mcp_house import CALLBACK, TOOLS, control, github, oauth, pat, raw
from tests.proxy.mcp.house import House, Scripted, house, tool

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    },
}


@pytest.fixture
async def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    async with house(tmp_path, monkeypatch, PORT=str(unused_port())) as made:
        yield made


async def status(gate: House, method: str, path: str, secret: str, body: Any = None) -> int:
    headers = {"authorization": f"Bearer {secret}"}
    async with gate.http.request(
        method, f"{gate.url}{path}", json=body, headers=headers, allow_redirects=False
    ) as answer:
        await answer.read()
        return answer.status


async def test_h3_an_access_token_is_good_where_it_was_asked_for_and_nowhere_else(
    gate: House,
) -> None:
    """H3: another server, all servers, models, the control plane; and it makes no token."""
    async with github(gate), Scripted(tools=[tool("other")]) as second:
        await gate.apply(second.manifest("gitlab", ["team:search"]))
        got = await oauth(gate, "alice", "/mcp/github", "oat")
        assert sorted(await gate.modern("oat", "github").names()) == sorted(TOOLS)
        for path in (
            "/mcp/gitlab",
            "/mcp",
            "/mcp/v1/gitlab/mcp",
            "/mcp/never",
            "/mcp/git%68ub",
            "/mcp/github/",
        ):
            sent = [("authorization", f"Bearer {got.access}"), ("content-type", "application/json")]
            said = await raw(gate, path, json.dumps(HELLO).encode(), sent)
            assert said.status in (401, 404), path
        chat = {"model": "echo/small", "messages": [{"role": "user", "content": "x"}]}
        for method, path, body in (
            ("GET", "/v1/models", None),
            ("POST", "/v1/chat/completions", chat),
            ("POST", "/v1/messages", {**chat, "max_tokens": 5}),
            ("GET", "/api/v1/users", None),
            ("GET", "/api/v1/mcp-servers", None),
            ("GET", "/api/v1/personal-access-tokens", None),
            ("POST", "/api/v1/personal-access-tokens", {"name": "mine"}),
            ("PUT", "/api/v1/mcp-servers/github/auth", {"values": {"KEY": "x"}}),
            ("POST", "/api/v1/explain", {}),
        ):
            for secret in (got.access, got.refresh):
                assert await status(gate, method, path, secret, body) == 401, path
        assert await status(gate, "POST", "/mcp/github", got.refresh, HELLO) == 401
        # Neither does it open a session for another credential, nor another's for it.
        for odd in (
            got.access[:-1] + ("1" if got.access[-1] == "0" else "0"),
            got.access + "00",
            got.access.upper(),
            got.access[:-1],
            "gw_oat_",
            "gw_oat_zz",
        ):
            assert await status(gate, "POST", "/mcp/github", odd, HELLO) == 401, odd
        # What it may is what its person may, at every request.
        await gate.apply(second.manifest("github2"))
        assert "result" in (await gate.modern("oat", "github").call("list_issues")).message


async def test_h3_what_a_client_was_given_ends_with_the_token_that_gave_it(gate: House) -> None:
    """H3: a client is no stronger than the token that a person showed, and ends with it; so does its refreshing."""
    only = [{"actions": ["mcp-tool:call"], "resources": ["mcp-tool:github/close_issue"]}]
    async with github(gate) as made:
        await pat(gate, "alice", "narrow", only)
        id = await pat(gate, "alice", "parent")
        try:
            await oauth(gate, "narrow", "/mcp/github", "small")
        except AssertionError:
            pass  # a restricted token may give nothing away at all: that is as good
        else:
            assert await gate.modern("small", "github").names() == ["close_issue"]
            said = await gate.modern("small", "github").call("list_issues")
            assert said.error["code"] == -32602
        got = await oauth(gate, "parent", "/mcp/github", "oat")
        session = await gate.session("oat", "github")
        assert await session.names() == list(TOOLS)
        ended = await control(gate, "DELETE", f"/personal-access-tokens/{id}", who="alice")
        assert ended.status < 300
        made.asked.clear()
        assert (await session.call("list_issues")).status == 401
        assert (await gate.modern("oat", "github").call("list_issues")).status == 401
        again = {
            "grant_type": "refresh_token",
            "refresh_token": got.refresh,
            "client_id": got.client,
        }
        async with gate.http.post(f"{gate.url}/token", data=again) as answer:
            assert answer.status == 400 and (await answer.json())["error"] == "invalid_grant"
        assert made.called("tools/call") == []


async def test_h3_a_suspended_person_s_clients_end_too(gate: House) -> None:
    """H3, P11: with the person, not with the ten minutes of the token."""
    async with github(gate) as made:
        await oauth(gate, "alice", "/mcp/github", "oat")
        await gate.apply(
            {
                "type": "user",
                "name": "alice@example.com",
                "displayName": "Alice",
                "state": "suspended",
            }
        )
        made.asked.clear()
        assert (await gate.modern("oat", "github").call("list_issues")).status == 401
        assert made.called("tools/call") == []


class Browser:
    """A person's browser, and a client that asks in it."""

    def __init__(self, gate: House, session: aiohttp.ClientSession) -> None:
        self.gate = gate
        self.session = session

    async def register(self, redirect: str = CALLBACK) -> str:
        body = {"client_name": "Probe", "redirect_uris": [redirect]}
        async with self.session.post(f"{self.gate.url}/register", json=body) as got:
            assert got.status == 201, await got.text()
            client: str = (await got.json())["client_id"]
            return client

    async def ask(self, client: str, verifier: str, **more: str) -> tuple[int, str, str]:
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": CALLBACK,
            "resource": f"{self.gate.url}/mcp/github",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **more,
        }
        async with self.session.get(
            f"{self.gate.url}/authorize", params=asked, allow_redirects=False
        ) as got:
            return got.status, await got.text(), got.headers.get("location", "")

    async def allow(self, page: str, who: str = "alice") -> tuple[int, str]:
        found = re.search(r'name="form" value="([^"]+)"', page)
        assert found is not None, page
        form = {"form": html.unescape(found[1]), "token": self.gate.token(who), "decision": "allow"}
        async with self.session.post(
            f"{self.gate.url}/authorize", data=form, allow_redirects=False
        ) as got:
            await got.read()
            return got.status, got.headers.get("location", "")

    async def redeem(self, code: str, verifier: str, client: str, **more: str) -> int:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "client_id": client,
            "redirect_uri": CALLBACK,
            "resource": f"{self.gate.url}/mcp/github",
            **more,
        }
        async with self.session.post(f"{self.gate.url}/token", data=form) as got:
            await got.read()
            return got.status


def jar() -> aiohttp.CookieJar:
    return aiohttp.CookieJar(unsafe=True)


async def test_h2_consent_is_each_clients_own_and_asked_each_time(gate: House) -> None:
    """H2: what was said to one client opens nothing to another, nor to the same one again; no cookie says yes."""
    async with github(gate), aiohttp.ClientSession(cookie_jar=jar()) as session:
        browser = Browser(gate, session)
        mine, evil = await browser.register(), await browser.register("https://evil.example/cb")
        verifier = secrets.token_urlsafe(48)
        status_, page, _ = await browser.ask(mine, verifier)
        assert status_ == 200
        sent, location = await browser.allow(page)
        assert sent == 303 and location.startswith(CALLBACK)
        code = parse_qs(urlsplit(location).query)["code"][0]
        for client, more in (
            (mine, {}),
            (evil, {"redirect_uri": "https://evil.example/cb"}),
            (mine, {"prompt": "none"}),
        ):
            asked, text, where = await browser.ask(client, verifier, **more)
            assert not where or "code=" not in where
            assert asked in (200, 302, 303, 400) and "code=" not in text
        # The form of one browser is nothing in another.
        async with aiohttp.ClientSession(cookie_jar=jar()) as other:
            refused, location = await Browser(gate, other).allow(page)
            assert refused >= 400 and "code=" not in location
        # The code is that client's, once, with its verifier, its address and its resource.
        assert await browser.redeem(code, verifier, evil) == 400
        for redirect in (
            f"{CALLBACK}/", f"{CALLBACK}?x=1", CALLBACK.replace("/callback", "/CALLBACK"), "https://evil.example/cb",
            f"{CALLBACK}/../evil", CALLBACK.replace("127.0.0.1", "127.0.0.1@evil.example"), "javascript:alert(1)",
        ):  # fmt: skip
            asked, text, where = await browser.ask(mine, verifier, redirect_uri=redirect)
            assert asked == 400 and not where, redirect


async def test_h2_a_code_that_is_tried_twice_ends_what_it_gave(gate: House) -> None:
    """H2: wrong verifiers give nothing, and a code that comes again takes back what the first one got."""
    async with github(gate), aiohttp.ClientSession(cookie_jar=jar()) as session:
        browser = Browser(gate, session)
        client, verifier = await browser.register(), secrets.token_urlsafe(48)
        for wrong in (secrets.token_urlsafe(48), "", verifier[:-1]):
            _, page, _ = await browser.ask(client, verifier)
            _, location = await browser.allow(page)
            code = parse_qs(urlsplit(location).query)["code"][0]
            assert await browser.redeem(code, wrong, client) == 400
        _, page, _ = await browser.ask(client, verifier)
        _, location = await browser.allow(page)
        code = parse_qs(urlsplit(location).query)["code"][0]
        elsewhere = f"{gate.url}/mcp/other"
        assert await browser.redeem(code, verifier, client, resource=elsewhere) == 400
        got = await oauth(gate, "alice", "/mcp/github", "oat")
        form = {
            "grant_type": "refresh_token",
            "refresh_token": got.refresh,
            "client_id": got.client,
        }
        async with session.post(f"{gate.url}/token", data=form) as first:
            assert first.status == 200
            fresh = (await first.json())["access_token"]
        async with session.post(f"{gate.url}/token", data=form) as second:
            assert second.status == 400
        # Who of the two stole it cannot be known: both end.
        for secret in (fresh, got.access):
            assert await status(gate, "POST", "/mcp/github", secret, HELLO) == 401


async def test_h2_an_address_that_asks_is_only_a_clients(gate: House) -> None:
    """H2, B3: what a client says of itself is looked up nowhere inside, and is shown as text."""
    async with aiohttp.ClientSession(cookie_jar=jar()) as session:
        browser = Browser(gate, session)
        verifier = secrets.token_urlsafe(48)
        for client in ("https://169.254.169.254/latest", "https://127.0.0.1/client.json", "http://evil.example/c",
                       "https://localhost/c.json", "file:///etc/passwd", "../../etc/passwd", "https://evil.example"):  # fmt: skip
            asked, text, where = await browser.ask(client, verifier)
            assert asked >= 400 and not where and "root:" not in text, client
        body = {"client_name": "<script>alert(1)</script>", "redirect_uris": [CALLBACK]}
        async with session.post(f"{gate.url}/register", json=body) as got:
            if got.status == 201:
                client = (await got.json())["client_id"]
                asked, text, _ = await browser.ask(client, verifier)
                assert asked == 200 and "<script>alert" not in text
