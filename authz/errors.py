"""Errors of the decision core, and the shape that every folder's errors share.

An error has a stable `code`, a public `message` (lower case, no full stop, user input in backticks) and
an optional `hint`. The inner cause travels as `__cause__` and never leaves the process. Which HTTP
status a code has is decided in one place only, `proxy/errors.py`.
"""

from __future__ import annotations


class GatewardenError(Exception):
    """The base of every error that Gatewarden raises on purpose."""

    code = "error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class AuthzError(GatewardenError):
    """The decision core cannot take what it was given."""

    code = "authz_error"


class InvalidId(AuthzError):
    """An id is empty, has no known kind, or holds bytes outside the canonical set."""

    code = "invalid_id"


class InvalidRow(AuthzError):
    """A row has the wrong number of fields, an unknown effect, or makes a cycle."""

    code = "invalid_row"


class InvalidCondition(AuthzError):
    """A condition names an unknown field or operator, or a value of the wrong type."""

    code = "invalid_condition"
