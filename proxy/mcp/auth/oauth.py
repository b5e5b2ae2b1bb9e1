"""The access token for a request: held, read back, renewed, or asked for.

Client credentials give one token a server, held in this process. An authorization by a principal is kept sealed and
shared by all processes; it is renewed by one of them at a time (`once.py`), and what came of it is stored before it is used.
Held tokens are looked up again after `TRUSTED`, so that a disconnected account stops everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from policies.mcp_servers import OAuth2Auth
from proxy.mcp.auth.clients import Clients
from proxy.mcp.auth.endpoints import Discovery, Endpoints, place_of
from proxy.mcp.auth.errors import AuthFailed, AuthNeeded
from proxy.mcp.auth.kept import Kept
from proxy.mcp.auth.once import Pause, once
from proxy.mcp.auth.ports import AuthOf
from proxy.mcp.auth.token_endpoint import TokenEndpoint
from proxy.mcp.auth.token_set import TokenSet
from store.state import State

TRUSTED = timedelta(seconds=30)
MAX_HELD = 20_000
_GRANT_GONE = frozenset({"invalid_grant"})
T = TypeVar("T")
_Key = tuple[str, str]  # principal ("" for client credentials), server


@dataclass(frozen=True, slots=True)
class _Held:
    tokens: TokenSet = field(repr=False)
    auth: OAuth2Auth = field(repr=False)
    url: str
    trusted: datetime | None  # until then it is not looked up again; None = it is kept here only
    forced: bool  # it came because the one before was refused


class OAuth:
    """Access tokens of one process, by principal and server."""

    def __init__(
        self,
        endpoint: TokenEndpoint,
        discovery: Discovery,
        clients: Clients,
        kept: Kept,
        state: State,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._pause = pause
        self._endpoint = endpoint
        self._discovery = discovery
        self._clients = clients
        self._kept = kept
        self._state = state
        self._held: dict[_Key, _Held] = {}
        self._refused: dict[_Key, str] = {}  # the digest of an access token that the server refused
        self._running: dict[tuple[str, ...], asyncio.Task[TokenSet]] = {}

    def __repr__(self) -> str:
        return f"<OAuth with {len(self._held)} tokens>"

    async def access(
        self, server: AuthOf, auth: OAuth2Auth, principal_id: str, now: datetime
    ) -> str:
        """The access token to send.

        Raises:
            AuthNeeded: the principal has not authorised, or the authorization has ended.
            AuthFailed, UpstreamError, CredentialMissing, Unavailable, StoreUnavailable.
        """
        own = auth.grant_type == "authorization_code"
        key = (principal_id if own else "", server.id)
        held = self._held.get(key)
        # INVARIANT: a held token serves only the document that it was given for.
        if (
            held is not None
            and (held.auth is auth or held.auth == auth)
            and held.url == server.url
            and held.tokens.usable(now)
            and (held.trusted is None or now < held.trusted)
        ):
            return held.tokens.access
        work = self._of_principal if own else self._of_gateway
        one = (*key, server.url, auth.token_url or "")  # a changed document starts over
        tokens = await self._alone(one, partial(work, server, auth, key, now))
        return tokens.access

    async def authorised(
        self, server: AuthOf, auth: OAuth2Auth, principal_id: str, now: datetime
    ) -> bool:
        """Whether tokens of the principal are kept that serve, or can be renewed."""
        endpoints = await self._discovery.endpoints(server, auth, now)
        kept = await self._kept.tokens(principal_id, server.id, place_of(server, endpoints), now)
        return kept is not None and (bool(kept.refresh) or kept.usable(now))

    def rejected(self, server: AuthOf, auth: OAuth2Auth, principal_id: str, sent: str) -> bool:
        """The server refused the access token `sent`; whether another one may be had."""
        own = auth.grant_type == "authorization_code"
        key = (principal_id if own else "", server.id)
        held = self._held.get(key)
        if held is None or held.tokens.access != sent:
            return True  # somebody was faster: there is another one, or will be
        del self._held[key]
        _note(self._refused, key, held.tokens.digest)
        return not held.forced and (not own or bool(held.tokens.refresh))

    def forget(self, principal_id: str, server_id: str) -> None:
        """What is kept for the principal changed."""
        self._held.pop((principal_id, server_id), None)
        self._refused.pop((principal_id, server_id), None)

    def forget_server(self, server_id: str) -> None:
        for key in [key for key in self._held if key[1] == server_id]:
            self.forget(*key)

    async def close(self) -> None:
        """Waits for renewals under way: a rotated token that is not stored is lost."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _alone(
        self, key: tuple[str, ...], work: Callable[[], Coroutine[None, None, TokenSet]]
    ) -> TokenSet:
        """Runs `work` once for all who ask at the same time. It goes on when they leave: a caller that
        hangs up must not lose a token that the other side has just replaced.
        """
        task = self._running.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(work())
            self._running[key] = task
            task.add_done_callback(partial(self._done, key))
        return await asyncio.shield(task)

    def _done(self, key: tuple[str, ...], task: asyncio.Task[TokenSet]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who waited have it; if all left, nobody is to be told

    async def _of_gateway(
        self, server: AuthOf, auth: OAuth2Auth, key: _Key, now: datetime
    ) -> TokenSet:
        endpoints = await self._discovery.endpoints(server, auth, now)
        params = {"grant_type": "client_credentials", **scope_of(auth), **resource_of(server, auth)}
        tokens = await self._ask(server, auth, endpoints, params, now)
        self._hold(key, _Held(tokens, auth, server.url, None, key in self._refused))
        return tokens

    async def _of_principal(
        self, server: AuthOf, auth: OAuth2Auth, key: _Key, now: datetime
    ) -> TokenSet:
        endpoints = await self._discovery.endpoints(server, auth, now)
        forced = key in self._refused
        tokens = await once(
            self._state,
            f"refresh|{server.id}|{key[0]}",
            now,
            partial(self._look, server, key, endpoints, now),
            partial(self._renew, server, auth, key, endpoints, now),
            self._pause,
        )
        self._hold(key, _Held(tokens, auth, server.url, now + TRUSTED, forced))
        return tokens

    async def _look(
        self, server: AuthOf, key: _Key, endpoints: Endpoints, now: datetime
    ) -> TokenSet | None:
        """The kept tokens if they serve, None if they have to be renewed. Raises: AuthNeeded."""
        kept = await self._kept.tokens(*key, place_of(server, endpoints), now)
        if kept is None:
            raise needed(server)
        return kept if kept.usable(now) and self._refused.get(key) != kept.digest else None

    async def _renew(
        self, server: AuthOf, auth: OAuth2Auth, key: _Key, endpoints: Endpoints, now: datetime
    ) -> TokenSet:
        old = await self._kept.tokens(*key, place_of(server, endpoints), now)
        if old is None:
            raise needed(server)
        if not old.refresh:
            await self._kept.drop_tokens(*key)
            raise needed(server)
        params = {
            "grant_type": "refresh_token",
            "refresh_token": old.refresh,
            **resource_of(server, auth),
        }
        try:
            fresh = await self._ask(server, auth, endpoints, params, now, refresh=old.refresh)
        except AuthFailed as error:
            if error.error not in _GRANT_GONE:
                raise
            if await self._kept.tokens(*key, place_of(server, endpoints), now) == old:
                await self._kept.drop_tokens(*key)
            raise needed(server) from error
        # Who disconnected meanwhile stays disconnected.
        if await self._kept.tokens(*key, place_of(server, endpoints), now) is None:
            raise needed(server)
        await self._kept.put_tokens(*key, place_of(server, endpoints), fresh, now)
        return fresh

    async def _ask(
        self,
        server: AuthOf,
        auth: OAuth2Auth,
        endpoints: Endpoints,
        params: dict[str, str],
        now: datetime,
        *,
        refresh: str = "",
    ) -> TokenSet:
        client = await self._clients.client(server, auth, endpoints, now)
        return await self._endpoint.ask(
            endpoints.token, client, params, auth.additional_token_params, now, refresh=refresh
        )

    def _hold(self, key: _Key, held: _Held) -> None:
        self._refused.pop(key, None)
        _note(self._held, key, held)


def _note(table: dict[_Key, T], key: _Key, value: T) -> None:
    while len(table) >= MAX_HELD and key not in table:
        del table[next(iter(table))]
    table[key] = value


def needed(server: AuthOf) -> AuthNeeded:
    """The error of a principal who has not authorised."""
    return AuthNeeded(
        f"the MCP server `{server.name}` needs your authorization",
        hint=f"POST /api/v1/mcp-servers/{server.name}/auth/start and open the address that it answers",
        authorise=True,
    )


def scope_of(auth: OAuth2Auth) -> dict[str, str]:
    return {"scope": " ".join(auth.scopes)} if auth.scopes else {}


def resource_of(server: AuthOf, auth: OAuth2Auth) -> dict[str, str]:
    """RFC 8707: the token is for this server and no other."""
    return {"resource": server.url.partition("#")[0]} if auth.include_resource else {}
