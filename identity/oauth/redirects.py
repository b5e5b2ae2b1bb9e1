"""Where a browser may be sent back to: https, or the loopback interface of the person's own computer.

A URI is kept and compared as text, never rebuilt; only the port of a loopback URI is free (RFC 8252 7.3), since
a program on a desktop cannot choose it beforehand. What a URI may hold is a closed grammar, so that it can
stand in a header, in a policy of the page and in HTML.
"""

from __future__ import annotations

import re

from identity.oauth.errors import InvalidRedirectUri

MAX_URI = 1024
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

# RFC 3986, without user information, fragment and anything that another parser reads differently.
_URI = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?)\Z",
    re.IGNORECASE | re.ASCII,
)


def check(uri: str) -> str:
    """`uri`, once it may be registered.

    Raises:
        InvalidRedirectUri: it is neither https nor loopback http, or not plainly written.
    """
    found = _URI.match(uri) if len(uri) <= MAX_URI else None
    if found is None:
        raise InvalidRedirectUri(
            "a redirect URI is not an absolute http or https URI without user information and fragment"
        )
    if found["scheme"].lower() != "https" and found["host"].lower() not in LOOPBACK:
        raise InvalidRedirectUri(
            "a redirect URI is neither https nor on the loopback interface",
            hint="use https, or http with `127.0.0.1`, `[::1]` or `localhost`",
        )
    return uri


def same(registered: str, asked: str) -> bool:
    """Whether `asked` is the registered URI: equal as text, or loopback and equal but for the port."""
    if registered == asked:
        return True
    left, right = _URI.match(registered), _URI.match(asked) if len(asked) <= MAX_URI else None
    if left is None or right is None or left["host"].lower() not in LOOPBACK:
        return False
    return all(left[part] == right[part] for part in ("scheme", "host", "rest"))


def origin_of(uri: str) -> str:
    """Scheme, host and port of a URI that `check` passed: what a person is shown."""
    found = _URI.match(uri)
    assert found is not None
    port = f":{found['port']}" if found["port"] else ""
    return f"{found['scheme']}://{found['host']}{port}".lower()


def is_loopback(uri: str) -> bool:
    """Whether a URI that `check` passed leads to the person's own computer."""
    found = _URI.match(uri)
    return found is not None and found["host"].lower() in LOOPBACK
