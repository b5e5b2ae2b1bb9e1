"""Which link a request takes to a server: in this process or over HTTP, in the server's generation or across."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from identity.principal import Principal
from proxy.fetching import Fetch
from proxy.mcp.bridge import LegacyOverModern, ModernOverLegacy
from proxy.mcp.era import Generation
from proxy.mcp.legacy import Keeps, LegacyLink
from proxy.mcp.link import Link, UpstreamSaid
from proxy.mcp.local import LocalServer
from proxy.mcp.local_link import LocalLink
from proxy.mcp.modern import ModernLink
from proxy.mcp.questions import Questions
from proxy.mcp.remote import Authorizes, Remote, UpstreamRefused
from proxy.mcp.servers import Server
from proxy.mcp.sessions import Session, Sessions

REMEMBERED = timedelta(minutes=10)  # for which a server is taken to speak what it spoke
# What a server of one generation answers to the other: it is there, and does not know what is wanted.
_OTHER = frozenset({400, 404, 405, 406, 415, 429})
_BUSY = 429  # which says something of now only


class Locals(Protocol):
    """Servers that this process answers for itself."""

    async def local(self, server: Server) -> LocalServer | None:
        """None for a server at an address. Raises UpstreamError, OpenApiError."""
        ...


class Schemas(Protocol):
    def schema(self, server: Server, tool: str) -> object: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf, in which generation, in which session (2025), when."""

    principal: Principal
    generation: Generation
    session: Session | None
    now: datetime


class _Unkept:
    """Keeps no session: what is opened is closed again by who opened it."""

    async def save(self, session: Session, now: datetime) -> None:
        pass


class Links:
    """Makes links, and remembers which generation each server speaks."""

    def __init__(
        self,
        fetch: Fetch,
        auth: Authorizes,
        sessions: Sessions,
        locals: Locals,
        schemas: Schemas,
        questions: Questions,
    ) -> None:
        self._fetch = fetch
        self._auth = auth
        self._sessions = sessions
        self._locals = locals
        self._schemas = schemas
        self._questions = questions
        self._modern: dict[str, tuple[bool, datetime]] = {}
        self._sessionless: dict[str, datetime] = {}  # servers that open no session, until when

    async def connect(self, caller: Caller, server: Server) -> Link:
        """A link that takes messages in the caller's generation.

        Raises:
            UpstreamError, UpstreamRefused, UpstreamSaid: the server cannot be spoken with. AuthError.
        """
        return await self._connect(caller, server, self._sessions)

    async def _connect(self, caller: Caller, server: Server, sessions: Keeps) -> Link:
        local = await self._locals.local(server)
        if local is not None:
            return LocalLink(server, local, caller.principal, caller.generation)
        principal = caller.principal.id
        remote = Remote(server, server.url, principal, self._fetch, self._auth, caller.now)
        modern = ModernLink(remote, self._schema_of(server))
        if caller.generation is Generation.STATELESS:
            if await self._speaks_modern(modern, caller.now):
                return modern
            session = await self._sessions.between(principal, server.stored, caller.now)
            return ModernOverLegacy(LegacyLink(remote, session, self._sessions, caller.now))
        assert caller.session is not None
        legacy = LegacyLink(remote, caller.session, sessions, caller.now)
        if server.stored in caller.session.upstream:
            return legacy
        until = self._sessionless.get(server.stored)
        if until is not None and caller.now < until:
            return LegacyOverModern(modern, caller.session, self._questions)
        try:
            await legacy.hello()
            return legacy
        except (UpstreamSaid, UpstreamRefused) as error:
            if error.status not in _OTHER or not await self._speaks_modern(modern, caller.now):
                raise
            if error.status != _BUSY:
                self._sessionless[server.stored] = caller.now + REMEMBERED
            return LegacyOverModern(modern, caller.session, self._questions)

    async def own(self, caller: Caller, server: Server) -> Link:
        """A link for the gateway itself, whose session nobody else sees. Raises: as `connect`."""
        return await self._connect(caller, server, _Unkept())

    def _schema_of(self, server: Server) -> Callable[[str], object]:
        return lambda tool: self._schemas.schema(server, tool)

    async def _speaks_modern(self, link: ModernLink, now: datetime) -> bool:
        stored = link.server.stored
        known = self._modern.get(stored)
        if known is not None and now < known[1]:
            return known[0]
        try:
            await link.hello()
            speaks = True
        except (UpstreamSaid, UpstreamRefused):
            speaks = False
        self._modern[stored] = (speaks, now + REMEMBERED)
        return speaks

    def forget(self, stored: str) -> None:
        """The server's document changed."""
        self._modern.pop(stored, None)
        self._sessionless.pop(stored, None)
