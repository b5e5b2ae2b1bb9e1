"""Patterns over model names: `model:acme/gpt-4*`. Anchored at both ends; `*` and `?` only.

The account and the model are matched apart, so that a pattern of one account never reaches another.
Patterns never become rows: `compile` resolves them against the catalogue into ordinary rows.
"""

from __future__ import annotations

import re

_WILD = re.compile(r"[*?]")
_FORM = re.compile(r"[A-Za-z0-9._@~+:*?-]+/[A-Za-z0-9._@~+:/*?-]+\Z")


def is_glob(text: str) -> bool:
    """Whether `text` holds a wildcard."""
    return _WILD.search(text) is not None


def is_valid(pattern: str) -> bool:
    """Whether `pattern` is `model:<account>/<model>` with wildcards; nothing else may hold one."""
    kind, _, rest = pattern.partition(":")
    return kind == "model" and _FORM.match(rest) is not None


def account_of(pattern: str) -> str | None:
    """The one account that `pattern` is bound to, or None when it may reach several."""
    account = pattern.partition(":")[2].partition("/")[0]
    return None if is_glob(account) else account


def matches(pattern: str, model: str) -> bool:
    """Whether the model id `model:<account>/<model>` is one that `pattern` names, whole."""
    kind, _, rest = model.partition(":")
    if kind != "model" or not pattern.startswith("model:"):
        return False
    account, slash, name = rest.partition("/")
    if not slash:
        return False
    wanted, _, rest = pattern.partition(":")[2].partition("/")
    return _whole(wanted, account) and _whole(rest, name)


def _whole(pattern: str, text: str) -> bool:
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
