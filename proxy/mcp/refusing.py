"""What a client is told that does not get what it asked for.

Nothing here decides. What does not exist and what is hidden get the same bytes; what a rule forbids gets the rule's words;
what a server could not do is said as that, with HTTP 200, because that is what every client reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from aiohttp import web

from authz.decision import Decision, Reason
from authz.errors import GatewardenError
from proxy import models
from proxy.errors import status_of
from proxy.mcp import jsonrpc, voice
from proxy.mcp.auth.errors import AuthNeeded
from proxy.mcp.auth.ports import AuthOf
from proxy.mcp.call import Answers, Call
from proxy.mcp.era import Generation
from proxy.mcp.jsonrpc import INVALID_PARAMS, InvalidMessage, Message
from proxy.mcp.link import UpstreamSaid
from proxy.mcp.lists import UnknownCursor
from proxy.mcp.local_link import said
from proxy.mcp.openapi.pointers import OpenApiError
from proxy.mcp.primitive import Primitive
from proxy.mcp.remote import UpstreamRefused
from proxy.mcp.tickets import UnknownTicket
from proxy.parts import Parts
from proxy.providers.base import UpstreamError

FAILURES = (UpstreamError, UpstreamRefused, OpenApiError)  # of a server, or of the way to it
UNSAID = (*FAILURES, UpstreamSaid, AuthNeeded)  # what keeps a message from a server


class Begins(Protocol):
    """`proxy.mcp.auth.server_auth.ServerAuth`."""

    async def begin(
        self,
        server: AuthOf,
        principal_id: str,
        now: datetime,
        *,
        begun_by: str,
        credential_id: str,
    ) -> str: ...


class Refusing:
    """Says no."""

    def __init__(self, parts: Parts, answers: Answers, begins: Begins) -> None:
        self._parts = parts
        self._answers = answers
        self._begins = begins

    async def failed(self, call: Call, message: Message, error: GatewardenError) -> web.Response:
        """The answer for what was raised while a request was served.

        Raises:
            GatewardenError: `error` itself, where it is said by an HTTP status.
        """
        match error:
            case InvalidMessage():
                return await self.error(call, message, error.rpc_code, said(error))
            case UnknownCursor() | UnknownTicket():
                call.exchange.error = error.code
                return await self.error(call, message, INVALID_PARAMS, said(error))
            case UpstreamSaid():
                return await self._upstream_said(call, message, error)
            case AuthNeeded():
                return await self._authorise(call, message, error)
            case UpstreamError() | UpstreamRefused() | OpenApiError():
                if status_of(error.code) != 503:
                    return await self._upstream_failed(call, message, error)
        raise error

    async def refused(
        self, call: Call, message: Message, decision: Decision, what: str, name: str
    ) -> web.Response:
        """The answer to a question that was decided with no, or of a thing that is not there."""
        assert message.id is not None
        contact = self._parts.limits.contact
        exchange = call.exchange
        if decision.reason is Reason.ERROR:
            raise models.DecisionFailed("the decision could not be taken", hint="try again")
        if decision.reason in voice.HIDDEN or decision:
            exchange.error = "unknown"
            return await self.hidden(call, message, what, name)
        exchange.error = "access_denied"
        body = voice.forbidden(message.id, decision, contact, exchange.decision_id)
        return await self._answers.body(call, body)

    async def hidden(self, call: Call, message: Message, what: str, name: str) -> web.Response:
        """The answer of a thing that does not exist, for this principal or at all."""
        assert message.id is not None
        data = {"uri": name} if what in (Primitive.RESOURCE, Primitive.TEMPLATE) else None
        body = voice.unknown(message.id, what, name, self._parts.limits.contact, data)
        return await self._answers.body(call, body)

    async def error(
        self,
        call: Call,
        message: Message,
        code: int,
        text: str,
        status: int = 200,
        data: Mapping[str, Any] | None = None,
    ) -> web.Response:
        assert message.id is not None
        call.exchange.outcome = "error"
        return await self._answers.body(call, jsonrpc.error(message.id, code, text, data), status)

    async def _authorise(self, call: Call, message: Message, error: AuthNeeded) -> web.Response:
        """The server needs something of the principal; where to go for it, if it is to authorise there."""
        call.exchange.error = error.code
        data: dict[str, Any] = {"code": error.code, "missing": list(error.missing)}
        text = said(error)
        server = call.scope.members[0] if call.scope.single else None
        if error.authorise and server is not None:
            principal = call.principal
            data["authorization_url"] = await self._begins.begin(
                server,
                principal.id,
                call.exchange.now,
                begun_by=principal.id,
                credential_id=principal.credential_id,
            )
            text = f"{text}: {data['authorization_url']}"
        return await self.error(call, message, voice.AUTHORIZE, text, data=data)

    async def _upstream_said(
        self, call: Call, message: Message, error: UpstreamSaid
    ) -> web.Response:
        """An error that a server put beside an HTTP status of its own."""
        assert message.id is not None
        call.exchange.outcome = "error"
        call.exchange.upstream_status = error.status
        body = jsonrpc.error_again(message.id, error.error)
        # To a client of 2025 a 404 says that its own session is gone, of which the server knows nothing.
        passes = (400, 404) if call.generation is Generation.STATELESS else (400,)
        return await self._answers.body(call, body, error.status if error.status in passes else 200)

    async def _upstream_failed(
        self, call: Call, message: Message, error: UpstreamError | UpstreamRefused | OpenApiError
    ) -> web.Response:
        assert message.id is not None
        exchange = call.exchange
        exchange.error = error.code
        exchange.outcome = "error"
        if isinstance(error, UpstreamRefused):
            exchange.upstream_status = error.status
        self._parts.metrics.count("gatewarden_upstream_errors", error.code)
        data = {"code": error.code, "request": exchange.id}
        body = jsonrpc.error(message.id, voice.UPSTREAM, said(error), data)
        return await self._answers.body(call, body)
