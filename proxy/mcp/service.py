"""What becomes of one MCP message of a client: decided by the one table of methods, then answered or sent on.

`endpoint.py` has found out who asks, where, and in which generation. Here the message is taken as `methods.py` says: what
names one thing goes to `thing_requests.py`, tasks to `task_requests.py`, streams that wait to `listening.py`; lists are made
by `lists.py`. `onward.py` speaks with servers, `refusing.py` says no. Nothing goes to a server that was not decided.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from authz.conditions import Context
from authz.vocabulary import Action
from proxy import logs
from proxy.judge import Judge
from proxy.mcp import jsonrpc
from proxy.mcp.bridge import as_modern
from proxy.mcp.call import Answers, Call
from proxy.mcp.era import Generation
from proxy.mcp.hello import discovered, initialized
from proxy.mcp.jsonrpc import METHOD_NOT_FOUND, InvalidMessage, Message
from proxy.mcp.legacy import result_of
from proxy.mcp.link import Link
from proxy.mcp.listening import Listening
from proxy.mcp.lists import Changed, Lists, UnknownCursor
from proxy.mcp.methods import Direction, Rule, Shape, Target, rule
from proxy.mcp.onward import Onward
from proxy.mcp.primitive import Primitive
from proxy.mcp.refusing import UNSAID, Refusing
from proxy.mcp.relaying import Awaited
from proxy.mcp.servers import Server
from proxy.mcp.sse import Event
from proxy.mcp.task_requests import TaskRequests
from proxy.mcp.thing_requests import ThingRequests
from proxy.mcp.tickets import UnknownTicket
from proxy.mcp.view import View
from proxy.parts import Parts

log = logs.get("mcp")

_NUMBERS = itertools.count(1)
# Nobody can send a call with the id of a list of ours, to have that list replayed as the call's answer.
_OWN = f"gw-list-{secrets.token_hex(16)}"
_SAID = (InvalidMessage, UnknownCursor, UnknownTicket, *UNSAID)  # what is answered in JSON-RPC


class Service:
    """Answers the messages of clients."""

    def __init__(
        self,
        parts: Parts,
        judge: Judge,
        answers: Answers,
        lists: Lists,
        listening: Listening,
        onward: Onward,
        refusing: Refusing,
        things: ThingRequests,
        tasks: TaskRequests,
    ) -> None:
        self._parts = parts
        self._judge = judge
        self._answers = answers
        self._lists = lists
        self._listening = listening
        self._onward = onward
        self._refusing = refusing
        self._things = things
        self._tasks = tasks

    async def request(self, call: Call, message: Message) -> web.StreamResponse:
        """The answer to a request.

        Raises:
            GatewardenError: what is said with an HTTP status: our own fault, too many refusals.
        """
        found = rule(call.generation, message.method, Direction.CLIENT)
        if found is None:
            status = 404 if call.generation is Generation.STATELESS else 200
            text = "this method is not served here"
            return await self._refusing.error(call, message, METHOD_NOT_FOUND, text, status)
        try:
            return await self._by_shape(call, message, found)
        except _SAID as error:
            return await self._refusing.failed(call, message, error)

    async def notification(self, call: Call, message: Message) -> web.StreamResponse:
        """A notification of the client: sent on if the protocol has it and somebody is there to hear it."""
        found = rule(call.generation, message.method, Direction.CLIENT, message.kind)
        if found is not None and message.method != "notifications/initialized":
            await self._onward.tell_all(call, message)
        return await self._answers.accepted(call)

    async def response(self, call: Call, message: Message) -> web.StreamResponse:
        """The client's answer to what a server asked."""
        await self._onward.answer(call, message)
        return await self._answers.accepted(call)

    async def closed(self, call: Call) -> None:
        """The client ends its session."""
        await self._onward.closed(call)

    async def _by_shape(self, call: Call, message: Message, found: Rule) -> web.StreamResponse:
        match found.shape:
            case Shape.START:
                return await self._start(call, message)
            case Shape.LIST if found.primitive is None:
                return await self._tasks.listed(call, message)
            case Shape.LIST:
                return await self._list(call, message, found)
            case Shape.CALL | Shape.READ | Shape.COMPLETE:
                return await self._things.serve(call, message, found)
            case Shape.TASK:
                return await self._tasks.one(call, message)
            case Shape.LISTEN:
                return await self._listening.subscribed(call, message)
            case _:
                return await self._control(call, message, found)

    # --- the connection -----------------------------------------------------------------------------

    async def _start(self, call: Call, message: Message) -> web.StreamResponse:
        assert message.id is not None
        hello: Mapping[str, Any] | None = None
        if call.scope.single:
            link = await self._onward.connect(call, call.scope.members[0])
            hello = await link.hello()
        primitives = call.view.primitives()
        begun = self._parts.timer()
        shown = [t.id for p in primitives for t in call.scope.things(p) if call.view.sees(t)]
        took = self._parts.timer() - begun
        self._judge.listed(
            call.exchange, call.principal, Action.MCP_SERVER_USE, call.scope.container, shown, took
        )
        if call.session is not None:
            made = initialized(call, hello, primitives, uses=call.view.uses())
            call.session.version = made["protocolVersion"]
        else:
            made = discovered(call, hello, primitives, uses=call.view.uses())
        call.exchange.outcome = "result"
        return await self._answers.body(call, jsonrpc.result(message.id, made))

    async def _control(self, call: Call, message: Message, found: Rule) -> web.StreamResponse:
        assert message.id is not None
        if found.action is Action.MCP_SERVER_USE and message.method != "ping":
            decision = self._judge.ask(
                call.exchange,
                call.principal,
                Action.MCP_SERVER_USE,
                call.scope.container,
                Context(lazy=call.facts),
            )
            if not decision:
                return await self._refusing.refused(
                    call, message, decision, "method", message.method
                )
        if message.method == "ping":
            call.exchange.outcome = "result"
            empty = {} if call.generation is Generation.SESSIONS else as_modern("ping", {})
            return await self._answers.body(call, jsonrpc.result(message.id, empty))
        if found.target is Target.URI:
            return await self._unsubscribed(call, message)
        if call.scope.single:
            server = call.scope.members[0]
            return await self._onward.relay(
                call, message, server, Awaited(message.id, message.method)
            )
        return await self._answers.body(call, jsonrpc.result(message.id, {}))

    async def _unsubscribed(self, call: Call, message: Message) -> web.StreamResponse:
        """Ends a subscription, also one that a right gave which has ended since.

        What the principal may not read looks like what does not exist: the server's answer would tell them apart.
        """
        assert message.id is not None
        things = call.scope.named(Primitive.RESOURCE, str(message.params.get("uri")))
        awaited = Awaited(message.id, message.method)
        for thing in things:
            if call.view.sees(thing):
                return await self._onward.relay(call, message, thing.server, awaited)
        for thing in things:
            if call.session is None or thing.server.stored not in call.session.upstream:
                continue  # nothing was subscribed to there
            try:
                link = await self._onward.connect(call, thing.server)
                async with link.exchange(message) as stream:
                    await result_of(message, stream)
            except UNSAID as error:
                log.warning("not_told", server=thing.server.name, code=error.code)
        call.exchange.outcome = "result"
        return await self._answers.body(call, jsonrpc.result(message.id, {}))

    # --- lists --------------------------------------------------------------------------------------

    async def _list(self, call: Call, message: Message, found: Rule) -> web.StreamResponse:
        assert message.id is not None and found.primitive is not None and found.action is not None
        begun = self._parts.timer()

        async def connect(server: Server) -> Link:
            return await self._onward.connect(call, server)

        def ask(method: str, params: Mapping[str, Any]) -> Message:
            meta = dict(message.meta)
            meta.pop("progressToken", None)
            own = {**params, **({"_meta": meta} if meta else {})}
            return jsonrpc.parse(jsonrpc.request(f"{_OWN}-{next(_NUMBERS)}", method, own))

        cursor = message.params.get("cursor")
        call.exchange.upstream_at = begun
        while True:
            epoch = self._parts.policy.engine.epoch
            try:
                page = await self._lists.page(
                    call.view, message.method, found.primitive, cursor, connect, ask, epoch
                )
                break
            except Changed:
                scope = self._listening.scope_again(call)
                call.view = View(scope, self._judge, call.principal, call.facts)
        self._onward.note_upstream(call)
        ids = [thing.id for thing in page.things]
        self._judge.listed(
            call.exchange, call.principal, found.action, call.scope.container, ids, 0.0
        )
        made: dict[str, Any] = {**page.rest, found.primitive.listed: list(page.items)}
        if page.cursor is not None:
            made["nextCursor"] = page.cursor
        if call.generation is Generation.STATELESS:
            made = as_modern(message.method, made)
        call.exchange.outcome = "result"
        body = jsonrpc.result(message.id, made)
        if not page.streams:
            return await self._answers.body(call, body)
        # As the server does: some clients tell its kind by that.
        async with self._answers.events(call) as events:
            await events.send(Event(body, None, "message"))
        return events.response
