"""Whether a principal's requests to an MCP server carry a credential, and of what kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Method(StrEnum):
    """How a server is told who asks."""

    NONE = "none"
    HEADER = "header"
    USER_HEADER = "auth-override"  # headers with values that each principal gives
    OAUTH = "oauth"  # each principal's own authorization
    CLIENT = "client-credentials"
    AWS = "aws-sigv4"


@dataclass(frozen=True, slots=True)
class AuthStatus:
    """Whether a principal's requests to a server carry what it takes. `missing` are values he has to give."""

    authenticated: bool
    method: Method
    missing: tuple[str, ...] = ()
