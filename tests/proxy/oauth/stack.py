"""An authorization server made of the real parts on a folder, an MCP endpoint behind it, and a browser.

Time stands at `NOW` until a test moves `house.now[0]`. The browser keeps cookies and follows nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from authz.records import Record
from conf.settings import MODEL_PATH
from identity.directory import Directory
from identity.errors import Unauthenticated
from identity.issue import Origin, issue, revoke
from policies.change import Change, Source
from policies.documents import Document, Restriction, User, VirtualAccount
from policies.loader import shipped
from proxy.guard import Guard
from proxy.headers import credential_of
from proxy.metrics import Metrics
from proxy.middleware.problems import problems
from proxy.middleware.request_id import request_ids
from proxy.oauth.metadata import challenge
from proxy.oauth.parts import OAuthParts
from proxy.oauth.site import add_oauth, build, tokens_of
from proxy.outbound import Client
from proxy.refusals import Refusals
from proxy.secrets import SecretRules, Secrets
from store.changes import ChangeLog
from store.replicas import Replicas
from store.sealed import Sealer
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
HOST = Origin("host", "test", Source.HOST)
SEALING = bytes(range(32))
CALLBACK = "http://127.0.0.1:41000/callback"
RESTRICTED = (Restriction(actions=("self:read",), resources=("self:caller",)),)


@dataclass
class Got:
    status: int
    headers: dict[str, str]
    text: str
    json: Any = None

    @property
    def sent_back(self) -> dict[str, str]:
        """What the redirect tells the client."""
        assert self.status == 303, (self.status, self.text)
        query = parse_qs(urlsplit(self.headers["location"]).query, keep_blank_values=True)
        assert all(len(values) == 1 for values in query.values())
        return {name: values[0] for name, values in query.items()}

    @property
    def form(self) -> str:
        """The sealed form of a page."""
        found = re.search(r'name="form" value="([^"]+)"', self.text)
        assert found is not None, self.text
        return html.unescape(found[1])


@dataclass
class House:
    """One process, as its clients see it."""

    url: str
    parts: OAuthParts
    changes: ChangeLog
    directory: Directory
    state: SqliteState
    session: aiohttp.ClientSession
    now: list[datetime]
    counted: list[Record]
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, **more: Any) -> Got:
        url = path if path.startswith("http") else self.url + path
        async with self.session.request(method, url, allow_redirects=False, **more) as answer:
            text = await answer.text()
            data = await answer.json() if answer.content_type.endswith("json") else None
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Got(answer.status, headers, text, data)

    async def put(self, *documents: Document) -> None:
        await self.changes.commit(Change("host", Source.HOST, "t", documents), None, self.now[0])

    async def mint(self, who: str, subject: str, **more: Any) -> None:
        issued = issue(subject, HOST, now=self.now[0], **more)
        await self.changes.commit(issued.change, None, self.now[0])
        self.tokens[who], self.ids[who] = issued.secret, issued.credential.name

    async def revoke(self, who: str) -> None:
        await self.changes.commit(revoke([self.ids[who]], HOST), None, self.now[0])

    # --- a client ---------------------------------------------------------------------------------------

    async def register(self, **metadata: Any) -> str:
        body = {"client_name": "Probe", "redirect_uris": [CALLBACK], **metadata}
        got = await self.call("POST", "/register", json=body)
        assert got.status == 201, got.text
        client: str = got.json["client_id"]
        return client

    def asking(self, client: str, **more: str | None) -> tuple[dict[str, str], str]:
        """The parameters of an authorization request, and the verifier."""
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": CALLBACK,
            "state": "s&t 1",
            "scope": "mcp:use",
            "resource": f"{self.url}/mcp/github",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **more,
        }
        return {name: value for name, value in asked.items() if value is not None}, verifier

    async def ask(self, asked: dict[str, str]) -> Got:
        return await self.call("GET", "/authorize", params=asked)

    async def decide(self, page: Got, secret: str, decision: str = "allow", **headers: str) -> Got:
        form = {"form": page.form, "token": secret, "decision": decision}
        return await self.call("POST", "/authorize", data=form, headers=headers)

    async def token(self, **form: str) -> Got:
        return await self.call("POST", "/token", data=form)

    async def code(self, client: str, who: str = "ann", **more: str | None) -> dict[str, str]:
        """Consent, and the form that redeems the code."""
        asked, verifier = self.asking(client, **more)
        page = await self.ask(asked)
        assert page.status == 200, page.text
        back = (await self.decide(page, self.tokens[who])).sent_back
        return {
            "grant_type": "authorization_code",
            "code": back["code"],
            "code_verifier": verifier,
            "client_id": client,
            "redirect_uri": asked["redirect_uri"],
            "resource": asked["resource"],
        }

    async def connected(self, client: str, who: str = "ann", **more: str | None) -> dict[str, Any]:
        """The tokens of a client that went the whole way."""
        got = await self.token(**await self.code(client, who, **more))
        assert got.status == 200, got.text
        tokens: dict[str, Any] = got.json
        return tokens

    async def refresh(self, client: str, secret: str, **more: str) -> Got:
        return await self.token(
            grant_type="refresh_token", refresh_token=secret, client_id=client, **more
        )

    async def use(self, secret: str, path: str = "/mcp/github") -> Got:
        return await self.call("POST", path, headers={"Authorization": f"Bearer {secret}"})

    def families(self) -> list[str]:
        """The grants that stand."""
        found = [
            name for who in self.directory._held for name in self.directory.credentials_of(who)
        ]
        return [name for name in found if "." in name]


@asynccontextmanager
async def house_on(folder: Path, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[House]:
    now = [NOW]
    sealer = Sealer(SEALING)
    store = SqliteStore(folder / "gatewarden.db")
    state = SqliteState(store)
    changes = ChangeLog(
        store,
        model_text=MODEL_PATH.read_text("utf-8"),
        shipped=shipped(),
        sealer=sealer,
        clock=lambda: now[0],
    )
    directory = Directory()
    changes.subscribe(directory)
    await changes.start()
    rules = SecretRules.of("GATEWARDEN_TEST_", folder)
    outbound = Client(
        Secrets(rules, environ={}, unseal=changes.secret),
        Guard.of(["127.0.0.1", "::1"] if tls else []),
        lambda: now[0],
        tls=tls,
    )
    counted: list[Record] = []
    port = unused_port()
    url = f"http://127.0.0.1:{port}"
    parts = build(
        public_url=url,
        sealer=sealer,
        state=state,
        tokens=tokens_of(url, sealer, changes, directory),
        policy=changes,
        directory=directory,
        fetch=outbound.fetch,
        refusals=Refusals(counted.append, 100),
        clock=lambda: now[0],
        max_stale=1e9,  # the test moves the time, and the change log's is another
        replicas=Replicas(state, "test@0", lambda: changes.head),
    )

    async def endpoint(request: web.Request) -> web.Response:
        try:
            secret = credential_of(request.headers)
            principal = parts.tokens.authenticate(secret, request.path, now[0])
        except Unauthenticated as error:
            sent = "authorization" in request.headers
            header = challenge(url, request.path, "invalid_token" if sent else None)
            return web.json_response(
                {"code": error.code}, status=401, headers={"WWW-Authenticate": header}
            )
        return web.json_response(
            {
                "id": principal.id,
                "kind": principal.credential_kind,
                "token": principal.token,
                "credential": principal.credential_id,
            }
        )

    app = web.Application(
        middlewares=[request_ids(lambda: changes.engine.epoch, Metrics()), problems],
        client_max_size=0,
    )
    add_oauth(app, parts)
    for path in ("/mcp", "/mcp/{server}", "/mcp/v1/{server}/mcp"):
        app.router.add_post(path, endpoint)
    server = TestServer(app, port=port)
    await server.start_server()
    session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
    house = House(url, parts, changes, directory, state, session, now, counted)
    await house.put(User(name="ann@example.com"), VirtualAccount(name="checkout"))
    await house.mint("ann", "user:ann@example.com")
    await house.mint("narrow", "user:ann@example.com", restrictions=RESTRICTED)
    await house.mint("checkout", "virtualaccount:checkout")
    try:
        yield house
    finally:
        await session.close()
        await server.close()
        await outbound.close()
        await changes.close()
