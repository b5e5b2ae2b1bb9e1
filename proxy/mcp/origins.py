"""From where a browser may reach MCP: the Host and Origin that are ours, and what CORS tells it.

A page that was rebound to a loopback address sends its own name as Host, and its own Origin (DNS rebinding); neither is
in the lists. A client that is no browser sends no Origin.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from multidict import CIMultiDict

from proxy.errors import GatewayError
from proxy.headers import Headers

ANY = "*"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# The star covers `mcp-param-…`; it does not cover `authorization`, and older browsers know no star.
_ALLOWED = (
    "*, authorization, content-type, last-event-id, mcp-protocol-version, mcp-session-id, mcp-method,"
    " mcp-name, x-request-id, x-gatewarden-metadata, x-tfy-metadata"
)
_EXPOSED = "mcp-session-id, mcp-protocol-version, www-authenticate, x-decision-id, x-request-id"


class OriginRefused(GatewayError):
    """The request comes from a page, or to a name, that is not known here."""

    code = "origin_refused"


class Origins:
    """The names that this gateway answers to, and the pages that may call it."""

    def __init__(
        self, public_url: str, hosts: Iterable[str] = (), origins: Iterable[str] = ()
    ) -> None:
        """`hosts` are names without a port (`*` for any), `origins` are `https://app.example.com` or `*`."""
        public = urlsplit(public_url)
        self._hosts = frozenset(
            {*_LOOPBACK, *(host.lower() for host in hosts), public.hostname or ""}
        )
        self._origins = frozenset(
            {
                *(origin.rstrip("/").lower() for origin in origins),
                f"{public.scheme}://{public.netloc}",
            }
        )

    def check(self, headers: Headers) -> CIMultiDict[str]:
        """The CORS headers of the answer.

        Raises:
            OriginRefused.
        """
        hosts = headers.getall("host", [])
        if len(hosts) != 1 or not (self._hosts >= {_name(hosts[0])} or ANY in self._hosts):
            raise OriginRefused(
                "this gateway does not answer to the name in `host`",
                hint="an operator may add it to `MCP__ALLOWED_HOSTS`",
            )
        made: CIMultiDict[str] = CIMultiDict({"vary": "Origin"})
        origins = headers.getall("origin", [])
        if not origins:
            return made
        if len(origins) != 1 or not self._allows(origins[0]):
            raise OriginRefused(
                "pages of this origin may not call the gateway",
                hint="an operator may add it to `MCP__ALLOWED_ORIGINS`",
            )
        made["access-control-allow-origin"] = origins[0]
        made["access-control-expose-headers"] = _EXPOSED
        return made

    def preflight(self, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        """The answer to what a browser asks before it calls; nobody need be known for it."""
        made = CIMultiDict(headers)
        made["access-control-allow-methods"] = "GET, POST, DELETE, OPTIONS"
        made["access-control-allow-headers"] = _ALLOWED
        made["access-control-max-age"] = "600"
        return made

    def _allows(self, origin: str) -> bool:
        if ANY in self._origins or origin.lower() in self._origins:
            return True
        try:
            found = urlsplit(origin)
            return found.scheme in ("http", "https") and (found.hostname or "") in _LOOPBACK
        except ValueError:
            return False


def _name(host: str) -> str:
    """A Host without its port, in lower case."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
