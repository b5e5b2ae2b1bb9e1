"""Errors of the identity folder.

An `Unauthenticated` has two codes: `code` says what is true and goes to logs and metrics, `public_code`
and `message` are all that a caller may see. Unknown, expired, revoked and suspended look the same from
outside, so that nobody can find out which tokens once existed. Statuses live in `proxy/errors.py`.
"""

from __future__ import annotations

from enum import StrEnum

from authz.errors import GatewardenError


class Refusal(StrEnum):
    """Why a credential was not accepted. A closed list: metrics name these."""

    MISSING = "missing_credential"
    MALFORMED = "malformed_credential"
    UNKNOWN = "unknown_credential"
    EXPIRED = "expired_credential"
    REVOKED = "revoked_credential"
    SUSPENDED = "suspended"


INVALID = (
    "invalid_credential"  # the public code of every credential that is well formed but not valid
)

_PUBLIC: dict[Refusal, tuple[str, str, str]] = {
    Refusal.MISSING: (
        Refusal.MISSING,
        "no credential was sent",
        "send `Authorization: Bearer <token>` or `x-api-key: <token>`",
    ),
    Refusal.MALFORMED: (
        Refusal.MALFORMED,
        "the credential is not a gatewarden token",
        "a token starts with `gw_pat_` or `gw_vat_`; check that it was copied whole",
    ),
}
_NOT_VALID = (
    INVALID,
    "the credential is unknown, expired or revoked",
    "make a new token, or ask an administrator whether the account is active",
)


class IdentityError(GatewardenError):
    """The base of this folder's errors."""

    code = "identity_error"


class Unauthenticated(IdentityError):
    """Nobody is proven to be asking. Always a 401, and never says which check failed."""

    code = "unauthenticated"

    def __init__(self, refusal: Refusal) -> None:
        public_code, message, hint = _PUBLIC.get(refusal, _NOT_VALID)
        super().__init__(message, hint=hint, code=refusal.value)
        self.refusal = refusal
        self.public_code = str(public_code)


class ConflictingCredentials(IdentityError):
    """Two different credentials in one request: taking either would be a guess (a 400)."""

    code = "conflicting_credentials"

    def __init__(self) -> None:
        super().__init__(
            "the request carries more than one credential",
            hint="send the token once, in `Authorization` or in `x-api-key`",
        )


class InvalidTokenRequest(IdentityError):
    """A token was asked for with an expiry, a label or a subject that cannot be."""

    code = "invalid_token_request"


class WeakKey(IdentityError):
    """A key is weak, well known, damaged, or within reach of others. Nothing starts with it."""

    code = "weak_key"


class WrongKey(IdentityError):
    """A key is good but not the one that this data folder was made with."""

    code = "wrong_key"


class MissingKey(IdentityError):
    """A key is gone although data exists that was sealed or signed with it."""

    code = "missing_key"


class InvalidOffer(IdentityError):
    """The one-time link for the first administrator is unknown, used, or too old."""

    code = "invalid_offer"


class UnreadableToken(IdentityError):
    """A token cannot be read again; it can only be regenerated."""

    code = "unreadable_token"

    def __init__(self, credential_id: str) -> None:
        super().__init__(
            f"the token `{credential_id}` cannot be read again",
            hint="regenerate it; personal tokens and tokens minted on the host are shown once",
        )
