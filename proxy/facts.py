"""What a condition may read of one request, looked up only when a rule reads it.

Stamped fields come from the gateway, `body.*` from what will be executed, `metadata.*` and `header.*`
are the caller's claims. Pinned metadata stands in place of a claim with the same key. A credential is
never a fact, so it cannot reach a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from authz.conditions import MISSING
from identity.principal import Principal

_SECRET = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie", "cookie2"}
)
NO_FIELDS: Mapping[str, object] = {}


class HeadersOf(Protocol):
    """The part of a multi-dict that is read."""

    def getall(self, key: str, default: list[str], /) -> list[str]: ...


class Facts:
    """The `lazy` side of a decision's context."""

    __slots__ = ("client", "fields", "headers", "metadata", "now", "pinned", "principal")

    def __init__(
        self,
        principal: Principal,
        now: datetime,
        client: str,
        headers: HeadersOf,
        fields: Mapping[str, object],
        pinned: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> None:
        self.principal = principal
        self.now = now
        self.client = client
        self.headers = headers
        self.fields = fields
        self.pinned = pinned
        self.metadata = metadata

    def __call__(self, field: str) -> object:
        """The value of a field of the registry (`authz.conditions.FIELDS`), or MISSING."""
        root, _, name = field.partition(".")
        found: object
        match root:
            case "body":
                # For an upstream, null is a field that was left out.
                found = self.fields.get(name)
            case "pinned":
                found = self.pinned.get(name)
            case "metadata":
                found = self.pinned.get(name, self.metadata.get(name))
            case "header":
                found = self._header(name.lower())
            case _:
                found = self._stamped(field)
        return MISSING if found is None else found

    def _header(self, name: str) -> str | None:
        if name in _SECRET:
            return None
        values = self.headers.getall(name, [])
        return ", ".join(values) if values else None

    def _stamped(self, field: str) -> object:
        principal = self.principal
        match field:
            case "time.now":
                return self.now
            case "client.ip":
                return self.client or None
            case "credential.id":
                return principal.credential_id
            case "credential.kind":
                return principal.credential_kind.value
            case "principal.team":
                return principal.team
            case _:  # the engine knows principal.id, principal.kind and resource.* itself
                return None
