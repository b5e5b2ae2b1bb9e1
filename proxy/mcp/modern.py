"""Speaks with a server of 2026-07-28: each request stands for itself, and its headers repeat the body."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from proxy.mcp import jsonrpc
from proxy.mcp.era import (
    META_CAPABILITIES,
    META_CLIENT,
    META_VERSION,
    STATELESS_VERSIONS,
    VERSION_HEADER,
)
from proxy.mcp.jsonrpc import Message
from proxy.mcp.legacy import answer_to, checked
from proxy.mcp.link import CLIENT, META, Stream, UpstreamSaid
from proxy.mcp.mirrors import mirrored
from proxy.mcp.remote import EVENTS, JSON, Remote, reader_of
from proxy.mcp.servers import Server
from proxy.providers.base import UpstreamInvalid

VERSION = STATELESS_VERSIONS[-1]
_DISCOVER = "gatewarden-discover"


class ModernLink:
    """A `Link` to a server of 2026."""

    __slots__ = ("_remote", "_schema")

    def __init__(self, remote: Remote, schema: Callable[[str], object]) -> None:
        """`schema` answers the input schema of a tool as the server last said it, None if unknown."""
        self._remote = remote
        self._schema = schema

    @property
    def server(self) -> Server:
        return self._remote.server

    async def hello(self) -> Mapping[str, object]:
        body = jsonrpc.request(_DISCOVER, "server/discover", {"_meta": own_meta()})
        message = jsonrpc.parse(body)
        async with self.exchange(message) as stream:
            answer = await answer_to(_DISCOVER, stream)
        if answer.error is not None:
            raise UpstreamSaid(answer.error)
        if not isinstance(answer.result, dict) or "supportedVersions" not in answer.result:
            raise UpstreamInvalid(f"the MCP server `{self.server.name}` does not say what it is")
        return as_hello(answer.result)

    @asynccontextmanager
    async def exchange(self, message: Message) -> AsyncIterator[Stream]:
        tool = message.params.get("name") if message.method == "tools/call" else None
        schema = self._schema(tool) if isinstance(tool, str) else None
        headers = (
            ("content-type", JSON),
            ("accept", f"{JSON}, {EVENTS}"),
            (VERSION_HEADER, VERSION),
            *mirrored(message.method, message.params, schema),
        )
        listening = message.method == "subscriptions/listen"
        read = reader_of(message.method)
        async with self._remote.send(
            "POST", headers, message.raw, listening=listening, read=read
        ) as reply:
            yield await checked(reply)

    async def tell(self, message: Message) -> None:
        headers = (
            ("content-type", JSON),
            ("accept", f"{JSON}, {EVENTS}"),
            (VERSION_HEADER, VERSION),
            ("mcp-method", message.method),
        )
        async with self._remote.send("POST", headers, message.raw):
            pass

    @asynccontextmanager
    async def listen(self, last_event_id: str | None) -> AsyncIterator[Stream]:
        raise NotImplementedError("a server of this generation says nothing unasked")
        yield  # pragma: no cover

    async def close(self) -> None:
        """There is nothing to end."""


def own_meta(
    capabilities: Mapping[str, object] | None = None, client: Mapping[str, object] | None = None
) -> dict[str, object]:
    """The `_meta` of a request that the gateway makes, for a client of the other generation or for itself."""
    return {
        META_VERSION: VERSION,
        META_CAPABILITIES: dict(capabilities or {}),
        META_CLIENT: dict(client or CLIENT),
    }


def as_hello(discovered: Mapping[str, object]) -> dict[str, object]:
    """A discover result in the form of an initialize result."""
    meta = discovered.get("_meta")
    info = meta.get(f"{META}serverInfo") if isinstance(meta, dict) else None
    hello: dict[str, object] = {
        "protocolVersion": VERSION,
        "capabilities": discovered.get("capabilities", {}),
        "serverInfo": info or {"name": "unknown", "version": "0"},
    }
    if isinstance(discovered.get("instructions"), str):
        hello["instructions"] = discovered["instructions"]
    return hello
