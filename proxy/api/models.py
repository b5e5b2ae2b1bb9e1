"""The bodies and answers of the control plane, as models: what OpenAPI shows and what is checked.

Bodies are strict: nothing is coerced, nothing unknown is taken. An answer never has a field for a digest
or a stored secret; `token` exists only on the three answers that show one. Documents themselves are in
`policies/documents.py`.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from proxy.api.paging import PageQuery
from proxy.api.problem import Finding

# A place-holder that `openapi.py` replaces by a reference to the union of all document types.
DOCUMENT_SCHEMA = {"type": "object", "x-document": True}

AnyDocument = Annotated[dict[str, Any], WithJsonSchema(DOCUMENT_SCHEMA)]
TokenName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,34}[a-z0-9]$")]
Email = Annotated[
    str, StringConstraints(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")
]
Changed = Annotated[
    bool, Field(description="Whether anything changed, or in a dry run: whether it would.")
]
Comment = Annotated[str, StringConstraints(max_length=1024)]


def _flag(value: object) -> object:
    """Only `true` and `false`: what else a lenient parser takes for a bool is a typing error here."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


Flag = Annotated[bool, Field(strict=True), BeforeValidator(_flag)]


class Given(BaseModel):
    """A body: nothing unknown is taken."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


# Queries


class DryRunQuery(Given):
    dry_run: Annotated[Flag, Field(description="Answer the plan and change nothing.")] = False


class EmailQuery(Given):
    email: Annotated[Email, Field(description="Whose tokens end.")]


class DocumentListQuery(PageQuery):
    name: Annotated[
        str, Field(max_length=254, description="Only names that contain this text.")
    ] = ""


# Documents


class DocumentAnswer(_Out):
    """One document as it stands: people by e-mail, secrets as references."""

    document: AnyDocument
    version: int = Field(description="Grows with each change; the ETag.")
    epoch: int = Field(description="The change-log entry that made this version.")
    source: str = Field(description="Who asserts it: manual, gitops, shipped, …")


class DocumentPage(_Out):
    data: list[DocumentAnswer]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class DocumentName(_Out):
    type: str
    name: str


class PlanAnswer(_Out):
    """What a change comes to. `added`, `removed` and `warnings` hold up to 1,000 each; the counts are whole."""

    created: list[DocumentName]
    updated: list[DocumentName]
    deleted: list[DocumentName]
    unchanged: list[DocumentName]
    rows_added: int
    rows_removed: int
    added: list[list[str]]
    removed: list[list[str]]
    warnings: list[Finding]
    alarms: list[str] = Field(description="What the change leaves dangling elsewhere.")


class PutAnswer(_Out):
    """What became of a document. `token` is there once: when an account was created."""

    document: AnyDocument | None
    version: int
    epoch: int
    changed: Changed
    dry_run: bool
    plan: PlanAnswer
    token: str | None = Field(
        default=None, description="A new virtual account's first token, shown here once."
    )


class DeleteAnswer(_Out):
    epoch: int
    changed: Changed
    dry_run: bool
    plan: PlanAnswer


class ApplyBody(Given):
    """Documents to put, all or nothing. `manifest` is the form for one."""

    manifests: list[dict[str, Any]] | None = Field(default=None, max_length=10_000)
    manifest: dict[str, Any] | None = None
    dry_run: bool = False
    source: Literal["manual", "gitops"] = "manual"
    prune: bool = Field(
        default=False,
        description="Delete what `gitops` asserts and these manifests no longer name.",
    )
    comment: Comment = ""


class ApplyQuery(Given):
    """The same switches for a YAML body."""

    dry_run: Flag = False
    source: Literal["manual", "gitops"] = "manual"
    prune: Flag = False
    comment: Annotated[str, StringConstraints(max_length=256)] = ""  # fits a request line


class ApplyAnswer(_Out):
    epoch: int
    changed: Changed
    dry_run: bool
    plan: PlanAnswer


# The change log


class ChangeListQuery(PageQuery):
    after: Annotated[
        int | None,
        Field(ge=0, le=10**15, description="Only entries after this epoch, oldest first."),
    ] = None


class ChangeActor(_Out):
    id: str
    name: str | None = Field(
        description="An account's name; a user's e-mail, null if you may not read that user."
    )


class ChangedDocument(_Out):
    """One document of an entry. `shown` is false where the caller may not read it."""

    type: str
    name: str
    change: Literal["created", "updated", "deleted"]
    version: int
    shown: bool
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class ChangeAnswer(_Out):
    """One entry. `hash` covers it and `previous`, the hash of the one before."""

    epoch: int
    at: datetime
    actor: ChangeActor
    source: str
    request_id: str
    comment: str
    documents: list[ChangedDocument] = Field(description="Up to 1,000.")
    documents_total: int
    rows_added: int
    rows_removed: int
    rows_digest: str = Field(description="Of all rows after this entry.")
    previous: str
    hash: str


class ChangePage(_Out):
    data: list[ChangeAnswer]
    next: str | None


# Tokens


class RestrictionBody(Given):
    """What the token may still do. It never adds a right; an empty list of these allows nothing."""

    actions: list[Annotated[str, StringConstraints(min_length=3, max_length=64)]] = Field(
        min_length=1, max_length=64
    )
    resources: list[Annotated[str, StringConstraints(min_length=3, max_length=512)]] = Field(
        min_length=1, max_length=256
    )


class TokenBody(Given):
    name: TokenName
    expiration_date: AwareDatetime | date | None = Field(
        default=None,
        alias="expirationDate",
        description="An instant, or a day: it ends at the following 00:00 UTC.",
    )
    team_name: str | None = Field(
        default=None,
        alias="teamName",
        max_length=64,
        description="The team that its use is counted for; the owner must be a member.",
    )
    restrictions: list[RestrictionBody] | None = Field(default=None, max_length=64)


class TokenForUserBody(TokenBody):
    email: Email


class TokenAnswer(_Out):
    """A token without its secret."""

    id: str
    kind: Literal["pat", "vat"]
    name: str
    subject: str
    created_at: datetime = Field(alias="createdAt")
    created_by: str = Field(alias="createdBy")
    expires_at: datetime | None = Field(alias="expirationDate")
    team: str | None = Field(alias="teamName")
    restrictions: list[dict[str, list[str]]] | None


class TokenPage(_Out):
    data: list[TokenAnswer]
    next: str | None


class TokenCreated(TokenAnswer):
    token: str = Field(description="Shown here once; keep it in a secret store.")
    epoch: int


class RevokedAnswer(_Out):
    epoch: int
    revoked: list[str] = Field(description="Ids of the tokens that ended.")


class VirtualAccountToken(_Out):
    id: str
    token: str
    expires_at: datetime | None


class RegenerateBody(Given):
    grace_period_in_days: int = Field(
        default=0,
        ge=0,
        le=90,
        alias="gracePeriodInDays",
        description="Days that the tokens before stay valid.",
    )


class RegeneratedAnswer(VirtualAccountToken):
    epoch: int
    ending: list[str] = Field(description="Ids of the tokens that end after the grace period.")


# Who, and why


class CredentialAnswer(_Out):
    id: str
    kind: str
    expires_at: datetime | None
    restrictions: list[dict[str, list[str]]] | None = Field(
        description="null = unrestricted; an empty list allows nothing."
    )


class WhoamiAnswer(_Out):
    id: str
    kind: Literal["user", "virtualaccount"]
    name: str = Field(description="A user's e-mail, an account's name.")
    credential: CredentialAnswer
    teams: list[str]
    roles: list[str]
    bound: str | None = Field(description="The team whose rights limit this account.")
    owner_team: str | None
    epoch: int


class ExplainBody(Given):
    subject: Annotated[str, StringConstraints(min_length=3, max_length=320)] | None = Field(
        default=None, description="`user:<e-mail>`, `virtualaccount:<name>`, …; yourself if absent."
    )
    action: Annotated[str, StringConstraints(min_length=3, max_length=64)]
    resource: Annotated[str, StringConstraints(min_length=3, max_length=512)]
    context: dict[
        Annotated[str, StringConstraints(max_length=128)],
        Annotated[str, StringConstraints(max_length=1024)] | int | bool,
    ] = Field(default_factory=dict, max_length=64, description="Fields that conditions may read.")


class ExplainAnswer(_Out):
    effect: Literal["allow", "deny"]
    reason: str
    rules: list[str]
    message: str
    epoch: int
    explanation: dict[str, Any] | None = Field(
        description="Every candidate rule and why it did or did not count; null where only those "
        "with `decision:ask` may see it."
    )
    people: dict[str, str] = Field(
        description="E-mails of the user ids (`u-…`) in the explanation whom you may read."
    )


class OpenApiAnswer(BaseModel):
    model_config = ConfigDict(extra="allow")

    openapi: str
