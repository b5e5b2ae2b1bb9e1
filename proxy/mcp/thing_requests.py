"""Requests for one thing: a tool called, a prompt taken, a resource read, an argument completed.

The name that the client says is found in the scope; its id is decided; what goes on is what was decided, under the name
that the server knows. A name that is nothing here is decided as well, so that asking for it is on record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from authz.conditions import Context
from authz.decision import Decision
from authz.errors import InvalidId
from authz.vocabulary import Kind, mcp_id
from identity.tokens import redact
from proxy.judge import Judge
from proxy.mcp import jsonrpc
from proxy.mcp.call import Call
from proxy.mcp.era import Generation
from proxy.mcp.jsonrpc import Message
from proxy.mcp.link import Link
from proxy.mcp.methods import Asked, Rule, Shape, asked
from proxy.mcp.mirrors import check_arguments
from proxy.mcp.onward import Onward
from proxy.mcp.primitive import Primitive
from proxy.mcp.refusing import Refusing
from proxy.mcp.relaying import Awaited, Relaying
from proxy.mcp.scope import Thing
from proxy.mcp.servers import Server
from proxy.mcp.view import OPEN

_KINDS = {
    Primitive.TOOL: Kind.MCP_TOOL,
    Primitive.PROMPT: Kind.MCP_PROMPT,
    Primitive.RESOURCE: Kind.MCP_RESOURCE,
    Primitive.TEMPLATE: Kind.MCP_RESOURCE,
}
MAX_UNKNOWN = 200  # characters of a name that is nothing, as they go into the record


class Learns(Protocol):
    """`proxy.mcp.discovery.Discovery`."""

    async def learnt(self, server: Server, tool: str, link: Link) -> object: ...


class ThingRequests:
    """Answers requests that name one thing."""

    def __init__(
        self,
        judge: Judge,
        onward: Onward,
        refusing: Refusing,
        relaying: Relaying,
        learns: Learns,
        digest: Callable[[bytes], str],
    ) -> None:
        """`digest` is the keyed digest of a call's arguments."""
        self._judge = judge
        self._onward = onward
        self._refusing = refusing
        self._relaying = relaying
        self._learns = learns
        self._digest = digest

    async def serve(self, call: Call, message: Message, found: Rule) -> web.StreamResponse:
        """The answer. Raises: as `Onward.relay`, and InvalidMessage, Refused, UnknownTicket."""
        assert message.id is not None
        question = asked(found, message)
        assert question is not None
        thing = self._named(call, question)
        decision = self._decide(call, message, question, thing, found)
        if not decision or thing is None:
            return await self._refusing.refused(
                call, message, decision, question.primitive.value, question.name
            )
        call.exchange.tool = thing.id.partition(":")[2]
        link: Link | None = None
        if thing.primitive is Primitive.TOOL and call.generation is Generation.STATELESS:
            link = await self._onward.connect(call, thing.server)
            schema = await self._learns.learnt(thing.server, thing.own, link)
            check_arguments(call.exchange.request.headers, message, schema)
        params = self._renamed(call, message, thing, question)
        sent = message
        if params is not message.params:
            sent = jsonrpc.parse(jsonrpc.request(message.id, message.method, params))
        if found.durable_before:
            # INVARIANT: no side effect before its record is durable.
            await call.exchange.settle()
        tool = thing.id if thing.primitive is Primitive.TOOL else ""
        awaited = Awaited(message.id, message.method, tool, thing=thing.id)
        return await self._onward.relay(call, sent, thing.server, awaited, link)

    def _named(self, call: Call, question: Asked) -> Thing | None:
        things = call.scope.named(question.primitive, question.name)
        if len(things) < 2:
            return things[0] if things else None
        # Servers may offer the same URI: the first that the principal may read is meant.
        return next((thing for thing in things if call.view.sees(thing)), things[0])

    def _decide(
        self, call: Call, message: Message, question: Asked, thing: Thing | None, found: Rule
    ) -> Decision:
        facts = call.facts
        digest = ""
        unbound: frozenset[str] = frozenset()
        if question.primitive is Primitive.TOOL:
            facts.tool = question.name if thing is None else thing.own
            arguments = message.params.get("arguments")
            if isinstance(arguments, dict):
                facts.arguments = arguments
                canonical = json.dumps(arguments, sort_keys=True, separators=(",", ":"))
                digest = self._digest(canonical.encode())
        else:
            facts.uri = question.name
        if found.shape is Shape.COMPLETE:
            unbound = OPEN
        resource = thing.id if thing is not None else _nothing(call, question)
        return self._judge.ask(
            call.exchange,
            call.principal,
            question.action,
            resource,
            Context(lazy=facts, unbound=unbound),
            digest,
        )

    def _renamed(
        self, call: Call, message: Message, thing: Thing, question: Asked
    ) -> Mapping[str, Any]:
        """`params` as the server is to get them."""
        params: Mapping[str, Any] = message.params
        if thing.name != thing.own and question.primitive in (Primitive.TOOL, Primitive.PROMPT):
            if "ref" in params:
                params = {**params, "ref": {**params["ref"], "name": thing.own}}
            else:
                params = {**params, "name": thing.own}
        if "requestState" in params and call.generation is Generation.STATELESS:
            tool = thing.id if thing.primitive is Primitive.TOOL else ""
            state = self._relaying.state_of(call, thing.server, tool, params["requestState"])
            params = {**params, "requestState": state}
        return params


def _nothing(call: Call, question: Asked) -> str:
    """The id to decide on for a name that is nothing here: it is refused and recorded."""
    server = call.scope.server
    name = redact(question.name)[:MAX_UNKNOWN]
    try:
        return mcp_id(
            _KINDS[question.primitive], server.stored if server is not None else "-", name
        )
    except (InvalidId, UnicodeError):
        return mcp_id(_KINDS[question.primitive], "-", "-")
