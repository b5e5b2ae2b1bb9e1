"""Streams that wait: the GET stream of a session (2025), a resumed stream, and subscriptions (2026).

What the server says unasked is judged like an answer; what changes for the principal the gateway says itself. When
nothing is left that the principal may use, the stream ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from authz.conditions import Context
from authz.errors import GatewardenError
from authz.vocabulary import Action, Kind
from proxy import logs
from proxy.judge import Judge
from proxy.mcp import jsonrpc
from proxy.mcp.call import Answers, Call, Events
from proxy.mcp.jsonrpc import Id, Message
from proxy.mcp.link import META, Link, Stream, UpstreamSaid
from proxy.mcp.links import Links
from proxy.mcp.listeners import GROUPS, Listener, Listeners
from proxy.mcp.modern import ModernLink
from proxy.mcp.primitive import Primitive
from proxy.mcp.relaying import Awaited, Relaying
from proxy.mcp.remote import UpstreamRefused
from proxy.mcp.scope import EVERYTHING, Scope, Scopes
from proxy.mcp.sse import Event
from proxy.mcp.tickets import UnknownTicket
from proxy.mcp.view import OPEN, McpFacts, View
from proxy.parts import Parts
from proxy.providers.base import UpstreamError

log = logs.get("mcp.listening")

SILENCE = 25.0  # seconds after which a comment shows whether the client is still there
WAITING = 256  # events that wait for a slow client; then the server waits
_FLAGS = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}
_USES = {  # what is asked of a thing, by its kind
    Kind.MCP_TOOL.value: Action.MCP_TOOL_CALL,
    Kind.MCP_PROMPT.value: Action.MCP_PROMPT_GET,
    Kind.MCP_RESOURCE.value: Action.MCP_RESOURCE_READ,
}
_SUBSCRIPTION = f"{META}subscriptionId"
_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_END = None


class Listening:
    """Serves streams that wait."""

    def __init__(
        self,
        parts: Parts,
        judge: Judge,
        answers: Answers,
        links: Links,
        scopes: Scopes,
        listeners: Listeners,
        relaying: Relaying,
    ) -> None:
        self._parts = parts
        self._judge = judge
        self._answers = answers
        self._links = links
        self._scopes = scopes
        self._listeners = listeners
        self._relaying = relaying

    def scope_again(self, call: Call) -> Scope:
        """The call's endpoint as it is now."""
        if call.scope.endpoint == EVERYTHING:
            return self._scopes.everything()
        server = call.scope.server
        assert server is not None
        found = self._scopes.one(server.name)
        return found if found is not None and found.endpoint == server.stored else call.scope

    # --- 2025 ---------------------------------------------------------------------------------------

    async def stream(self, call: Call) -> web.StreamResponse:
        """The GET stream of a session.

        Raises:
            UpstreamRefused: the server has one such stream already.
        """
        async with AsyncExitStack() as stack:
            link: Link | None = None
            stream: Stream | None = None
            if call.scope.single:
                link = await self._links.connect(call.caller, call.scope.members[0])
                try:
                    stream = await stack.enter_async_context(link.listen(None))
                    if stream.status == 409:
                        raise UpstreamRefused("there is one stream of this session already", 409)
                    if stream.status != 200 or not stream.streams:
                        stream = None  # it says nothing unasked; the gateway may
                except (UpstreamSaid, UpstreamError) as error:
                    log.warning("not_listening", server=link.server.name, code=error.code)
                    stream = None
            awaited = Awaited(None, "")
            return await self._listen(call, link, stream, awaited, frozenset(GROUPS), None)

    async def resumed(self, call: Call, ticket: str) -> web.StreamResponse:
        """What follows an event of another stream of this session.

        Raises:
            UnknownTicket: not an event of this session, or of what the principal may no longer use.
            UpstreamRefused: the server no longer has it.
        """
        stored, id, awaited = self._relaying.event(call, ticket)
        action = _USES.get(awaited.thing.partition(":")[0])
        if action is not None and not self._judge.look(
            call.principal, action, [awaited.thing], Context(lazy=call.facts, unbound=OPEN)
        ):
            # What it said is for who may use it now, and with this token.
            raise UnknownTicket("unknown or expired event")
        server = next((one for one in call.scope.members if one.stored == stored), None)
        if server is None:
            raise UpstreamRefused("the server of this stream is gone", 404)
        link = await self._links.connect(call.caller, server)
        async with link.listen(id) as stream:
            if stream.status != 200 or not stream.streams:
                raise UpstreamRefused("the stream cannot be resumed", stream.status)
            async with self._answers.events(call) as events:
                async for received in stream.received():
                    event = await self._relaying.passed(call, link, awaited, received)
                    if event is not None:
                        await events.send(event)
        return events.response

    # --- 2026 ---------------------------------------------------------------------------------------

    async def subscribed(self, call: Call, message: Message) -> web.StreamResponse:
        """A `subscriptions/listen` request."""
        assert message.id is not None
        wanted = message.params.get("notifications")
        wanted = wanted if isinstance(wanted, dict) else {}
        granted: dict[str, Any] = {flag: True for flag in _FLAGS if wanted.get(flag) is True}
        uris = wanted.get("resourceSubscriptions")
        seen = [
            uri
            for uri in (uris if isinstance(uris, list) else [])
            if isinstance(uri, str)
            and any(call.view.sees(t) for t in call.scope.named(Primitive.RESOURCE, uri))
        ]
        self._judge.listed(
            call.exchange,
            call.principal,
            Action.MCP_RESOURCE_READ,
            call.scope.container,
            [t.id for uri in seen for t in call.scope.named(Primitive.RESOURCE, uri)],
            0.0,
        )
        methods = frozenset(_FLAGS[flag] for flag in granted)
        async with AsyncExitStack() as stack:
            link: Link | None = None
            stream: Stream | None = None
            if call.scope.single:
                link = await self._links.connect(call.caller, call.scope.members[0])
                if isinstance(link, ModernLink):
                    params = {**message.params, "notifications": {**wanted}}
                    if uris is not None:
                        params["notifications"]["resourceSubscriptions"] = seen
                    asked = jsonrpc.parse(jsonrpc.request(message.id, message.method, params))
                    try:
                        stream = await stack.enter_async_context(link.exchange(asked))
                        if seen:
                            granted["resourceSubscriptions"] = seen
                    except (UpstreamSaid, UpstreamError, UpstreamRefused) as error:
                        log.warning("not_listening", server=link.server.name, code=error.code)
                elif (
                    methods
                ):  # of the other generation, or in this process: it may tell of its lists
                    try:
                        found = await stack.enter_async_context(link.listen(None))
                        if found.status == 200 and found.streams:
                            stream = found
                    except (UpstreamSaid, UpstreamError, UpstreamRefused) as error:
                        log.warning("not_listening", server=link.server.name, code=error.code)
            awaited = Awaited(None, message.method, subscription=message.id)
            return await self._listen(call, link, stream, awaited, methods, granted)

    # --- both ---------------------------------------------------------------------------------------

    async def _listen(
        self,
        call: Call,
        link: Link | None,
        stream: Stream | None,
        awaited: Awaited,
        methods: frozenset[str],
        granted: Mapping[str, Any] | None,
    ) -> web.StreamResponse:
        """Sends what the server says and what changes, until one of the two ends, or the client leaves."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(WAITING)
        listener = Listener(lambda: self._look(call))
        with self._listeners.listening(listener):
            async with self._answers.events(call) as events:
                if granted is not None:
                    await events.send(_acknowledged(awaited.subscription, granted))
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._changes(call, listener, queue, awaited, methods))
                    ]
                    if stream is not None and link is not None:
                        pumping = self._pump(call, link, stream, queue, awaited)
                        tasks.append(group.create_task(pumping))
                    # Not raised inside the group, which would wrap it.
                    gone = await _send_all(events, queue)
                    for task in tasks:
                        task.cancel()
                if gone is not None:
                    raise gone
        return events.response

    async def _pump(
        self,
        call: Call,
        link: Link,
        stream: Stream,
        queue: asyncio.Queue[Event | None],
        awaited: Awaited,
    ) -> None:
        try:
            async for received in stream.received():
                message = received.message
                if message is not None and message.method == _ACKNOWLEDGED:
                    continue  # said already, for what is granted here
                event = await self._relaying.passed(call, link, awaited, received)
                if event is not None:
                    await queue.put(event)
        except GatewardenError as error:
            log.warning("stream_broke", server=link.server.name, code=error.code)
        await queue.put(_END)

    async def _changes(
        self,
        call: Call,
        listener: Listener,
        queue: asyncio.Queue[Event | None],
        awaited: Awaited,
        methods: frozenset[str],
    ) -> None:
        while (changed := await listener.changed()) is not None:
            call.view = listener.view
            for method in changed:
                if method in methods:
                    await queue.put(Event(_notification(method, awaited), None, "message"))
        await queue.put(_END)

    def _look(self, call: Call) -> View | None:
        """The principal's view as of now; None if nothing of the endpoint is left to it."""
        facts = call.facts
        fresh = McpFacts(
            call.principal,
            self._parts.clock(),
            facts.client,
            facts.headers,
            facts.pinned,
            facts.metadata,
        )
        view = View(self.scope_again(call), self._judge, call.principal, fresh)
        return view if view.reaches() else None


async def _send_all(events: Events, queue: asyncio.Queue[Event | None]) -> ConnectionError | None:
    """Sends until there is no more; what tells that the client is gone, if it is."""
    while True:
        try:
            async with asyncio.timeout(SILENCE):
                event = await queue.get()
        except TimeoutError:
            event = Event(comment="")
        if event is _END:
            return None
        try:
            await events.send(event)
        except ConnectionError as error:
            return error


def _notification(method: str, awaited: Awaited) -> bytes:
    if awaited.subscription is None:
        return jsonrpc.notification(method)
    return jsonrpc.notification(method, {"_meta": {_SUBSCRIPTION: awaited.subscription}})


def _acknowledged(id: Id | None, granted: Mapping[str, Any]) -> Event:
    params = {"_meta": {_SUBSCRIPTION: id}, "notifications": dict(granted)}
    return Event(jsonrpc.notification(_ACKNOWLEDGED, params), None, "message")
