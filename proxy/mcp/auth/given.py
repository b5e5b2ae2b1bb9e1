"""The values that principals give for the `{{KEY}}` in a server's headers, and the headers that come of them.

Kept sealed (`kept.py`), bound to the server's address; held in memory and looked up again after thirty seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from policies.mcp_servers import HeaderAuth
from policies.secrets import placeholders_of
from proxy.mcp.auth.endpoints import origin_of
from proxy.mcp.auth.errors import AuthNeeded, ValuesRefused
from proxy.mcp.auth.kept import Kept
from proxy.mcp.auth.oauth import MAX_HELD, TRUSTED
from proxy.mcp.auth.ports import AuthOf, Texts
from proxy.mcp.auth.resolving import fixed
from proxy.mcp.auth.values import accepted, filled, placeholders
from proxy.providers.base import Headers


@dataclass(frozen=True, slots=True)
class _Held:
    values: Mapping[str, str] = field(repr=False)
    url: str
    trusted: datetime  # until then it is not looked up again


class Given:
    """Header credentials of one process."""

    def __init__(self, kept: Kept, texts: Texts) -> None:
        self._kept = kept
        self._texts = texts
        self._held: dict[tuple[str, str], _Held] = {}

    def __repr__(self) -> str:
        return f"<Given by {len(self._held)}>"

    async def headers(
        self, server: AuthOf, auth: HeaderAuth, principal_id: str, now: datetime
    ) -> Headers:
        """The headers of the document.

        Raises:
            AuthNeeded: the principal has not given what they ask for. CredentialMissing, StoreUnavailable.
        """
        wanted = wanted_of(server)
        given = await self._values(server, principal_id, now) if wanted else {}
        missing = tuple(key for key in wanted if key not in given)
        if missing:
            raise AuthNeeded(
                f"the MCP server `{server.name}` needs values of yours: {', '.join(missing)}",
                hint=f"PUT /api/v1/mcp-servers/{server.name}/auth",
                missing=missing,
            )
        origin = origin_of(server.url)
        made: Headers = []
        for name, text in auth.headers.items():
            # INVARIANT: a text with places is no reference, before or after they are filled.
            if wanted and placeholders_of(text):
                made.append((name, filled(text, given)))
            else:
                made.append((name, await fixed(self._texts, server, text, origin)))
        return made

    async def missing(self, server: AuthOf, principal_id: str, now: datetime) -> tuple[str, ...]:
        """The keys that the principal has still to give values for. Raises: StoreUnavailable."""
        given = await self._kept.values(principal_id, server.id, origin_of(server.url), now)
        return tuple(key for key in wanted_of(server) if key not in given)

    async def put(
        self, server: AuthOf, principal_id: str, values: Mapping[str, str], now: datetime
    ) -> None:
        """Keep values; what was given before and is not named now stays.

        Raises:
            ValuesRefused, StoreUnavailable.
        """
        wanted = wanted_of(server)
        if not wanted:
            raise ValuesRefused(
                f"the MCP server `{server.name}` takes no values of yours",
                hint="only `header` authentication with `auth_level: per_user` does",
            )
        fresh = accepted(values, wanted)
        origin = origin_of(server.url)
        given = await self._kept.values(principal_id, server.id, origin, now)
        kept = {key: value for key, value in given.items() if key in wanted}
        await self._kept.put_values(principal_id, server.id, origin, {**kept, **fresh})
        self.forget(principal_id, server.id)

    def forget(self, principal_id: str, server_id: str) -> None:
        self._held.pop((principal_id, server_id), None)

    def forget_server(self, server_id: str) -> None:
        for key in [key for key in self._held if key[1] == server_id]:
            del self._held[key]

    async def _values(self, server: AuthOf, principal_id: str, now: datetime) -> Mapping[str, str]:
        key = (principal_id, server.id)
        held = self._held.get(key)
        if held is not None and held.url == server.url and now < held.trusted:
            return held.values
        values = await self._kept.values(principal_id, server.id, origin_of(server.url), now)
        if values:
            while len(self._held) >= MAX_HELD and key not in self._held:
                del self._held[next(iter(self._held))]
            self._held[key] = _Held(values, server.url, now + TRUSTED)
        return values


def wanted_of(server: AuthOf) -> tuple[str, ...]:
    """The keys that each principal has to give values for."""
    auth = server.auth_data
    if isinstance(auth, HeaderAuth) and auth.auth_level == "per_user":
        return placeholders(auth.headers)
    return ()
