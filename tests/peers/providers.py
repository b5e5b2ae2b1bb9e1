"""Loopback provider servers: each accepts a request only as the provider's API reference describes it.

Written from the references alone, with no code of the gateway, the AWS signature included. A request that
the real provider would refuse gets the provider's own error, and `peer.refusals` says what was wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

from aiohttp import web

SECRET = "sk-peer-0123456789"
MODEL = "peer-model"
FOREIGN = re.compile(
    r"cookie|forwarded|real-?ip|gatewarden|tfy|envoy|amzn-oidc|client-principal|remote-user|organization"
)
CREDENTIALS = {"authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization"}

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
EVENTS = (b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n', b"data: [DONE]\n\n")


@dataclass
class Seen:
    """One request as it came off the wire."""

    method: str
    path: str  # undecoded, without the query
    query: str
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) <= 1, f"{name} was sent {len(found)} times"
        return found[0] if found else None


@dataclass
class Peer:
    """One provider server; subclasses say what a request must look like."""

    seen: list[Seen] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def check(self, request: Seen) -> None:
        raise NotImplementedError

    def answer(self, request: Seen) -> object:
        return CHAT

    def expect(self, fact: bool, what: str) -> None:
        if not fact:
            raise Refused(what)

    def expect_only_credential(self, request: Seen, name: str, value: str | None) -> None:
        """Exactly one credential header, and nothing of the caller's identity."""
        sent = {key.lower() for key, _ in request.headers}
        self.expect(sent & CREDENTIALS == {name}, f"credentials sent: {sorted(sent & CREDENTIALS)}")
        if value is not None:
            self.expect(request.get(name) == value, f"{name} is wrong")
        foreign = [key for key in sent if FOREIGN.search(key.replace("_", "-"))]
        self.expect(not foreign, f"not for a provider: {foreign}")
        self.expect(request.get("accept-encoding") == "identity", "accept-encoding")

    def expect_json_model(self, request: Seen) -> None:
        self.expect((request.get("content-type") or "").startswith("application/json"), "not JSON")
        self.expect(json.loads(request.body).get("model") == MODEL, "the model is wrong")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        path, _, query = request.raw_path.partition("?")
        headers = [(name.decode(), value.decode()) for name, value in request.raw_headers]
        seen = Seen(request.method, path, query, headers, body)
        self.seen.append(seen)
        try:
            self.expect(request.method == "POST", "not a POST")
            self.check(seen)
        except Refused as exc:
            self.refusals.append(str(exc))
            return web.json_response({"error": {"message": str(exc)}}, status=400)
        if b'"stream":true' in body.replace(b" ", b""):
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            for event in EVENTS:
                await response.write(event)
            return response
        return web.json_response(self.answer(seen))


class Refused(Exception):
    pass


class OpenAIPeer(Peer):
    """POST /v1/<operation>, key as bearer."""

    prefix = "/v1/"

    def check(self, request: Seen) -> None:
        self.expect(request.path.startswith(self.prefix) and not request.query, "unknown path")
        self.expect_only_credential(request, "authorization", f"Bearer {SECRET}")
        if (request.get("content-type") or "").startswith("application/json"):
            self.expect_json_model(request)


class GeminiPeer(OpenAIPeer):
    """The OpenAI-compatible endpoint below /v1beta/openai/."""

    prefix = "/v1beta/openai/"

    def check(self, request: Seen) -> None:
        super().check(request)
        operation = request.path.removeprefix(self.prefix)
        known = {"chat/completions", "embeddings", "images/generations"}
        self.expect(operation in known, "unknown path")


class KeylessPeer(Peer):
    """A server inside the network, without a key."""

    def check(self, request: Seen) -> None:
        sent = {key.lower() for key, _ in request.headers}
        self.expect(not sent & CREDENTIALS, "a credential was sent")


class AnthropicPeer(Peer):
    """POST /v1/messages[/count_tokens] with x-api-key and anthropic-version."""

    def check(self, request: Seen) -> None:
        known = {"/v1/messages", "/v1/messages/count_tokens"}
        self.expect(request.path in known and not request.query, "unknown path")
        self.expect_only_credential(request, "x-api-key", SECRET)
        self.expect(request.get("anthropic-version") == "2023-06-01", "anthropic-version")
        self.expect_json_model(request)

    def answer(self, request: Seen) -> object:
        return {"input_tokens": 3} if request.path.endswith("count_tokens") else MESSAGE


class AzurePeer(Peer):
    """The current API without a version, the older one with the deployment and a dated version."""

    def check(self, request: Seen) -> None:
        query = dict(parse_qsl(request.query))
        if request.path.startswith("/openai/v1/"):
            self.expect(query in ({}, {"api-version": "preview"}), "api-version")
            self.expect_json_model(request)
        else:
            self.expect(query == {"api-version": "2024-10-21"}, "api-version")
            by_deployment = request.path.startswith(f"/openai/deployments/{MODEL}/")
            self.expect(by_deployment or request.path == "/openai/responses", "unknown path")
        self.expect_only_credential(request, "api-key", SECRET)


ACCESS_KEY = "AKIDPEER000000000001"
SECRET_KEY = "peer/secret+key"
SESSION = "peer-session-token"


class BedrockPeer(Peer):
    """The OpenAI and Anthropic routes, with an API key or a signature that is computed anew."""

    region = "eu-west-1"
    signed = False
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def check(self, request: Seen) -> None:
        openai = {"/openai/v1/chat/completions", "/openai/v1/responses"}
        anthropic = {"/anthropic/v1/messages", "/anthropic/v1/messages/count_tokens"}
        self.expect(request.path in openai | anthropic and not request.query, "unknown path")
        self.expect_only_credential(
            request, "authorization", None if self.signed else f"Bearer {SECRET}"
        )
        if request.path in anthropic:
            self.expect(request.get("anthropic-version") == "2023-06-01", "anthropic-version")
        self.expect_json_model(request)
        if self.signed:
            service = "bedrock" if request.path in openai else "bedrock-mantle"
            self.expect(
                request.get("x-amz-security-token") == SESSION, "the session token is wrong"
            )
            self.verify(request, service)

    def answer(self, request: Seen) -> object:
        if request.path.endswith("count_tokens"):
            return {"input_tokens": 3}
        return MESSAGE if request.path.startswith("/anthropic") else CHAT

    def verify(self, request: Seen, service: str) -> None:
        """AWS Signature Version 4, from what came off the wire."""
        stamp = request.get("x-amz-date") or ""
        when = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        self.expect(abs(when - self.now) < timedelta(minutes=5), "the date is too far off")
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8}/([^/]+)/([^/]+)/aws4_request), "
            r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            request.get("authorization") or "",
        )
        self.expect(found is not None, "the authorization header has another form")
        assert found is not None
        key_id, scope, region, named, names, signature = found.groups()
        self.expect(key_id == ACCESS_KEY, "unknown access key")
        self.expect((region, named) == (self.region, service), f"the scope is {region}/{named}")
        signed = names.split(";")
        self.expect(signed == sorted(signed), "signed headers are not sorted")
        must = {"host"} | {key.lower() for key, _ in request.headers if key.lower()[:6] == "x-amz-"}
        self.expect(must <= set(signed), "host and x-amz-* must be signed")
        lines = [f"{name}:{' '.join((request.get(name) or '').split())}\n" for name in signed]
        canonical = "\n".join(
            (
                request.method,
                quote(request.path, safe="/~-._"),
                request.query,
                "".join(lines),
                names,
                hashlib.sha256(request.body).hexdigest(),
            )
        )
        text = "\n".join(
            ("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest())
        )
        key = ("AWS4" + SECRET_KEY).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        self.expect(hmac.compare_digest(expected, signature), "the signature does not match")


@asynccontextmanager
async def serving(peer: Peer) -> AsyncIterator[Peer]:
    """Runs `peer` on a free loopback port."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", peer.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    peer.port = site._server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        await runner.cleanup()
