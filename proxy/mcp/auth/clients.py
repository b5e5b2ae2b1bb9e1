"""Who the gateway is at an authorization server: the document's client, or one that it registered (RFC 7591).

A registered client is kept sealed, one for each server and its addresses, and shared by all processes.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import partial

from policies.mcp_servers import OAuth2Auth
from proxy.fetching import Fetch
from proxy.mcp.auth.endpoints import Endpoints, origin_of, place_of
from proxy.mcp.auth.errors import AuthFailed
from proxy.mcp.auth.once import Pause, once
from proxy.mcp.auth.ports import AuthOf, Texts
from proxy.mcp.auth.resolving import resolve
from proxy.mcp.auth.token_endpoint import BASIC, DEADLINE, MAX_ANSWER, NONE, POST, OAuthClient
from proxy.providers.base import UpstreamMisconfigured
from store.errors import SealBroken
from store.sealed import Sealer
from store.state import State

_SPACE = "mcp-auth-client"
_FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
_SPARE = timedelta(minutes=5)  # a registered secret is replaced so long before its end


class Clients:
    """Finds or registers the client for a server."""

    def __init__(
        self,
        fetch: Fetch,
        texts: Texts,
        sealer: Sealer,
        state: State,
        redirect_uri: str,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._pause = pause
        self._fetch = fetch
        self._texts = texts
        self._sealer = sealer
        self._state = state
        self._redirect_uri = redirect_uri

    def __repr__(self) -> str:
        return "Clients(…)"

    async def client(
        self, server: AuthOf, auth: OAuth2Auth, endpoints: Endpoints, now: datetime
    ) -> OAuthClient:
        """The client to show.

        Raises:
            CredentialMissing, UpstreamMisconfigured, AuthFailed, UpstreamError, Unavailable, StoreUnavailable.
        """
        if auth.client_id:
            method = next((m for m in (BASIC, POST) if endpoints.methods == (m,)), "")
            if not auth.client_secret:
                return OAuthClient(auth.client_id, method=NONE)
            secret = await resolve(self._texts, server, auth.client_secret, endpoints.origin)
            return OAuthClient(auth.client_id, secret, method)
        if not endpoints.register:
            raise UpstreamMisconfigured(
                f"`auth_data` of the MCP server `{server.name}` has no `client_id`",
                hint="set it, or `registration_url` where the authorization server registers clients",
            )
        if origin_of(endpoints.register) != endpoints.origin:
            raise UpstreamMisconfigured(
                f"the MCP server `{server.name}` has its clients registered at another place than their tokens"
            )
        key = f"{server.id}|{place_of(server, endpoints)}"
        return await once(
            self._state,
            f"register|{key}",
            now,
            partial(self._kept, key, now),
            partial(self._register, key, auth, endpoints, now),
            self._pause,
        )

    async def forget(self, server: AuthOf, endpoints: Endpoints) -> None:
        """The authorization server does not know the registered client any more: register anew."""
        await self._state.drop(_SPACE, f"{server.id}|{place_of(server, endpoints)}")

    async def _kept(self, key: str, now: datetime) -> OAuthClient | None:
        blob = await self._state.get(_SPACE, key, now)
        if blob is None:
            return None
        try:
            found = json.loads(self._sealer.open(blob, self._bound_to(key)))
            return OAuthClient(found["id"], found["secret"], found["method"])
        except (SealBroken, ValueError, KeyError, TypeError):
            return None

    def _bound_to(self, key: str) -> str:
        # Another public address of the gateway is another redirect address: register for that.
        return f"{_SPACE}|{key}|{self._redirect_uri}"

    async def _register(
        self, key: str, auth: OAuth2Auth, endpoints: Endpoints, now: datetime
    ) -> OAuthClient:
        machine = auth.grant_type == "client_credentials"
        wanted: dict[str, object] = {
            "client_name": "Gatewarden",
            "grant_types": [auth.grant_type] if machine else [auth.grant_type, "refresh_token"],
            "token_endpoint_auth_method": BASIC if machine else NONE,
        }
        if not machine:
            wanted |= {"redirect_uris": [self._redirect_uri], "response_types": ["code"]}
        if auth.scopes:
            wanted["scope"] = " ".join(auth.scopes)
        headers = [("Content-Type", "application/json"), ("Accept", "application/json")]
        body = json.dumps(wanted).encode()
        async with self._fetch(
            "POST", endpoints.register, headers, body, deadline=DEADLINE
        ) as answer:
            raw, status = await answer.read(MAX_ANSWER), answer.status
        try:
            said = json.loads(raw) if status in (200, 201) else {}
        except (ValueError, RecursionError):
            said = {}
        made = said if isinstance(said, dict) else {}
        client_id, secret = made.get("client_id"), made.get("client_secret") or ""
        method = made.get("token_endpoint_auth_method") or ""
        if not all(isinstance(item, str) for item in (client_id, secret, method)) or not client_id:
            raise AuthFailed(
                f"the authorization server registers no client: status {status}",
                hint="set `client_id` in `auth_data` of the MCP server",
            )
        client = OAuthClient(client_id, secret, method if secret else NONE)
        ends = made.get("client_secret_expires_at")
        until = _FOR_EVER
        if isinstance(ends, int) and not isinstance(ends, bool) and 0 < ends < 1 << 37:
            until = datetime.fromtimestamp(ends, UTC) - _SPARE
        sealed = json.dumps({"id": client.client_id, "secret": secret, "method": client.method})
        blob = self._sealer.seal(sealed, self._bound_to(key))
        await self._state.put(_SPACE, key, blob, until)
        return client
