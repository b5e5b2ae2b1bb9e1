"""The built-in provider: answers every operation in this process, so that demo and tests need no outside.

It says back the last user text, with plausible usage, streams when asked to, and misbehaves on request.
Requests to misbehave stand, weakest first, in `model_id` (`mini?status=503`), in the body
(`"x_echo": {"delay_ms": 50}`) or in the text (`[[echo fail=reset chunks=3]]`):

    text, size            what to answer instead; pad the answer to `size` characters
    chunks, gap_ms        pieces of a stream; pause between them
    delay_ms              pause before the first byte
    input_tokens, output_tokens    the usage to report
    status                answer with this error (or other) status
    fail                  refuse (no connection) | reset (breaks after half) | hang (until a deadline)
    lie                   length | truncate | json | redirect | encoding

Unknown or malformed requests are ignored. Bodies of the answers: `echo_answers.py`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from yarl import URL

from proxy.providers.base import (
    Account,
    Dialect,
    Headers,
    LocalAnswer,
    Operation,
    Prepared,
    Secret,
    Upstream,
    operation_routes,
    route,
)
from proxy.providers.echo_answers import Said, answer, error_body, pieces, said, stream

_BASE = URL("http://echo.invalid/v1")  # RFC 2606: never a host
_DIRECTIVE = re.compile(r"\[\[echo((?: +[a-z_]+=[^\s\]]{0,256}){1,16}) *\]\]")
_JSON = ("content-type", "application/json")
_STREAMS = frozenset(
    {Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS, Operation.RESPONSES, Operation.MESSAGES}
)


@dataclass(frozen=True, slots=True)
class Script:
    """How to answer. Numbers are bounded, so that a caller cannot buy more than he could elsewhere."""

    text: str | None = None
    size: int = 0
    chunks: int = 0  # 0 = one for each word
    gap_ms: int = 0
    delay_ms: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    status: int = 200
    fail: str = ""
    lie: str = ""

    def with_requests(self, requests: Mapping[str, object]) -> Script:
        """This script with every well-formed request of `requests`."""
        known: dict[str, Any] = {}
        for name, value in requests.items():
            if name in ("text", "fail", "lie") and isinstance(value, str):
                known[name] = value
            elif name in _BOUNDS:
                low, high = _BOUNDS[name]
                if isinstance(value, str) and value.isascii() and value.isdigit():
                    value = int(value[:9])
                if isinstance(value, int) and not isinstance(value, bool):
                    known[name] = min(max(value, low), high)
        return replace(self, **known)


_BOUNDS: Mapping[str, tuple[int, int]] = {
    "size": (0, 16 << 20),
    "chunks": (0, 100_000),
    "gap_ms": (0, 60_000),
    "delay_ms": (0, 600_000),
    "input_tokens": (0, 10_000_000),
    "output_tokens": (0, 10_000_000),
    "status": (200, 599),
}
assert set(_BOUNDS) | {"text", "fail", "lie"} == {item.name for item in fields(Script)}


class Echo:
    """The adapter and the in-process server behind it."""

    name = "echo"
    dialects = frozenset(Dialect)

    def routes(self, account: Account, model_id: str) -> Mapping[Operation, URL]:
        return operation_routes(_BASE, Operation)

    def prepare(
        self,
        upstream: Upstream,
        operation: Operation,
        headers: Headers,
        body: bytes,
        secret: Secret | None,
        now: datetime,
    ) -> Prepared:
        url = route(upstream, operation)
        headers.append(("x-echo-model", upstream.model_id))
        headers.append(("x-echo-now", str(int(now.timestamp()))))
        return Prepared("POST", url, headers, body)

    async def serve(self, prepared: Prepared, operation: Operation) -> LocalAnswer:
        """Answers as the script asks.

        Raises:
            ConnectionRefusedError: on request.
        """
        sent = dict(prepared.headers)
        model, _, requests = sent["x-echo-model"].partition("?")
        body = _object(prepared.body)
        heard = said(operation, body, model, int(sent["x-echo-now"]))
        script = Script().with_requests(dict(parse_qsl(requests)))
        if isinstance(body.get("x_echo"), dict):
            script = script.with_requests(body["x_echo"])
        directive = _DIRECTIVE.search(heard.text)
        if directive:
            script = script.with_requests(dict(part.split("=", 1) for part in directive[1].split()))
        heard = _scripted(heard, script)
        if script.fail == "refuse":
            raise ConnectionRefusedError("on request")
        if script.fail == "hang":
            await asyncio.Event().wait()
        if script.delay_ms:
            await asyncio.sleep(script.delay_ms / 1000)
        headers, parts = _answer(operation, heard, script, body.get("stream") is True)
        status = 302 if script.lie == "redirect" else script.status
        return LocalAnswer(status, headers, _send(parts, script))


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; empty for a form or anything else."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _scripted(heard: Said, script: Script) -> Said:
    text = heard.text if script.text is None else script.text
    if script.size:
        text = (text or "echo ").ljust(script.size, ".")[: script.size]
    return replace(
        heard,
        text=text,
        input_tokens=_or(script.input_tokens, heard.input_tokens),
        output_tokens=_or(script.output_tokens, max(1, len(text) // 4)),
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _answer(
    operation: Operation, heard: Said, script: Script, wants_stream: bool
) -> tuple[Headers, list[bytes]]:
    """Headers and body, in the pieces in which it is sent; lies included."""
    if script.status >= 300:
        headers: Headers = [_JSON]
        if script.status in (429, 503, 529):
            headers.append(("retry-after", "1"))
        parts = [error_body(operation.dialect, script.status)]
    elif wants_stream and operation in _STREAMS:
        headers = [("content-type", "text/event-stream; charset=utf-8")]
        parts = stream(operation, heard, pieces(heard.text, script.chunks))
        if script.lie == "truncate":
            parts = parts[: len(parts) // 2]
        return headers, parts
    else:
        media, content = answer(operation, heard)
        headers, parts = [("content-type", media)], [content]
    length = sum(len(part) for part in parts)
    if script.lie == "length":
        length += 7
    elif script.lie == "truncate":
        parts = [parts[0][: length // 2]]
    elif script.lie == "json":
        parts = [b"{" * length]
    elif script.lie == "redirect":
        headers.append(("location", "http://169.254.169.254/latest/meta-data/"))
    elif script.lie == "encoding":
        headers.append(("content-encoding", "gzip"))
    headers.append(("content-length", str(length)))
    return headers, parts


async def _send(parts: list[bytes], script: Script) -> AsyncIterator[bytes]:
    half = len(parts) // 2
    for index, part in enumerate(parts):
        if index and script.gap_ms:
            await asyncio.sleep(script.gap_ms / 1000)
        if script.fail == "reset" and index >= half:
            yield part[: len(part) // 2] or b" "
            raise ConnectionResetError("on request")
        yield part
