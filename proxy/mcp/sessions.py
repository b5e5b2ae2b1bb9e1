"""Sessions of MCP clients of 2025: whose they are, what the client said of itself, the upstream sessions behind.

A session is kept in the shared short-lived state, so its id survives a restart and a change of the replica: no client
starts again by itself when a session is lost. It belongs to one principal and one endpoint; to anybody else its id is
unknown. An upstream session belongs to one session here, never to two principals.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from authz.errors import GatewardenError
from store.state import State

SPACE = "mcp-session"
KEEP = timedelta(days=7)  # from its last change or its last renewal
RENEW = timedelta(hours=12)
TRUSTED = timedelta(seconds=5)  # for which this process need not ask whether another one ended it
REMEMBERED = 10_000
EACH = 1_000  # sessions that one principal may open at one process; the oldest ends for the next
MAX_CLIENT = 64 * 1024  # bytes of what a client says of itself


class UnknownSession(GatewardenError):
    """No such session for this principal and endpoint: a 404, whoever it belongs to."""

    code = "unknown_session"


class Behind(NamedTuple):
    """A session at an upstream: its id ("" where the server has none), its version, what it said of itself."""

    id: str
    version: str
    hello: dict[str, Any]


@dataclass(slots=True)
class Session:
    """`client` is the `params` of `initialize`; `upstream` has what stands behind, by a server's stored name.

    `lock` is held while an upstream session is opened, so that there is one for each server.
    """

    id: str
    principal: str
    endpoint: str
    version: str
    client: dict[str, Any]
    upstream: dict[str, Behind] = field(default_factory=dict)
    kept_until: datetime | None = None
    checked_at: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class Sessions:
    """The sessions of one process, over the state that all share."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: OrderedDict[str, Session] = OrderedDict()
        self._opening = asyncio.Lock()
        self._opened: dict[str, deque[str]] = {}  # keys by principal, the oldest first

    def __len__(self) -> int:
        return len(self._known)

    async def open(
        self,
        principal: str,
        endpoint: str,
        version: str,
        client: dict[str, Any],
        now: datetime,
        id: str = "",
    ) -> Session:
        """A new session, kept. Raises StoreUnavailable."""
        session = Session(id or secrets.token_urlsafe(24), principal, endpoint, version, client)
        await self.save(session, now)
        # Many clients never end a session: what nobody comes back to must not fill the store.
        opened = self._opened.setdefault(principal, deque())
        opened.append(_key(session.id))
        if len(opened) > EACH:
            await self._drop(opened.popleft())
        return session

    async def find(self, id: str, principal: str, endpoint: str, now: datetime) -> Session:
        """The session of this id, if it is this principal's at this endpoint.

        Raises:
            UnknownSession. StoreUnavailable.
        """
        session = self._known.get(_key(id))
        if session is None or session.checked_at is None or now - session.checked_at >= TRUSTED:
            session = await self._read(id, now, session)
        if session is None or session.principal != principal or session.endpoint != endpoint:
            raise UnknownSession("the session is unknown", hint="initialize again")
        if session.kept_until is None or session.kept_until - now < KEEP - RENEW:
            await self.save(session, now)
        return session

    async def between(self, principal: str, server: str, now: datetime) -> Session:
        """The one session that stands behind a principal's calls without a session. Raises StoreUnavailable."""
        digest = hashlib.sha256(f"{principal}\n{server}".encode()).hexdigest()
        id = f"between-{digest}"
        try:
            return await self.find(id, principal, server, now)
        except UnknownSession:
            pass
        async with self._opening:  # of calls at the same time one opens it
            try:
                return await self.find(id, principal, server, now)
            except UnknownSession:
                return await self.open(principal, server, "", {}, now, id)

    async def save(self, session: Session, now: datetime) -> None:
        """Keeps what the session has become. Raises StoreUnavailable."""
        session.kept_until = now + KEEP
        session.checked_at = now
        value = {
            "principal": session.principal,
            "endpoint": session.endpoint,
            "version": session.version,
            "client": session.client,
            "upstream": session.upstream,
            "until": session.kept_until.isoformat(),
        }
        key = _key(session.id)
        await self._state.put(SPACE, key, json.dumps(value).encode(), session.kept_until)
        self._remember(key, session)

    async def end(self, session: Session) -> None:
        """The id is unknown from now on, here and (within seconds) everywhere. Raises StoreUnavailable."""
        await self._drop(_key(session.id))

    async def _drop(self, key: str) -> None:
        self._known.pop(key, None)
        await self._state.drop(SPACE, key)

    async def _read(self, id: str, now: datetime, known: Session | None) -> Session | None:
        key = _key(id)
        raw = await self._state.get(SPACE, key, now)
        if raw is None:
            self._known.pop(key, None)
            return None
        value = json.loads(raw)
        # Whoever else read it meanwhile made the object that all calls share, with its lock.
        session = (
            self._known.get(key)
            or known
            or Session(id, value["principal"], value["endpoint"], value["version"], value["client"])
        )
        session.upstream = {name: Behind(*behind) for name, behind in value["upstream"].items()}
        session.kept_until = datetime.fromisoformat(value["until"])
        session.checked_at = now
        self._remember(key, session)
        return session

    def _remember(self, key: str, session: Session) -> None:
        self._known[key] = session
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _key(id: str) -> str:
    """What the state knows a session by: somebody who reads the state cannot take it over."""
    return hashlib.sha256(id.encode()).hexdigest()
