"""What is kept for a principal at an MCP server: tokens, and the values of its header places. Sealed.

Keyed by principal and server, whose ids are never used again, and bound to both and to the addresses that the
secret goes to: it does not open for anybody else, and not after the document names another address.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from proxy.mcp.auth.token_set import TokenSet, unpacked
from store.errors import SealBroken
from store.sealed import Sealer
from store.state import State

IDLE = timedelta(days=400)  # tokens that nobody refreshed for so long are gone
_TOKENS = "mcp-auth-token"
_VALUES = "mcp-auth-values"
_FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)


class Kept:
    """Seals, keeps, reads back and drops. Every method raises StoreUnavailable."""

    def __init__(self, sealer: Sealer, state: State) -> None:
        self._sealer = sealer
        self._state = state

    def __repr__(self) -> str:
        return "Kept(…)"

    async def tokens(
        self, principal_id: str, server_id: str, place: str, now: datetime
    ) -> TokenSet | None:
        """The tokens, or None: there are none, or they were given for another address."""
        raw = await self._get(_TOKENS, principal_id, server_id, place, now)
        try:
            return None if raw is None else unpacked(raw)
        except (ValueError, KeyError, TypeError):
            return None

    async def put_tokens(
        self, principal_id: str, server_id: str, place: str, tokens: TokenSet, now: datetime
    ) -> None:
        await self._put(_TOKENS, principal_id, server_id, place, tokens.packed(), now + IDLE)

    async def values(
        self, principal_id: str, server_id: str, place: str, now: datetime
    ) -> dict[str, str]:
        """The values that the principal gave; empty where there are none, or for another address."""
        raw = await self._get(_VALUES, principal_id, server_id, place, now)
        found = {} if raw is None else json.loads(raw)
        return {str(key): str(value) for key, value in found.items()}

    async def put_values(
        self, principal_id: str, server_id: str, place: str, values: Mapping[str, str]
    ) -> None:
        raw = json.dumps(dict(values)).encode()
        await self._put(_VALUES, principal_id, server_id, place, raw, _FOR_EVER)

    async def drop_tokens(self, principal_id: str, server_id: str) -> bool:
        return await self._state.drop(_TOKENS, _key(principal_id, server_id))

    async def drop(self, principal_id: str, server_id: str) -> bool:
        """Whether anything was kept; it is gone now."""
        tokens = await self.drop_tokens(principal_id, server_id)
        return await self._state.drop(_VALUES, _key(principal_id, server_id)) or tokens

    async def drop_server(self, server_id: str, now: datetime) -> int:
        """Drops what everybody has at a server that was deleted; how many."""
        dropped = 0
        for space in (_TOKENS, _VALUES):
            for key in await self._state.all(space, now):
                if key.startswith(f"{server_id}|"):
                    dropped += await self._state.drop(space, key)
        return dropped

    async def _get(
        self, space: str, principal_id: str, server_id: str, place: str, now: datetime
    ) -> bytes | None:
        blob = await self._state.get(space, _key(principal_id, server_id), now)
        if blob is None:
            return None
        try:
            return self._sealer.open(blob, _bound_to(space, principal_id, server_id, place))
        except SealBroken:
            return None

    async def _put(
        self,
        space: str,
        principal_id: str,
        server_id: str,
        place: str,
        raw: bytes,
        until: datetime,
    ) -> None:
        blob = self._sealer.seal(raw, _bound_to(space, principal_id, server_id, place))
        await self._state.put(space, _key(principal_id, server_id), blob, until)


def _key(principal_id: str, server_id: str) -> str:
    return f"{server_id}|{principal_id}"  # no id holds a bar


def _bound_to(space: str, principal_id: str, server_id: str, place: str) -> str:
    return f"{space}|{server_id}|{principal_id}|{place}"
