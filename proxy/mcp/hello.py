"""What an endpoint says of itself when a client comes: only what this principal may use of it.

It is never refused by policy: a client that cannot start shows nothing, and some give the whole server up.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from proxy.mcp.bridge import TTL
from proxy.mcp.call import Call
from proxy.mcp.capabilities import capabilities_without, usable
from proxy.mcp.cleaning import clean_definition, cleaned
from proxy.mcp.era import LATEST_SESSIONS, SESSION_VERSIONS, SUPPORTED, Generation
from proxy.mcp.link import CLIENT, META
from proxy.mcp.primitive import Primitive

_LISTED = ("tools", "prompts", "resources")
# What several servers in one may say that they can do; what is about one connection is left out.
_COMPOSED: Mapping[str, Any] = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}


def initialized(
    call: Call, hello: Mapping[str, Any] | None, primitives: Set[Primitive], *, uses: bool
) -> dict[str, Any]:
    """An initialize result (2025). `hello` is the server's own, None where several are one."""
    version = call.version if call.version in SESSION_VERSIONS else LATEST_SESSIONS
    if hello is not None and hello.get("protocolVersion") in SESSION_VERSIONS:
        version = str(hello["protocolVersion"])
    made: dict[str, Any] = {
        "protocolVersion": version,
        "capabilities": _capabilities(call, hello, primitives, uses=uses),
        "serverInfo": _info(call, hello),
    }
    if hello is not None and isinstance(hello.get("instructions"), str):
        made["instructions"] = cleaned(hello["instructions"])
    return made


def discovered(
    call: Call, hello: Mapping[str, Any] | None, primitives: Set[Primitive], *, uses: bool
) -> dict[str, Any]:
    """A discover result (2026)."""
    made: dict[str, Any] = {
        "supportedVersions": list(SUPPORTED),
        "capabilities": _capabilities(call, hello, primitives, uses=uses),
        "resultType": "complete",
        "ttlMs": TTL,
        "cacheScope": "private",
        "_meta": {f"{META}serverInfo": _info(call, hello)},
    }
    if hello is not None and isinstance(hello.get("instructions"), str):
        made["instructions"] = cleaned(hello["instructions"])
    return made


def _info(call: Call, hello: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if hello is None:
        return {"name": call.scope.title, "version": CLIENT["version"]}
    info = hello.get("serverInfo")
    if not isinstance(info, dict):
        return {"name": call.scope.title, "version": "0"}
    shown = clean_definition(info)
    name = shown.get("name")
    return {**shown, "name": cleaned(name)} if isinstance(name, str) else shown


def _capabilities(
    call: Call, hello: Mapping[str, Any] | None, primitives: Set[Primitive], *, uses: bool
) -> dict[str, Any]:
    said = _COMPOSED if hello is None else hello.get("capabilities")
    may = set(usable(call.generation, primitives))
    if not uses:
        may.discard("logging")
    if call.generation is Generation.STATELESS:
        may -= {name for name in may if name.partition(".")[0] == "tasks"}
    kept = capabilities_without(said if isinstance(said, dict) else dict(_COMPOSED), may)
    for name in _LISTED:
        # Whatever the server does, the gateway says when what this principal sees is another.
        if isinstance(kept.get(name), dict):
            kept[name] = {**kept[name], "listChanged": True}
    return kept
