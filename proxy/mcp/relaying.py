"""What a server sends in answer to a call, on its way to the client: judged message by message.

A response passes if it answers what was asked; what a server asks of the client passes if the protocol has it, and its
answer finds the way back; notifications pass if they concern the client. Everything else is dropped, and a server that asks
what no table has is told so. Ids of events become tickets of this principal, so that a stream is resumed only by who had it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.mcp import jsonrpc
from proxy.mcp.bridge import CACHEABLE, TTL
from proxy.mcp.call import Call
from proxy.mcp.era import Generation
from proxy.mcp.jsonrpc import Id, Kind, Message
from proxy.mcp.link import Link, Received
from proxy.mcp.listeners import GROUPS
from proxy.mcp.methods import INPUT_REQUESTS, Direction, Shape, Target, rule
from proxy.mcp.primitive import Primitive
from proxy.mcp.servers import Server
from proxy.mcp.sse import Event
from proxy.mcp.tasks import Task, Tasks
from proxy.mcp.tickets import Purpose, Tickets, TicketTooLong, UnknownTicket
from proxy.providers.base import UpstreamInvalid

_ASKED = "gw@"  # what begins the id of a question of one server of several


@dataclass(frozen=True, slots=True)
class Awaited:
    """What a stream answers: the request's id and method, and what was decided, "" for nothing.

    `tool` is set for a tool and what it began, `thing` for whatever was asked for itself.
    """

    id: Id | None
    method: str
    tool: str = ""
    subscription: Id | None = None
    thing: str = ""


class Relaying:
    """Judges what servers send."""

    def __init__(
        self, tickets: Tickets, tasks: Tasks, list_changed: Callable[[Call, Server, Link], None]
    ) -> None:
        """`list_changed` hears that a server says that one of its lists is another."""
        self._tickets = tickets
        self._tasks = tasks
        self._list_changed = list_changed

    async def passed(
        self, call: Call, link: Link, awaited: Awaited, received: Received
    ) -> Event | None:
        """The event for the client, or None. A response has been noted in the exchange."""
        id = self._event_id(call, link, awaited, received.id)
        if received.message is None:
            if received.comment:
                return Event(comment="")
            if id is None and received.retry is None:
                return None
            return Event(b"", id, None, received.retry)
        message = await self.message(call, link, awaited, received.message)
        if message is None:
            return None
        return Event(message, id, "message", received.retry)

    async def message(
        self, call: Call, link: Link, awaited: Awaited, message: Message
    ) -> bytes | None:
        """The message for the client, or None."""
        match message.kind:
            case Kind.RESPONSE:
                return await self._response(call, link, awaited, message)
            case Kind.REQUEST:
                return await self._request(call, link, message)
            case _:
                return await self._notification(call, link, awaited, message)

    # --- responses ----------------------------------------------------------------------------------

    async def _response(
        self, call: Call, link: Link, awaited: Awaited, message: Message
    ) -> bytes | None:
        if awaited.id is None or message.id not in (awaited.id, None):
            return None
        exchange = call.exchange
        if exchange.capture is not None:
            exchange.capture.whole(message.raw, "application/json")
        if message.error is not None:
            exchange.outcome = "error"
            if message.id is None:  # a client would wait for ever
                return jsonrpc.error_again(awaited.id, message.error)
            return message.raw
        result = message.result
        if not isinstance(result, dict):
            exchange.outcome = "result"
            return message.raw
        exchange.outcome = "tool_error" if result.get("isError") is True else "result"
        made = await self._result(call, link, awaited, result)
        return message.raw if made is result else jsonrpc.result(awaited.id, made)

    async def _result(
        self, call: Call, link: Link, awaited: Awaited, result: dict[str, Any]
    ) -> dict[str, Any]:
        task = result.get("task")
        if isinstance(task, dict) and isinstance(task.get("taskId"), str) and awaited.tool:
            owner = Task(call.principal.id, awaited.tool)
            await self._tasks.made(link.server.stored, task["taskId"], owner, call.exchange.now)
        if call.generation is Generation.SESSIONS:
            return result
        if awaited.method in CACHEABLE:
            result = {**result, "ttlMs": TTL, "cacheScope": "private"}
        if result.get("resultType") == "input_required":
            asked = result.get("inputRequests")
            if isinstance(asked, dict):
                kept = {
                    key: one
                    for key, one in asked.items()
                    if isinstance(one, dict) and one.get("method") in INPUT_REQUESTS
                }
                result = {**result, "inputRequests": kept}
            if isinstance(state := result.get("requestState"), str):
                try:
                    sealed = self._tickets.seal(
                        Purpose.REQUEST_STATE,
                        call.principal.id,
                        link.server.stored,
                        {"s": state, "t": awaited.tool},
                    )
                except TicketTooLong as error:
                    raise UpstreamInvalid(
                        "the MCP server's state is too long to be kept"
                    ) from error
                result = {**result, "requestState": sealed}
        return result

    def state_of(self, call: Call, server: Server, tool: str, sealed: object) -> str:
        """The server's own request state behind the one that the client hands back.

        Raises:
            UnknownTicket: not this principal's, or of another tool.
        """
        if not isinstance(sealed, str):
            raise UnknownTicket("unknown or expired request state")
        held = self._tickets.open(Purpose.REQUEST_STATE, sealed, call.principal.id, server.stored)
        if held["t"] != tool:
            raise UnknownTicket("unknown or expired request state")
        return str(held["s"])

    # --- what a server asks -------------------------------------------------------------------------

    async def _request(self, call: Call, link: Link, message: Message) -> bytes | None:
        assert message.id is not None
        if rule(call.generation, message.method, Direction.SERVER, Kind.REQUEST) is None:
            text = "the method is not served by this client"
            refusal = jsonrpc.error(message.id, jsonrpc.METHOD_NOT_FOUND, text)
            await link.tell(jsonrpc.parse(refusal))
            return None
        if call.scope.single:
            return message.raw
        id = f"{_ASKED}{link.server.stored}@{json.dumps(message.id)}"
        return jsonrpc.request(id, message.method, message.params)

    # --- notifications ------------------------------------------------------------------------------

    async def _notification(
        self, call: Call, link: Link, awaited: Awaited, message: Message
    ) -> bytes | None:
        if message.method in GROUPS:
            self._list_changed(call, link.server, link)
            return None
        found = rule(call.generation, message.method, Direction.SERVER, Kind.NOTIFICATION)
        if found is None:
            return None
        params = message.params
        if found.target is Target.URI and not self._sees(call, link.server, params.get("uri")):
            return None
        if found.shape is Shape.TASK:
            task = await self._tasks.find(
                link.server.stored, params.get("taskId"), call.principal.id, call.exchange.now
            )
            return None if task is None else message.raw
        return message.raw

    def _sees(self, call: Call, server: Server, uri: object) -> bool:
        if not isinstance(uri, str):
            return False
        return any(
            thing.server.stored == server.stored and call.view.sees(thing)
            for thing in call.scope.named(Primitive.RESOURCE, uri)
        )

    # --- event ids ----------------------------------------------------------------------------------

    def _event_id(self, call: Call, link: Link, awaited: Awaited, id: str | None) -> str | None:
        if not id or call.generation is Generation.STATELESS:
            return None
        payload = {"i": id, "s": link.server.stored, "q": awaited.id, "m": awaited.method}
        if awaited.tool:
            payload["t"] = awaited.tool
        if awaited.thing and awaited.thing != awaited.tool:
            payload["d"] = awaited.thing
        try:
            return self._tickets.seal(Purpose.EVENT, call.principal.id, self._place(call), payload)
        except TicketTooLong:
            return None

    def event(self, call: Call, ticket: str) -> tuple[str, str, Awaited]:
        """The server's stored name, its own event id, and what that stream answers.

        Raises:
            UnknownTicket: no event of this principal in this session.
        """
        held = self._tickets.open(Purpose.EVENT, ticket, call.principal.id, self._place(call))
        tool, thing = held.get("t", ""), held.get("d", "")
        return held["s"], held["i"], Awaited(held["q"], held["m"], tool, thing=thing or tool)

    @staticmethod
    def _place(call: Call) -> str:
        assert call.session is not None
        return f"{call.scope.endpoint}/{call.session.id}"


def asker_of(id: Id | None) -> tuple[str, Id] | None:
    """The stored server and its own id behind a question that the client answers; None if it is the server's own."""
    if not isinstance(id, str) or not id.startswith(_ASKED):
        return None
    stored, _, own = id.removeprefix(_ASKED).partition("@")
    try:
        value = json.loads(own)
    except ValueError:
        return None
    return (stored, value) if isinstance(value, str | int) else None
