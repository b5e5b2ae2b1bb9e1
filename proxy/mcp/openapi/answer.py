"""What a service answered, as the result of a tool.

Credentials that were sent are struck out of it: some services repeat what they got, and the caller must not
learn the server's own.
"""

from __future__ import annotations

import base64
import codecs
from collections.abc import Iterable
from typing import Any

import msgspec

from proxy.mcp.openapi.schemas import bounded
from proxy.providers.base import Headers

MAX_ANSWER = 4 * 1024 * 1024
MAX_BINARY = 1024 * 1024
_MAX_ERROR = 4_096  # characters
_SHORTEST = 6  # of a credential that is looked for

Result = dict[str, Any]


def result(tool: str, status: int, media: str, raw: bytes, secrets: Iterable[bytes] = ()) -> Result:
    """The `CallToolResult` for a body of the type `media` (a `Content-Type`)."""
    for secret in secrets:
        raw = raw.replace(secret, b"***")
    plain, charset = _media(media)
    if 300 <= status < 400:
        return failed(f"HTTP {status}: the service answers with a redirect, which is not followed")
    if status >= 400:
        text = _decoded(raw, charset) if _textual(plain, raw) else ""
        return failed(f"HTTP {status}" + (f"\n{bounded(text.strip(), _MAX_ERROR)}" if text else ""))
    if not raw:
        return {"content": [{"type": "text", "text": f"HTTP {status}, without content"}]}
    if not _textual(plain, raw):
        return _binary(tool, plain, raw)
    made: Result = {"content": [{"type": "text", "text": _decoded(raw, charset)}]}
    if plain == "application/json" or plain.endswith("+json"):
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            value = None  # it says JSON and is none: the text stands for itself
        if isinstance(value, dict):
            made["structuredContent"] = value
    return made


def failed(text: str) -> Result:
    """A result that says that the call failed."""
    return {"content": [{"type": "text", "text": text}], "isError": True}


def secrets_of(headers: Headers) -> list[bytes]:
    """The values of `headers` to look for: whole, without the scheme, and what a Basic one encodes."""
    found: set[bytes] = set()
    for _, value in headers:
        scheme, _, rest = value.strip().partition(" ")
        parts = {value.strip(), rest.strip()}
        if scheme.lower() == "basic":
            try:
                pair = base64.b64decode(rest, validate=True).decode()
            except ValueError:
                pair = ""
            parts |= {pair, pair.partition(":")[2]}
        found |= {part.encode() for part in parts if len(part) >= _SHORTEST}
    return sorted(found, key=lambda item: (-len(item), item))


def _media(value: str) -> tuple[str, str]:
    """The bare type and the character set."""
    plain, _, rest = value.partition(";")
    for part in rest.split(";"):
        name, _, given = part.partition("=")
        if name.strip().lower() == "charset":
            return plain.strip().lower(), given.strip().strip('"').lower()
    return plain.strip().lower(), "utf-8"


def _textual(plain: str, raw: bytes) -> bool:
    if plain in ("", "application/octet-stream"):
        return not plain and _is_utf8(raw)
    return (
        plain.startswith("text/") or plain.endswith(("+json", "+xml", "+yaml")) or plain in _TEXTS
    )


def _is_utf8(raw: bytes) -> bool:
    try:
        return "\0" not in raw.decode()
    except UnicodeDecodeError:
        return False


def _decoded(raw: bytes, charset: str) -> str:
    # Only sets that never make a text longer than a few times its bytes, and never run code of ours.
    known = charset if charset in _CHARSETS else "utf-8"
    return codecs.decode(raw, known, "replace").removeprefix("\ufeff")


def _binary(tool: str, plain: str, raw: bytes) -> Result:
    if len(raw) > MAX_BINARY:
        return failed(
            f"the service answered with {len(raw)} bytes of `{bounded(plain, 80)}`, "
            f"more than the {MAX_BINARY} that a result may hold"
        )
    data = base64.b64encode(raw).decode()
    media = plain or "application/octet-stream"
    kind = media.partition("/")[0]
    if kind in ("image", "audio"):
        return {"content": [{"type": kind, "data": data, "mimeType": media}]}
    resource = {"uri": f"openapi:///{tool}/answer", "mimeType": media, "blob": data}
    return {"content": [{"type": "resource", "resource": resource}]}


_CHARSETS = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252"}
)
_TEXTS = frozenset(
    {
        "application/json",
        "application/xml",
        "application/yaml",
        "application/x-yaml",
        "application/javascript",
        "application/graphql",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
    }
)
