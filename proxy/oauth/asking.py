"""What a client may ask for at `/authorize`, and how it must say it (RFC 6749 4.1.1, RFC 9700 2.1).

First who asks and where the answer goes; only what is wrong beyond that is told to the client.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from identity.oauth import pkce
from identity.oauth.clients import Client
from identity.oauth.errors import (
    InvalidRequest,
    InvalidTarget,
    LoginRequired,
    UnsupportedResponseType,
)
from identity.oauth.resources import Resources, require_scope
from proxy.oauth.parts import fields_of

MAX_STATE = 2048


def read(request: web.Request) -> tuple[dict[str, str], bool]:
    """The parameters, and whether one of them stands twice that does not say who asks and from where.

    Raises:
        InvalidRequest: they cannot be read, or it is `client_id` or `redirect_uri` that stands twice.
    """
    try:
        return fields_of(request.rel_url.raw_query_string), False
    except InvalidRequest:
        plain = request.query
        if any(len(plain.getall(name, [])) != 1 for name in ("client_id", "redirect_uri")):
            raise
        return {name: plain[name] for name in plain}, True


def redirect(client: Client, redirect_uri: str) -> str:
    """The address that the answer goes to.

    Raises:
        InvalidRequest: it is missing, or none of the client's.
    """
    if not redirect_uri:
        raise InvalidRequest("`redirect_uri` is missing")
    if not client.takes(redirect_uri):
        raise InvalidRequest(
            "the `redirect_uri` is none that the client has registered",
            hint="do not go on: the request may not come from the client it names",
        )
    return redirect_uri


def checked(fields: Mapping[str, str], doubled: bool, resources: Resources) -> str:
    """The audience of a request whose other parameters are good.

    Raises:
        OAuthError: something is wrong that the client is told.
    """
    if doubled:
        raise InvalidRequest(
            "a parameter stands twice, or they cannot be read", hint="send each one once"
        )
    if len(fields.get("state", "")) > MAX_STATE:
        raise InvalidRequest(f"`state` is longer than {MAX_STATE} characters")
    if "request" in fields or "request_uri" in fields:
        raise InvalidRequest("request objects are not taken", hint="send plain parameters")
    if fields.get("response_type") != "code":
        raise UnsupportedResponseType("`response_type` is not `code`")
    if fields.get("response_mode", "query") != "query":
        raise InvalidRequest("`response_mode` is not `query`")
    if fields.get("code_challenge_method") != pkce.METHOD:
        raise InvalidRequest("`code_challenge_method` is not `S256`", hint="PKCE is required")
    if not pkce.is_challenge(fields.get("code_challenge", "")):
        raise InvalidRequest("`code_challenge` is no SHA-256 in base64url")
    if "none" in fields.get("prompt", "").split():
        raise LoginRequired("consent is asked every time")
    require_scope(fields.get("scope", ""))
    if "resource" not in fields:
        raise InvalidTarget("`resource` is missing", hint="name the URL of the MCP endpoint")
    return resources.audience(fields["resource"])
