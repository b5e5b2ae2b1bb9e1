"""The bodies and answers of the control plane, as models: what OpenAPI shows and what is checked.

Bodies are strict: nothing is coerced, nothing unknown is taken. An answer never has a field for a digest
or a stored secret; `token` exists only on the three answers that show one. Documents themselves are in
`policies/documents.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
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
Email = Annotated[
    str, StringConstraints(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")
]
Changed = Annotated[
    bool, Field(description="Whether anything changed, or in a dry run: whether it would.")
]
Comment = Annotated[str, StringConstraints(max_length=1024)]
Revision = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9A-Za-z][0-9A-Za-z._/+-]{0,127})?$"),
    Field(description="Of the files that it comes from: a git commit. Stands in the change log."),
]
Replayed = Annotated[
    int,
    Field(
        ge=0,
        le=10_000,
        description="In a dry run: ask this many of the last recorded decisions again. Takes "
        "`data:read` on `data:decisions/all`.",
    ),
]
Access = Annotated[
    bool, Field(description="In a dry run: answer who gains and loses what, as `access`.")
]
YesDelete = Annotated[
    int,
    Field(
        ge=0,
        le=10**9,
        description="How many documents `prune` may delete, where it would delete more than 10 and "
        "more than 30 % of what `gitops` owns.",
    ),
]


def _flag(value: object) -> object:
    """Only `true` and `false`: what else a lenient parser takes for a bool is a typing error here."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


Flag = Annotated[bool, Field(strict=True), BeforeValidator(_flag)]


class Given(BaseModel):
    """A body: nothing unknown is taken."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Answer(BaseModel):
    """An answer: nothing is left over."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


# Queries


class DryRunQuery(Given):
    dry_run: Annotated[Flag, Field(description="Answer the plan and change nothing.")] = False


TakeOver = Annotated[
    Flag,
    Field(
        description="Change what another source owns, and own it from then on. Takes the right to "
        "write on the whole kind."
    ),
]


class PutQuery(DryRunQuery):
    take_over: TakeOver = False


class DeleteQuery(DryRunQuery):
    take_over: TakeOver = False


class TeamDeleteQuery(DeleteQuery):
    """What becomes of the things that the team owns: one of the two, or it must own nothing."""

    reassign_to: Annotated[
        str, Field(max_length=64, description="The team that they belong to from then on.")
    ] = ""
    cascade: Annotated[
        Flag,
        Field(description="Delete its virtual accounts and their tokens. Nothing else is deleted."),
    ] = False


class EmailQuery(Given):
    email: Annotated[Email, Field(description="Whose tokens end.")]


class DocumentListQuery(PageQuery):
    name: Annotated[
        str, Field(max_length=254, description="Only names that contain this text.")
    ] = ""


# Documents


class DocumentAnswer(Answer):
    """One document as it stands: people by e-mail, secrets as references."""

    document: AnyDocument
    version: int = Field(description="Grows with each change; the ETag.")
    epoch: int = Field(description="The change-log entry that made this version.")
    source: str = Field(description="Who owns it: manual, gitops, scim, shipped, …")


class DocumentPage(Answer):
    data: list[DocumentAnswer]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class DocumentName(Answer):
    type: str
    name: str


class DriftAnswer(Answer):
    """What stays although the change left it out, since other sources hold it.

    Without `field` it is the whole document: it was taken over from its files.
    """

    type: str
    name: str
    field: str = Field(description="`members`, `managers`, `roles` or `suspended_by`.")
    element: str = Field(description="A person by e-mail, a role by name, a cause.")
    held_by: list[str]


class EndingAnswer(Answer):
    """What a team that is deleted takes with it, or passes on."""

    team: str
    accounts: list[str] = Field(description="Deleted with it.")
    reassigned: list[str] = Field(description="Owned by another team from then on.")
    tokens: int = Field(description="How many end.")
    people: int = Field(description="How many lose a membership.")


class PlanAnswer(Answer):
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
    drift: list[DriftAnswer] = Field(
        description="What stays because other sources hold it; up to 1,000."
    )
    endings: list[EndingAnswer] = Field(description="Of each team that is deleted.")
    cases_failed: list[Finding] = Field(
        description="Of a dry run: the decision cases for which the change would be refused (409)."
    )


class PutAnswer(Answer):
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


class DeleteAnswer(Answer):
    epoch: int
    changed: Changed
    dry_run: bool
    plan: PlanAnswer


class CatalogueEntryAnswer(Answer):
    """A thing that an MCP server offers, or would."""

    kind: Literal["tool", "prompt", "resource", "template"]
    name: str = Field(description="Of a resource its URI, of a template its URI template.")
    id: str = Field(description="As rules and grants name it.")
    state: Literal["enabled", "disabled", "held", "new", "gone"]
    waits: bool = Field(description="Whether approving it changes its state.")
    approved: bool
    accepted: str | None = Field(description="The digest of the definition that is offered.")
    seen: str | None = Field(description="That of its definition of now, where it differs.")
    flags: list[str] = Field(
        description="`hidden_characters`: it holds text that does not show; `long_description`."
    )
    target: str | None = Field(
        default=None, description="What a tool of a virtual server stands for, as an id."
    )


class CatalogueAnswer(Answer):
    """What an MCP server was found to offer."""

    server: str
    discovered: bool = Field(description="Whether the server was ever asked with success.")
    version: int = Field(description="Of the catalogue; the ETag. 0: there is none.")
    entries: list[CatalogueEntryAnswer]


class EntryNameBody(Given):
    kind: Literal["tool", "prompt", "resource", "template"]
    name: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class ApproveBody(Given):
    """What to approve: `tools` by name, or `entries` of any kind."""

    tools: list[Annotated[str, StringConstraints(min_length=1, max_length=128)]] = Field(
        default_factory=list, max_length=10_000
    )
    entries: list[EntryNameBody] = Field(default_factory=list, max_length=10_000)


class ApproveAnswer(Answer):
    """What became of it: the entries that were named, as they stand."""

    epoch: int
    changed: Changed
    dry_run: bool
    plan: PlanAnswer
    catalogue: CatalogueAnswer


class ApplyBody(Given):
    """Documents to put, all or nothing. `manifest` is the form for one."""

    manifests: list[dict[str, Any]] | None = Field(default=None, max_length=1_000_000)
    manifest: dict[str, Any] | None = None
    dry_run: bool = False
    source: Literal["manual", "gitops"] = "manual"
    prune: bool = Field(
        default=False,
        description="Delete what `gitops` asserts and these manifests no longer name.",
    )
    take_over: TakeOver = False
    yes_delete: YesDelete = 0
    comment: Comment = ""
    revision: Revision = ""
    access: Access = False
    replay: Replayed = 0


class ApplyQuery(Given):
    """The same switches for a YAML body."""

    dry_run: Flag = False
    source: Literal["manual", "gitops"] = "manual"
    prune: Flag = False
    take_over: TakeOver = False
    yes_delete: YesDelete = 0
    comment: Annotated[str, StringConstraints(max_length=256)] = ""  # fits a request line
    revision: Revision = ""
    access: Annotated[Flag, Field(description="See the body.")] = False
    replay: Replayed = 0


class AccessLine(Answer):
    """One line about a group: how many people, accounts and things it comes to."""

    subject: str
    effect: Literal["gains", "loses"]
    action: str
    resource: str
    rule: str
    people: int
    accounts: int
    things: int


class AccessPair(Answer):
    """One person or account and one thing, asked of the engine before and after."""

    subject: str
    effect: Literal["gains", "loses"]
    action: str
    resource: str


class AccessAnswer(Answer):
    """Who gains and loses what. `pairs` leaves out those about somebody whom the caller may not read."""

    lines: list[AccessLine]
    pairs: list[AccessPair]
    pairs_total: int
    gains: int
    losses: int
    truncated: bool = Field(
        description="More could turn than was asked one by one: the counts are what at most turns."
    )
    people: dict[str, str] = Field(description="E-mails of the user ids whom you may read.")


class FlipAnswer(Answer):
    """A recorded question whose verdict would become another."""

    id: str = Field(description="Of the decision record.")
    at: datetime
    subject: str
    action: str
    resource: str
    before: str
    after: str
    reason: str
    rules: list[str]


class ReplayAnswer(Answer):
    asked: int
    unanswerable: int = Field(description="Records that do not hold all that was asked.")
    flips: list[FlipAnswer]
    people: dict[str, str] = Field(description="E-mails of the user ids whom you may read.")


class ApplyAnswer(Answer):
    epoch: int
    changed: Changed
    dry_run: bool
    plan: PlanAnswer
    access: AccessAnswer | None = Field(default=None, description="If it was asked for.")
    replay: ReplayAnswer | None = Field(default=None, description="If it was asked for.")


# The change log


class ChangeListQuery(PageQuery):
    after: Annotated[
        int | None,
        Field(ge=0, le=10**15, description="Only entries after this epoch, oldest first."),
    ] = None


class ChangeActor(Answer):
    id: str
    name: str | None = Field(
        description="An account's name; a user's e-mail, null if you may not read that user."
    )


class ChangedDocument(Answer):
    """One document of an entry. `shown` is false where the caller may not read it."""

    type: str
    name: str
    change: Literal["created", "updated", "deleted"]
    version: int
    shown: bool
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class ChangeAnswer(Answer):
    """One entry. `hash` covers it and `previous`, the hash of the one before."""

    epoch: int
    at: datetime
    actor: ChangeActor
    source: str
    request_id: str
    comment: str
    revision: str = Field(description="The git commit of the files it came from, or empty.")
    documents: list[ChangedDocument] = Field(description="Up to 1,000.")
    documents_total: int
    rows_added: int
    rows_removed: int
    rows_digest: str = Field(description="Of all rows after this entry.")
    previous: str
    hash: str


class ChangePage(Answer):
    data: list[ChangeAnswer]
    next: str | None


class OpenApiAnswer(BaseModel):
    model_config = ConfigDict(extra="allow")

    openapi: str
