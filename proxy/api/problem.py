"""Errors of the control plane, as `application/problem+json` (RFC 9457).

Every answer that is not 2xx has this form, whichever layer refused. The public message and the hint of a
`GatewardenError` go out; its cause never does. Which status a code has stands in `proxy/errors.py`; the
codes that only the control plane raises are classes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from authz.errors import GatewardenError
from policies.errors import Problem
from proxy.errors import status_of

PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:gatewarden:problem:"


class Finding(BaseModel):
    """One finding in a document: where it stands (1-based), what is wrong and how to mend it."""

    model_config = ConfigDict(extra="forbid")

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str
    severity: str
    path: list[str | int] = Field(description="The value in its document: names and positions.")


class ProblemBody(BaseModel):
    """What every answer outside 2xx says."""

    model_config = ConfigDict(extra="forbid", title="Problem")

    type: str = Field(examples=["urn:gatewarden:problem:not_found"])
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What is wrong, lower case, user input in backticks.")
    code: str = Field(description="Stable: programs may branch on it.", examples=["not_found"])
    hint: str = Field(description="How to mend it; may be empty.")
    request_id: str
    decision_id: str | None = Field(description="The record of the decision, where one was taken.")
    problems: list[Finding] = Field(description="Every finding, sorted by file, line and column.")


class ApiError(GatewardenError):
    """The control plane cannot serve a call. `headers` go out with the answer."""

    code = "bad_request"
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        problems: Iterable[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.problems = tuple(problems)
        if headers is not None:
            self.headers = headers


class BadBody(ApiError):
    """The body is not what the route takes."""

    code = "invalid_body"


class BadQuery(ApiError):
    """A query parameter is unknown, given twice or of the wrong form."""

    code = "invalid_query"


class BodyTooLarge(ApiError):
    code = "body_too_large"


class BodyTooSlow(ApiError):
    code = "request_timeout"


class MediaTypeRefused(ApiError):
    code = "unsupported_media_type"


class Missing(ApiError):
    """The thing does not exist, or the caller may not know that it does."""

    code = "not_found"


class Refused(ApiError):
    """The caller may see the thing but not do this."""

    code = "forbidden"


class CredentialNotAccepted(ApiError):
    """The route does not take this kind of credential, whatever its rights."""

    code = "credential_not_accepted"


class PreconditionFailed(ApiError):
    """`If-Match` or `If-None-Match` does not hold."""

    code = "precondition_failed"


class TooManyRefusals(ApiError):
    """The caller was refused so often that nothing more is decided for a while."""

    code = "too_many_refusals"


class Unready(ApiError):
    """Our own fault, for a while: 503."""

    code = "unavailable"
    headers = MappingProxyType({"Retry-After": "1"})


def findings(problems: Iterable[Problem]) -> list[Finding]:
    """The findings as they go out, sorted."""
    return [
        Finding(
            file=item.file,
            line=item.line,
            column=item.column,
            code=item.code,
            message=item.message,
            hint=item.hint,
            severity=item.severity,
            path=list(item.path),
        )
        for item in sorted(problems)
    ]


def problem_response(
    status: int,
    code: str,
    detail: str,
    *,
    hint: str = "",
    request_id: str,
    decision_id: str | None = None,
    problems: Iterable[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """The answer for one error."""
    body = ProblemBody(
        type=TYPE_PREFIX + code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        request_id=request_id,
        decision_id=decision_id,
        problems=findings(problems),
    )
    response = web.Response(
        status=status,
        body=body.model_dump_json().encode("utf-8", "replace"),
        content_type=PROBLEM_JSON,
        headers=headers,
    )
    if headers is not None and headers.get("Connection") == "close":
        response.force_close()  # the header alone would only say so
    return response


def response_of(
    error: GatewardenError, *, request_id: str, decision_id: str | None = None
) -> web.Response:
    """The answer for an error that was raised on purpose."""
    status = status_of(error.code)
    headers: dict[str, str] = dict(getattr(error, "headers", {}))
    if status == HTTPStatus.UNAUTHORIZED:
        headers.setdefault("WWW-Authenticate", 'Bearer realm="gatewarden"')
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("Retry-After", "1")
    return problem_response(
        status,
        getattr(error, "public_code", error.code),
        error.message,
        hint=error.hint,
        request_id=request_id,
        decision_id=decision_id,
        problems=getattr(error, "problems", ()),
        headers=headers,
    )
