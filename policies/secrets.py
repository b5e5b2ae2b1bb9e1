"""Secrets of a document on their way in: sealed, or kept as the reference that they are.

A stored document holds `env:NAME`, `file:name` or `secret:<id>`, never the secret. A sealed one is bound
to document, field and origin, so that it cannot follow a changed address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from policies.naming import Key
from policies.ports import Vault

SEALED = "secret:"
HOST_REFERENCES = (
    "env:",
    "file:",
)  # resolved on the host, under a prefix or folder of the settings
_FIELDS = ("api_key", "access_key_id", "secret_access_key", "session_token", "client_secret")
_HEADERS = "headers"  # of a header login: each value is a secret
WITH_SECRETS = frozenset({"provider-account", "mcp-server"})  # families
_PLACEHOLDER = re.compile(r"\{\{[A-Za-z_][A-Za-z0-9_]{0,63}\}\}")


class SecretRefused(Exception):
    """A secret cannot be taken as it stands; what is said of `field` goes into a problem."""

    def __init__(self, field: str, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.field = field
        self.code = code
        self.message = message
        self.hint = hint


def placeholders_of(value: str) -> tuple[str, ...]:
    """The keys of `{{KEY}}` in a header's value, in their order."""
    return tuple(found[2:-2] for found in _PLACEHOLDER.findall(value))


def origin_of(stored: Mapping[str, Any]) -> str:
    """Where the secrets of a provider account or MCP server are sent: scheme, host and port, or type and region.

    A client's secret goes to the address that gives tokens, and what it is given goes to the server: so both are
    where it is sent, and a change of either asks for it again.
    """
    base_url = stored.get("base_url") or stored.get("url")
    if not base_url:
        return f"{stored['type']}|{stored.get('region') or ''}"
    auth = stored.get("auth_data")
    token_url = auth.get("token_url") if isinstance(auth, Mapping) else None
    if token_url:
        return f"{_origin(token_url)} {_origin(base_url)}"
    return _origin(base_url)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    port = port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def secrets_of(stored: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, value) of each secret of a document."""
    auth = stored.get("auth_data")
    if isinstance(auth, Mapping):
        for name in _FIELDS:
            if auth.get(name) is not None:
                yield f"auth_data.{name}", auth[name]
        headers = auth.get(_HEADERS)
        per_user = auth.get("auth_level") == "per_user"
        for name, value in headers.items() if isinstance(headers, Mapping) else ():
            if not (per_user and placeholders_of(value)):  # a form to fill in is no secret
                yield f"auth_data.{_HEADERS}.{name}", value


def sealed_of(stored: Mapping[str, Any] | None) -> frozenset[str]:
    """The sealed secrets that a document holds."""
    found = secrets_of(stored) if stored is not None else ()
    return frozenset(value for _, value in found if value.startswith(SEALED))


def seal_all(
    key: Key, data: dict[str, Any], before: Mapping[str, Any] | None, vault: Vault | None
) -> None:
    """Replace each secret in `data` by what is stored in its place.

    Raises:
        SecretRefused: a sealed secret that is not this document's own, or whose origin changed; a form
            of reference that is not supported; no vault to seal with.
    """
    found = dict(secrets_of(data))
    if not found:
        return
    held = dict(secrets_of(before)) if before is not None else {}
    moved = before is None or origin_of(before) != origin_of(data)
    auth = dict(data["auth_data"])
    for field, value in found.items():
        made = _one(key, field, value, data, held, moved, vault)
        name = field.partition(".")[2]
        if name.startswith(f"{_HEADERS}."):
            auth[_HEADERS] = {**auth[_HEADERS], name.partition(".")[2]: made}
        else:
            auth[name] = made
    data["auth_data"] = auth


def _one(
    key: Key,
    field: str,
    value: str,
    data: Mapping[str, Any],
    held: Mapping[str, str],
    moved: bool,
    vault: Vault | None,
) -> str:
    if value.startswith(HOST_REFERENCES):
        return value
    if value.startswith(SEALED):
        if held.get(field) != value:
            raise SecretRefused(
                field,
                "foreign_secret",
                f"`{field}` refers to a sealed secret that is not this document's own",
                "give the secret itself, or `env:NAME` or `file:name`",
            )
        # INVARIANT: a secret never follows a changed address.
        if moved:
            raise SecretRefused(
                field,
                "secret_needed",
                f"the address changed, so `{field}` must be given again",
                "a sealed secret is bound to the address it was given for",
            )
        return value
    if value.startswith(("secret-store:", "tfy-secret:")):
        raise SecretRefused(
            field,
            "unsupported_secret",
            f"`{field}` refers to a secret store, which is not supported yet",
            "use `env:NAME`, `file:name` or the secret itself",
        )
    if not value.strip():
        raise SecretRefused(field, "empty_secret", f"`{field}` is empty", "give the secret")
    if vault is None:
        return f"{SEALED}not-sealed-offline"
    return vault.seal(key, field, origin_of(data), value)


def host_references(stored: Mapping[str, Any] | None) -> frozenset[tuple[str, str]]:
    """(reference, origin) of each secret that the host would resolve for a document."""
    if stored is None:
        return frozenset()
    origin = origin_of(stored)
    return frozenset(
        (value, origin) for _, value in secrets_of(stored) if value.startswith(HOST_REFERENCES)
    )
