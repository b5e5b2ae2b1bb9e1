"""Patterns over names of models and of what MCP servers offer: `model:acme/gpt-4*`, `mcp-tool:github/get_*`.

Anchored at both ends; `*` and `?` only. The account (or server) and the name are matched apart, so that a
pattern of one account never reaches another. Patterns never become rows: `compile` resolves them against
the catalogue into ordinary rows.
"""

from __future__ import annotations

import re

from authz.vocabulary import MCP_KINDS, Kind

_KINDS = frozenset(kind.value for kind in (Kind.MODEL, *MCP_KINDS))
_WILD = re.compile(r"[*?]")
_FORM = re.compile(r"[A-Za-z0-9._@~+:*?-]+/[A-Za-z0-9._@~+:/*?-]+\Z")
# What servers offer may be named in any characters, which ids write as `%XX`.
_MCP_FORM = re.compile(r"[A-Za-z0-9._~*?-]+/(?:[A-Za-z0-9._@~+:/*?-]|%[0-9A-F]{2})+\Z")


def is_glob(text: str) -> bool:
    """Whether `text` holds a wildcard."""
    return _WILD.search(text) is not None


def is_valid(pattern: str) -> bool:
    """Whether `pattern` is `<kind>:<account or server>/<name>` of a kind that patterns are for."""
    kind, _, rest = pattern.partition(":")
    form = _FORM if kind == Kind.MODEL else _MCP_FORM
    return kind in _KINDS and form.match(rest) is not None


def account_of(pattern: str) -> str | None:
    """The one account (or server) that `pattern` is bound to, or None when it may reach several."""
    account = pattern.partition(":")[2].partition("/")[0]
    return None if is_glob(account) else account


def matches(pattern: str, thing: str) -> bool:
    """Whether the id `<kind>:<account or server>/<name>` is one that `pattern` names, whole."""
    kind, _, rest = thing.partition(":")
    if kind not in _KINDS or not pattern.startswith(f"{kind}:"):
        return False
    account, slash, name = rest.partition("/")
    if not slash:
        return False
    wanted, _, rest = pattern.partition(":")[2].partition("/")
    return whole(wanted, account) and whole(rest, name)


def whole(pattern: str, text: str) -> bool:
    """Whether all of `text` matches. Steps back to the last `*` only, so the cost is bounded by the
    product of the lengths whatever the pattern (a regular expression would not promise that)."""
    at = place = 0
    star, resume = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at += 1
            place += 1
        elif star >= 0:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return pattern[at:].strip("*") == ""
