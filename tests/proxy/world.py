"""A data plane made of real parts, with a loopback upstream that answers as a test tells it to.

Only the change log is stood in for (`PolicyOf`): an engine, its known epoch and its age, moved by the test.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.conditions import Condition, Item, Operator, encode, name_of
from authz.engine import Engine
from authz.rows import Row, row
from conf.settings import MODEL_PATH
from identity.directory import Directory
from identity.pins import Pins
from identity.principal import CredentialKind
from identity.tokens import mint
from policies.documents import (
    Credential,
    Document,
    MetadataConfig,
    User,
    VirtualAccount,
    parse,
)
from proxy.catalogue import Catalogue
from proxy.gateway import Gateway
from proxy.guard import Guard
from proxy.metrics import Metrics
from proxy.outbound import Client
from proxy.parts import Limits, Parts
from proxy.secrets import SecretRules, Secrets
from proxy.server import Server
from store.journal import Journal, JournalMode

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
UPSTREAM_KEY = "sk-upstream-canary-0123456789"
CHAT = {"model": "acme/mini", "messages": [{"role": "user", "content": "hi"}]}
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class PolicyOf:
    """The change log as the data plane sees it."""

    engine: Engine
    known: int = 1
    stale: float = 0.0

    def age(self, now: datetime) -> float:
        return self.stale

    async def poll(self) -> int:
        return 0


@dataclass
class Seen:
    """A request as the upstream got it."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)


@dataclass
class SnapshotOf:
    documents: list[Document]


@dataclass
class World:
    """What a test works with. `call` sends a request with ann's token unless told otherwise."""

    gateway: Gateway
    policy: PolicyOf
    directory: Directory
    journal: Journal
    metrics: Metrics
    session: aiohttp.ClientSession
    url: str
    port: int
    tokens: dict[str, str]
    seen: list[Seen]
    now: list[datetime]
    folder: Path
    answering: list[Answering] = field(default_factory=list)

    def answers(self, with_: Answering) -> None:
        """From now on the upstream answers like this."""
        self.answering[:] = [with_]

    async def call(
        self,
        path: str = "/v1/chat/completions",
        json_body: object = None,
        *,
        data: bytes | None = None,
        method: str = "POST",
        who: str | None = "ann",
        headers: dict[str, str] | None = None,
    ) -> Got:
        sent = {"content-type": "application/json"} if method == "POST" else {}
        if who is not None:
            sent["authorization"] = f"Bearer {self.tokens[who]}"
        sent.update(headers or {})
        if data is None and method == "POST":
            data = json.dumps(CHAT if json_body is None else json_body).encode()
        async with self.session.request(
            method, self.url + path, data=data, headers=sent, allow_redirects=False
        ) as response:
            return Got(response.status, dict(response.headers.items()), await response.read())

    async def records(self, kind: str = "") -> list[dict[str, Any]]:
        """Every record that is in the journal by now, or those of one type."""
        while self.journal.depth:
            self.journal.tick(int(self.now[0].timestamp() * 1_000_000))
            await asyncio.sleep(0)
        lines = {
            record["id"]: _flat(record)
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
            for line in path.read_bytes().splitlines()
            if line.startswith(b"{") and line.endswith(b"}")
            if "id" in (record := json.loads(line))
        }
        return [record for record in lines.values() if not kind or record.get("type") == kind]

    async def raw(self, request: bytes) -> bytes:
        """Everything that a connection answers to these bytes until it ends, or is silent a while."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        answer = b""
        try:
            while chunk := await asyncio.wait_for(reader.read(1 << 16), 5 if not answer else 0.5):
                answer += chunk
        except TimeoutError:
            pass
        finally:
            writer.close()
        return answer


def _flat(line: dict[str, Any]) -> dict[str, Any]:
    """A journal line as one mapping: the record's fields beside those of the chain, aside included."""
    flat = dict(line)
    for key in ("record", "body"):
        inner = flat.get(key)
        if isinstance(inner, dict):
            flat.update(inner)
    return flat


@dataclass
class Got:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json()["error"]
        return found

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers.items() if n.lower() == name.lower()), None)


def condition(*items: tuple[str, Operator, Any]) -> tuple[Row, str]:
    """The row of a condition, and its name."""
    made = Condition(tuple(Item(*item) for item in items))
    return row("c", name_of(made), encode(made)), name_of(made)


STREAMED, STREAMED_NAME = condition(("body.stream", Operator.EQUAL, True))
CANCELLED, CANCELLED_NAME = condition(("metadata.purpose", Operator.EQUAL, "test"))


def default_rows() -> list[Row]:
    """ann is in team search, which may use account acme; ben is in no team."""
    rows = []
    models = [
        "acme/mini",
        "acme/tuned",
        "acme/banned",
        "acme/streams",
        "claude/sonnet",
        "virt/best",
    ]
    for name in models:
        account = name.partition("/")[0]
        rows += [
            row("g2", f"model:{name}", f"open-models:{account}"),
            row("g2", f"model:{name}", f"provider-account:{account}"),
            row("g2", f"model:{name}", "any:model"),
        ]
    rows += [
        row("g2", "model:acme/hidden", "provider-account:acme"),
        row("g2", "model:acme/hidden", "any:model"),
        row("a", "model:virt/best", "model:acme/mini"),
        row("g3", "model:use", "role:provider-account-access"),
        row("g", "user:u-ann", "team:search"),
        row("g", "user:u-ann", "team:everyone"),
        row("g", "user:u-ben", "team:everyone"),
        row("m", "policy/stop#banned", "this model was stopped by security"),
        row("p", "any:subject", "model:acme/banned", "model:use", "deny", "", "policy/stop#banned"),
        STREAMED,
        row(
            "p",
            "user:u-ben",
            "model:acme/streams",
            "model:use",
            "allow",
            STREAMED_NAME,
            "policy/s#1",
        ),
    ]
    for account in ("acme", "claude", "virt"):
        rule = f"provider-account/{account}#collaborator/team:search/access"
        rows.append(
            row(
                "p",
                "team:search",
                f"open-models:{account}",
                "role:provider-account-access",
                "allow",
                "",
                rule,
            )
        )
    return rows


def accounts(upstream: str) -> list[Document]:
    """The provider accounts: acme speaks OpenAI's dialect, claude Anthropic's, virt is an alias."""
    key = {"type": "api-key", "api_key": "env:GATEWARDEN_SECRET_UPSTREAM"}
    return [
        parse(data)
        for data in (
            {
                "type": "provider-account/openai-compatible",
                "name": "acme",
                "base_url": f"{upstream}/v1",
                "auth_data": key,
                "integrations": [
                    {"type": "integration/model/openai", "name": name, "model_id": f"gpt-{name}"}
                    for name in ("mini", "tuned", "banned", "streams", "hidden")
                ],
            },
            {
                "type": "provider-account/anthropic",
                "name": "claude",
                "base_url": f"{upstream}/v1",
                "auth_data": key,
                "integrations": [
                    {
                        "type": "integration/model/anthropic",
                        "name": "sonnet",
                        "model_id": "claude-s",
                    }
                ],
            },
            {
                "type": "provider-account/virtual-model",
                "name": "virt",
                "integrations": [
                    {
                        "type": "integration/model/virtual",
                        "name": "best",
                        "routing_config": {
                            "type": "priority-based-routing",
                            "targets": [{"target": "acme/mini"}],
                        },
                    }
                ],
            },
        )
    ]


def people(tokens: dict[str, str]) -> list[Document]:
    """ann and ben with a token each, and a virtual account whose token expires in an hour."""
    made: list[Document] = [
        User(name="u-ann"),
        User(name="u-ben"),
        VirtualAccount(name="checkout"),
    ]
    for name, subject, kind in (
        ("ann", "user:u-ann", CredentialKind.PAT),
        ("ben", "user:u-ben", CredentialKind.PAT),
        ("checkout", "virtualaccount:checkout", CredentialKind.VAT),
    ):
        minted = mint(kind)
        tokens[name] = minted.secret
        made.append(
            Credential(
                name=minted.id,
                token_kind=kind.value,
                subject=subject,
                digest=minted.digest,
                created_at=NOW,
                expires_at=NOW + timedelta(hours=1) if name == "checkout" else None,
            )
        )
    return made


async def plain_answer(request: web.Request) -> web.StreamResponse:
    """What an upstream usually says, by the route that was asked."""
    if request.path.endswith("/messages"):
        return web.json_response(
            {"type": "message", "usage": {"input_tokens": 4, "output_tokens": 6}}
        )
    return web.json_response({"id": "chatcmpl-1", "object": "chat.completion", "usage": USAGE})


@asynccontextmanager
async def world(
    folder: Path,
    *,
    rows: Iterable[Row] = (),
    documents: Iterable[Document] = (),
    limits: Limits | None = None,
    mode: JournalMode = JournalMode.STRICT,
    **more: Any,
) -> AsyncIterator[World]:
    """A running data plane and its upstream. `more` goes to `Parts`."""
    seen: list[Seen] = []
    answering: list[Answering] = [plain_answer]
    now = [NOW]

    async def upstream(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(Seen(request.path_qs, list(request.headers.items()), await request.read()))
        return await answering[0](request)  # type: ignore[arg-type]

    upstream_server = web.Server(upstream, handler_cancellation=True)
    loop = asyncio.get_running_loop()
    upstream_socket = await loop.create_server(upstream_server, "127.0.0.1", 0)
    upstream_port = upstream_socket.sockets[0].getsockname()[1]

    tokens: dict[str, str] = {}
    estate = [*accounts(f"http://127.0.0.1:{upstream_port}"), *people(tokens), *documents]
    snapshot = SnapshotOf(estate)
    directory, catalogue, pins = Directory(), Catalogue(), Pins()
    for applier in (directory, catalogue, pins):
        applier.load(snapshot)
    engine = Engine.load(MODEL_PATH.read_text(), [*default_rows(), *rows], 1)
    policy = PolicyOf(engine)
    journal = Journal.open(
        folder / "journal",
        signing_key=Ed25519PrivateKey.generate(),
        mode=mode,
        clock=lambda: int(now[0].timestamp() * 1_000_000),
        steady=lambda: int(now[0].timestamp() * 1_000_000),
    )
    metrics = Metrics()
    outbound = Client(
        Secrets(
            SecretRules.of(["GATEWARDEN_SECRET_UPSTREAM=*"]),
            environ={"GATEWARDEN_SECRET_UPSTREAM": UPSTREAM_KEY},
        ),
        Guard.of(["127.0.0.0/8"]),
        lambda: now[0],
    )
    gateway = Gateway(
        Parts(
            policy=policy,
            directory=directory,
            pins=pins,
            catalogue=catalogue,
            journal=journal,
            outbound=outbound,
            metrics=metrics,
            limits=limits or Limits(contact="platform@example.test"),
            clock=lambda: now[0],
            **more,
        )
    )
    server = Server(gateway)
    socket = await loop.create_server(server, "127.0.0.1", 0)
    port = socket.sockets[0].getsockname()[1]
    session = aiohttp.ClientSession(auto_decompress=False)
    try:
        yield World(
            gateway,
            policy,
            directory,
            journal,
            metrics,
            session,
            f"http://127.0.0.1:{port}",
            port,
            tokens,
            seen,
            now,
            folder / "journal",
            answering,
        )
    finally:
        await session.close()
        socket.close()
        await server.shutdown(1)
        await outbound.close()
        upstream_socket.close()
        await upstream_server.shutdown(1)
        gateway.close()
        await journal.close()


def pins_for(subject: str, **metadata: str) -> MetadataConfig:
    """A document that pins metadata for one subject."""
    made = parse(
        {
            "type": "gateway-metadata-config",
            "name": "metadata",
            "rules": [{"id": "r1", "subjects": [subject], "metadata_override": metadata}],
        }
    )
    assert isinstance(made, MetadataConfig)
    return made
