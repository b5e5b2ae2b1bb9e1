"""What tests of outbound credentials share: servers, principals, and processes over one store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from policies.mcp_servers import HeaderAuth, OAuth2Auth, SigV4Auth
from proxy.guard import Guard
from proxy.mcp.auth.ports import Protected
from proxy.mcp.auth.server_auth import ServerAuth
from proxy.outbound import Client
from proxy.secrets import SecretRules, Secrets
from store.sealed import Sealer
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState
from tests.peers.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ANN, BOB = "user:u-ann", "user:u-bob"
PUBLIC = "https://gateway.example"
SERVER = "mcp-server:github~2"
HEADER_SECRET = "hdr-canary-91"
ENVIRON = {
    "GATEWARDEN_SECRET_CLIENT": CLIENT_SECRET,
    "GATEWARDEN_SECRET_HEADER": f"Bearer {HEADER_SECRET}",
    "GATEWARDEN_SECRET_AWS": "peer/secret+key",
    "GATEWARDEN_SECRET_SESSION": "peer-session-token",
}
SECRET = "env:GATEWARDEN_SECRET_CLIENT"


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def server(
    auth: HeaderAuth | OAuth2Auth | SigV4Auth | None,
    url: str = "https://mcp.example/mcp",
    *,
    id: str = SERVER,
    more: Mapping[str, str] | None = None,
) -> Protected:
    return Protected(id, "github", url, auth, more or {})


def oauth(peer: OAuthServer, grant: str, **fields: Any) -> Protected:
    """A server whose document names the addresses of `peer`."""
    fields = {
        "authorization_url": f"{peer.url}/authorize",
        "token_url": f"{peer.url}/token",
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "scopes": ["read", "write"],
        **fields,
    }
    auth = OAuth2Auth.model_validate({"type": "oauth2", "grant_type": grant, **fields})
    return server(auth, peer.resource)


@dataclass
class World:
    """Some processes (`auths`) of one installation."""

    auths: list[ServerAuth]
    states: list[SqliteState]
    clients: list[Client]
    secrets: list[Secrets]
    paused: list[float] = field(default_factory=list)

    @property
    def auth(self) -> ServerAuth:
        return self.auths[0]

    async def send(
        self, target: Protected, who: str = ANN, now: datetime = NOW, process: int = 0
    ) -> list[tuple[str, str]]:
        auth = self.auths[process]
        return await auth.headers(target, who, "POST", target.url, b"{}", now)

    async def status_of(self, target: Protected, headers: list[tuple[str, str]]) -> int:
        """What the resource says to these headers."""
        async with self.clients[0].fetch("POST", target.url, headers, b"{}") as answer:
            await answer.read(1000)
            return answer.status

    async def connect(
        self, peer: OAuthServer, target: Protected, who: str = ANN, now: datetime = NOW
    ) -> None:
        """`who` authorises and comes back."""
        back = peer.consent(await self.auth.begin(target, who, now))
        flow = await self.auth.take(back["state"], now)
        await self.auth.finish(flow, target, back["code"], back["iss"], now)


@asynccontextmanager
async def world(folder: Path, processes: int = 1) -> AsyncIterator[World]:
    made = World([], [], [], [])
    async with AsyncExitStack() as stack:
        for _ in range(processes):
            store = SqliteStore(folder / "s.db")
            await store.open()
            stack.push_async_callback(store.close)
            secrets = Secrets(SecretRules(), environ=ENVIRON)
            client = Client(secrets, Guard.of(["127.0.0.1"]), lambda: NOW)
            stack.push_async_callback(client.close)
            sealer, state = Sealer(bytes(range(32))), SqliteState(store)
            auth = ServerAuth(client.fetch, secrets, sealer, state, PUBLIC)
            stack.push_async_callback(auth.close)
            made.auths.append(auth)
            made.states.append(state)
            made.clients.append(client)
            made.secrets.append(secrets)
        yield made
