"""The credentials that go to MCP servers, one of these a process: headers for a request, and what each principal gave.

INVARIANT: the caller's own token is no input of anything here, so it cannot go upstream.

Held in memory: access tokens (`oauth.py`) and given values, by (principal, server); both are looked up again after
thirty seconds. Everything lasting is in `kept.py`, sealed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

from yarl import URL

from policies.mcp_servers import HeaderAuth, OAuth2Auth, SigV4Auth
from proxy.fetching import Fetch
from proxy.mcp.auth.clients import Clients
from proxy.mcp.auth.endpoints import Discovery, origin_of
from proxy.mcp.auth.flows import Flow, Flows
from proxy.mcp.auth.given import Given, wanted_of
from proxy.mcp.auth.kept import Kept
from proxy.mcp.auth.oauth import OAuth
from proxy.mcp.auth.once import Pause
from proxy.mcp.auth.ports import AuthOf, Texts
from proxy.mcp.auth.resolving import fixed, resolve
from proxy.mcp.auth.status import AuthStatus, Method
from proxy.mcp.auth.token_endpoint import TokenEndpoint
from proxy.mcp.auth.values import checked
from proxy.mcp.paths import CALLBACK
from proxy.providers.base import AwsKeys, Headers
from proxy.providers.sigv4 import sign
from store.sealed import Sealer
from store.state import State

_SIGNED = frozenset(
    {"authorization", "host", "x-amz-date", "x-amz-security-token"}
)  # what `sign` adds


class ServerAuth:
    """Credentials for MCP servers."""

    def __init__(
        self,
        fetch: Fetch,
        texts: Texts,
        sealer: Sealer,
        state: State,
        public_url: str,
        *,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """`public_url` is where browsers reach the gateway; `pause` stands in for the passing of time."""
        redirect_uri = public_url.rstrip("/") + CALLBACK
        self.public_origin = origin_of(public_url)
        self._texts = texts
        self._kept = Kept(sealer, state)
        discovery, endpoint = Discovery(fetch), TokenEndpoint(fetch)
        clients = Clients(fetch, texts, sealer, state, redirect_uri, pause)
        self._oauth = OAuth(endpoint, discovery, clients, self._kept, state, pause)
        self._flows = Flows(endpoint, discovery, clients, self._kept, sealer, state, redirect_uri)
        self._given = Given(self._kept, texts)

    def __repr__(self) -> str:
        return "ServerAuth(…)"

    # For each request

    async def headers(
        self,
        server: AuthOf,
        principal_id: str,
        method: str,
        url: str,
        body: bytes,
        now: datetime,
    ) -> Headers:
        """What goes beside a request to `server`.

        Raises:
            AuthNeeded: the principal has to authorise, or to give values.
            AuthFailed: the authorization server refuses. CredentialMissing: a reference does not resolve.
            UpstreamMisconfigured: a header that no document may set. UpstreamError: the authorization
                server cannot be reached. Unavailable, StoreUnavailable.
        """
        sent: dict[str, tuple[str, str]] = {}
        # INVARIANT: these are plain text. Nobody was asked whether a reference in them may be used.
        for name, text in server.additional_headers.items():
            sent[name.lower()] = checked(name, text, server.name)
        auth = server.auth_data
        own: Headers = []
        if isinstance(auth, HeaderAuth):
            own = await self._given.headers(server, auth, principal_id, now)
        elif isinstance(auth, OAuth2Auth):
            token = await self._oauth.access(server, auth, principal_id, now)
            own = [("Authorization", f"Bearer {token}")]
        # A credential replaces an additional header of its name: two would be read in two ways.
        for name, value in own:
            sent[name.lower()] = checked(name, value, server.name)
        if isinstance(auth, SigV4Auth):
            headers = [pair for name, pair in sent.items() if name not in _SIGNED]
            signed = await self._signed(server, auth, method, url, headers, body, now)
            sent |= {name.lower(): (name, value) for name, value in signed}
        return list(sent.values())

    async def rejected(self, server: AuthOf, principal_id: str, sent: Headers) -> bool:
        """The server answered 401 to `sent` (what `headers` gave): whether once more makes sense."""
        auth = server.auth_data
        if isinstance(auth, OAuth2Auth):
            values = [value for name, value in sent if name.lower() == "authorization"]
            token = values[0].removeprefix("Bearer ") if values else ""
            return self._oauth.rejected(server, auth, principal_id, token)
        # The next request reads references again: a mounted secret may have been rotated.
        self._texts.forget(server.id)
        self._given.forget(principal_id, server.id)
        return False

    # What principals give

    async def status(self, server: AuthOf, principal_id: str, now: datetime) -> AuthStatus:
        """How the principal's requests are authenticated. Raises: UpstreamError, StoreUnavailable."""
        auth = server.auth_data
        if auth is None:
            return AuthStatus(True, Method.NONE)
        if isinstance(auth, SigV4Auth):
            return AuthStatus(True, Method.AWS)
        if isinstance(auth, OAuth2Auth):
            if auth.grant_type == "client_credentials":
                return AuthStatus(True, Method.CLIENT)
            return AuthStatus(
                await self._oauth.authorised(server, auth, principal_id, now), Method.OAUTH
            )
        if not wanted_of(server):
            return AuthStatus(True, Method.HEADER)
        missing = await self._given.missing(server, principal_id, now)
        return AuthStatus(not missing, Method.USER_HEADER, missing)

    async def put_values(
        self, server: AuthOf, principal_id: str, values: Mapping[str, str], now: datetime
    ) -> None:
        """Keep values of the principal; what was given before and is not named now stays.

        Raises:
            ValuesRefused, StoreUnavailable.
        """
        await self._given.put(server, principal_id, values, now)

    async def forget(self, server_id: str, principal_id: str) -> bool:
        """Drop tokens and values of the principal; whether there were any. Elsewhere they serve thirty seconds more."""
        self._given.forget(principal_id, server_id)
        self._oauth.forget(principal_id, server_id)
        return await self._kept.drop(principal_id, server_id)

    async def forget_server(self, server_id: str, now: datetime) -> int:
        """Drop what everybody has at a server that was deleted; how many."""
        self.changed(server_id)
        return await self._kept.drop_server(server_id, now)

    def changed(self, server_id: str) -> None:
        """The server's document changed: nothing in memory is used any more."""
        self._texts.forget(server_id)
        self._oauth.forget_server(server_id)
        self._given.forget_server(server_id)

    # Authorization in a browser

    async def begin(
        self,
        server: AuthOf,
        principal_id: str,
        now: datetime,
        *,
        begun_by: str = "",
        credential_id: str = "",
    ) -> str:
        """The address to open; see `Flows.begin`."""
        return await self._flows.begin(
            server, principal_id, now, begun_by=begun_by, credential_id=credential_id
        )

    async def pending(self, state: str, now: datetime) -> Flow:
        """Whose authorization this is; it stays open. Raises: FlowUnknown, StoreUnavailable."""
        return await self._flows.pending(state, now)

    async def take(self, state: str, now: datetime) -> Flow:
        """The same, to one caller only: to finish it, or to give it up."""
        return await self._flows.take(state, now)

    async def finish(
        self, flow: Flow, server: AuthOf | None, code: str, issuer: str, now: datetime
    ) -> None:
        """Exchange the code of a flow that was taken; see `Flows.finish`."""
        await self._flows.finish(flow, server, code, issuer, now)
        self._oauth.forget(flow.principal_id, flow.server_id)

    async def close(self) -> None:
        """Waits for what must not be cut off."""
        await self._oauth.close()

    # Inside

    async def _signed(
        self,
        server: AuthOf,
        auth: SigV4Auth,
        method: str,
        url: str,
        headers: Headers,
        body: bytes,
        now: datetime,
    ) -> Headers:
        origin = origin_of(server.url)
        key_id = await fixed(self._texts, server, auth.access_key_id, origin)
        secret = await resolve(self._texts, server, auth.secret_access_key, origin)
        token = None
        if auth.session_token:
            token = await resolve(self._texts, server, auth.session_token, origin)
        return sign(
            method,
            URL(url),
            headers,
            body,
            keys=AwsKeys(key_id, secret, token),
            region=auth.region,
            service=auth.service,
            now=now,
        )
