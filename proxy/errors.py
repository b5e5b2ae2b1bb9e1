"""Which HTTP status a code has: the one mapping, for both planes.

Also the errors that only the data plane raises. Their classes say nothing about HTTP; the dialects
(`proxy/dialects/`) and `proxy/api/problem.py` write the body. A code that stands nowhere below is our
own fault and becomes a 500: a new error must be given its status here.
"""

from __future__ import annotations

from collections.abc import Mapping

from authz.errors import GatewardenError

STATUS: Mapping[str, int] = {
    # 400: the request cannot be understood, or could be in two ways
    "authorization_refused": 400,
    "bad_query": 400,
    "bad_request": 400,
    "conflicting_credentials": 400,
    "epoch_unknown": 400,
    "invalid_body": 400,
    "invalid_condition": 400,
    "invalid_cursor": 400,
    "invalid_header": 400,
    "invalid_id": 400,
    "invalid_message": 400,
    "invalid_offer": 400,
    "invalid_query": 400,
    "invalid_row": 400,
    "invalid_token_request": 400,
    "no_such_moment": 400,
    "invalid_arguments": 400,
    "other_model_named": 400,
    "protocol_refused": 400,
    "session_required": 400,
    "unknown_authorization": 400,
    "unknown_cursor": 400,
    "remote_tool_refused": 400,
    "unsupported_field": 400,
    # 401: no valid credential; never for our own fault and never for a missing right
    "expired_credential": 401,
    "invalid_credential": 401,
    "malformed_credential": 401,
    "missing_credential": 401,
    "revoked_credential": 401,
    "suspended": 401,
    "unauthenticated": 401,
    "unknown_credential": 401,
    # 403: a known caller may not
    "access_denied": 403,
    "credential_not_accepted": 403,
    "forbidden": 403,
    "not_authorised": 403,
    "origin_refused": 403,
    # 404: it does not exist, or the caller may not know that it does
    "mcp_server_not_found": 404,
    "model_not_found": 404,
    "not_found": 404,
    "not_served": 404,
    "operation_not_supported": 404,
    "reference_not_found": 404,
    "route_not_found": 404,
    "unknown_session": 404,
    "unknown_ticket": 404,
    # the rest of the caller's mistakes
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "request_timeout": 408,
    "case_failed": 409,
    "conflict": 409,
    "guard_refused": 409,
    "managed_by": 409,
    "upstream_auth_needed": 409,
    "precondition_failed": 412,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "expectation_failed": 417,
    "filter_too_wide": 422,
    "too_many_groups": 422,
    "invalid_documents": 422,
    "precondition_required": 428,
    "too_many_refusals": 429,
    "headers_too_large": 431,
    # the upstream's fault
    "event_too_long": 502,
    "openapi_invalid": 502,
    "ticket_too_long": 502,
    "too_large": 502,
    "upstream_credential_rejected": 502,
    "upstream_error": 502,
    "upstream_invalid": 502,
    "upstream_misconfigured": 502,
    "upstream_refused": 502,
    "upstream_refused_request": 502,
    "upstream_said_no": 502,
    "upstream_unreachable": 502,
    "upstream_timeout": 504,
    # our own fault, for a while
    "busy": 503,
    "decision_failed": 503,
    "epoch_not_reached": 503,
    "journal_full": 503,
    "journal_unavailable": 503,
    "policy_stale": 503,
    "question_too_long": 503,
    "log_damaged": 503,
    "seal_broken": 503,
    "store_too_new": 503,
    "store_unavailable": 503,
    "unavailable": 503,
    "upstream_credential_missing": 503,
}
INTERNAL = 500


def status_of(code: str) -> int:
    """The status of an error's code; 500 for a code that is not in the table."""
    return STATUS.get(code, INTERNAL)


class GatewayError(GatewardenError):
    """The data plane cannot serve a request. `param` names the field at fault, where one is.

    `close` says that the rest of the request was not read, so that the connection must end.
    """

    code = "bad_request"
    close = False

    def __init__(
        self, message: str, *, hint: str = "", code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.param = param


class InvalidBody(GatewayError):
    """The body is not JSON, not a form, or says the same thing twice."""

    code = "invalid_body"


class BodyTooLarge(GatewayError):
    code = "body_too_large"
    close = True


class UnsupportedMediaType(GatewayError):
    code = "unsupported_media_type"
    close = True


class RequestTimeout(GatewayError):
    """The body did not arrive in time."""

    code = "request_timeout"
    close = True


class RemoteToolRefused(GatewayError):
    """The request would have the provider call a tool server that nobody decided on."""

    code = "remote_tool_refused"


class OtherModelNamed(GatewayError):
    """The request names a second model, which would run without a decision."""

    code = "other_model_named"


class UnsupportedField(GatewayError):
    """The request refers to something of the provider account that belongs to no caller."""

    code = "unsupported_field"


class ReferenceNotFound(GatewayError):
    """A stateful id that this principal never got: looks like one that does not exist."""

    code = "reference_not_found"


class EpochUnknown(GatewayError):
    """The caller demands an epoch that nobody has committed."""

    code = "epoch_unknown"


class Unavailable(GatewayError):
    """Our own fault, for a while: 503 with `Retry-After`, never 401 or 403."""

    code = "unavailable"
