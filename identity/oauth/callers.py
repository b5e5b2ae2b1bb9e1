"""Who is calling, whatever the credential: an access token at an MCP endpoint, or a token of the directory.

It takes the directory's place where callers are admitted and open streams are looked at again, so that what a
client was given ends there with the token behind it as well.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from identity.oauth.access_tokens import OAuthTokens, is_access_token
from identity.principal import Principal


class Authenticates(Protocol):
    """The directory."""

    def authenticate(self, secret: str, now: datetime) -> Principal: ...


class Callers:
    """The directory, and the access tokens beside it."""

    def __init__(self, directory: Authenticates, tokens: OAuthTokens) -> None:
        self._directory = directory
        self._tokens = tokens

    def authenticate(self, secret: str, now: datetime) -> Principal:
        """Where no access token is taken: the directory's answer.

        Raises:
            Unauthenticated.
        """
        return self._directory.authenticate(secret, now)

    def at(self, secret: str, now: datetime, path: str) -> Principal:
        """At the MCP endpoint `path`: an access token for it, or any token of the directory.

        Raises:
            Unauthenticated.
        """
        if is_access_token(secret):
            return self._tokens.authenticate(secret, path, now)
        return self._directory.authenticate(secret, now)

    def recheck(self, principal: Principal, now: datetime) -> Principal:
        """The same caller as of now.

        Raises:
            Unauthenticated: the credential or the account has ended since.
        """
        return self._tokens.recheck(principal, now)
