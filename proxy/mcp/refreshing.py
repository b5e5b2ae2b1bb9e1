"""Asks servers what they offer: when one is new or changed, when it says that a list changed, and from time to time.

One process does it for all, by a lease. A server where each principal has a credential of its own is not asked by the
gateway: what its lists show as they pass is all that is known of it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from authz.errors import GatewardenError
from identity.principal import CredentialKind, Principal
from policies.mcp_servers import EchoMcpServer, InlineSpec, McpServer, OpenApiMcpServer
from proxy import logs
from proxy.mcp import jsonrpc
from proxy.mcp.discovery import Discovery
from proxy.mcp.era import LATEST_SESSIONS, Generation
from proxy.mcp.jsonrpc import Message
from proxy.mcp.legacy import answer_to
from proxy.mcp.link import CLIENT, Link
from proxy.mcp.links import Caller, Links
from proxy.mcp.modern import ModernLink, own_meta
from proxy.mcp.servers import Server, Servers
from proxy.mcp.sessions import Session
from store.state import State

log = logs.get("mcp.refreshing")

SPACE = "mcp-refresh"
LEASE = timedelta(seconds=5)
AT_ONCE = 4  # servers that are asked at the same time
# A server may show a client more that can do more; what the gateway looks for is all there is.
_CLIENT: Mapping[str, dict[str, object]] = {
    "capabilities": {"elicitation": {"form": {}, "url": {}}, "roots": {}, "sampling": {}},
    "clientInfo": dict(CLIENT),
}
_ITSELF = Principal("virtualaccount:gatewarden", "", CredentialKind.HOST)
_NUMBERS = itertools.count(1)


async def ask(link: Link, method: str, params: Mapping[str, object]) -> Message:
    """Sends a request of the gateway's own, and gives the response. Raises UpstreamError, UpstreamRefused."""
    id = f"gw-look-{next(_NUMBERS)}"
    if isinstance(link, ModernLink):
        params = {**params, "_meta": own_meta(_CLIENT["capabilities"])}
    async with link.exchange(jsonrpc.parse(jsonrpc.request(id, method, params))) as stream:
        return await answer_to(id, stream)


def lives_here(document: McpServer) -> bool:
    """Whether what a server offers is known without asking any address."""
    if isinstance(document, OpenApiMcpServer):
        return isinstance(document.openapi_spec_source, InlineSpec)
    return isinstance(document, EchoMcpServer)


class Refreshing:
    """The servers that are to be asked."""

    def __init__(
        self,
        servers: Servers,
        discovery: Discovery,
        links: Links,
        state: State,
        now: Callable[[], datetime],
        every: float,
    ) -> None:
        """`every` is the seconds between two looks at everything."""
        self._servers = servers
        self._discovery = discovery
        self._links = links
        self._state = state
        self._now = now
        self._every = timedelta(seconds=every)
        self._wanted: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._due: datetime | None = None

    def want(self, stored: str) -> None:
        """The server is to be asked soon."""
        self._wanted[stored] = None
        self._wake.set()

    def later(self, stored: str) -> None:
        """The server is to be asked when it is looked next at who is due: within a second or two."""
        self._wanted[stored] = None

    async def furnish(self) -> None:
        """Asks the servers that live in this process and were not asked yet, before it serves.

        Only those that wait for nothing outside: a start does not wait for somebody else's address.
        """
        for server in self._servers.servers():
            if not server.discovered and lives_here(server.document):
                await self._one(server.stored)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            try:
                async with asyncio.timeout(1.0):
                    await self._wake.wait()
            except TimeoutError:
                self._everything()
            self._wake.clear()
            await self.work()

    async def work(self) -> None:
        """Asks the servers that are wanted."""
        wanted, self._wanted = list(self._wanted), {}
        for start in range(0, len(wanted), AT_ONCE):
            batch = wanted[start : start + AT_ONCE]
            async with asyncio.TaskGroup() as group:
                for stored in batch:
                    group.create_task(self._one(stored))

    def _everything(self) -> None:
        now = self._now()
        if self._due is None:
            self._due = now + self._every
        elif now >= self._due:
            self._due = now + self._every
            for server in self._servers.servers():
                self._wanted[server.stored] = None

    async def _one(self, stored: str) -> None:
        server = self._servers.stored(stored)
        if server is None or server.virtual or (server.url and server.personal):
            return
        try:
            now = self._now()
            if await self._state.put_new(SPACE, stored, b"", now + LEASE, now):
                try:
                    await self._look(server)
                finally:
                    await self._state.drop(SPACE, stored)
        except (GatewardenError, TimeoutError) as error:
            code = getattr(error, "code", "timeout")
            log.warning("not_asked", server=server.name, code=code, text=str(error))
        except Exception:  # the looks at the other servers go on
            log.exception("unexpected_error", server=server.name)

    async def _look(self, server: Server) -> None:
        session = Session("", _ITSELF.id, server.stored, LATEST_SESSIONS, dict(_CLIENT))
        caller = Caller(_ITSELF, Generation.SESSIONS, session, self._now())
        link = await self._links.own(caller, server)
        try:
            await self._discovery.refresh(server, link)
        finally:
            await link.close()
