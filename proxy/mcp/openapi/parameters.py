"""One parameter of an operation: where it goes, how it is written, and whether it may be sent at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from proxy.mcp.openapi.pointers import OpenApiError


class Where(StrEnum):
    PATH = "path"
    QUERY = "query"
    HEADER = "header"


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str  # as the service knows it
    where: Where
    required: bool
    style: str  # form | simple | spaceDelimited | pipeDelimited | deepObject | json
    explode: bool
    schema: object
    description: str = ""


def parameter(value: Mapping[str, Any]) -> Parameter | None:
    """The parameter that `value` (references resolved) describes; None for one that is left out.

    Raises:
        OpenApiError: it is broken, or required and not to be sent.
    """
    name, where = value.get("name"), value.get("in")
    if not isinstance(name, str) or not name or len(name) > 256 or not isinstance(where, str):
        raise OpenApiError("a parameter has no usable `name` and `in`")
    required = where == "path" or value.get("required") is True
    if where == "header" and _key(name) in _IGNORED:
        return None  # OpenAPI 3.1, 4.8.12.1: such definitions are ignored
    if where not in set(Where) or (where == "header" and not _sendable(name)):
        if required:
            raise OpenApiError(
                f"it needs the {where[:20]} parameter `{name[:80]}`, which is not sent"
            )
        return None
    description = value.get("description")
    content = value.get("content")
    if isinstance(content, Mapping) and content:
        media = next(iter(content.values()))
        schema = media.get("schema", {}) if isinstance(media, Mapping) else {}
        style, explode = "json", False
    else:
        schema = value.get("schema", {})
        style = value.get("style") or ("form" if where == "query" else "simple")
        if not isinstance(style, str) or style not in _STYLES[Where(where)]:
            raise OpenApiError(f"the style of the parameter `{name[:80]}` is not supported")
        explode = value.get("explode", style == "form") is True
    return Parameter(
        name,
        Where(where),
        required,
        style,
        explode,
        schema,
        description if isinstance(description, str) else "",
    )


def _key(name: str) -> str:
    """Servers read `X_Forwarded_For` as `X-Forwarded-For`: one form for both."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def _sendable(name: str) -> bool:
    """Whether a caller may set this header: not framing, not credentials, not who he is."""
    key = _key(name)
    return bool(_TOKEN.match(name)) and key not in _NEVER and not key.startswith(_NEVER_PREFIXES)


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_STYLES: Mapping[Where, frozenset[str]] = {
    Where.PATH: frozenset({"simple"}),
    Where.HEADER: frozenset({"simple"}),
    Where.QUERY: frozenset({"form", "spaceDelimited", "pipeDelimited", "deepObject"}),
}
_IGNORED = frozenset({"accept", "authorization", "content-type"})
_NEVER = frozenset(
    {
        # RFC 9110 7.6.1 and its elders, and what frames a message
        "connection", "keep-alive", "te", "trailer", "trailers", "transfer-encoding",  # codespell:ignore te
        "upgrade",
        "http2-settings", "host", "content-length", "content-encoding", "accept-encoding", "expect",
        "x-http-method-override", "x-http-method", "x-method-override", "x-host",
        "x-original-url", "x-rewrite-url",
        # credentials: only the server's document sets them
        "authorization", "cookie", "cookie2", "set-cookie", "api-key", "apikey", "x-api-key",
        "x-auth-token", "x-access-token", "x-csrf-token", "x-xsrf-token", "private-token",
        # who is calling, and from where
        "forwarded", "via", "from", "origin", "referer", "x-real-ip", "x-client-ip",
        "x-cluster-client-ip", "client-ip", "true-client-ip", "cf-connecting-ip", "remote-user",
        "remote-addr", "x-user", "x-username", "x-remote-user",
    }
)  # fmt: skip
_NEVER_PREFIXES = ("mcp-", "proxy-", "sec-", "x-forwarded", "x-gatewarden-", "x-auth-request-")
