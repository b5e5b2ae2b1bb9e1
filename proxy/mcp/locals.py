"""Servers that this process answers for itself: the built-in one, and OpenAPI documents as tools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from identity.principal import Principal
from policies.mcp_servers import EchoMcpServer, OpenApiMcpServer, RemoteSpec
from proxy.fetching import Fetch
from proxy.mcp.echo import EchoServer
from proxy.mcp.local import LocalServer
from proxy.mcp.openapi.operations import ToolSetting
from proxy.mcp.openapi.server import OpenApiServer, open_server
from proxy.mcp.openapi.source import Inline, Remote
from proxy.mcp.remote import Authorizes
from proxy.mcp.servers import Server
from proxy.providers.base import Headers


class LocalServers:
    """Makes each once, and anew when its document changes."""

    def __init__(self, fetch: Fetch, auth: Authorizes, now: Callable[[], datetime]) -> None:
        self._fetch = fetch
        self._auth = auth
        self._now = now
        self._echo = EchoServer(now)
        self._read: dict[str, OpenApiServer] = {}
        self._lock = asyncio.Lock()

    async def local(self, server: Server) -> LocalServer | None:
        """None for a server at an address.

        Raises:
            OpenApiError, UpstreamError: the OpenAPI document cannot be read.
        """
        document = server.document
        if isinstance(document, EchoMcpServer):
            return self._echo
        if not isinstance(document, OpenApiMcpServer):
            return None
        known = self._read.get(server.stored)
        if known is not None:
            return known
        async with self._lock:
            known = self._read.get(server.stored)
            if known is None:
                known = self._read[server.stored] = await self._open(server, document)
            return known

    def forget(self, stored: str) -> None:
        """Its document changed, or is to be read again."""
        self._read.pop(stored, None)

    async def _open(self, server: Server, document: OpenApiMcpServer) -> OpenApiServer:
        async def credentials(principal: Principal, method: str, url: str, body: bytes) -> Headers:
            return await self._auth.headers(server, principal.id, method, url, body, self._now())

        source = document.openapi_spec_source
        return await open_server(
            server.name,
            Remote(source.url) if isinstance(source, RemoteSpec) else Inline(source.spec),
            self._fetch,
            credentials,
            url=document.url,
            settings=[
                ToolSetting(one.method, one.path, one.name or "", one.description or "")
                for one in document.tool_settings
            ],
            every=document.enable_all_tools,
        )
