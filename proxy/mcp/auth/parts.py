"""What the routes of outbound credentials work with, put together by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from identity.principal import Principal
from policies.mcp_servers import OpenApiMcpServer
from proxy.mcp.auth.ports import AuthOf, Protected
from proxy.mcp.auth.server_auth import ServerAuth
from proxy.mcp.servers import Server


class Rechecks(Protocol):
    """`identity.oauth.callers.Callers`."""

    def recheck(self, principal: Principal, now: datetime) -> Principal: ...


@dataclass(frozen=True, slots=True)
class AuthParts:
    """`server` finds one by the name that people write; None: there is none now. `callers` knows who began a flow."""

    auth: ServerAuth
    server: Callable[[str], AuthOf | None]
    callers: Rechecks


def auth_of(server: Server) -> AuthOf:
    """A server as its credentials see it: the service behind an OpenAPI document has an address, too."""
    document = server.document
    if isinstance(document, OpenApiMcpServer):
        return Protected(server.id, server.name, document.url, document.auth_data)
    return server
