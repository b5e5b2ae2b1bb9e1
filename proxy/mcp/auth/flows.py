"""A principal authorises the gateway at a server's authorization server: begin, look, finish (OAuth 2.1, PKCE S256).

What is under way is sealed under the digest of its `state`, for ten minutes, and can be finished once. It names the
principal who began; whoever comes back with the `state` adds to that principal's credentials and to nobody else's. The
page that people come back to (`callback.py`) therefore says whose they are, and asks, before it finishes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from yarl import URL

from policies.mcp_servers import OAuth2Auth
from proxy.mcp.auth.clients import Clients
from proxy.mcp.auth.endpoints import Discovery, origin_of, place_of
from proxy.mcp.auth.errors import AuthFailed, FlowRefused, FlowUnknown
from proxy.mcp.auth.kept import Kept
from proxy.mcp.auth.oauth import resource_of, scope_of
from proxy.mcp.auth.ports import AuthOf
from proxy.mcp.auth.token_endpoint import TokenEndpoint
from proxy.providers.base import UpstreamMisconfigured
from store.errors import SealBroken
from store.sealed import Sealer
from store.state import State

LIFETIME = timedelta(minutes=10)
MAX_CODE = 8 * 1024
_SPACE = "mcp-auth-flow"


@dataclass(frozen=True, slots=True)
class Flow:
    """An authorization under way: for whom, at which server, begun by whom."""

    principal_id: str
    server_id: str
    server_name: str
    begun_by: str  # another principal where a manager did it for this one
    credential_id: str  # with which it was begun
    place: str  # where the tokens come from and go to
    issuer: str
    verifier: str = field(repr=False)


class Flows:
    """Authorizations by principals."""

    def __init__(
        self,
        endpoint: TokenEndpoint,
        discovery: Discovery,
        clients: Clients,
        kept: Kept,
        sealer: Sealer,
        state: State,
        redirect_uri: str,
    ) -> None:
        self._endpoint = endpoint
        self._discovery = discovery
        self._clients = clients
        self._kept = kept
        self._sealer = sealer
        self._state = state
        self._redirect_uri = redirect_uri

    def __repr__(self) -> str:
        return "Flows(…)"

    async def begin(
        self,
        server: AuthOf,
        principal_id: str,
        now: datetime,
        *,
        begun_by: str = "",
        credential_id: str = "",
    ) -> str:
        """The address that the principal opens in a browser.

        Raises:
            FlowRefused: the server has no such authentication. UpstreamMisconfigured, AuthFailed,
            UpstreamError, CredentialMissing, Unavailable, StoreUnavailable.
        """
        auth = _auth_of(server)
        endpoints = await self._discovery.endpoints(server, auth, now)
        client = await self._clients.client(server, auth, endpoints, now)
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        flow = {
            "principal": principal_id,
            "server": server.id,
            "name": server.name,
            "begun_by": begun_by or principal_id,
            "credential": credential_id,
            "place": place_of(server, endpoints),
            "issuer": endpoints.issuer or origin_of(endpoints.authorize),
            "verifier": verifier,
        }
        key = _key(state)
        blob = self._sealer.seal(json.dumps(flow), f"{_SPACE}|{key}")
        await self._state.put(_SPACE, key, blob, now + LIFETIME)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        # An address may bring parameters of its own (a tenant's policy); ours replace them.
        return str(
            URL(endpoints.authorize).update_query(
                {
                    "response_type": "code",
                    "client_id": client.client_id,
                    "redirect_uri": self._redirect_uri,
                    "state": state,
                    "code_challenge": challenge.decode().rstrip("="),
                    "code_challenge_method": "S256",
                    **scope_of(auth),
                    **resource_of(server, auth),
                }
            )
        )

    async def pending(self, state: str, now: datetime) -> Flow:
        """What `state` stands for, which stays open. Raises: FlowUnknown, StoreUnavailable."""
        return self._opened(state, await self._state.get(_SPACE, _key(state), now))

    async def take(self, state: str, now: datetime) -> Flow:
        """What `state` stands for, to one caller only. Raises: FlowUnknown, StoreUnavailable."""
        return self._opened(state, await self._state.take_once(_SPACE, _key(state), now))

    async def finish(
        self, flow: Flow, server: AuthOf | None, code: str, issuer: str, now: datetime
    ) -> None:
        """Exchange the code of a flow that was taken, and keep the tokens. `server` is what it names today.

        Raises:
            FlowRefused: the server is another one by now, or another authorization server answered.
            AuthFailed, UpstreamError, CredentialMissing, Unavailable, StoreUnavailable.
        """
        if server is None or server.id != flow.server_id:
            raise FlowRefused("the MCP server of this authorization is gone", hint="begin again")
        auth = _auth_of(server)
        endpoints = await self._discovery.endpoints(server, auth, now)
        # INVARIANT: a secret never follows a changed address.
        if place_of(server, endpoints) != flow.place:
            raise FlowRefused("an address in `auth_data` changed meanwhile", hint="begin again")
        # RFC 9207 2.4: a code of one authorization server must not be shown to another.
        if issuer and not _same_issuer(issuer, flow, endpoints.authorize):
            raise FlowRefused("another authorization server answered than the one that was asked")
        if not code or len(code) > MAX_CODE or not code.isascii() or not code.isprintable():
            raise FlowRefused("the authorization server sent no code", hint="begin again")
        client = await self._clients.client(server, auth, endpoints, now)
        params = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": flow.verifier,
            **resource_of(server, auth),
        }
        try:
            tokens = await self._endpoint.ask(
                endpoints.token, client, params, auth.additional_token_params, now
            )
        except AuthFailed as error:
            if error.error == "invalid_client" and not auth.client_id:
                await self._clients.forget(server, endpoints)
            raise
        await self._kept.put_tokens(flow.principal_id, server.id, flow.place, tokens, now)

    def _opened(self, state: str, blob: bytes | None) -> Flow:
        unknown = FlowUnknown(
            "this authorization is unknown, was finished already, or is too old", hint="begin again"
        )
        if blob is None:
            raise unknown
        try:
            found = json.loads(self._sealer.open(blob, f"{_SPACE}|{_key(state)}"))
            return Flow(
                principal_id=found["principal"],
                server_id=found["server"],
                server_name=found["name"],
                begun_by=found["begun_by"],
                credential_id=found["credential"],
                place=found["place"],
                issuer=found["issuer"],
                verifier=found["verifier"],
            )
        except (SealBroken, ValueError, KeyError, TypeError):
            raise unknown from None


def _auth_of(server: AuthOf) -> OAuth2Auth:
    auth = server.auth_data
    if not isinstance(auth, OAuth2Auth) or auth.grant_type != "authorization_code":
        raise FlowRefused(
            f"the MCP server `{server.name}` needs no authorization of yours",
            hint="its `auth_data` is not `oauth2` with `authorization_code`",
        )
    return auth


def _key(state: str) -> str:
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).hexdigest()


def _same_issuer(said: str, flow: Flow, authorize: str) -> bool:
    """An issuer that metadata named is compared as it is; one that nobody named by where people were sent."""
    if hmac.compare_digest(said.rstrip("/").encode(), flow.issuer.rstrip("/").encode()):
        return True
    try:
        origin = origin_of(said)
    except UpstreamMisconfigured:  # no address at all
        return False
    return flow.issuer == origin_of(authorize) and origin == flow.issuer
