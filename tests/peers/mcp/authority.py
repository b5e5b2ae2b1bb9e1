"""The everything-server's own authorization server: everybody who asks is let in, as one person, without a page.

It stands on the SDK's routes: metadata, dynamic registration, authorization code with PKCE, refresh tokens that
rotate, revocation. What a client shows as `Bearer` must be issued here, for this server.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

PERSON = "ada"
SCOPE = "everything"
CODE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class _Pair:
    access: AccessToken
    refresh: RefreshToken


class Authority(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """Issues tokens that live for some seconds."""

    def __init__(self, issuer: str, resource: str, seconds: int = 600) -> None:
        self._issuer = issuer
        self._resource = resource
        self._seconds = seconds
        self._clients: dict[str, OAuthClientInformationFull] = {}
        self._codes: dict[str, AuthorizationCode] = {}
        self._pairs: list[_Pair] = []

    @property
    def settings(self) -> AuthSettings:
        scopes = [SCOPE]
        registration = {"enabled": True, "valid_scopes": scopes, "default_scopes": scopes}
        return (
            AuthSettings.model_validate(  # from strings: an address keeps its form, without a slash
                {
                    "issuer_url": self._issuer,
                    "resource_server_url": self._resource,
                    "required_scopes": scopes,
                    "client_registration_options": registration,
                    "revocation_options": {"enabled": True},
                    "validate_token_resource": True,
                }
            )
        )

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self._clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        assert client_info.client_id is not None
        self._clients[client_info.client_id] = client_info

    async def authorize(
        self, client: OAuthClientInformationFull, params: AuthorizationParams
    ) -> str:
        code = AuthorizationCode(
            code=secrets.token_urlsafe(24),
            scopes=params.scopes or [SCOPE],
            expires_at=time.time() + CODE_SECONDS,
            client_id=client.client_id or "",
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
            subject=PERSON,
        )
        self._codes[code.code] = code
        return construct_redirect_uri(
            str(params.redirect_uri), code=code.code, state=params.state, iss=self._issuer
        )

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self._codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self._codes[authorization_code.code]
        got = authorization_code
        return self._issue(got.client_id, got.scopes, got.resource)

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        found = (p.refresh for p in self._pairs if p.refresh.token == refresh_token)
        return next(found, None)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        await self.revoke_token(refresh_token)
        granted = scopes or refresh_token.scopes
        return self._issue(refresh_token.client_id, granted, refresh_token.resource)

    async def load_access_token(self, token: str) -> AccessToken | None:
        for pair in self._pairs:
            if pair.access.token == token and (pair.access.expires_at or 0) > time.time():
                return pair.access
        return None

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self._pairs = [
            pair
            for pair in self._pairs
            if token.token not in (pair.access.token, pair.refresh.token)
        ]

    def _issue(self, client_id: str, scopes: list[str], resource: str | None) -> OAuthToken:
        access = AccessToken(
            token="at_" + secrets.token_urlsafe(24),
            client_id=client_id,
            scopes=scopes,
            expires_at=int(time.time()) + self._seconds,
            resource=resource,
            subject=PERSON,
            claims={"iss": self._issuer},
        )
        refresh = RefreshToken(
            token="rt_" + secrets.token_urlsafe(24),
            client_id=client_id,
            scopes=scopes,
            resource=resource,
            subject=PERSON,
        )
        self._pairs.append(_Pair(access, refresh))
        return OAuthToken(
            access_token=access.token,
            refresh_token=refresh.token,
            token_type="Bearer",
            expires_in=self._seconds,
            scope=" ".join(scopes),
        )
