"""What attacks on MCP share: a gateway with two servers, tokens of all kinds, and raw messages."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tests.proxy.mcp.house import BOTH, LATEST, META, MODERN, Client, House, Said, Scripted, tool

CALLBACK = "http://127.0.0.1:41000/callback"
TOOLS = ("list_issues", "close_issue", "read_secret")
URI, OTHER = "file:///notes/a.txt", "file:///notes/b.txt"


def rule(id: str, subject: str, action: str, *resources: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "effect": "allow",
        "subjects": [subject],
        "actions": [action],
        "resources": list(resources),
        **more,
    }


def policy(name: str, *rules: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "policy", "name": name, "rules": [dict(one) for one in rules]}


# Bob has one tool, one prompt and one resource of `github`; Alice has all of it.
BOB = policy(
    "bobs",
    rule("tool", "team:support", "mcp-tool:call", "mcp-tool:github/list_issues"),
    rule("prompt", "team:support", "mcp-prompt:get", "mcp-prompt:github/greet"),
    rule("resource", "team:support", "mcp-resource:read", f"mcp-resource:github/{URI}"),
)


def server(generation: str = "2025", **more: Any) -> Scripted:
    """A server with three tools, two prompts, two resources and a template."""
    offers = {
        "tools": [tool(name) for name in TOOLS],
        "prompts": [{"name": "greet"}, {"name": "scold"}],
        "resources": [{"uri": URI, "name": "a"}, {"uri": OTHER, "name": "b"}],
        "templates": [{"uriTemplate": "db://rows/{id}", "name": "rows"}],
    }
    return Scripted(generation=generation, **(offers | more))


@asynccontextmanager
async def github(gate: House, generation: str = "2025", **more: Any) -> AsyncIterator[Scripted]:
    """The server above as `github`: all of it for Alice, something of it for Bob."""
    async with server(generation, **more) as made:
        await gate.apply(made.manifest("github", ["team:search"]))
        await gate.apply(BOB)
        yield made


async def clients(gate: House, who: str, path: str = "github") -> list[Client]:
    """A client of each generation."""
    return [await gate.session(who, path), gate.modern(who, path)]


async def control(
    gate: House, method: str, path: str, body: Any = None, who: str = "operator"
) -> Said:
    """A call of the control plane."""
    async with gate.http.request(
        method,
        f"{gate.url}/api/v1{path}",
        json=body,
        headers={"authorization": f"Bearer {gate.token(who)}"},
    ) as answer:
        raw = await answer.read()
        is_json = answer.content_type.endswith("json")
        return Said(
            answer.status, answer.headers, raw, json.loads(raw) if raw and is_json else None
        )


async def pat(
    gate: House, who: str, name: str, restrictions: Sequence[Mapping[str, Any]] | None = None
) -> str:
    """Mints a token of `who`, which is then known as `name`; its id."""
    body = {"name": name, "restrictions": restrictions}
    made = await control(gate, "POST", "/personal-access-tokens", body, who)
    assert made.status == 201, made.raw
    gate.variables[f"DEMO_TOKEN_{name.upper()}"] = made.message["token"]
    id: str = made.message["id"]
    return id


@dataclass
class Connected:
    """An MCP client that went through OAuth."""

    client: str
    access: str
    refresh: str


async def oauth(gate: House, who: str, resource: str, name: str) -> Connected:
    """Walks the whole way for `who`; the access token is then known as `name`."""
    base = gate.url
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        body = {"client_name": "Probe", "redirect_uris": [CALLBACK]}
        async with browser.post(f"{base}/register", json=body) as got:
            client = (await got.json())["client_id"]
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": CALLBACK,
            "scope": "mcp:use",
            "resource": f"{base}{resource}",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        async with browser.get(f"{base}/authorize", params=asked) as got:
            found = re.search(r'name="form" value="([^"]+)"', await got.text())
            assert found is not None, await got.text()
        form = {"form": html.unescape(found[1]), "token": gate.token(who), "decision": "allow"}
        async with browser.post(f"{base}/authorize", data=form, allow_redirects=False) as got:
            assert got.status == 303, await got.text()
            code = parse_qs(urlsplit(got.headers["location"]).query)["code"][0]
        redeemed = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "client_id": client,
            "redirect_uri": CALLBACK,
            "resource": asked["resource"],
        }
        async with browser.post(f"{base}/token", data=redeemed) as got:
            assert got.status == 200, await got.text()
            told = await got.json()
    gate.variables[f"DEMO_TOKEN_{name.upper()}"] = told["access_token"]
    return Connected(client, told["access_token"], told["refresh_token"])


async def raw(
    gate: House,
    path: str,
    body: bytes,
    headers: Sequence[tuple[str, str]],
    method: str = "POST",
) -> Said:
    """A request with exactly these headers, of which one may occur twice."""
    sent: CIMultiDict[str] = CIMultiDict(headers)
    target = URL(f"{gate.url}{path}", encoded=True)  # as it stands, nothing made regular
    async with gate.http.request(
        method, target, data=io.BytesIO(body) if body else None, headers=sent, allow_redirects=False
    ) as answer:
        text = await answer.read()
        is_json = answer.content_type == "application/json"
        return Said(
            answer.status, answer.headers, text, json.loads(text) if text and is_json else None
        )


def headers_of(client: Client, method: str = "", name: str = "") -> list[tuple[str, str]]:
    """The headers that a client sends with a method."""
    found = [
        ("authorization", f"Bearer {client.house.token(client.who)}"),
        ("accept", BOTH),
        ("content-type", "application/json"),
    ]
    if client.modern:
        found += [("mcp-protocol-version", MODERN), ("mcp-method", method)]
        return [*found, ("mcp-name", name)] if name else found
    return [*found, ("mcp-session-id", client.session), ("mcp-protocol-version", LATEST)]


def meta() -> dict[str, Any]:
    return {f"{META}protocolVersion": MODERN, f"{META}clientCapabilities": {}}


def from_callers(made: Scripted) -> list[Any]:
    """What arrived at a server but for what the gateway asks for itself, to know what there is."""
    own = ("initialize", "notifications/initialized", "server/discover")
    return [
        one.body or one.method
        for one in made.asked
        if isinstance(one.body, dict)
        and one.body.get("method") not in own
        and not str(one.body.get("id", "")).startswith("gw-look")
    ]


def upstream_text(made: Scripted) -> str:
    """All that ever arrived at a server."""
    return json.dumps([[one.method, dict(one.headers), one.body] for one in made.asked])
