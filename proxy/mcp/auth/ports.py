"""What outbound authentication needs to know of an MCP server's document, and of the host.

The documents themselves are in `policies/mcp_servers.py`; secrets in them are references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from policies.mcp_servers import HeaderAuth, OAuth2Auth, SigV4Auth

AuthData = HeaderAuth | OAuth2Auth | SigV4Auth


class AuthOf(Protocol):
    """An MCP server, as far as its outbound credentials go."""

    @property
    def id(self) -> str:
        """`mcp-server:<stored name>`: with its generation, never used again."""
        ...

    @property
    def name(self) -> str:
        """As people write it."""
        ...

    @property
    def url(self) -> str: ...
    @property
    def auth_data(self) -> AuthData | None: ...
    @property
    def additional_headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Protected:
    """An `AuthOf`, put together from a document."""

    id: str
    name: str
    url: str
    auth_data: AuthData | None = field(default=None, repr=False)
    additional_headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Texts(Protocol):
    """Resolves references in documents (`proxy/secrets.py`: `Secrets`)."""

    async def text(self, owner: str, reference: str, origins: frozenset[str]) -> str:
        """Raises SecretProblem."""
        ...

    def forget(self, account: str) -> None: ...
