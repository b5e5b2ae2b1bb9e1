"""The names of tools and prompts where several servers are one: `<server>__<tool>`, there and back.

Clients and model APIs narrow what a name may be: letters, digits, `_` and `-`, at most 64 characters, a
letter first, and many put a prefix of their own before it. A name that fits is kept as it is. One that does
not fit is made to, and ends in a digest of the pair; so a name depends on its own pair alone, and does not
change when others come.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator

SEPARATOR = "__"
# 64 less what a client puts before it: `mcp__` and the name that the user gave the gateway, with its separator.
LIMIT = 48
SHORTEST = 40  # a limit below leaves no room for the digest of a collision

_FITS = re.compile(r"[A-Za-z0-9_-]+\Z")
_ODD = re.compile(r"[^A-Za-z0-9_-]+")
_RUN = re.compile(r"__+")
_DIGEST = 10  # base32: 50 bits
_LONG_DIGEST = 24  # 120 bits, where two names collide all the same
_SERVER_PART = 14  # characters of the server that a shortened name keeps


class Names:
    """The advertised names of some pairs of server and tool, both ways."""

    __slots__ = ("_by_name", "_by_pair")

    def __init__(self, pairs: Iterable[tuple[str, str]], limit: int = LIMIT) -> None:
        """Raises ValueError for a limit that leaves no room."""
        if limit < SHORTEST:
            raise ValueError(f"names need {SHORTEST} characters")
        first: dict[str, list[tuple[str, str]]] = {}
        for pair in dict.fromkeys(pairs):
            first.setdefault(advertised(*pair, limit), []).append(pair)
        self._by_name: dict[str, tuple[str, str]] = {}
        for name, same in first.items():
            # INVARIANT: who comes second takes nobody's name; all of a collision get another.
            for pair in same:
                own = name if len(same) == 1 else _shortened(*pair, limit, _LONG_DIGEST)
                self._by_name[own] = pair
        self._by_pair = {pair: name for name, pair in self._by_name.items()}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def of(self, server: str, tool: str) -> str:
        """The advertised name. Raises KeyError for a pair that is not among these."""
        return self._by_pair[server, tool]

    def pair(self, name: str) -> tuple[str, str]:
        """The server and tool of an advertised name. Raises KeyError."""
        return self._by_name[name]


def advertised(server: str, tool: str, limit: int = LIMIT) -> str:
    """The name of a pair, whatever else there is.

    INVARIANT: two pairs whose names are kept have different ones: the first separator ends the server, since a
    kept server neither holds one nor ends in half of one. A kept tool holds none, and a made name holds two,
    so that no server can call its tool as another is advertised.
    """
    plain = f"{server}{SEPARATOR}{tool}"
    if (
        len(plain) <= limit
        and server[:1].isalpha()
        and _FITS.match(server)
        and _FITS.match(tool)
        and not holds_separator(server)
        and not server.endswith("_")
        and not holds_separator(tool)
    ):
        return plain
    return _shortened(server, tool, limit, _DIGEST)


def holds_separator(name: str) -> bool:
    """Whether an upstream's or a server's own name holds the separator, which it may not."""
    return SEPARATOR in name


def _shortened(server: str, tool: str, limit: int, digits: int) -> str:
    digest = hashlib.sha256(f"{len(server)}/{server}/{tool}".encode("utf-8", "surrogatepass"))
    tail = base64.b32encode(digest.digest()).decode().lower()[:digits]
    room = limit - 2 * len(SEPARATOR) - digits
    left = _part(server, min(_SERVER_PART, room // 2))
    if not left[:1].isalpha():
        left = f"s{left}"[: min(_SERVER_PART, room // 2)]
    right = _part(tool, room - len(left)) or "x"
    return SEPARATOR.join((left, right, tail))


def _part(text: str, room: int) -> str:
    """As much of `text` as a name may hold, without a separator."""
    return _RUN.sub("_", _ODD.sub("-", text))[:room].strip("_")
