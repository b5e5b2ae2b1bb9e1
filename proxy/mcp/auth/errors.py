"""Why a request to an MCP server goes out without a credential: nobody gave one, or it was refused.

What cannot be reached is an `UpstreamError` as ever, a reference that does not resolve is `CredentialMissing`, and a store
or a neighbour that is too slow is `Unavailable`.
"""

from __future__ import annotations

from authz.errors import GatewardenError
from proxy.providers.base import UpstreamError


class AuthNeeded(GatewardenError):
    """The principal has to authorise, or to give values, first. `missing` names those values.

    `authorise` says that `Flows.begin` makes an address which the principal can open to do so.
    """

    code = "upstream_auth_needed"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        authorise: bool = False,
        missing: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.authorise = authorise
        self.missing = missing


class AuthFailed(UpstreamError):
    """The server's authorization server gave no token. `error` is its code (RFC 6749 5.2), if it is one."""

    code = "upstream_credential_rejected"

    def __init__(self, message: str, *, hint: str = "", error: str = "") -> None:
        super().__init__(message, hint=hint)
        self.error = error


class FlowRefused(GatewardenError):
    """An authorization cannot be begun or finished."""

    code = "authorization_refused"


class FlowUnknown(FlowRefused):
    """A `state` that was never given out, was used already, or is too old."""

    code = "unknown_authorization"


class ValuesRefused(GatewardenError):
    """The values that a principal gives are not those that the server's headers ask for."""

    code = "invalid_body"
