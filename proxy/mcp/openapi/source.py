"""Where an OpenAPI document comes from: the manifest itself, or an address.

JSON is read as JSON and anything else as YAML, by the house's own strict reader: no tags, no merge keys,
aliases within bounds. Reading runs beside the loop, because a large document takes its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from policies import yaml_nodes
from policies.errors import Problem
from policies.positions import Kind, Node
from proxy.fetching import Fetch
from proxy.mcp.openapi.pointers import OpenApiError
from proxy.providers.base import UpstreamInvalid

MAX_BYTES = 10 * 1024 * 1024
MAX_YAML_BYTES = 2 * 1024 * 1024  # its reader takes some seconds for each million characters
_ACCEPT = "application/json, application/vnd.oai.openapi+json, application/yaml, */*;q=0.5"


@dataclass(frozen=True, slots=True)
class Inline:
    """The document itself, as text or as values."""

    content: str | Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Remote:
    """The address of the document."""

    url: str


Source = Inline | Remote


async def load(source: Source, fetch: Fetch) -> Mapping[str, Any]:
    """The document of `source`.

    Raises:
        OpenApiError: it is no JSON or YAML object, or too large.
        UpstreamError: the address does not give it.
    """
    if isinstance(source, Remote):
        async with fetch("GET", source.url, [("accept", _ACCEPT)]) as answer:
            if answer.status != 200:
                raise UpstreamInvalid(
                    f"the address of the OpenAPI document answered with status {answer.status}",
                    hint="redirects are not followed" if 300 <= answer.status < 400 else "",
                )
            raw = await answer.read(MAX_BYTES)
        return await asyncio.to_thread(_read, raw)
    if isinstance(source.content, str):
        return await asyncio.to_thread(_read, source.content.encode("utf-8", "replace"))
    return source.content


def _read(raw: bytes) -> Mapping[str, Any]:
    if len(raw) > MAX_BYTES:
        raise OpenApiError(f"the document is larger than {MAX_BYTES >> 20} MiB", code="too_large")
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    value = _json(raw) if raw.lstrip()[:1] == b"{" else _yaml(raw)
    if not isinstance(value, Mapping):
        raise OpenApiError("the document is no object", hint="it starts with `openapi: 3.…`")
    return value


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        # `{a: 1}` is YAML as well; a document that only looks like JSON gets JSON's message.
        raise OpenApiError("the document starts like JSON and is none") from exc


def _yaml(raw: bytes) -> Any:
    if len(raw) > MAX_YAML_BYTES:
        raise OpenApiError(
            f"the document is larger than {MAX_YAML_BYTES >> 20} MiB of YAML",
            hint=f"as JSON it may have {MAX_BYTES >> 20} MiB",
            code="too_large",
        )
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        raise OpenApiError("the document is not in UTF-8") from exc
    problems: list[Problem] = []
    nodes = list(yaml_nodes.documents(text, "openapi", problems))
    if problems:
        first = problems[0]
        raise OpenApiError(
            f"line {first.line}, column {first.column} of the document: {first.message}",
            hint=first.hint,
        )
    if len(nodes) != 1:
        raise OpenApiError("the text holds no document, or more than one")
    return _value(nodes[0])


def _value(node: Node) -> Any:
    if node.kind is Kind.MAPPING:
        return {name: _value(entry.node) for name, entry in node.entries.items()}
    if node.kind is Kind.LIST:
        return [_value(item) for item in node.items]
    return node.scalar()
