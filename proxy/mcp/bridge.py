"""Lets a client of one generation meet a server of the other, where nothing is lost or invented by it.

What a server of the other generation cannot be asked, or a client of the other cannot answer, is an error that says so:
a client of 2026 has no stream on which a server of 2025 could ask it, so that server is told that the client can
answer nothing; a client of 2025 that is asked for input gets the questions as requests of the server.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from proxy.mcp import jsonrpc
from proxy.mcp.jsonrpc import METHOD_NOT_FOUND, Kind, Message
from proxy.mcp.legacy import LegacyLink
from proxy.mcp.link import META, OneMessage, Received, Stream, UpstreamSaid
from proxy.mcp.list_changes import ALL_LISTS, ListChanges
from proxy.mcp.modern import ModernLink, own_meta
from proxy.mcp.questions import Questions, Unanswered
from proxy.mcp.remote import UpstreamRefused
from proxy.mcp.servers import Server
from proxy.mcp.sessions import Session

TTL = 1000  # milliseconds that a client may keep a list: a grant may end at any time
CACHEABLE = frozenset(
    {
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "server/discover",
        "tools/list",
    }
)
_ROUNDS = frozenset({"inputResponses", "requestState"})
MAX_ROUNDS = 16  # times that one call may ask for input
_NUMBERS = itertools.count(1)
_RUN = secrets.token_hex(4)


def as_modern(method: str, result: Any) -> Any:
    """A result of 2025 in the form of 2026."""
    if not isinstance(result, dict):
        return result
    made = {**result, "resultType": result.get("resultType", "complete")}
    if method in CACHEABLE:
        made |= {"ttlMs": TTL, "cacheScope": "private"}
    return made


def as_legacy(result: Any) -> Any:
    """A result of 2026 in the form of 2025."""
    if not isinstance(result, dict):
        return result
    return {k: v for k, v in result.items() if k not in ("resultType", "ttlMs", "cacheScope")}


class ModernOverLegacy:
    """A `Link` for a client of 2026 to a server of 2025.

    All calls of a principal share one session at the server, so ids and progress tokens are made anew.
    """

    __slots__ = ("_link",)

    def __init__(self, link: LegacyLink) -> None:
        self._link = link

    @property
    def server(self) -> Server:
        return self._link.server

    async def hello(self) -> Mapping[str, Any]:
        return await self._link.hello()

    @asynccontextmanager
    async def exchange(self, message: Message) -> AsyncIterator[Stream]:
        id = f"gw-{_RUN}-{next(_NUMBERS)}"
        params = {k: v for k, v in message.params.items() if k not in ("_meta", "inputResponses")}
        meta = {k: v for k, v in message.meta.items() if not k.startswith(META)}
        token = meta.get("progressToken")
        if token is not None:
            meta["progressToken"] = id
        if meta:
            params["_meta"] = meta
        sent = jsonrpc.parse(jsonrpc.request(id, message.method, params))
        async with self._link.exchange(sent) as stream:
            yield _Renamed(stream, id, message, token)

    async def tell(self, message: Message) -> None:
        """A client of 2026 cancels by leaving, and says nothing else."""

    @asynccontextmanager
    async def listen(self, last_event_id: str | None) -> AsyncIterator[Stream]:
        async with self._link.listen(last_event_id) as stream:
            yield ListChanges(stream)

    async def close(self) -> None:
        """The session stays for the principal's next call."""


class _Renamed:
    """The answer of a server of 2025 as a client of 2026 asked for it."""

    __slots__ = ("_asked", "_id", "_stream", "_token", "status")

    def __init__(self, stream: Stream, id: str, asked: Message, token: object) -> None:
        self._stream = stream
        self._id = id
        self._asked = asked
        self._token = token
        self.status = stream.status

    @property
    def streams(self) -> bool:
        return self._stream.streams

    async def received(self) -> AsyncIterator[Received]:
        async for received in self._stream.received():
            message = received.message
            if message is None:
                if received.comment:
                    yield received
                continue  # there is no resuming, so ids of events mean nothing
            if message.kind is Kind.REQUEST:
                continue  # it was told that this client can answer nothing
            if message.kind is Kind.RESPONSE:
                if message.id in (self._id, None):
                    yield Received(_answered(self._asked, message, modern=True))
                continue
            if message.method == "notifications/progress":
                message = _noticed(message, {"progressToken": self._token})
            yield Received(message)


class LegacyOverModern:
    """A `Link` for a client of 2025 to a server of 2026."""

    __slots__ = ("_link", "_questions", "_session")

    def __init__(self, link: ModernLink, session: Session, questions: Questions) -> None:
        self._link = link
        self._session = session
        self._questions = questions

    @property
    def server(self) -> Server:
        return self._link.server

    async def hello(self) -> Mapping[str, Any]:
        hello = dict(await self._link.hello())
        said = hello["capabilities"]
        capabilities = dict(said) if isinstance(said, dict) else {}
        resources = capabilities.get("resources")
        if isinstance(resources, dict):  # a server of 2026 has subscriptions of another kind
            capabilities["resources"] = {k: v for k, v in resources.items() if k != "subscribe"}
        return {**hello, "protocolVersion": self._session.version, "capabilities": capabilities}

    @asynccontextmanager
    async def exchange(self, message: Message) -> AsyncIterator[Stream]:
        assert message.id is not None
        if message.method == "logging/setLevel":
            self._session.client["logLevel"] = message.params.get("level")
            yield OneMessage(_made(jsonrpc.result(message.id, {})))
        elif message.method in ("resources/subscribe", "resources/unsubscribe"):
            text = "the server is of a generation without this method"
            yield OneMessage(_made(jsonrpc.error(message.id, METHOD_NOT_FOUND, text)))
        else:
            yield _Asking(self._link, self._session, self._questions, message)

    async def tell(self, message: Message) -> None:
        if message.kind is Kind.RESPONSE and message.id is not None:
            await self._questions.answered(self._session.id, message)

    @asynccontextmanager
    async def listen(self, last_event_id: str | None) -> AsyncIterator[Stream]:
        if last_event_id is not None:
            yield OneMessage(None, 405)  # there is no resuming
            return
        params = {"notifications": dict(ALL_LISTS), "_meta": own_meta()}
        id = f"gw-{_RUN}-{next(_NUMBERS)}"
        asked = _made(jsonrpc.request(id, "subscriptions/listen", params))
        async with AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(self._link.exchange(asked))
            except (UpstreamSaid, UpstreamRefused):
                yield OneMessage(None, 405)  # it says nothing unasked
                return
            yield ListChanges(stream)

    async def close(self) -> None:
        """There is nothing to end."""


class _Asking:
    """A call to a server of 2026 for a client of 2025: asked for input, it asks the client and calls again."""

    __slots__ = ("_link", "_message", "_questions", "_session", "status", "streams")

    def __init__(
        self, link: ModernLink, session: Session, questions: Questions, message: Message
    ) -> None:
        self._link = link
        self._session = session
        self._questions = questions
        self._message = message
        self.status = 200
        # Only a stream can carry a question before the answer.
        self.streams = message.method == "tools/call"

    async def received(self) -> AsyncIterator[Received]:
        more: dict[str, Any] = {}
        for _ in range(MAX_ROUNDS):
            wanted: dict[str, Any] | None = None
            async with self._link.exchange(self._request(more)) as stream:
                async for received in stream.received():
                    message = received.message
                    if message is None or message.kind is not Kind.RESPONSE:
                        yield received
                        continue
                    if message.id not in (self._message.id, None):
                        continue  # it answers something else, whatever that is
                    result = message.result
                    if isinstance(result, dict) and result.get("resultType") == "input_required":
                        wanted = result
                    else:
                        yield Received(_answered(self._message, message, modern=False))
            if wanted is None:
                return
            answers: dict[str, Any] = {}
            for key, asked in wanted.get("inputRequests", {}).items():
                id = self._questions.id()
                body = jsonrpc.request(id, asked.get("method", ""), asked.get("params", {}))
                yield Received(_made(body))
                try:
                    answer = await self._questions.answer(self._session.id, id)
                except Unanswered:
                    yield self._ended("the client did not answer what the server asked")
                    return
                if answer.error is not None:
                    assert self._message.id is not None
                    code, text = answer.error["code"], answer.error["message"]
                    yield Received(_made(jsonrpc.error(self._message.id, code, text)))
                    return
                answers[key] = answer.result
            more = {"inputResponses": answers}
            if "requestState" in wanted:
                more["requestState"] = wanted["requestState"]
        yield self._ended("the server asked for input too often")

    def _ended(self, text: str) -> Received:
        assert self._message.id is not None
        return Received(_made(jsonrpc.error(self._message.id, jsonrpc.INTERNAL_ERROR, text)))

    def _request(self, more: Mapping[str, Any]) -> Message:
        message, client = self._message, self._session.client
        assert message.id is not None
        meta = own_meta(client.get("capabilities"), client.get("clientInfo"))
        if client.get("logLevel"):
            meta[f"{META}logLevel"] = client["logLevel"]
        # A client of 2025 has no such members: what it makes up is not the server's own state.
        said = {k: v for k, v in message.params.items() if k not in _ROUNDS}
        params = {**said, **more, "_meta": {**message.meta, **meta}}
        return _made(jsonrpc.request(message.id, message.method, params))


def _answered(asked: Message, answer: Message, *, modern: bool) -> Message:
    assert asked.id is not None
    if answer.error is not None:
        body = jsonrpc.error_again(asked.id, answer.error)
    else:
        result = as_modern(asked.method, answer.result) if modern else as_legacy(answer.result)
        body = jsonrpc.result(asked.id, result)
    return _made(body)


def _noticed(message: Message, more: Mapping[str, Any]) -> Message:
    return _made(jsonrpc.notification(message.method, {**message.params, **more}))


def _made(body: bytes) -> Message:
    return jsonrpc.parse(body)
