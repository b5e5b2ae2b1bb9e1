"""Answers for a server that lives in this process, in the generation of the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from authz.errors import GatewardenError
from identity.principal import Principal
from proxy.mcp import jsonrpc
from proxy.mcp.bridge import as_modern
from proxy.mcp.era import LATEST_SESSIONS, Generation
from proxy.mcp.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, Message
from proxy.mcp.link import OneMessage, Stream
from proxy.mcp.local import InvalidArguments, LocalServer
from proxy.mcp.primitive import Primitive
from proxy.mcp.servers import Server

_LISTS = {
    "tools/list": Primitive.TOOL,
    "prompts/list": Primitive.PROMPT,
    "resources/list": Primitive.RESOURCE,
    "resources/templates/list": Primitive.TEMPLATE,
}


class LocalLink:
    """A `Link` to a `LocalServer`."""

    __slots__ = ("_generation", "_local", "_principal", "server")

    def __init__(
        self, server: Server, local: LocalServer, principal: Principal, generation: Generation
    ) -> None:
        self.server = server
        self._local = local
        self._principal = principal
        self._generation = generation

    async def hello(self) -> Mapping[str, Any]:
        hello = {
            "protocolVersion": LATEST_SESSIONS,
            "capabilities": {"tools": {}, "prompts": {}, "resources": {}, "completions": {}},
            "serverInfo": dict(self._local.info),
        }
        if self._local.instructions:
            hello["instructions"] = self._local.instructions
        return hello

    @asynccontextmanager
    async def exchange(self, message: Message) -> AsyncIterator[Stream]:
        assert message.id is not None
        try:
            result = await self._result(message.method, message.params)
        except InvalidArguments as error:
            body = jsonrpc.error(message.id, INVALID_PARAMS, said(error))
        except KeyError:
            body = jsonrpc.error(message.id, INVALID_PARAMS, "there is no such thing here")
        except _NoMethod:
            body = jsonrpc.error(message.id, METHOD_NOT_FOUND, "the server has no such method")
        else:
            if self._generation is Generation.STATELESS:
                result = as_modern(message.method, result)
            body = jsonrpc.result(message.id, result)
        yield OneMessage(jsonrpc.parse(body))

    async def tell(self, message: Message) -> None:
        """There is nobody to tell."""

    @asynccontextmanager
    async def listen(self, last_event_id: str | None) -> AsyncIterator[Stream]:
        yield OneMessage(None, 405)

    async def close(self) -> None:
        """There is nothing to end."""

    async def _result(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        local = self._local
        if method in _LISTS:
            primitive = _LISTS[method]
            return {primitive.listed: list(await local.definitions(primitive))}
        match method:
            case "tools/call":
                arguments = params.get("arguments", {})
                if not isinstance(arguments, dict):
                    raise InvalidArguments("`params.arguments` is not an object")
                return await local.call(params["name"], arguments, self._principal)
            case "prompts/get":
                arguments = params.get("arguments", {})
                if not isinstance(arguments, dict):
                    raise InvalidArguments("`params.arguments` is not an object")
                return await local.prompt(params["name"], arguments)
            case "resources/read":
                return await local.read(params["uri"])
            case "completion/complete":
                return await self._completed(params)
            case "ping" | "logging/setLevel":
                return {}
            case _:
                raise _NoMethod

    async def _completed(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        ref, argument = params.get("ref"), params.get("argument")
        if not isinstance(ref, dict) or not isinstance(argument, dict):
            raise InvalidArguments("`params.ref` and `params.argument` are objects")
        primitive = Primitive.PROMPT if ref.get("type") == "ref/prompt" else Primitive.TEMPLATE
        name = ref.get("name") or ref.get("uri") or ""
        wanted, value = argument.get("name"), argument.get("value")
        if not isinstance(wanted, str) or not isinstance(value, str):
            raise InvalidArguments("`params.argument` needs `name` and `value`")
        found = list(await self._local.complete(primitive, name, wanted, value))
        return {
            "completion": {"values": found[:100], "total": len(found), "hasMore": len(found) > 100}
        }


class _NoMethod(Exception):
    """The server in this process has no such method."""


def said(error: GatewardenError) -> str:
    """An error as one sentence."""
    return f"{error.message} ({error.hint})" if error.hint else error.message
