"""The one way to a token endpoint: client authentication, the form that goes out, the answer that comes back.

A client with a secret sends it as the server's metadata says; where nothing says so, in the header first (RFC 6749
2.3.1) and then, for servers that know only that, in the form. What worked is remembered.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus, urlencode

from proxy.fetching import Fetch
from proxy.mcp.auth.errors import AuthFailed
from proxy.mcp.auth.token_set import TokenSet, granted

DEADLINE = 15.0  # seconds
MAX_ANSWER = 256 * 1024
_REMEMBERED = 4096
_ERROR = re.compile(r"[a-z_]{1,64}\Z")
BASIC, POST, NONE = "client_secret_basic", "client_secret_post", "none"


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """Who the gateway is at an authorization server. `method` is the way to show the secret, "" if unknown."""

    client_id: str
    secret: str = field(default="", repr=False)
    method: str = ""


class TokenEndpoint:
    """Asks for tokens."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._worked: dict[tuple[str, str], str] = {}

    def __repr__(self) -> str:
        return "TokenEndpoint(…)"

    async def ask(
        self,
        url: str,
        client: OAuthClient,
        params: Mapping[str, str],
        extra: Mapping[str, str],
        now: datetime,
        *,
        refresh: str = "",
    ) -> TokenSet:
        """The tokens for a grant. `extra` are parameters of the document; they replace none of `params`.

        Raises:
            AuthFailed: it refuses, or answers with something else. UpstreamError: it cannot be reached.
        """
        form = {key: value for key, value in extra.items() if key not in _PROTECTED} | dict(params)
        for method in self._methods(url, client):
            status, answer = await self._post(url, client, method, form)
            error = _error_of(answer)
            if status == 200 and not error:
                self._remember(url, client, method)
                return _granted(answer, now, refresh)
            # Who is not known as a client has used up nothing: the other form may be tried.
            if status != 401 and error != "invalid_client":
                break
        said = f"`{error}`" if error else f"status {status}"
        raise AuthFailed(
            f"the authorization server refuses to give a token: {said}",
            hint="see `auth_data` of the MCP server",
            error=error,
        )

    def _methods(self, url: str, client: OAuthClient) -> tuple[str, ...]:
        if not client.secret:
            return (NONE,)
        known = client.method or self._worked.get((url, client.client_id), "")
        return (known,) if known in (BASIC, POST) else (BASIC, POST)

    def _remember(self, url: str, client: OAuthClient, method: str) -> None:
        if len(self._worked) < _REMEMBERED:
            self._worked[url, client.client_id] = method

    async def _post(
        self, url: str, client: OAuthClient, method: str, form: dict[str, str]
    ) -> tuple[int, object]:
        headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Accept", "application/json"),
        ]
        if method == BASIC:
            pair = f"{quote_plus(client.client_id)}:{quote_plus(client.secret)}"
            headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
        else:
            form = {**form, "client_id": client.client_id}
            if method == POST:
                form["client_secret"] = client.secret
        body = urlencode(form).encode()
        async with self._fetch("POST", url, headers, body, deadline=DEADLINE) as answer:
            raw = await answer.read(MAX_ANSWER)
            status = answer.status
        try:
            return status, json.loads(raw)
        except (ValueError, RecursionError):
            return status, None


# What the grant itself says; a document adds `audience` and the like, and changes none of these.
_PROTECTED = frozenset(
    {
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "client_secret",
        "code",
        "code_verifier",
        "grant_type",
        "redirect_uri",
        "refresh_token",
    }
)


def _error_of(answer: object) -> str:
    """The error code of an answer, "" if it has none; some servers send one with a 200."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if error is None:
        return ""
    # Anything else is text of a stranger, which no message of ours repeats.
    return error if isinstance(error, str) and _ERROR.match(error) else "unknown_error"


def _granted(answer: object, now: datetime, refresh: str) -> TokenSet:
    found: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
    try:
        return granted(found, now, refresh)
    except ValueError as error:
        raise AuthFailed(f"the authorization server's answer cannot be used: {error}") from None
