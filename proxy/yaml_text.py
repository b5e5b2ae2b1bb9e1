"""A document as YAML that a person reads: the same text for the same value, in block style.

A text is written plain only where every reader of YAML takes it for the same text; anything else stands in
double quotes, as JSON writes it. Long texts with line breaks stand as blocks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# YAML 1.1 reads some of these as truth values, dates or numbers.
_PLAIN = re.compile(
    r"[A-Za-z_][A-Za-z0-9_./@+~-]*(?: [A-Za-z0-9_./@+~()-]+)*\Z|[a-z-]+:[A-Za-z0-9_./@+~-]+\Z"
)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "~"})
_BLOCK = re.compile(
    r"[^\s#\x00-\x1f\x7f-\x9f][^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]*\n\Z"
)


def document(value: Mapping[str, Any]) -> str:
    """One document, without the `---`."""
    return "\n".join(_mapping(value, 0)) + "\n"


def scalar(value: object) -> str:
    """A value that is no list and no mapping, on one line."""
    if isinstance(value, str):
        plain = _PLAIN.match(value) and value.casefold() not in _WORDS
        return value if plain else _quoted(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, Sequence):
        return "[]"
    return json.dumps(value)


def _quoted(text: str) -> str:
    made = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in made)


def _mapping(value: Mapping[str, Any], indent: int) -> Iterator[str]:
    pad = " " * indent
    for key, inner in value.items():
        name = f"{pad}{scalar(str(key))}:"
        if isinstance(inner, Mapping) and inner:
            yield name
            yield from _mapping(inner, indent + 2)
        elif isinstance(inner, list | tuple) and inner:
            yield name
            yield from _list(inner, indent + 2)
        elif isinstance(inner, str) and "\n" in inner and _BLOCK.match(inner):
            yield f"{name} |"
            yield from _block(inner, indent + 2)
        else:
            yield f"{name} {scalar(inner)}"


def _list(value: Sequence[Any], indent: int) -> Iterator[str]:
    pad = " " * indent
    for inner in value:
        if isinstance(inner, Mapping) and inner:
            lines = list(_mapping(inner, indent + 2))
        elif isinstance(inner, list | tuple) and inner:
            lines = list(_list(inner, indent + 2))
        else:
            lines = [f"{pad}  {scalar(inner)}"]
        yield f"{pad}- {lines[0].lstrip(' ')}"
        yield from lines[1:]


def _block(text: str, indent: int) -> Iterator[str]:
    for line in text[:-1].split("\n"):
        yield f"{' ' * indent}{line}" if line else ""
