"""Which declared resource a URI is: the exact one, else the longest URI template that matches it.

Templates are those of RFC 6570 as servers write them: `{name}` stands for one segment, `{+name}` for several, `{?a,b}`,
`{&a}` and `{#a}` for a query or a fragment. A value never climbs: a segment of dots, plain or escaped, matches nothing.
Templates come from upstreams, so matching takes time in proportion to the URI, whatever they say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

MAX_URI = 2048  # characters; a longer one is no resource
MAX_PARTS = 64
_EXPRESSION = re.compile(r"\{([+#./;?&]?)([^{}]*)\}")


class _Blank(NamedTuple):
    """What an expression may stand for."""

    first: str  # what it begins with, "" for nothing
    without: str  # characters that it does not hold
    empty: bool  # whether it may be left out


_BLANKS = {
    "": _Blank("", "/?#", False),
    "+": _Blank("", "?#", False),
    "#": _Blank("#", "", True),
    ".": _Blank(".", "/?#", True),
    "/": _Blank("/", "?#", True),
    ";": _Blank(";", "/?#", True),
    "?": _Blank("?", "#", True),
    "&": _Blank("&", "#", True),
}


def declared(uri: str, templates: Iterable[str]) -> str | None:
    """The longest of `templates` (by its literal text, then by its own) that `uri` is made of."""
    if len(uri) > MAX_URI or climbs(uri):
        return None
    found = [text for text in templates if _matches(uri, _parts(text))]
    return max(found, key=lambda text: (_literal(text), text), default=None)


def climbs(uri: str) -> bool:
    """Whether a segment of the path is `.` or `..`, however often it was escaped."""
    path = uri.partition("://")[2] or uri
    for _ in range(3):
        plain = unquote(path)
        if any(part in (".", "..") for part in re.split(r"[/\\]", plain.partition("?")[0])):
            return True
        if plain == path:
            return False
        path = plain
    return True  # escaped again and again: nobody means that


def _matches(uri: str, parts: tuple[str | _Blank, ...]) -> bool:
    ends = {0}  # where what was matched so far may end
    for part in parts:
        if isinstance(part, str):
            ends = {at + len(part) for at in ends if uri.startswith(part, at)}
        else:
            ends = _filled(uri, part, ends)
        if not ends:
            return False
    return bool(parts) and len(uri) in ends


def _filled(uri: str, blank: _Blank, ends: set[int]) -> set[int]:
    reached = set(ends) if blank.empty else set()
    starts = {at + len(blank.first) for at in ends if uri.startswith(blank.first, at)}
    inside = False
    for at, char in enumerate(uri):
        inside = (inside or at in starts) and char not in blank.without
        if inside:
            reached.add(at + 1)
    return reached


def _literal(template: str) -> int:
    return sum(len(part) for part in _parts(template) if isinstance(part, str))


@lru_cache(maxsize=4096)
def _parts(template: str) -> tuple[str | _Blank, ...]:
    """The literals and blanks of a template; none if it is not understood, so that it matches nothing."""
    parts: list[str | _Blank] = []
    at = 0
    for found in _EXPRESSION.finditer(template):
        parts += [template[at : found.start()], _BLANKS[found[1]]]
        at = found.end()
    parts.append(template[at:])
    literals = [part for part in parts if isinstance(part, str)]
    if len(parts) > MAX_PARTS or any("{" in text or "}" in text for text in literals):
        return ()
    return tuple(part for part in parts if part != "")
