"""The nearest known name, for hints: "did you mean `members`?". Pure text, no policy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` most likely meant, or ''. Case and `-`/`_` count little."""
    by_plain: dict[str, str] = {}
    for candidate in known:
        by_plain.setdefault(_plain(candidate), candidate)
    found = get_close_matches(_plain(name[:80]), by_plain, n=1, cutoff=0.6)
    return by_plain[found[0]] if found else ""


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint with the nearest known name, or `otherwise` when none is near."""
    found = nearest(name, known)
    return f"did you mean `{found}`?" if found else otherwise


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")
