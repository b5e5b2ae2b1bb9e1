"""Errors of OAuth: the `code` of each is what RFC 6749, 7591, 8707 and OpenID Connect call it on the wire.

`message` and `hint` may be shown to the client and to the person; they never hold a secret.
"""

from __future__ import annotations

from identity.errors import IdentityError


class OAuthError(IdentityError):
    """The base of them all."""

    code = "invalid_request"


class InvalidRequest(OAuthError):
    """A parameter is missing, stands twice, or has the wrong form."""


class InvalidClient(OAuthError):
    """The client is not known here, or its metadata document cannot be used."""

    code = "invalid_client"


class InvalidGrant(OAuthError):
    """A code or refresh token is unknown, used, expired, or was given to somebody else."""

    code = "invalid_grant"


class UsedTwice(InvalidGrant):
    """A code or refresh token is ours, and was used before: what it gave must end.

    It looks like any other `invalid_grant` from outside.
    """

    def __init__(self, subject: str, family: str) -> None:
        super().__init__("the code or token is unknown, used or expired")
        self.subject = subject
        self.family = family


class UnsupportedGrantType(OAuthError):
    code = "unsupported_grant_type"


class UnsupportedResponseType(OAuthError):
    code = "unsupported_response_type"


class InvalidScope(OAuthError):
    code = "invalid_scope"


class InvalidTarget(OAuthError):
    """The `resource` is missing or is none of this gateway's (RFC 8707)."""

    code = "invalid_target"


class AccessDenied(OAuthError):
    """The person said no."""

    code = "access_denied"


class LoginRequired(OAuthError):
    """The client wants no page to be shown, and here one always is."""

    code = "login_required"


class InvalidRedirectUri(OAuthError):
    """A redirect URI that no client may register (RFC 7591 3.2.2)."""

    code = "invalid_redirect_uri"


class InvalidClientMetadata(OAuthError):
    code = "invalid_client_metadata"


class TooManyAttempts(OAuthError):
    """One address asks too often; it is told to wait."""

    code = "too_many_attempts"


class TemporarilyUnavailable(OAuthError):
    """Our own fault, for a while."""

    code = "temporarily_unavailable"
