"""One call through the real client to a peer, with a caller's worst headers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from proxy.providers.base import Headers, Operation, Upstream
from tests.peers.estate import client
from tests.peers.providers import MODEL

CALLER: Headers = [
    ("Host", "evil.example"),
    ("Authorization", "Bearer gw_pat_caller"),
    ("X-Api-Key", "gw_pat_caller"),
    ("Api-Key", "gw_pat_caller"),
    ("Cookie", "session=1"),
    ("X_Forwarded_For", "10.0.0.1"),
    ("x-gatewarden-metadata", "{}"),
    ("OpenAI-Organization", "org-of-the-caller"),
    ("Accept-Encoding", "gzip, br"),
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "a-1,b-2"),
    ("Content-Type", "application/json"),
    ("User-Agent", "SDK/1.0"),
    ("Content-Length", "3"),
    ("Connection", "close"),
]


@dataclass
class Got:
    status: int
    headers: Headers
    stream: bool
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    upstream: Upstream,
    operation: Operation,
    body: bytes | None = None,
    *,
    headers: Headers | None = None,
    stream: bool = False,
) -> Got:
    """The whole answer to `operation`; the body names the peer's model unless given."""
    if body is None:
        body = json.dumps({"model": MODEL, "stream": stream}).encode()
    async with (
        client() as outbound,
        outbound.call(upstream, operation, headers or CALLER, body) as answer,
    ):
        content = b"".join([chunk async for chunk in answer.chunks()])
        return Got(answer.status, answer.headers, answer.stream, content)
