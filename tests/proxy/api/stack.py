"""A control plane made of the real parts on a folder: store, change log, directory, journal, engine.

Everybody of the estate has a token. Time stands at `NOW` until a test moves `stack.now[0]`.
"""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conf.settings import MODEL_PATH, Settings
from identity.directory import Directory
from identity.first_admin import FirstAdmin
from identity.issue import Origin, account_subject, issue, user_subject
from identity.kept_tokens import KeptTokens
from identity.pins import Pins
from policies.change import Change, Source
from policies.documents import INTERNAL_TYPES, Document, Restriction, parse
from policies.loader import load_mapping, shipped
from proxy.api.site import build_api
from proxy.catalogue import Catalogue
from proxy.erasing import Erasing
from proxy.inquiry import Inquiries
from proxy.mcp.auth.parts import AuthParts, auth_of
from proxy.mcp.auth.ports import AuthOf
from proxy.mcp.auth.server_auth import ServerAuth
from proxy.mcp.servers import Servers
from proxy.metrics import Metrics
from proxy.record_access import RecordAccess
from proxy.runtime import Clock, Runtime
from proxy.secrets import SecretRules, Secrets
from store.changes import ChangeLog
from store.journal import Journal
from store.sealed import Sealer
from store.shelving import Place
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SEALING = bytes(range(32))
PROVIDER_KEY = "sk-provider-canary-0123456789abcdef"

ESTATE: tuple[dict[str, Any], ...] = (
    {"type": "user", "name": "root@example.com", "roles": ["tenant-admin"]},
    {"type": "user", "name": "member@example.com"},
    {"type": "user", "name": "manager@example.com"},
    {"type": "user", "name": "security@example.com", "roles": ["security-admin"]},
    {"type": "user", "name": "auditor@example.com", "roles": ["auditor"]},
    {"type": "user", "name": "other@example.com"},
    {
        "type": "team",
        "name": "search",
        "members": ["member@example.com", "manager@example.com"],
        "managers": ["manager@example.com"],
    },
    {"type": "team", "name": "hidden", "members": ["other@example.com"]},
    {
        "type": "provider-account/openai-compatible",
        "name": "acme",
        "base_url": "https://acme.example.com/v1",
        "auth_data": {"type": "api-key", "api_key": PROVIDER_KEY},
        "collaborators": [{"subject": "team:search", "role_id": "provider-account-access"}],
        "integrations": [
            {
                "type": "integration/model/openai-compatible",
                "name": "mini",
                "model_id": "gpt-4o-mini",
            }
        ],
    },
    {"type": "virtual-account", "name": "ops", "roles": ["tenant-admin"]},
    {"type": "virtual-account", "name": "checkout"},
)
RESTRICTED = (
    Restriction(actions=("self:read", "self:manage-tokens"), resources=("self:caller",)),
    Restriction(actions=("model:use",), resources=("model:acme/mini",)),
)


@dataclass
class Got:
    """An answer, read."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        """The stable code of a problem."""
        assert self.headers["content-type"].startswith("application/problem+json"), self.raw
        found: str = self.json["code"]
        return found


@dataclass
class Stack:
    """What a test works with. `call` sends a request with a token of the estate."""

    runtime: Runtime
    client: TestClient[web.Request, web.Application]
    store: SqliteStore
    now: list[datetime]
    folder: Path
    full: list[bool]  # whether the journal's disk is full
    tokens: dict[str, str] = field(default_factory=dict)
    token_ids: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return str(self.client.make_url("")).rstrip("/")

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str | None = "root",
        token: str | None = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Got:
        sent = dict(headers or {})
        secret = token or (self.tokens[who] if who is not None else None)
        if secret is not None:
            sent["Authorization"] = f"Bearer {secret}"
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        url = (
            self.client.make_url("") if path.startswith("/api") else self.client.make_url("/api/v1")
        )
        whole = f"{str(url).rstrip('/')}{path}"
        async with self.client.session.request(
            method,
            whole,
            data=io.BytesIO(data) if data else data,
            headers=sent,
            allow_redirects=False,
        ) as response:
            raw = await response.read()
            return Got(response.status, {k.lower(): v for k, v in response.headers.items()}, raw)

    async def commit(self, *documents: dict[str, Any]) -> None:
        """Put documents as the host, which writes those too that no file holds."""
        made = [one for one in documents if one["type"] in INTERNAL_TYPES]
        written = [one for one in documents if one not in made]
        await commit(self.runtime.changes, *load_mapping(written).plain())
        if made:
            await commit(self.runtime.changes, *map(parse, made))

    async def mint(self, who: str, subject: str, **more: Any) -> str:
        """A token for `subject`, kept under the name `who`."""
        issued = issue(subject, Origin("host", "test", Source.HOST), now=self.now[0], **more)
        await self.runtime.changes.commit(issued.change, None, self.now[0])
        self.tokens[who] = issued.secret
        self.token_ids[who] = issued.credential.name
        return issued.secret

    def records(self) -> list[dict[str, Any]]:
        """Every record of the journal that is on the disk."""
        found = []
        for path in sorted((self.folder / "journal").rglob("*")):
            if path.is_file():
                for line in path.read_bytes().splitlines():
                    try:
                        found.append(json.loads(line))
                    except ValueError:
                        continue
        return found

    def record(self, decision_id: str) -> dict[str, Any]:
        """The decision record with this id."""
        return next(item for item in self.records() if decision_id in json.dumps(item))


async def commit(changes: ChangeLog, *documents: Document) -> None:
    change = Change("host", Source.HOST, "test", puts=documents)
    await changes.commit(change, None, NOW)


def _nobody(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing is fetched here")


def _outward(
    sealer: Sealer, state: SqliteState, servers: Servers, directory: Directory
) -> AuthParts:
    """Credentials for MCP servers, of which none is reached."""
    secrets = Secrets(SecretRules(), environ={}, unseal=_nobody)
    auth = ServerAuth(_nobody, secrets, sealer, state, "https://gateway.example")

    def find(name: str) -> AuthOf | None:
        server = servers.server(name)
        return None if server is None else auth_of(server)

    return AuthParts(auth, find, directory)


@asynccontextmanager
async def stack_on(
    folder: Path, *, estate: Sequence[dict[str, Any]] = ESTATE, **settings: Any
) -> AsyncIterator[Stack]:
    """A running control plane with the estate and a token for everybody (an empty one: for nobody)."""
    now = [NOW]
    clock = Clock(lambda: now[0])
    sealer = Sealer(SEALING)
    store = SqliteStore(folder / "gatewarden.db")
    state = SqliteState(store)
    changes = ChangeLog(
        store,
        model_text=MODEL_PATH.read_text("utf-8"),
        shipped=shipped(),
        sealer=sealer,
        clock=clock.now,
    )
    directory, pins, catalogue = Directory(), Pins(), Catalogue()
    first_admin = FirstAdmin(folder, state)
    servers = Servers()
    for applier in (directory, pins, catalogue, first_admin, servers):
        changes.subscribe(applier)
    await changes.start()
    if estate:
        await commit(changes, *load_mapping(list(estate)).plain())
    full = [False]

    def sync(descriptor: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "no space left")
        os.fdatasync(descriptor)

    journal = Journal.open(folder / "journal", signing_key=Ed25519PrivateKey.generate(), sync=sync)
    runtime = Runtime(
        settings=Settings(data=folder, **settings),
        changes=changes,
        directory=directory,
        pins=pins,
        catalogue=catalogue,
        first_admin=first_admin,
        journal=journal,
        metrics=Metrics(),
        clock=clock,
        records=RecordAccess(Place(folder / "request-records.db")),
        inquiries=Inquiries(f"sqlite:///{folder / 'gatewarden.db'}", MODEL_PATH.read_text("utf-8")),
    )
    runtime.mcp_auth = _outward(sealer, state, servers, directory)
    assert runtime.records is not None
    runtime.erasing = Erasing(
        changes, runtime.records, journal, folder / "journal", folder / "payloads", state
    )
    app = build_api(runtime, kept_tokens=KeptTokens(sealer, state))
    client: TestClient[web.Request, web.Application] = TestClient(TestServer(app))
    await client.start_server()
    stack = Stack(runtime, client, store, now, folder, full)
    if estate:
        for name in ("root", "member", "manager", "security", "auditor", "other"):
            await stack.mint(name, user_subject(f"{name}@example.com"))
        await stack.mint("restricted", user_subject("member@example.com"), restrictions=RESTRICTED)
        await stack.mint("ops", account_subject("ops"))
        await stack.mint("checkout", account_subject("checkout"))
    try:
        yield stack
    finally:
        await client.close()
        assert runtime.inquiries is not None
        if runtime.records is not None:
            await runtime.records.close()
        await runtime.inquiries.close()
        await journal.close()
        await changes.close()
