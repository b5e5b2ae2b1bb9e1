"""Headers that a document may set, and the `{{KEY}}` in them that each principal fills for himself. Pure.

INVARIANT: what a principal gave is never read as a reference, so nobody can have `env:NAME` resolved for himself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from policies.secrets import placeholders_of
from proxy.hygiene import normal
from proxy.mcp.auth.errors import ValuesRefused
from proxy.providers.base import UpstreamMisconfigured

MAX_VALUE = 16 * 1024
_PLACEHOLDER = re.compile(
    r"\{\{([A-Za-z_][A-Za-z0-9_]{0,63})\}\}"
)  # as `policies/secrets.py` finds them
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}\Z")  # RFC 9110 5.6.2
_VALUE = re.compile(r"[\x20-\x7e]+\Z")
# The framing of the exchange and the protocol are the gateway's to say (RFC 9110 7.6.1).
_OURS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "last-event-id",
        "te",  # codespell:ignore te
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)
_OUR_PREFIXES = ("mcp-", "proxy-")


def may_set(name: str) -> bool:
    """Whether a document may set a header of this name."""
    form = normal(name)
    return (
        _NAME.match(name) is not None and form not in _OURS and not form.startswith(_OUR_PREFIXES)
    )


def checked(name: str, value: str, server: str) -> tuple[str, str]:
    """A header that can go out as it is.

    Raises:
        UpstreamMisconfigured: a name that is no document's to set, or a value that would break a line.
    """
    if not may_set(name):
        raise UpstreamMisconfigured(
            f"the MCP server `{server}` may not set the header `{name[:80]}`",
            hint="framing, `host`, `accept`, `content-…`, `proxy-…` and `mcp-…` are the gateway's to set",
        )
    value = value.strip(" \t")
    if not _VALUE.match(value) or len(value) > MAX_VALUE:
        raise UpstreamMisconfigured(
            f"the value of the header `{name[:80]}` of the MCP server `{server}` cannot stand in a header"
        )
    return name, value


def placeholders(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The keys that the values ask for, each once, in their order."""
    found = (key for text in headers.values() for key in placeholders_of(text))
    return tuple(dict.fromkeys(found))


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with each `{{KEY}}` replaced, in one pass: a value that looks like a place is none.

    Raises:
        KeyError: a key has no value.
    """
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def accepted(given: Mapping[str, str], wanted: Iterable[str]) -> dict[str, str]:
    """The values that a principal gives, once they can be kept.

    Raises:
        ValuesRefused: a key that the server's headers do not ask for; an unusable value. Says no value.
    """
    keys = set(wanted)
    found: dict[str, str] = {}
    for key, raw in given.items():
        if key not in keys:
            asked = ", ".join(f"`{item}`" for item in sorted(keys)) or "none"
            raise ValuesRefused(
                f"the server asks for no value `{key[:80]}`", hint=f"it asks for: {asked}"
            )
        value = raw.strip()
        if not _VALUE.match(value) or len(value) > MAX_VALUE:
            raise ValuesRefused(
                f"the value of `{key}` is empty or cannot stand in a header",
                hint="printable ASCII on one line",
            )
        found[key] = value
    return found
