"""What an MCP client learns before it has a token: RFC 9728 and RFC 8414 documents, and the challenge.

Everything is made from the public URL of the settings; no header of the caller has a say in it.
"""

from __future__ import annotations

from collections.abc import Mapping

from identity.oauth.pkce import METHOD
from identity.oauth.resources import ALL, SCOPE, Resources, is_audience

PROTECTED_RESOURCE = "/.well-known/oauth-protected-resource"
AUTHORIZATION_SERVER = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"
# Where MCP of 2025-03-26 puts them: a client that has not read the document yet looks there.
AUTHORIZE = "/authorize"
TOKEN = "/token"
REGISTER = "/register"
REVOKE = "/revoke"


def challenge(
    public_url: str, path: str, error: str | None = None, scope: str | None = SCOPE
) -> str:
    """The `WWW-Authenticate` of a 401 at the endpoint `path`: where a client learns how to get a token.

    `error` is `invalid_token` where a token was sent; without one there is none to speak of (RFC 6750 3.1).
    A path that is no endpoint is the caller's own text and stands for all servers.
    """
    path = path if is_audience(path) else ALL
    said = [f'resource_metadata="{_base(public_url)}{PROTECTED_RESOURCE}{_tail(public_url, path)}"']
    if scope:
        said.insert(0, f'scope="{scope}"')
    if error:
        said.insert(0, f'error="{error}"')
    return "Bearer " + ", ".join(said)


def protected_resource(resources: Resources, audience: str) -> Mapping[str, object]:
    """The document of one resource (RFC 9728 2)."""
    return {
        "resource": resources.url(audience),
        "authorization_servers": [resources.public_url],
        "scopes_supported": [SCOPE],
        "bearer_methods_supported": ["header"],
        "resource_name": "Gatewarden",
    }


def authorization_server(resources: Resources) -> Mapping[str, object]:
    """The document of the authorization server (RFC 8414 2)."""
    return {
        "issuer": resources.public_url,
        "authorization_endpoint": resources.url(AUTHORIZE),
        "token_endpoint": resources.url(TOKEN),
        "registration_endpoint": resources.url(REGISTER),
        "revocation_endpoint": resources.url(REVOKE),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": [METHOD],
        "scopes_supported": [SCOPE],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
    }


def _base(public_url: str) -> str:
    return Resources(public_url).origin


def _tail(public_url: str, path: str) -> str:
    """RFC 9728 3.1: the well-known part goes between host and path."""
    return Resources(public_url).issuer_path + path
