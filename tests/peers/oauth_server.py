"""An authorization server and the resource that it guards, on loopback, written from the RFCs alone.

RFC 6749, 7636 (S256 only), 7591, 8414, 8707, 9207, 9728 and OAuth 2.1 4.3.1: refresh tokens rotate, and one that is
used twice ends its whole grant. What a client gets wrong stands in `refusals`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

from aiohttp import web

CLIENT_ID = "gateway:one"  # the colon shows whether the header is encoded as it must be
CLIENT_SECRET = "cs-canary+7f/1:%"


@dataclass
class Grant:
    """What somebody agreed to."""

    resource: str
    alive: bool = True


@dataclass
class Code:
    grant: Grant
    client_id: str
    redirect_uri: str
    challenge: str


@dataclass
class OAuthServer:
    """`methods`: how clients may show their secret. `lifetime`: of access tokens, in seconds."""

    methods: tuple[str, ...] = ("client_secret_basic",)
    lifetime: int | None = 3600
    rotates: bool = True
    port: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)  # laid over that of the server
    clients: dict[str, str] = field(default_factory=lambda: {CLIENT_ID: CLIENT_SECRET})
    codes: dict[str, Code] = field(default_factory=dict)
    access: dict[str, Grant] = field(default_factory=dict)
    refresh: dict[str, Grant] = field(default_factory=dict)
    used: dict[str, Grant] = field(default_factory=dict)  # refresh tokens that were rotated away
    asked: list[dict[str, str]] = field(default_factory=list)  # forms at the token endpoint
    registered: list[dict[str, Any]] = field(default_factory=list)
    resource_requests: list[dict[str, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    down: bool = False
    hold: Callable[[], Awaitable[None]] | None = None  # awaited before a token is given

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def resource(self) -> str:
        return f"{self.url}/mcp"

    def grants(self, kind: str) -> list[dict[str, str]]:
        """The forms of one grant type, in their order."""
        return [form for form in self.asked if form.get("grant_type") == kind]

    def consent(self, address: str) -> dict[str, str]:
        """What the browser brings back after somebody agreed at the address: the callback's parameters."""
        base, _, query = address.partition("?")
        assert base == f"{self.url}/authorize", base
        given = dict(parse_qsl(query, strict_parsing=True))
        assert given["response_type"] == "code" and given["client_id"] in self.clients
        assert given["code_challenge_method"] == "S256" and len(given["code_challenge"]) == 43
        code = secrets.token_urlsafe(16)
        self.codes[code] = Code(
            Grant(given.get("resource", "")),
            given["client_id"],
            given["redirect_uri"],
            given["code_challenge"],
        )
        return {"state": given["state"], "code": code, "iss": self.url}

    def token(self, form: dict[str, str]) -> dict[str, Any] | str:
        """The answer to an authenticated client, or an error code."""
        match form.get("grant_type"):
            case "client_credentials":
                return self._give(Grant(form.get("resource", "")), refreshable=False)
            case "authorization_code":
                code = self.codes.pop(form.get("code", ""), None)
                if code is None:
                    return "invalid_grant"
                digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
                proof = base64.urlsafe_b64encode(digest).decode().rstrip("=")
                same = (code.client_id, code.redirect_uri, code.challenge, code.grant.resource)
                said = (
                    form["client_id"],
                    form.get("redirect_uri"),
                    proof,
                    form.get("resource", ""),
                )
                return self._give(code.grant) if same == said else "invalid_grant"
            case "refresh_token":
                return self._refreshed(form.get("refresh_token", ""))
        return "unsupported_grant_type"

    def _refreshed(self, token: str) -> dict[str, Any] | str:
        if token in self.used:
            self.used[token].alive = False
            self.refusals.append("a refresh token was used twice")
        grant = self.refresh.get(token)
        if grant is None or not grant.alive:
            return "invalid_grant"
        if self.rotates:
            self.used[token] = self.refresh.pop(token)
        return self._give(grant, refreshable=self.rotates)

    def _give(self, grant: Grant, *, refreshable: bool = True) -> dict[str, Any]:
        access = f"at-canary-{secrets.token_urlsafe(12)}"
        self.access[access] = grant
        made: dict[str, Any] = {"access_token": access, "token_type": "bearer"}
        if self.lifetime is not None:
            made["expires_in"] = self.lifetime
        if refreshable:
            made["refresh_token"] = f"rt-canary-{secrets.token_urlsafe(12)}"
            self.refresh[made["refresh_token"]] = grant
        return made

    def _client(self, request: web.Request, form: dict[str, str]) -> str | None:
        """The client that authenticated, in one of the ways that it may."""
        header = request.headers.get("Authorization", "")
        if header.startswith("Basic "):
            raw = base64.b64decode(header[6:]).decode()
            client_id, _, secret = (unquote_plus(part) for part in raw.partition(":"))
            method = "client_secret_basic"
        else:
            client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
            method = "client_secret_post" if secret else "none"
        known = self.clients.get(client_id)
        wanted = ("none",) if known == "" else self.methods
        return client_id if known == secret and method in wanted else None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return web.Response(status=503, text="down")
        match (request.method, request.path):
            case ("POST", "/token"):
                return await self._token(request)
            case ("POST", "/register"):
                return await self._register(request)
            case ("GET", "/.well-known/oauth-protected-resource/mcp"):
                said = {"resource": self.resource, "authorization_servers": [self.url]}
                return web.json_response(said)
            case ("GET", "/.well-known/oauth-authorization-server"):
                return web.json_response(self._metadata())
            case (_, "/mcp"):
                return self._guarded(request)
        return web.Response(status=404)

    async def _token(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl(await request.text(), keep_blank_values=True))
        self.asked.append(form)
        client_id = self._client(request, form)
        if client_id is None:
            return web.json_response({"error": "invalid_client"}, status=401)
        if self.hold is not None:
            await self.hold()
        made = self.token({**form, "client_id": client_id})
        if isinstance(made, str):
            said = {"error": made, "error_description": f"leaked {urlencode(form)}"}
            return web.json_response(said, status=400)
        return web.json_response(made, headers={"Cache-Control": "no-store"})

    async def _register(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self.registered.append(wanted)
        public = wanted["token_endpoint_auth_method"] == "none"
        client_id, secret = f"dyn-{len(self.registered)}", "" if public else "dyn-secret-canary"
        self.clients[client_id] = secret
        made = {**wanted, "client_id": client_id}
        if secret:
            made |= {"client_secret": secret, "client_secret_expires_at": 0}
        return web.json_response(made, status=201)

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "code_challenge_methods_supported": ["S256"],
            **self.metadata,
        }

    def _guarded(self, request: web.Request) -> web.Response:
        self.resource_requests.append({k.lower(): v for k, v in request.headers.items()})
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        grant = self.access.get(token)
        if grant is None or not grant.alive:
            return web.Response(
                status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}
            )
        return web.json_response({"ok": True})


@asynccontextmanager
async def oauth_server(**fields: Any) -> AsyncIterator[OAuthServer]:
    """A running one."""
    made = OAuthServer(**fields)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()
