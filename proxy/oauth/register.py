"""`/register` (RFC 7591): a client says who it is and where it may be reached, and gets an id.

Open to everybody, since it gives no right: bounded in size and rate, and forgotten when unused.
"""

from __future__ import annotations

import json

from aiohttp import web

from identity.oauth.clients import GRANT_TYPES
from identity.oauth.errors import InvalidClientMetadata
from identity.oauth.resources import SCOPE
from proxy.api import body as bodies
from proxy.oauth.answers import answer
from proxy.oauth.parts import MAX_FORM, OAuthParts

_ECHOED = {"application_type": ("native", "web")}


class Registration:
    """Registers clients."""

    def __init__(self, parts: OAuthParts) -> None:
        self._parts = parts

    async def register(self, request: web.Request) -> web.Response:
        """POST /register.

        Raises:
            OAuthError, StoreUnavailable.
        """
        parts, now = self._parts, self._parts.clock()
        parts.registrations.spend(parts.client(request), now)
        raw = await bodies.read_bytes(request, MAX_FORM)
        if bodies.media_type(request) not in bodies.JSON_TYPES:
            raise InvalidClientMetadata("the body is not `application/json`")
        try:
            metadata = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise InvalidClientMetadata("the body is not JSON") from error
        if not isinstance(metadata, dict):
            raise InvalidClientMetadata("the body is not a JSON object")
        client = await parts.clients.register(metadata, now)
        # What was registered instead of what was asked stands in the answer (RFC 7591 3.2.1).
        said: dict[str, object] = {
            "client_id": client.id,
            "client_id_issued_at": int(now.timestamp()),
            "client_name": client.name,
            "redirect_uris": list(client.redirect_uris),
            "grant_types": list(GRANT_TYPES if client.refreshes else GRANT_TYPES[:1]),
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "scope": SCOPE,
        }
        for field, known in _ECHOED.items():
            if metadata.get(field) in known:
                said[field] = metadata[field]
        return answer(said, 201)
