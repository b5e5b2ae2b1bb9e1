"""The routes: one's own credentials for a server, somebody else's for its managers, and the way back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from proxy.api.routes import PREFIX, Call, checked
from proxy.guard import Guard as AddressGuard
from proxy.mcp.auth import callback
from proxy.mcp.auth.api import routes
from proxy.mcp.auth.parts import AuthParts, auth_of
from proxy.mcp.auth.server_auth import CALLBACK, ServerAuth
from proxy.mcp.servers import Servers
from proxy.middleware.access import Guard
from proxy.middleware.problems import problems
from proxy.middleware.request_id import request_ids
from proxy.outbound import Client
from proxy.refusals import Refusals
from proxy.secrets import SecretRules, Secrets
from store.sealed import Sealer
from store.sqlite_state import SqliteState
from tests.peers.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer
from tests.proxy.api.stack import Got, Stack, stack_on

OPEN = {"subject": "team:search", "role_id": "mcp-server-user"}


def estate(peer: OAuthServer) -> list[dict[str, Any]]:
    """Two servers that team search may use (member and manager are in it)."""
    return [
        {
            "type": "mcp-server/remote",
            "name": "github",
            "url": peer.resource,
            "collaborators": [OPEN],
            "auth_data": {
                "type": "oauth2",
                "authorization_url": f"{peer.url}/authorize",
                "token_url": f"{peer.url}/token",
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
            },
        },
        {
            "type": "mcp-server/remote",
            "name": "jira",
            "url": "https://jira.example/mcp",
            "collaborators": [OPEN],
            "auth_data": {
                "type": "header",
                "auth_level": "per_user",
                "headers": {"X-Key": "{{KEY}}", "X-Other": "{{OTHER}}"},
            },
        },
    ]


@dataclass
class Site:
    stack: Stack
    parts: AuthParts
    peer: OAuthServer
    client: TestClient[web.Request, web.Application]

    async def call(
        self, method: str, path: str, body: object = None, *, who: str | None = "member"
    ) -> Got:
        own, self.stack.client = self.stack.client, self.client
        try:
            return await self.stack.call(method, path, body, who=who)
        finally:
            self.stack.client = own

    def record(self, got: Got) -> dict[str, Any]:
        found: dict[str, Any] = self.stack.record(got.headers["x-decision-id"])["body"]
        return found

    def callbacks(self) -> list[dict[str, Any]]:
        """The decisions of people who came back."""
        bodies = [item.get("body", {}) for item in self.stack.records()]
        return [body for body in bodies if body.get("route") == f"POST {CALLBACK}"]

    async def page(self, method: str, form: dict[str, str], **headers: str) -> tuple[int, str]:
        """What a browser sees of the callback, which sends no credential of the gateway."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        target, data = CALLBACK, None
        if method == "GET":
            target = f"{CALLBACK}?{urlencode(form)}"
        else:
            data = urlencode(form).encode()
            named.setdefault("Content-Type", "application/x-www-form-urlencoded")
        async with self.client.request(method, target, data=data, headers=named) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            return answer.status, await answer.text()

    async def begun(self, who: str = "member", path: str = "/mcp-servers/github/auth/start") -> Any:
        got = await self.call("POST", path, who=who)
        assert got.status == 200, got.raw
        assert got.json["expires_in"] == 600
        return self.peer.consent(got.json["authorization_url"])


@asynccontextmanager
async def site_on(folder: Path, peer: OAuthServer) -> AsyncIterator[Site]:
    async with stack_on(folder) as stack:
        servers = Servers()
        stack.runtime.changes.subscribe(servers)
        await stack.commit(*estate(peer))
        secrets = Secrets(SecretRules(), environ={}, unseal=stack.runtime.changes.secret)
        outbound = Client(secrets, AddressGuard.of(["127.0.0.1"]), stack.runtime.clock.now)
        auth = ServerAuth(
            outbound.fetch,
            secrets,
            Sealer(bytes(range(32))),
            SqliteState(stack.store),
            "https://gateway.example",
        )

        def find(name: str) -> Any:
            found = servers.server(name)
            return None if found is None else auth_of(found)

        parts = AuthParts(auth, find, stack.runtime.directory)

        async def show(request: web.Request) -> web.Response:
            return await callback.show(request, stack.runtime, parts)

        async def finish(request: web.Request) -> web.Response:
            return await callback.finish(request, stack.runtime, parts)

        def parts_of(call: Call) -> AuthParts:
            return parts

        runtime = stack.runtime
        guard = Guard(runtime, Refusals(runtime.journal.note, 100), None)
        ids = request_ids(lambda: runtime.changes.engine.epoch, runtime.metrics)
        app = web.Application(middlewares=[ids, problems], client_max_size=0)
        for route in checked(routes(parts_of)):
            app.router.add_route(route.method, PREFIX + route.path, guard.endpoint(route))
        app.router.add_get(CALLBACK, show)
        app.router.add_post(CALLBACK, finish)
        client: TestClient[web.Request, web.Application] = TestClient(TestServer(app))
        await client.start_server()
        try:
            yield Site(stack, parts, peer, client)
        finally:
            await client.close()
            await auth.close()
            await outbound.close()


@pytest.fixture
async def site(tmp_path: Path, peer: OAuthServer) -> AsyncIterator[Site]:
    async with site_on(tmp_path, peer) as made:
        yield made


# --- values -------------------------------------------------------------------------------------------


async def test_one_gives_and_takes_back_values_of_ones_own(site: Site) -> None:
    me = (await site.call("GET", "/mcp-servers/jira/auth")).json
    assert me["status"] == "unauthenticated" and me["missing"] == ["KEY", "OTHER"]
    assert me["method"] == "auth-override" and me["subject"].startswith("user:u-")
    got = await site.call("PUT", "/mcp-servers/jira/auth", {"values": {"KEY": "canary-1"}})
    assert got.status == 200 and got.json["missing"] == ["OTHER"]
    got = await site.call("PUT", "/mcp-servers/jira/auth", {"values": {"OTHER": "canary-2"}})
    assert got.json["status"] == "authenticated" and b"canary" not in got.raw
    record = site.record(got)
    assert (record["action"], record["resource"]) == ("mcp-server:use", "mcp-server:jira")
    assert record["route"] == "PUT /api/v1/mcp-servers/{name}/auth"
    assert "canary" not in str(site.stack.records())
    other = await site.call("GET", "/mcp-servers/jira/auth", who="manager")
    assert other.json["status"] == "unauthenticated"
    got = await site.call("DELETE", "/mcp-servers/jira/auth")
    assert got.json["status"] == "unauthenticated"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "", None), ("PUT", "", {"values": {"KEY": "x"}}), ("DELETE", "", None),
     ("POST", "/start", None)],
)  # fmt: skip
async def test_who_may_not_use_a_server_does_not_learn_that_it_exists(
    site: Site, method: str, path: str, body: object
) -> None:
    for who in ("other", "checkout"):
        hidden = await site.call(method, f"/mcp-servers/jira/auth{path}", body, who=who)
        unknown = await site.call(method, f"/mcp-servers/nope/auth{path}", body, who=who)
        assert (hidden.status, unknown.status) == (404, 404)
        assert hidden.json["detail"] == unknown.json["detail"]
    assert (await site.call(method, f"/mcp-servers/jira/auth{path}", body, who=None)).status == 401


async def test_only_managers_set_a_credential_for_somebody_else(site: Site) -> None:
    body = {"values": {"KEY": "x", "OTHER": "y"}}
    for subject in ("other@example.com", "virtualaccount:checkout", "user:u-nobody"):
        for name in ("jira", "nope"):
            got = await site.call("PUT", f"/mcp-servers/{name}/auth?subject={subject}", body)
            assert got.status == 403
            assert got.json["detail"].startswith("only managers of the MCP server set")
    got = await site.call(
        "PUT", "/mcp-servers/jira/auth?subject=virtualaccount:checkout", body, who="root"
    )
    assert got.status == 200, got.raw
    assert got.json["subject"] == "virtualaccount:checkout"
    assert got.json["status"] == "authenticated"
    record = site.record(got)
    assert record["action"] == "mcp-server:write"
    for subject, status in (("user:u-nobody", 404), ("team:search", 400), ("x y", 400)):
        got = await site.call("GET", f"/mcp-servers/jira/auth?subject={subject}", who="root")
        assert got.status == status, got.raw
    own = (await site.call("GET", "/mcp-servers/jira/auth")).json["subject"]
    for subject in ("member@example.com", own):
        got = await site.call("GET", f"/mcp-servers/jira/auth?subject={subject}")
        assert got.json["subject"] == own, "that is oneself"


async def test_values_where_none_are_asked_for_are_refused(site: Site) -> None:
    for name, values in (("github", {"KEY": "x"}), ("jira", {"NO": "x"}), ("jira", {})):
        got = await site.call("PUT", f"/mcp-servers/{name}/auth", {"values": values})
        assert got.status == 400, got.raw
    got = await site.call("POST", "/mcp-servers/jira/auth/start")
    assert got.code == "authorization_refused"


# --- the way to the authorization server and back -----------------------------------------------------


async def test_one_authorises_in_a_browser_and_is_asked_before_it_counts(site: Site) -> None:
    back = await site.begun()
    status, page = await site.page("GET", back)
    assert status == 200 and "<strong>member@example.com</strong>" in page
    assert (await site.call("GET", "/mcp-servers/github/auth")).json["status"] == "unauthenticated"
    assert not site.peer.asked, "to look is not to agree"
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page))
    form = {name: unescape(value) for name, value in form.items()}
    assert form == back
    status, page = await site.page("POST", form, Origin="https://gateway.example")
    assert status == 200 and "is connected to" in page
    got = (await site.call("GET", "/mcp-servers/github/auth")).json
    assert (got["status"], got["method"]) == ("authenticated", "oauth")
    asked = site.callbacks()
    assert [(item["effect"], item["action"]) for item in asked] == [("allow", "mcp-server:use")]
    status, page = await site.page("POST", form)
    assert status == 400 and "unknown" in page, "once only"
    text = str(site.stack.records())
    assert back["code"] not in text and back["state"] not in text and "canary" not in text


async def test_a_foreign_page_cannot_send_the_form(site: Site) -> None:
    back = await site.begun()
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"},
                    {"Sec_Fetch_Site": "cross-site"}, {"Content_Type": "text/plain"}):  # fmt: skip
        status, _ = await site.page("POST", back, **headers)
        assert status == 400
    assert (await site.page("POST", {**back, "x": "y" * 40_000}))[0] == 400
    assert not site.peer.asked
    assert (await site.page("POST", back, Sec_Fetch_Site="same-origin"))[0] == 200


async def test_who_says_no_over_there_ends_it(site: Site) -> None:
    back = await site.begun()
    answer = {"state": back["state"], "error": "access_denied", "error_description": "<b>x</b>"}
    status, page = await site.page("GET", answer)
    assert status == 400 and "did not agree" in page and "<b>" not in page
    assert (await site.page("GET", back))[0] == 400
    for nonsense in ({}, {"state": "x", "code": "y"}, {"state": '"><script>', "code": "y"}):
        status, page = await site.page("GET", nonsense)
        assert status == 400 and "<script>" not in page


async def test_who_lost_the_right_meanwhile_connects_nothing(site: Site) -> None:
    back = await site.begun()
    documents = estate(site.peer)
    documents[0]["collaborators"] = []
    await site.stack.commit(documents[0])
    status, page = await site.page("POST", back)
    assert status == 400 and "no access to it any more" in page
    assert not site.peer.asked
    asked = site.callbacks()
    assert [item["effect"] for item in asked] == ["deny"]


async def test_a_token_that_ended_meanwhile_connects_nothing(site: Site) -> None:
    back = await site.begun()
    token_id = site.stack.token_ids["member"]
    got = await site.stack.call("DELETE", f"/personal-access-tokens/{token_id}", who="root")
    assert got.status == 200
    status, page = await site.page("POST", back)
    assert status == 400 and "has ended" in page and not site.peer.asked


async def test_a_restricted_token_begins_nothing(site: Site) -> None:
    got = await site.call("POST", "/mcp-servers/github/auth/start", who="restricted")
    assert got.status == 404


async def test_a_manager_authorises_for_an_account(site: Site) -> None:
    path = "/mcp-servers/github/auth/start?subject=virtualaccount:checkout"
    assert (await site.call("POST", path)).status == 403
    back = await site.begun("root", path)
    assert "<strong>checkout</strong>" in (await site.page("GET", back))[1]
    assert (await site.page("POST", back))[0] == 200
    shown = "/mcp-servers/github/auth?subject=virtualaccount:checkout"
    assert (await site.call("GET", shown, who="root")).json["status"] == "authenticated"
    mine = await site.call("GET", "/mcp-servers/github/auth", who="root")
    assert mine.json["status"] == "unauthenticated"


async def test_a_refusal_of_the_authorization_server_is_not_ours(site: Site) -> None:
    back = await site.begun()
    site.peer.codes.clear()
    status, page = await site.page("POST", back)
    assert status == 502 and "<code>" not in page and "invalid_grant" in page
    assert CLIENT_SECRET not in page and back["code"] not in page
