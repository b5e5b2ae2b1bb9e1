"""Who is asking: an id, the credential that proved it, and attributes. No memberships.

Memberships live only in the `g` rows of the enforcer, so that there is one truth about them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class CredentialKind(StrEnum):
    PAT = "pat"  # personal access token
    VAT = "vat"  # virtual-account token
    OAUTH = "oauth"  # what a user or account gave an MCP client; less than the token behind it
    HOST = "host"  # the host's command line


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. Satisfies `authz.decision.Asker`.

    `bound` is `bound:<team>` for a bounded account, `token` is `token:<id>` for a restricted credential;
    both only narrow. `label` is what a person recognises (never an e-mail: records are immutable).
    """

    id: str
    credential_id: str
    credential_kind: CredentialKind
    bound: str | None = None
    token: str | None = None
    team: str | None = None  # the credential's team, for stamping records
    owner_team: str | None = None  # a virtual account's owner
    expires_at: datetime | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
