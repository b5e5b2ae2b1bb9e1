"""Answers of the OAuth endpoints: JSON that is kept nowhere, and what a browser needs to read it.

Errors have the form of RFC 6749 5.2 here, not that of the rest of the API: MCP clients branch on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from aiohttp import web

from authz.errors import GatewardenError
from identity.oauth.errors import OAuthError
from identity.tokens import redact
from proxy.errors import status_of

# Browser clients run anywhere and send no cookie, so any origin may read what these endpoints answer.
CORS: Mapping[str, str] = {"Access-Control-Allow-Origin": "*"}
NO_STORE: Mapping[str, str] = {"Cache-Control": "no-store", "Pragma": "no-cache"}

_STATUS = {"invalid_client": 401, "too_many_attempts": 429, "temporarily_unavailable": 503}
_WAIT = {429: "60", 503: "1"}
_UNQUOTABLE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")  # RFC 6749 5.2


def answer(body: Mapping[str, object], status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        content_type="application/json",
        headers={**CORS, **NO_STORE},
    )


def refused(error: GatewardenError) -> web.Response:
    """The answer for an error. What is no error of OAuth is our own fault, for a while, or a broken body."""
    code = error.code
    if isinstance(error, OAuthError):
        status = _STATUS.get(code, 400)
    else:
        status = status_of(code)
        code = "temporarily_unavailable" if status >= 500 else "invalid_request"
    body = {"error": code, "error_description": description_of(error)}
    response = answer(body, status)
    if status in _WAIT:
        response.headers["Retry-After"] = _WAIT[status]
    if "connection" in {name.lower() for name in getattr(error, "headers", {})}:
        response.force_close()
    return response


def description_of(error: GatewardenError) -> str:
    """What an error says, in the characters that RFC 6749 allows."""
    text = f"{error.message} ({error.hint})" if error.hint else error.message
    return redact(_UNQUOTABLE.sub("'", text))[:400]


def preflight(methods: str) -> web.Response:
    """The answer to `OPTIONS`, which comes before any credential."""
    return web.Response(
        status=204,
        headers={
            **CORS,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, MCP-Protocol-Version",
            "Access-Control-Max-Age": "600",
        },
    )
