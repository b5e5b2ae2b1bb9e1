"""The server that an OpenAPI document makes: its operations as tools, no prompts, no resources.

It checks arguments, makes the request and reads the answer. Who may call what was decided before; what the
service is shown as a credential comes from `Credentials`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from yarl import URL

from identity.principal import Principal
from proxy.fetching import Fetch
from proxy.mcp.arguments import Arguments
from proxy.mcp.openapi import answer
from proxy.mcp.openapi.operations import Operation, ToolSetting, operations
from proxy.mcp.openapi.pointers import OpenApiError
from proxy.mcp.openapi.request import request
from proxy.mcp.openapi.schemas import bounded
from proxy.mcp.openapi.source import Source, load
from proxy.mcp.primitive import Primitive
from proxy.providers.base import Headers, UpstreamInvalid

_CHECKS = 256  # compiled schemas that are kept; the least used goes first


class Credentials(Protocol):
    """The headers by which the service knows who calls (none for a service without credentials)."""

    async def __call__(
        self, principal: Principal, method: str, url: str, body: bytes
    ) -> Headers: ...


class OpenApiServer:
    """A `LocalServer`. Make it with `open_server`, which reads the document beside the loop."""

    def __init__(
        self,
        name: str,
        document: Mapping[str, Any],
        fetch: Fetch,
        headers: Credentials,
        *,
        url: str = "",
        settings: Sequence[ToolSetting] = (),
        every: bool = True,
    ) -> None:
        """`url` is the manifest's; without one, the first of the document's `servers` is it.

        Raises:
            OpenApiError: the document is none, or says no usable address.
        """
        self._base = _base(url or _server(document))
        found = operations(document, settings, every=every)
        self._operations = found.tools
        self.left_out = found.left_out
        self._fetch = fetch
        self._headers = headers
        self._checks: OrderedDict[str, Arguments] = OrderedDict()
        self._info = {"name": name, "version": "0"}
        info = document.get("info")
        if isinstance(info, Mapping):
            if isinstance(info.get("version"), str | int | float):
                self._info["version"] = bounded(str(info["version"]), 64)
            if isinstance(info.get("title"), str) and info["title"].strip():
                self._info["title"] = bounded(" ".join(info["title"].split()), 128)

    @property
    def origin(self) -> str:
        """Where the credential goes: scheme, host and port."""
        return str(URL(self._base).origin())

    @property
    def info(self) -> Mapping[str, Any]:
        return self._info

    @property
    def instructions(self) -> str:
        return ""

    async def definitions(self, primitive: Primitive) -> Sequence[Mapping[str, Any]]:
        if primitive is not Primitive.TOOL:
            return ()
        return [operation.definition for operation in self._operations.values()]

    async def call(
        self, tool: str, arguments: Mapping[str, Any], principal: Principal
    ) -> Mapping[str, Any]:
        operation = self._operations[tool]
        self._check(operation).check(arguments)
        sent = request(operation, self._base, arguments)
        own = await self._headers(principal, sent.method, sent.url, sent.body)
        names = {name.lower() for name, _ in own}
        asked = [item for item in sent.headers if item[0] not in names]
        async with self._fetch(sent.method, sent.url, [*asked, *own], sent.body) as got:
            media = got.headers.get("content-type", "")
            try:
                raw = b"" if sent.method == "HEAD" else await got.read(answer.MAX_ANSWER)
            except UpstreamInvalid as error:  # too long: it was called, and the caller is to know
                return answer.failed(f"HTTP {got.status}: {error.message}")
            return answer.result(tool, got.status, media, raw, answer.secrets_of(own))

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> Mapping[str, Any]:
        raise KeyError(name)

    async def read(self, uri: str) -> Mapping[str, Any]:
        raise KeyError(uri)

    async def complete(
        self, primitive: Primitive, name: str, argument: str, value: str
    ) -> Sequence[str]:
        return ()

    def _check(self, operation: Operation) -> Arguments:
        known = self._checks.get(operation.name)
        if known is None:
            known = self._checks[operation.name] = Arguments(operation.definition["inputSchema"])
            if len(self._checks) > _CHECKS:
                self._checks.popitem(last=False)
        self._checks.move_to_end(operation.name)
        return known


async def open_server(
    name: str,
    source: Source,
    fetch: Fetch,
    headers: Credentials,
    *,
    url: str = "",
    settings: Sequence[ToolSetting] = (),
    every: bool = True,
) -> OpenApiServer:
    """The server of a document that is read from `source` now.

    Raises:
        OpenApiError: the document is none, is too large, or says no usable address.
        UpstreamError: the address of the document does not give it.
    """
    document = await load(source, fetch)

    def make() -> OpenApiServer:
        return OpenApiServer(
            name, document, fetch, headers, url=url, settings=settings, every=every
        )

    return await asyncio.to_thread(make)


# --- the address -------------------------------------------------------------------------------------


def _server(document: Mapping[str, Any]) -> str:
    """The address of the first of `servers`, its variables at their defaults."""
    servers = document.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else None
    address = first.get("url") if isinstance(first, Mapping) else None
    if not isinstance(first, Mapping) or not isinstance(address, str):
        raise OpenApiError("the document names no server", hint="set `url` in the manifest")
    variables = first.get("variables")
    for name, value in variables.items() if isinstance(variables, Mapping) else ():
        default = value.get("default") if isinstance(value, Mapping) else None
        if isinstance(default, str | int) and len(str(default)) <= 256:
            address = address[:4_096].replace("{" + str(name) + "}", str(default))
    return address


def _base(address: str) -> str:
    """`address` without a trailing slash.

    Raises:
        OpenApiError: it is not absolute http or https, or holds more than a path.
    """
    try:
        url = URL(address)
        fits = (
            url.scheme in ("http", "https")
            and bool(url.host)
            and url.port is not None
            and not (url.user or url.password or url.raw_query_string or url.raw_fragment)
            and not any(character in address for character in "{}?#\\ ")
        )
    except ValueError:
        fits = False
    if not fits:
        raise OpenApiError(
            f"`{bounded(address, 200)}` is no absolute http or https address of a service",
            hint="set `url` in the manifest, without user, query and fragment",
        )
    return str(url).rstrip("/")
