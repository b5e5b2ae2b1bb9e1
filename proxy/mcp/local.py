"""What a server is that this process answers for itself: meaning without a protocol.

The built-in demo server and OpenAPI documents are such servers; both protocol generations are spoken for them by
the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from authz.errors import GatewardenError
from identity.principal import Principal
from proxy.mcp.primitive import Primitive


class InvalidArguments(GatewardenError):
    """What was sent does not fit the definition; answered as JSON-RPC -32602."""

    code = "invalid_arguments"


class LocalServer(Protocol):
    """Definitions and results have the shapes of MCP 2025-11-25, as plain JSON values."""

    @property
    def info(self) -> Mapping[str, Any]:
        """`serverInfo`: name, version, title."""
        ...

    @property
    def instructions(self) -> str: ...

    async def definitions(self, primitive: Primitive) -> Sequence[Mapping[str, Any]]:
        """All of a kind, in a stable order. Raises UpstreamError."""
        ...

    async def call(
        self, tool: str, arguments: Mapping[str, Any], principal: Principal
    ) -> Mapping[str, Any]:
        """A `CallToolResult`; a failure of the thing behind is a result with `isError`.

        Raises:
            InvalidArguments. UpstreamError: what is behind cannot be reached. KeyError: no such tool.
        """
        ...

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> Mapping[str, Any]:
        """A `GetPromptResult`. Raises InvalidArguments, KeyError."""
        ...

    async def read(self, uri: str) -> Mapping[str, Any]:
        """A `ReadResourceResult`. Raises KeyError."""
        ...

    async def complete(
        self, primitive: Primitive, name: str, argument: str, value: str
    ) -> Sequence[str]:
        """Values for an argument of a prompt or a template; empty where there are none."""
        ...
