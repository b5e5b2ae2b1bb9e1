"""Which generation of MCP a request belongs to: judged once, by the headers and the body together.

Servers route by the header alone, or by the body too; a request that says two things would be one thing here and
another behind. Such a request is refused. What the generations differ in stands in `methods.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from proxy.body import shown
from proxy.headers import Headers
from proxy.mcp.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, Kind, Message
from proxy.mcp.mirrors import HEADER_MISMATCH, Refused, check_arguments, check_mirrors

UNSUPPORTED_VERSION = -32022

VERSION_HEADER = "mcp-protocol-version"
META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META_CLIENT = "io.modelcontextprotocol/clientInfo"


class Generation(StrEnum):
    SESSIONS = "2025"  # 2025-03-26 to 2025-11-25: initialize, sessions, a GET stream
    STATELESS = "2026"  # 2026-07-28: each request stands for itself


SESSION_VERSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
STATELESS_VERSIONS = ("2026-07-28",)
SUPPORTED = (*SESSION_VERSIONS, *STATELESS_VERSIONS)
ASSUMED = SESSION_VERSIONS[0]  # the version of a request that names none
LATEST_SESSIONS = SESSION_VERSIONS[-1]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Era:
    """`version` is the one that the answer follows. `capabilities` and `client` are what the client says of itself
    in this very request: always in the stateless generation, in the other at `initialize` only.
    """

    generation: Generation
    version: str
    capabilities: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    client: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


def classify(
    headers: Headers,
    message: Message | None,
    *,
    supported: Sequence[str] = SUPPORTED,
    schema: object = None,
) -> Era:
    """The era of a request.

    Args:
        message: the body; None for GET and DELETE.
        supported: the versions that are served here.
        schema: the input schema of the tool that is called, if known already; else `check_arguments` is called
            once it is.

    Raises:
        Refused: the status and the JSON-RPC error to answer with.
    """
    meta, asked = _body_versions(message)
    body = meta if meta is not None else asked
    said = headers.getall(VERSION_HEADER, [])
    if len(said) > 1:
        raise _disagreement(f"the header `{VERSION_HEADER}` is there more than once", *said, body)
    header = said[0].strip(" \t") if said else None
    if len({header, meta, asked} - {None}) > 1:
        raise _disagreement(
            f"the header `{VERSION_HEADER}` and the body name different versions",
            header,
            meta,
            asked,
        )
    if header is None and meta in STATELESS_VERSIONS:
        raise Refused(400, HEADER_MISMATCH, f"the header `{VERSION_HEADER}` is missing")
    if header is not None:
        version = header
    elif asked is not None:
        # The one method by which versions are negotiated: another than ours is answered with ours.
        known = asked in SESSION_VERSIONS and asked in supported
        version = asked if known else _offer(supported)
    else:
        version = ASSUMED if meta is None else meta
    if version not in supported or version not in SUPPORTED:
        raise Refused(
            400,
            UNSUPPORTED_VERSION,
            "unsupported protocol version",
            {"supported": list(supported), "requested": shown(version)},
        )
    if version in STATELESS_VERSIONS:
        return _stateless(headers, message, version, schema)
    return _sessions(message, version)


def _sessions(message: Message | None, version: str) -> Era:
    if message is None or message.method != "initialize":
        return Era(Generation.SESSIONS, version)
    return Era(
        Generation.SESSIONS,
        version,
        _object(message.params.get("capabilities")),
        _object(message.params.get("clientInfo")),
    )


def _stateless(headers: Headers, message: Message | None, version: str, schema: object) -> Era:
    if message is None:
        return Era(Generation.STATELESS, version)
    if message.kind is Kind.RESPONSE:
        raise Refused(400, INVALID_REQUEST, "this version has no responses of clients")
    meta = message.meta
    capabilities = meta.get(META_CAPABILITIES)
    if message.kind is Kind.REQUEST and not (
        META_VERSION in meta and isinstance(capabilities, dict)
    ):
        raise Refused(
            400,
            INVALID_PARAMS,
            f"`params._meta` needs `{META_VERSION}` and `{META_CAPABILITIES}`",
        )
    check_mirrors(headers, message)
    if schema is not None and message.method == "tools/call":
        check_arguments(headers, message, schema)
    return Era(Generation.STATELESS, version, _object(capabilities), _object(meta.get(META_CLIENT)))


def _body_versions(message: Message | None) -> tuple[str | None, str | None]:
    """The version that `_meta` names, and the one that `initialize` asks for."""
    if message is None:
        return None, None
    meta = message.meta.get(META_VERSION)
    asked = message.params.get("protocolVersion") if message.method == "initialize" else None
    for found in (meta, asked):
        if found is not None and not isinstance(found, str):
            raise Refused(400, INVALID_PARAMS, "the protocol version is not a string")
    return meta, asked


def _offer(supported: Sequence[str]) -> str:
    ours = [version for version in supported if version in SESSION_VERSIONS]
    return max(ours, default=LATEST_SESSIONS)


def _disagreement(message: str, *versions: str | None) -> Refused:
    newer = any(v is not None and v.strip(" \t") in STATELESS_VERSIONS for v in versions)
    return Refused(400, HEADER_MISMATCH if newer else INVALID_REQUEST, message)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _NOTHING
