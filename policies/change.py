"""A change: what somebody wants, what it comes to, and whether he may.

`Change` is what is asked for, `Plan` what it comes to (documents, rows), `Entry` what was committed.
The store commits a plan as an entry; every process applies entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from authz.rows import Row
from policies.documents import Document


class Source(StrEnum):
    """Who asserts a thing. A source revokes only its own."""

    MANUAL = "manual"
    GITOPS = "gitops"
    SCIM = "scim"
    SSO = "sso"
    ROTATION = "rotation"
    SHIPPED = "shipped"
    HOST = "host"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody asks for: documents as written to put, keys to delete. All or nothing.

    `expect` holds, for a key, the version the caller saw (0 = must not exist); absent = any.
    """

    actor: str  # user:u-…, virtualaccount:…, or host
    source: Source
    request_id: str
    puts: tuple[Document, ...] = ()
    deletes: tuple[tuple[str, str], ...] = ()  # document keys
    expect: Mapping[tuple[str, str], int] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """One document before and after (as stored; None = absent) and its version after."""

    key: tuple[str, str]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    version: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One committed entry of the change log: the unit that every process applies.

    `previous` and `hash` are hex SHA-256; `digest` is the digest of all rows after this entry.
    """

    epoch: int
    at: datetime
    actor: str
    source: Source
    request_id: str
    comment: str
    documents: tuple[DocumentChange, ...]
    added: tuple[Row, ...]
    removed: tuple[Row, ...]
    digest: str
    previous: str
    hash: str
    schema: int = 1
    min_reader: int = 1
