"""What was said, as it is kept: from the bytes of a body to a value of JSON with nothing in it to be hidden.

A body of JSON is kept as JSON. Of a streamed answer the text is put together first, since what is to be cut
out may be spread over many events: of each kind of piece one text. A body that was cut off is kept as text,
its escapes read, without its last characters: half a key is no form that anything would find. What is no
text (sound, images, forms) is only named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from policies.redaction import Counted, Redactor

EDGE: Final = 512  # characters that are left out where a body was cut off
MAX_DEPTH: Final = 64
_PIECES: Final = frozenset(
    {"arguments", "content", "delta", "partial_json", "reasoning", "reasoning_content"}
    | {"refusal", "signature", "text", "thinking", "transcript"}
)
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|([nrt"/\\bf]))')
_PLAIN: Final[Mapping[str, str]] = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_LINES = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a body as far as they were taken, its type, and how many there were."""

    raw: bytes
    content_type: str
    length: int

    @property
    def cut(self) -> bool:
        return self.length > len(self.raw)


def kept(body: Body, redactor: Redactor, counted: Counted) -> Any:
    """The body as it is kept."""
    kind = body.content_type.partition(";")[0].strip().lower()
    if not body.length:
        return None
    if kind == "text/event-stream":
        return redactor.value(_streamed(_text(body)), counted)
    if kind not in ("", "application/json") and not kind.endswith("+json"):
        if kind.startswith("text/"):
            return redactor.value(_text(body), counted)
        return {"omitted": kind[:80], "bytes": body.length}
    if not body.cut:
        try:
            return redactor.value(json.loads(body.raw), counted)
        except (ValueError, RecursionError):
            pass
    return redactor.value(_unescaped(_text(body)), counted)


def _text(body: Body) -> str:
    text = body.raw.decode("utf-8", "replace")
    return text[: max(0, len(text) - EDGE)] if body.cut else text


def _unescaped(text: str) -> str:
    """The text of JSON that is not whole, so that `\\u0040` hides no address."""

    def read(found: re.Match[str]) -> str:
        if found[1]:
            sign = chr(int(found[1], 16))
            return sign if not "\ud800" <= sign <= "\udfff" else "\ufffd"
        return _PLAIN.get(found[2], found[2])

    return _ESCAPE.sub(read, text)


def _streamed(text: str) -> dict[str, Any]:
    """The pieces of a streamed answer, put together by the place that they have in their events."""
    joined: dict[str, list[str]] = {}
    last: Any = None
    events = 0
    for data in _events(text):
        if data == "[DONE]":
            continue
        events += 1
        try:
            last = json.loads(data)
        except (ValueError, RecursionError):
            joined.setdefault("text", []).append(_unescaped(data))
            continue
        for place, piece in _pieces(last, "", 0):
            joined.setdefault(place, []).append(piece)
    said = {place: "".join(pieces) for place, pieces in joined.items()}
    return {"events": events, "said": said, **_closing(last)}


def _events(text: str) -> Iterator[str]:
    """The data of each event."""
    lines: list[str] = []
    for line in _LINES.split(text):
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


def _pieces(value: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    """The texts that are parts of what is said; lists are told apart by the `index` of their items."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        # Pieces of several answers, blocks or calls of tools come in turns.
        for mark in ("index", "output_index", "content_index"):
            if isinstance(value.get(mark), int):
                place += f"[{value[mark]}]"
        for name, inner in value.items():
            if isinstance(inner, str):
                if name in _PIECES:
                    yield f"{place}.{name}".lstrip("."), inner
            elif isinstance(inner, dict | list):
                yield from _pieces(inner, f"{place}.{name}", depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _pieces(inner, place, depth + 1)


def _closing(last: Any) -> dict[str, Any]:
    """What the last event says of the whole: why it ended, and the usage."""
    if not isinstance(last, dict):
        return {}
    found = {name: last[name] for name in ("usage", "model") if name in last}
    choices = last.get("choices")
    if isinstance(choices, list):
        reasons = [one.get("finish_reason") for one in choices if isinstance(one, dict)]
        found["finish_reasons"] = [one for one in reasons if isinstance(one, str)]
    return found
