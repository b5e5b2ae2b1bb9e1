"""The HTTP side of MCP: which endpoint, from where, who, in which generation; then `service.py`.

`/mcp/{server}` and `/mcp/v1/{server}/mcp` are one server, `/mcp` is all that the principal may use. A server that does not
exist and one of which the principal may use nothing get the same answer; nothing falls back to another endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from authz.conditions import Context
from authz.errors import InvalidId
from authz.vocabulary import Action, Kind, make_id
from identity.principal import Principal
from identity.tokens import redact
from proxy.admission import Admission
from proxy.errors import GatewayError
from proxy.exchange import Exchange
from proxy.intake import check_json_type, read_body
from proxy.judge import Judge
from proxy.mcp import jsonrpc, voice
from proxy.mcp.call import EVENTS, SESSION_HEADER, Answers, Call
from proxy.mcp.era import LATEST_SESSIONS, Era, Generation, classify
from proxy.mcp.jsonrpc import InvalidMessage, Message
from proxy.mcp.jsonrpc import Kind as Sort
from proxy.mcp.listening import Listening
from proxy.mcp.local_link import said
from proxy.mcp.methods import TABLE
from proxy.mcp.mirrors import Refused
from proxy.mcp.origins import Origins
from proxy.mcp.paths import PREFIX
from proxy.mcp.remote import UpstreamRefused
from proxy.mcp.scope import Scopes
from proxy.mcp.service import Service
from proxy.mcp.sessions import MAX_CLIENT, Sessions, UnknownSession
from proxy.mcp.tickets import UnknownTicket
from proxy.mcp.view import McpFacts, View
from proxy.parts import Parts
from proxy.routes import decoded

MAX_METHOD = 80  # characters of a method that are recorded
METHODS = ("DELETE", "GET", "OPTIONS", "POST")
_NAMES = frozenset(method for *_, method in TABLE)
MAX_BODY = 4 << 20  # bytes of one message of a client


class ServerNotFound(GatewayError):
    """No such server, or none that the caller may use: both look like this."""

    code = "mcp_server_not_found"


class SessionRequired(GatewayError):
    """A request of 2025 without the session that it belongs to."""

    code = "session_required"


Authenticates = Callable[[str, datetime, str], Principal]  # secret, now, path


class McpEndpoint:
    """Serves what begins with `/mcp`."""

    def __init__(
        self,
        parts: Parts,
        judge: Judge,
        admission: Admission,
        authenticate: Authenticates,
        challenge: Callable[[str, bool], str],
        origins: Origins,
        scopes: Scopes,
        sessions: Sessions,
        answers: Answers,
        service: Service,
        listening: Listening,
    ) -> None:
        """`challenge` is the `WWW-Authenticate` of a 401 for a path, by whether a token was sent."""
        self._parts = parts
        self._judge = judge
        self._admission = admission
        self._authenticate = authenticate
        self._challenge = challenge
        self._origins = origins
        self._scopes = scopes
        self._sessions = sessions
        self._answers = answers
        self._service = service
        self._listening = listening

    async def serve(self, exchange: Exchange) -> web.StreamResponse:
        """One HTTP request.

        Raises:
            GatewardenError: what is said by an HTTP status, in JSON-RPC.
        """
        try:
            return await self._serve(exchange)
        finally:
            # A method is the caller's text: only those of the table become a label.
            method = exchange.method if exchange.method in _NAMES else "other"
            outcome = exchange.outcome or ("refused" if exchange.error else "done")
            self._parts.metrics.count("gatewarden_mcp_requests", method, outcome)

    async def _serve(self, exchange: Exchange) -> web.StreamResponse:
        request = exchange.request
        speaks = exchange.voice = voice.RpcVoice()
        exchange.route_name = "mcp"
        path = request.raw_path.partition("?")[0]
        exchange.challenge = self._challenge(path, "authorization" in request.headers)
        headers = self._origins.check(request.headers)
        exchange.headers = headers
        if request.method == "OPTIONS":
            exchange.status = 204
            return web.Response(status=204, headers=self._origins.preflight(headers))
        name = server_in(path)
        if name is None:
            raise GatewayError("there is no such route", code="route_not_found")
        if request.method not in METHODS:
            headers["allow"] = ", ".join(METHODS)
            raise GatewayError("the route does not take this method", code="method_not_allowed")
        principal = await self._admission.admit(
            exchange, lambda secret, now: self._authenticate(secret, now, path)
        )
        facts = McpFacts(
            principal,
            exchange.now,
            exchange.client,
            request.headers,
            exchange.pinned,
            exchange.metadata,
        )
        message: Message | None = None
        if request.method == "POST":
            check_json_type(request.headers.get("content-type", ""))
            limits = self._parts.limits
            limit = min(MAX_BODY, limits.body_bytes)
            raw = await read_body(request, limit, limits.body_seconds)
            try:
                message = jsonrpc.parse(raw, depth=limits.body_depth)
            except InvalidMessage as error:
                return self._refused(exchange, error.id, 400, error.rpc_code, error.message)
            speaks.id = message.id
            # As it goes into the record: what is no method may be anything, a token too.
            exchange.method = redact(message.method[:4096])[:MAX_METHOD] or "response"
        view = self._view(exchange, principal, facts, name)
        exchange.server = view.scope.endpoint
        try:
            era = classify(request.headers, message)
            call = Call(exchange, principal, facts, view, era.generation, era.version, headers)
            return await self._dispatch(call, message, era)
        except Refused as error:
            id = message.id if message is not None else None
            return self._refused(
                exchange, id, error.status, error.rpc_code, error.message, error.data
            )

    # --- what is asked ------------------------------------------------------------------------------

    def _view(self, exchange: Exchange, principal: Principal, facts: McpFacts, name: str) -> View:
        """The endpoint as the principal sees it, if it exists for it; `name` is "" for all servers.

        Raises:
            ServerNotFound.
        """
        scope = self._scopes.one(name) if name else self._scopes.everything()
        if scope is not None:
            view = View(scope, self._judge, principal, facts)
            if not name or view.reaches():
                return view
        known = scope.server if scope is not None else None
        id = known.id if known is not None else _nothing(name)
        context = Context(lazy=facts)
        self._judge.ask(exchange, principal, Action.MCP_SERVER_USE, id, context)
        text = f"there is no MCP server `{redact(name)[:80]}`, or you have no access"
        raise ServerNotFound(text, hint=f"contact {self._parts.limits.contact}")

    async def _dispatch(self, call: Call, message: Message | None, era: Era) -> web.StreamResponse:
        method = call.exchange.request.method
        if era.generation is Generation.STATELESS:
            if message is None:
                call.headers["allow"] = "POST"
                raise GatewayError(
                    "this version of the protocol has POST only", code="method_not_allowed"
                )
            if message.kind is Sort.REQUEST:
                return await self._service.request(call, message)
            return await self._service.notification(call, message)
        starts = message is not None and message.method == "initialize"
        if starts and message is not None and message.kind is Sort.REQUEST:
            return await self._initialize(call, message, era)
        await self._in_session(call)
        if message is None:
            return await (self._ended(call) if method == "DELETE" else self._streamed(call))
        match message.kind:
            case Sort.REQUEST:
                return await self._service.request(call, message)
            case Sort.NOTIFICATION:
                return await self._service.notification(call, message)
            case _:
                return await self._service.response(call, message)

    # --- sessions -----------------------------------------------------------------------------------

    async def _initialize(self, call: Call, message: Message, era: Era) -> web.StreamResponse:
        if len(message.raw) > MAX_CLIENT:
            raise GatewayError("the client says too much of itself", code="body_too_large")
        now = call.exchange.now
        version = era.version if era.generation is Generation.SESSIONS else LATEST_SESSIONS
        client = {k: v for k, v in message.params.items() if k != "_meta"}
        call.session = await self._sessions.open(
            call.principal.id, call.scope.endpoint, version, client, now
        )
        answer = await self._service.request(call, message)
        if call.exchange.outcome == "error" or answer.status != 200:
            await self._sessions.end(call.session)
            answer.headers.pop(SESSION_HEADER, None)
        else:
            await self._sessions.save(call.session, now)
        return answer

    async def _in_session(self, call: Call) -> None:
        """Raises SessionRequired, UnknownSession."""
        ids = call.exchange.request.headers.getall(SESSION_HEADER, [])
        if not ids:
            raise SessionRequired(
                f"the header `{SESSION_HEADER}` is missing", hint="initialize first"
            )
        if len(ids) > 1:
            raise UnknownSession("the session is unknown", hint="initialize again")
        call.session = await self._sessions.find(
            ids[0], call.principal.id, call.scope.endpoint, call.exchange.now
        )
        call.version = call.session.version

    async def _ended(self, call: Call) -> web.StreamResponse:
        assert call.session is not None
        await self._service.closed(call)
        await self._sessions.end(call.session)
        call.session = None
        return await self._answers.accepted(call, 200)

    async def _streamed(self, call: Call) -> web.StreamResponse:
        headers = call.exchange.request.headers
        if EVENTS not in headers.get("accept", ""):
            raise GatewayError(
                f"a stream is `{EVENTS}`", hint="send it in `accept`", code="not_acceptable"
            )
        last = headers.getall("last-event-id", [])
        try:
            if last:
                return await self._listening.resumed(call, last[0])
            return await self._listening.stream(call)
        except UnknownTicket as error:
            raise UnknownSession("the event is unknown") from error
        except UpstreamRefused as error:
            status = error.status if error.status in (400, 404, 405, 409) else 502
            return self._refused(call.exchange, None, status, -31000 - status, said(error))

    # --- refusals -----------------------------------------------------------------------------------

    def _refused(
        self,
        exchange: Exchange,
        id: jsonrpc.Id | None,
        status: int,
        code: int,
        text: str,
        data: object = None,
    ) -> web.Response:
        """What is wrong with the message itself; nothing was decided."""
        exchange.status = status
        exchange.error = "protocol_refused"
        return self._answers.plain(exchange, jsonrpc.error(id, code, text, data), status)


def server_in(path: str) -> str | None:
    """The server that a path names, "" for all of them; None for a path that is none of MCP."""
    if path == PREFIX:
        return ""
    rest = path.removeprefix(f"{PREFIX}/")
    if rest.startswith("v1/") and rest.endswith("/mcp"):
        rest = rest.removeprefix("v1/").removesuffix("/mcp")
    name = decoded(rest)
    return name if name and "/" not in name and name != "v1" else None


def _nothing(name: str) -> str:
    try:
        return make_id(Kind.MCP_SERVER, redact(name)[:200].replace("~", "%7E"))
    except (InvalidId, UnicodeError):
        return make_id(Kind.MCP_SERVER, "-")
