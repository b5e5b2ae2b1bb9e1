"""The way to servers and back: what was decided goes on, what comes is judged, the client gets it as it came."""

from __future__ import annotations

from aiohttp import web

from authz.errors import GatewardenError
from proxy import logs
from proxy.mcp import jsonrpc, voice
from proxy.mcp.call import Answers, Call
from proxy.mcp.jsonrpc import Message
from proxy.mcp.link import Link, Stream
from proxy.mcp.links import Links
from proxy.mcp.local_link import said
from proxy.mcp.questions import Questions
from proxy.mcp.refusing import UNSAID
from proxy.mcp.relaying import Awaited, Relaying, asker_of
from proxy.mcp.remote import UpstreamRefused
from proxy.mcp.servers import Server
from proxy.mcp.sse import Event
from proxy.parts import Parts

log = logs.get("mcp.onward")


class Onward:
    """Sends messages of clients to servers."""

    def __init__(self, parts: Parts, answers: Answers, links: Links, relaying: Relaying) -> None:
        self._parts = parts
        self._answers = answers
        self._links = links
        self._relaying = relaying

    async def connect(self, call: Call, server: Server) -> Link:
        """A link to a server, for this call. Raises: as `Links.connect`."""
        return await self._links.connect(call.caller, server)

    async def relay(
        self,
        call: Call,
        message: Message,
        server: Server,
        awaited: Awaited,
        link: Link | None = None,
    ) -> web.StreamResponse:
        """The server's answer to a request that was decided, over `link` if there is one already.

        Raises: as `Links.connect`.
        """
        exchange = call.exchange
        if link is None:
            link = await self.connect(call, server)
        exchange.server = server.stored
        if self._parts.payloads is not None and exchange.tool:
            engine = self._parts.policy.engine
            self._parts.payloads.begin(
                exchange, call.principal, engine, message.raw, server=server.stored
            )
        exchange.upstream_at = self._parts.timer()
        async with link.exchange(message) as stream:
            exchange.upstream_status = stream.status
            if stream.streams:
                return await self._streamed(call, link, awaited, stream)
            body: bytes | None = None
            async for received in stream.received():
                if received.message is not None:
                    body = (
                        await self._relaying.message(call, link, awaited, received.message) or body
                    )
            self.note_upstream(call)
            if body is None:
                raise UpstreamRefused("the MCP server gave no answer", stream.status)
            return await self._answers.body(call, body)

    async def _streamed(
        self, call: Call, link: Link, awaited: Awaited, stream: Stream
    ) -> web.StreamResponse:
        received = stream.received()
        # Until the first event a failure still has a form of its own.
        first = await anext(received, None)
        async with self._answers.events(call) as events:
            try:
                current = first
                while current is not None:
                    event = await self._relaying.passed(call, link, awaited, current)
                    if event is not None:
                        await events.send(event)
                    current = await anext(received, None)
            except GatewardenError as error:
                call.exchange.error = error.code
                assert awaited.id is not None
                body = jsonrpc.error(awaited.id, voice.UPSTREAM, said(error), {"code": error.code})
                await events.send(Event(body, None, "message"))
        self.note_upstream(call)
        return events.response

    def note_upstream(self, call: Call) -> None:
        """Writes down how long the server took."""
        exchange = call.exchange
        exchange.upstream_ms = int((self._parts.timer() - exchange.upstream_at) * 1000)

    async def tell_all(self, call: Call, message: Message) -> None:
        """A notification, to every server that the session has spoken with."""
        for server in self._spoken_with(call):
            await self._tell(call, server, message)

    async def answer(self, call: Call, message: Message) -> None:
        """The client's answer to what a server asked, to that server."""
        addressed = asker_of(message.id)
        if addressed is None:
            await self.tell_all(call, message)
            return
        stored, id = addressed
        servers = [one for one in self._spoken_with(call) if one.stored == stored]
        if not servers and Questions.is_ours(id):
            # A server of the other generation has no session behind; its question was put for it.
            servers = [one for one in call.scope.members if one.stored == stored]
        for server in servers:
            await self._tell(call, server, _answer(id, message))

    async def closed(self, call: Call) -> None:
        """The client ends its session: so do the sessions at the servers behind."""
        for server in self._spoken_with(call):
            if call.session is not None and server.stored not in call.session.upstream:
                continue  # to open one only to end it would be odd
            try:
                link = await self.connect(call, server)
                await link.close()
            except UNSAID as error:
                log.warning("not_closed", server=server.name, code=error.code)

    def _spoken_with(self, call: Call) -> list[Server]:
        if call.session is None:
            return []
        if call.scope.single:
            return list(call.scope.members)
        return [m for m in call.scope.members if m.stored in call.session.upstream]

    async def _tell(self, call: Call, server: Server, message: Message) -> None:
        try:
            link = await self.connect(call, server)
            await link.tell(message)
        except UNSAID as error:
            # The client waits for nothing, and cannot mend it.
            log.warning("not_told", server=server.name, method=message.method, code=error.code)


def _answer(id: jsonrpc.Id, message: Message) -> Message:
    if message.error is not None:
        body = jsonrpc.error_again(id, message.error)
    else:
        body = jsonrpc.result(id, message.result)
    return jsonrpc.parse(body)
