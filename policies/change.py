"""The values of a change: what somebody wants, what it comes to, what was committed.

`Change` is what is asked for, `Plan` what it comes to (`planning`), `Entry` what was committed. Whether
the asker may is `authorise`'s business; the store commits a plan as an entry; every process applies
entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from authz.rows import Row
from policies.authorise import authorise as authorise
from policies.documents import Document
from policies.errors import Problem


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
    DISCOVERY = "discovery"  # what MCP servers were found to offer


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
    unbind: tuple[tuple[str, str], ...] = ()  # virtual accounts whose `bounded_by` is lifted
    revision: str = ""  # of the files it came from: a git commit
    take_over: bool = False  # what another source owns becomes this source's
    reassign_to: str = ""  # the team that gets what deleted teams own
    cascade: bool = False  # virtual accounts that deleted teams own are deleted too


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """One document before and after (as stored; None = absent), its version after, and who owns it then."""

    key: tuple[str, str]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    version: int
    source: Source = Source.MANUAL


@dataclass(frozen=True, slots=True)
class Person:
    """Who a user id is. Lives outside the change log and can be erased."""

    id: str  # u-…
    email: str
    display_name: str | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """The rows that one document asserts anew, and those that it no longer asserts."""

    added: tuple[Row, ...] = ()
    removed: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Drift:
    """What stays although the writer left it out, or said otherwise, because other sources hold it.

    Without a field it is the whole document, which was taken over from its files.
    """

    key: tuple[str, str]  # as written
    field: str
    element: str
    held_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """What a team that is deleted takes with it, or passes on."""

    team: str  # as written
    accounts: tuple[str, ...] = ()  # `virtual-account/ci`, …: deleted with it
    reassigned: tuple[str, ...] = ()  # `provider-account/acme`, …: owned by another team then
    tokens: int = 0  # that end
    people: int = 0  # who lose a membership


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change comes to, before anything is written.

    `documents` are all that differ afterwards: those asked for, people invited by being mentioned, and
    credentials that end with their owner. `added` and `removed` are the rows that appear and disappear
    once all documents are counted; `deltas` are the rows of each document that was asked for, whoever
    else asserts them, because that is what the asker must be entitled to.
    """

    change: Change
    documents: tuple[DocumentChange, ...] = ()
    added: tuple[Row, ...] = ()
    removed: tuple[Row, ...] = ()
    deltas: Mapping[tuple[str, str], Delta] = field(default_factory=dict)
    people: tuple[Person, ...] = ()  # to write
    readdressed: frozenset[str] = frozenset()  # user ids whose e-mail becomes another
    left: tuple[str, ...] = ()  # user ids whose e-mail is free again
    secrets_ended: tuple[str, ...] = ()  # `secret:<id>` that no document holds any longer
    asserted: tuple[tuple[Row, tuple[str, str]], ...] = ()
    unasserted: tuple[tuple[Row, tuple[str, str]], ...] = ()
    alarms: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()  # what is odd about the documents that were asked for
    # What accounts that are unbound grant: (key -> objects).
    granted: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    # New accounts planned for nobody in particular: the commit binds them if their creator must be bound.
    bindable: frozenset[tuple[str, str]] = frozenset()
    drift: tuple[Drift, ...] = ()
    endings: tuple[Ending, ...] = ()  # of each team that is deleted
    taken: frozenset[tuple[str, str]] = frozenset()  # documents that are taken over from a source

    @property
    def empty(self) -> bool:
        """Whether nothing would change."""
        return not (self.documents or self.added or self.removed or self.people)

    @property
    def only_revokes(self) -> bool:
        """Whether no row is added: such a change always commits."""
        return not self.added


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
    revision: str = (
        ""  # the git commit of the files that the change came from, "" if it came from none
    )
