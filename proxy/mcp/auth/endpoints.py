"""Where tokens come from: the addresses in the document, or those that the server's metadata names.

RFC 9728 leads from the MCP server to its authorization server, RFC 8414 (or OpenID Connect discovery) to the endpoints.

INVARIANT: a secret of the document goes only to a token address of the document. What a server says of itself is followed
for public and registered clients only: else it could have the secret sent elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from yarl import URL

from policies.mcp_servers import OAuth2Auth
from proxy.fetching import Fetch
from proxy.mcp.auth.errors import AuthFailed
from proxy.mcp.auth.ports import AuthOf
from proxy.providers.base import UpstreamError, UpstreamMisconfigured

REMEMBERED = timedelta(minutes=10)
DEADLINE = 10.0
MAX_METADATA = 256 * 1024
_MOST = 4096


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of an authorization server. `issuer` and `methods` are known from metadata only."""

    token: str
    authorize: str = ""
    register: str = ""
    issuer: str = ""
    methods: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Where the secrets of a grant go."""
        return origin_of(self.token)


def origin_of(url: str) -> str:
    """Scheme, host and port of an address.

    Raises:
        UpstreamMisconfigured: it is no http(s) address, or has a user part.
    """
    try:
        parsed = URL(url)
        if parsed.scheme in ("http", "https") and parsed.host and parsed.user is None:
            return str(parsed.origin())
    except ValueError:
        pass
    raise UpstreamMisconfigured("an address of the MCP server's `auth_data` is no http(s) address")


def place_of(server: AuthOf, endpoints: Endpoints) -> str:
    """What kept tokens are bound to: where they are renewed, and where they are shown."""
    return f"{endpoints.origin}|{origin_of(server.url)}"


class Discovery:
    """Finds the endpoints, and remembers what metadata said for ten minutes."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._found: dict[str, tuple[datetime, Endpoints]] = {}

    async def endpoints(self, server: AuthOf, auth: OAuth2Auth, now: datetime) -> Endpoints:
        """The addresses to use for `server`.

        Raises:
            UpstreamMisconfigured: one is missing that cannot be looked up, or is no address.
            AuthFailed: the metadata does not name what is needed. UpstreamError: it cannot be read.
        """
        code = auth.grant_type == "authorization_code"
        if auth.client_secret and not auth.token_url:
            raise UpstreamMisconfigured(
                f"`auth_data` of the MCP server `{server.name}` has a `client_secret` and no `token_url`",
                hint="a secret goes only to an address that the document names",
            )
        written = Endpoints(
            auth.token_url or "", auth.authorization_url or "", auth.registration_url or ""
        )
        found = written
        if not written.token or (code and not written.authorize):
            said = await self._discovered(server, now)
            found = replace(
                said,
                token=written.token or said.token,
                authorize=written.authorize or said.authorize,
                register=written.register or said.register,
            )
        if code and not found.authorize:
            raise AuthFailed(
                f"the authorization server of the MCP server `{server.name}` has no page to authorise at",
                hint="set `authorization_url` and `token_url`",
            )
        for url in (found.token, found.authorize, found.register):
            if url:
                origin_of(url)
        return found

    async def _discovered(self, server: AuthOf, now: datetime) -> Endpoints:
        held = self._found.get(server.url)
        if held is not None and now < held[0]:
            return held[1]
        for issuer in await self._issuers(server.url):
            found = await self._metadata(issuer)
            if found is not None:
                if len(self._found) >= _MOST:
                    self._found.clear()
                self._found[server.url] = (now + REMEMBERED, found)
                return found
        raise AuthFailed(
            f"the MCP server `{server.name}` does not say where its authorization server is",
            hint="set `authorization_url` and `token_url` in its `auth_data`",
        )

    async def _issuers(self, url: str) -> list[str]:
        """The authorization servers that the resource names; its own origin where it names none."""
        origin_of(url)
        for address in _well_known(url, "oauth-protected-resource"):
            said = await self._json(address)
            named = said.get("authorization_servers")
            # RFC 9728 3.3: metadata that speaks for another resource is not this one's.
            if isinstance(named, list) and _covers(said.get("resource"), url):
                return [item for item in named if isinstance(item, str)][:4]
        return [origin_of(url)]

    async def _metadata(self, issuer: str) -> Endpoints | None:
        addresses = [
            *_well_known(issuer, "oauth-authorization-server", root=False),
            *_well_known(issuer, "openid-configuration", root=False),
            f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        ]
        for address in dict.fromkeys(addresses):
            said = await self._json(address)
            # RFC 8414 3.3: else one server could speak in the name of another.
            if str(said.get("issuer", "")).rstrip("/") != issuer.rstrip("/"):
                continue
            token = said.get("token_endpoint")
            if isinstance(token, str):
                methods = said.get("token_endpoint_auth_methods_supported")
                return Endpoints(
                    token,
                    _text(said.get("authorization_endpoint")),
                    _text(said.get("registration_endpoint")),
                    issuer,
                    tuple(m for m in methods if isinstance(m, str))
                    if isinstance(methods, list)
                    else (),
                )
        return None

    async def _json(self, address: str) -> dict[str, Any]:
        """A JSON object, empty for anything else: the next place may have it."""
        headers = [("Accept", "application/json")]
        async with self._fetch("GET", address, headers, deadline=DEADLINE) as answer:
            if answer.status != 200:
                return {}
            try:
                found = json.loads(await answer.read(MAX_METADATA))
            except (ValueError, RecursionError, UpstreamError):
                return {}
        return found if isinstance(found, dict) else {}


def _well_known(url: str, name: str, *, root: bool = True) -> Iterator[str]:
    """RFC 8414 3.1, RFC 9728 3.1: the path of the address comes after the well-known part."""
    parsed = URL(url)
    path = parsed.raw_path.rstrip("/")
    base = f"{origin_of(url)}/.well-known/{name}"
    yield base + path
    if root and path:
        yield base


def _covers(resource: object, url: str) -> bool:
    """Whether metadata for `resource` is about `url`: the same origin, and a path above or at it."""
    if not isinstance(resource, str):
        return False
    try:
        if origin_of(resource) != origin_of(url):
            return False
    except UpstreamMisconfigured:
        return False
    above, path = URL(resource).raw_path.rstrip("/"), URL(url).raw_path.rstrip("/")
    return path == above or path.startswith(f"{above}/")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
