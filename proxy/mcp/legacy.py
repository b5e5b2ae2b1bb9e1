"""Speaks with a server of 2025: a session there for each session here, opened when needed, re-opened silently.

A server that lost its sessions answers 404; no client starts again by itself, so the gateway initializes anew with
what the client said when it came, and sends the request again: a 404 says that nothing was done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Protocol

from proxy.mcp import jsonrpc
from proxy.mcp.era import LATEST_SESSIONS, SESSION_VERSIONS
from proxy.mcp.jsonrpc import Kind, Message
from proxy.mcp.link import CLIENT, Stream, UpstreamSaid
from proxy.mcp.remote import EVENTS, JSON, Headers, Remote, Reply, UpstreamRefused, reader_of
from proxy.mcp.servers import Server
from proxy.mcp.sessions import Behind, Session
from proxy.providers.base import UpstreamInvalid

_POST: Headers = (("content-type", JSON), ("accept", f"{JSON}, {EVENTS}"))
_GET: Headers = (("accept", EVENTS),)
_OPEN = "gatewarden-initialize"


class Keeps(Protocol):
    """`proxy.mcp.sessions.Sessions`, as far as it is needed."""

    async def save(self, session: Session, now: datetime) -> None: ...


class LegacyLink:
    """A `Link` to a server of 2025."""

    __slots__ = ("_now", "_remote", "_session", "_sessions")

    def __init__(self, remote: Remote, session: Session, sessions: Keeps, now: datetime) -> None:
        self._remote = remote
        self._session = session
        self._sessions = sessions
        self._now = now

    @property
    def server(self) -> Server:
        return self._remote.server

    async def hello(self) -> Mapping[str, Any]:
        behind = await self._behind()
        return behind.hello

    @asynccontextmanager
    async def exchange(self, message: Message) -> AsyncIterator[Stream]:
        behind = await self._behind()
        read = reader_of(message.method)
        headers = self._headers(_POST, behind)
        async with self._remote.send("POST", headers, message.raw, read=read) as reply:
            if reply.status != 404:
                yield await checked(reply)
                return
        behind = await self._behind(lost=behind)
        headers = self._headers(_POST, behind)
        async with self._remote.send("POST", headers, message.raw, read=read) as reply:
            yield await checked(reply)

    async def tell(self, message: Message) -> None:
        behind = await self._behind()
        async with self._remote.send("POST", self._headers(_POST, behind), message.raw) as reply:
            if reply.status == 404 and message.method != "notifications/initialized":
                await self._behind(lost=behind)  # what was told belonged to what is lost

    @asynccontextmanager
    async def listen(self, last_event_id: str | None) -> AsyncIterator[Stream]:
        behind = await self._behind()
        asked = (*_GET, ("last-event-id", last_event_id)) if last_event_id else _GET
        async with self._remote.send("GET", self._headers(asked, behind), listening=True) as reply:
            if reply.status != 404 or last_event_id:
                yield reply
                return
        behind = await self._behind(lost=behind)
        async with self._remote.send("GET", self._headers(asked, behind), listening=True) as reply:
            yield reply

    async def close(self) -> None:
        behind = self._session.upstream.get(self.server.stored)
        if behind is not None and behind.id:
            async with self._remote.send("DELETE", self._headers((), behind)):
                pass  # a server may refuse to end sessions (405); ours is gone all the same

    def _headers(self, headers: Headers, behind: Behind) -> Headers:
        own = [("mcp-protocol-version", behind.version)]
        if behind.id:
            own.append(("mcp-session-id", behind.id))
        return (*headers, *own)

    async def _behind(self, lost: Behind | None = None) -> Behind:
        """The session at the server; a new one if there is none, or it is the one that was `lost`."""
        session, name = self._session, self.server.stored
        found = session.upstream.get(name)
        if found is not None and found is not lost:
            return found
        async with session.lock:
            found = session.upstream.get(name)
            if found is not None and found is not lost:
                return found
            made = await self._open()
            session.upstream[name] = made
            await self._sessions.save(session, self._now)
            return made

    async def _open(self) -> Behind:
        said = self._session.client
        params = {
            **said,
            "protocolVersion": self._session.version or LATEST_SESSIONS,
            "capabilities": said.get("capabilities", {}),
            "clientInfo": said.get("clientInfo", dict(CLIENT)),
        }
        body = jsonrpc.request(_OPEN, "initialize", params)
        async with self._remote.send("POST", _POST, body) as reply:
            answer = await answer_to(_OPEN, await checked(reply))
            id = reply.headers.get("mcp-session-id", "")
        if answer.error is not None:
            raise UpstreamSaid(answer.error)
        hello = answer.result
        if not isinstance(hello, dict) or hello.get("protocolVersion") not in SESSION_VERSIONS:
            raise UpstreamInvalid(
                f"the MCP server `{self.server.name}` answered `initialize` with a version that is not served"
            )
        behind = Behind(id, hello["protocolVersion"], hello)
        ready = jsonrpc.notification("notifications/initialized")
        async with self._remote.send("POST", self._headers(_POST, behind), ready):
            pass
        return behind


async def checked(reply: Reply) -> Reply:
    """The reply, unless it is a refusal without a JSON-RPC error."""
    if reply.status in (200, 202):
        return reply
    message = await reply.error()
    if message is not None and message.error is not None:
        raise UpstreamSaid(message.error, reply.status)
    raise UpstreamRefused(f"the MCP server answered with HTTP status {reply.status}", reply.status)


async def answer_to(id: jsonrpc.Id, stream: Stream) -> Message:
    """The response to a request of the gateway's own. Raises UpstreamInvalid: there is none."""
    async for received in stream.received():
        message = received.message
        if message is not None and message.kind is Kind.RESPONSE and message.id in (id, None):
            return message
    raise UpstreamInvalid("the MCP server gave no answer")


async def result_of(message: Message, stream: Stream) -> Mapping[str, Any]:
    """The result of a request that a client made; empty if there is none. Raises UpstreamSaid."""
    async for received in stream.received():
        answer = received.message
        if answer is not None and answer.id == message.id and not answer.method:
            if answer.error is not None:
                raise UpstreamSaid(answer.error)
            return answer.result if isinstance(answer.result, dict) else {}
    return {}
