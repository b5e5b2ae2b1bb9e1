"""What a token may be for: the whole gateway, all MCP servers, or one of them (RFC 8707, RFC 9728).

A resource is named by the URL that the client uses. Inside, an audience is the path of it: `""` is the
gateway itself, `/mcp` all servers, `/mcp/github` one, which also has the name `/mcp/v1/github/mcp`. Whether a
server exists is not told here: nobody learns it without a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from identity.oauth.errors import InvalidScope, InvalidTarget

SCOPE = "mcp:use"  # the only one: what a client may use of it, policy says
ALL = "/mcp"
_IGNORED = frozenset({"offline_access"})  # whoever may refresh gets a refresh token anyway

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:~[1-9][0-9]{0,5})?"
_SERVER = re.compile(rf"/mcp/(?:v1/({_NAME})/mcp|(?!v1\Z)({_NAME}))\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of a gateway that is reached at `public_url` (no trailing slash)."""

    public_url: str

    @property
    def origin(self) -> str:
        """Scheme, host and port of the public URL."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}".lower()

    @property
    def issuer_path(self) -> str:
        """The path of the public URL, empty for most."""
        return urlsplit(self.public_url).path.rstrip("/")

    def url(self, audience: str) -> str:
        """The URL of a resource, as its clients use it."""
        return self.public_url + audience

    def audience(self, resource: str) -> str:
        """The audience that a `resource` parameter names. One slash at the end is forgiven.

        Raises:
            InvalidTarget: none of ours.
        """
        base = self.public_url
        path = resource[len(base) :].removesuffix("/")
        if resource[: len(base)].lower() != base.lower() or not is_audience(path):
            raise InvalidTarget(
                "the `resource` is none of this gateway's",
                hint=f"use `{self.url(ALL)}` or `{self.url(ALL)}/<server>`",
            )
        return path


def require_scope(asked: str) -> None:
    """Scopes as they are asked for, none of them meaning all.

    Raises:
        InvalidScope: others only.
    """
    scopes = frozenset(asked.split()) - _IGNORED
    if scopes and SCOPE not in scopes:
        raise InvalidScope(f"the only scope is `{SCOPE}`")


def is_audience(path: str) -> bool:
    """Whether a path is that of a resource."""
    return path in ("", ALL) or _SERVER.match(path) is not None


def covers(audience: str, path: str) -> bool:
    """Whether a token for `audience` may be used at `path`."""
    if audience in ("", ALL):
        return is_audience(path)
    wanted = _SERVER.match(path)
    held = _SERVER.match(audience)
    return wanted is not None and held is not None and _name(held) == _name(wanted)


def _name(found: re.Match[str]) -> str:
    return found[1] or found[2]
