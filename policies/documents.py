"""The documents: one YAML document is one thing, identified by its `type` and `name`.

The same classes serve a document as a person wrote it and as it is stored (`policies.resolve`). What
differs when stored: people stand as `user:u-…` instead of their e-mail, names carry their generation,
secrets are references (`secret:<id>`), resource names are ids, a user's personal attributes are gone (they
live in `people/<id>` outside the log), and who asserts what stands beside the fields, as `sources`.
Field names follow TrueFoundry's manifests, so that existing ones apply unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, TypeAdapter

from policies.case import Case as Case
from policies.logging_config import LoggingConfig as LoggingConfig
from policies.mcp_catalogue import CatalogueEntry as CatalogueEntry
from policies.mcp_catalogue import McpCatalogue as McpCatalogue
from policies.mcp_servers import MCP_TYPES, AnyMcpServer
from policies.mcp_servers import EchoMcpServer as EchoMcpServer
from policies.mcp_servers import McpServer as McpServer
from policies.mcp_servers import OpenApiMcpServer as OpenApiMcpServer
from policies.mcp_servers import RemoteMcpServer as RemoteMcpServer
from policies.mcp_servers import VirtualMcpServer as VirtualMcpServer
from policies.parts import Document as Document
from policies.parts import IdentityProviderMapping, Name, OwnedBy, Part, Subject, Text
from policies.provider_accounts import PROVIDER_TYPES
from policies.provider_accounts import AccessKeyAuth as AccessKeyAuth
from policies.provider_accounts import ApiKeyAuth as ApiKeyAuth
from policies.provider_accounts import Integration as Integration
from policies.provider_accounts import ProviderAccount as ProviderAccount
from policies.upcast import STEPS, upcast


class User(Document):
    """A person. As written `name` is the e-mail; as stored it is the immutable `u-…`."""

    type: Literal["user"] = "user"
    name: Annotated[str, StringConstraints(min_length=3, max_length=254)]
    email: str | None = None
    display_name: Text | None = Field(default=None, alias="displayName")
    roles: tuple[Name, ...] = ()
    state: Literal["active", "invited", "suspended"] = "active"
    suspended_by: tuple[Literal["admin", "scim"], ...] = ()


class Team(Document):
    type: Literal["team"] = "team"
    name: Name
    display_name: Text | None = Field(default=None, alias="displayName")
    description: Text | None = None
    managers: tuple[Subject, ...] = ()
    members: tuple[Subject, ...]
    roles: tuple[Name, ...] = ()
    owned_by: OwnedBy | None = Field(default=None, alias="ownedBy")
    tags: Mapping[str, str] = Field(default_factory=dict)
    identity_provider_mapping: tuple[IdentityProviderMapping, ...] = ()


class RoleGrant(Part):
    """Rows of a tenant role: every action on every resource."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]


class Role(Document):
    """A tenant role (a group of subjects) or a resource role (a bundle of actions).

    `resourceType: tenant` makes a tenant role, whose `permissions` hold tenant-wide and whose `grants`
    name resources; any other `resourceType` makes a bundle of `permissions` for grants on that kind.
    """

    type: Literal["role"] = "role"
    name: Name
    display_name: Text | None = Field(default=None, alias="displayName")
    description: Text | None = None
    resource_type: str = Field(default="tenant", alias="resourceType")
    permissions: tuple[str, ...] = ()
    grants: tuple[RoleGrant, ...] = ()


class BoundSubject(Part):
    type: Literal["user", "team", "virtualaccount", "role"]
    name: str


class BoundPermission(Part):
    resource_type: str = Field(alias="resourceType")
    resource_fqn: str = Field(alias="resourceFqn")
    role: Name


class RoleBinding(Document):
    type: Literal["role-binding"] = "role-binding"
    name: Name
    subjects: tuple[BoundSubject, ...]
    permissions: tuple[BoundPermission, ...]


class AccountPermission(Part):
    resource_fqn: str
    resource_type: str
    role_id: Name


class AutoRotate(Part):
    auto_rotate_interval: int = Field(default=360, ge=1)
    grace_period: int = Field(default=30, ge=0)


class VirtualAccount(Document):
    """A service identity. `bounded_by` is set by the server, never taken from a file."""

    type: Literal["virtual-account"] = "virtual-account"
    name: Name
    permissions: tuple[AccountPermission, ...] = ()
    roles: tuple[Name, ...] = ()
    expiration_date: date | None = None
    auto_rotate: AutoRotate | None = None
    owned_by: OwnedBy | None = Field(default=None, alias="ownedBy")
    bounded_by: Name | None = None
    tags: Mapping[str, str] = Field(default_factory=dict)
    identity_provider_mapping: tuple[IdentityProviderMapping, ...] = ()
    token_type: Literal["opaque"] | None = None
    state: Literal["active", "suspended"] = "active"


class WhenItem(Part):
    field: str
    operator: str
    value: str | int | bool | tuple[str | int | bool, ...] = ""


class PolicyRule(Part):
    """One rule of a policy document. An allow on a claimed field must say `trust: claimed`."""

    id: Name
    description: Text | None = None
    effect: Literal["allow", "deny"]
    subjects: tuple[Subject, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    when: tuple[WhenItem, ...] = ()
    trust: Literal["claimed"] | None = None
    message: Text | None = None
    mode: Literal["enforce", "shadow"] = "enforce"
    valid_from: datetime | None = Field(default=None, alias="from")
    valid_until: datetime | None = Field(default=None, alias="until")
    enabled: bool = True


class Policy(Document):
    type: Literal["policy"] = "policy"
    name: Name
    description: Text | None = None
    rules: tuple[PolicyRule, ...]
    cases: tuple[Case, ...] = ()  # what the estate must decide: they gate changes (`case_gate`)


class ResourceGroup(Document):
    type: Literal["resource-group"] = "resource-group"
    name: Name
    description: Text | None = None
    resources: tuple[str, ...]


class DataFilter(Part):
    """Narrows `all_data`. Metadata is what the gateway pinned, unless the filter says `trust: claimed`."""

    field: Literal["metadata", "created_by"]
    key: str | None = None
    operator: Literal["IN", "NOT_IN"] = "IN"
    value: tuple[str, ...]
    trust: Literal["claimed"] | None = None


class DataRule(Part):
    id: Name
    description: Text | None = None
    enabled: bool = True
    subjects: tuple[Subject, ...]
    data_types: tuple[Literal["traces", "payloads", "metrics", "decisions"], ...]
    scope: Literal["own_data", "team_data", "team_virtual_account_data", "all_data"]
    filters: tuple[DataFilter, ...] = ()


class DataAccessConfig(Document):
    type: Literal["gateway-data-access-config"] = "gateway-data-access-config"
    name: Name = "data-access"
    rules: tuple[DataRule, ...]


class MetadataRule(Part):
    """Pins metadata for `subjects`: what the gateway stamps, whatever the caller sends."""

    id: Name
    subjects: tuple[Subject, ...]
    metadata_override: Mapping[str, Annotated[str, StringConstraints(max_length=128)]]


class MetadataConfig(Document):
    type: Literal["gateway-metadata-config"] = "gateway-metadata-config"
    name: Name = "metadata"
    rules: tuple[MetadataRule, ...]


class Restriction(Part):
    """One entry of what a restricted token may still do; both are lists of names, globs not allowed."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]


class Credential(Document):
    """A token, by its digest. Never in a file: made by the token API and the host's command line.

    `restrictions` None means unrestricted; an empty tuple allows nothing.
    """

    type: Literal["credential"] = "credential"
    name: Name  # the token id
    token_kind: Literal["pat", "vat", "oauth"]  # oauth: what one MCP client was given
    subject: Subject  # user:u-… or virtualaccount:…
    label: Text = ""
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(repr=False)
    created_at: datetime
    created_by: str = ""
    expires_at: datetime | None = None
    team: Name | None = None
    restrictions: tuple[Restriction, ...] | None = None


class LogWriter(Document):
    """A chain of the decision log, written down when its first record is: so none can vanish whole.

    Never in a file: made by the gateway when it starts. `key_id` is the signing key that it began with.
    """

    type: Literal["log-writer"] = "log-writer"
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+@[A-Za-z0-9._-]+@[0-9]+$")]
    key_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


AnyDocument = (
    User
    | Team
    | Role
    | RoleBinding
    | VirtualAccount
    | ProviderAccount
    | McpServer
    | McpCatalogue
    | Policy
    | ResourceGroup
    | DataAccessConfig
    | MetadataConfig
    | LoggingConfig
    | Credential
    | LogWriter
)

DOCUMENT_TYPES: Mapping[str, type[Document]] = {
    "user": User,
    "team": Team,
    "role": Role,
    "role-binding": RoleBinding,
    "virtual-account": VirtualAccount,
    "policy": Policy,
    "resource-group": ResourceGroup,
    "gateway-data-access-config": DataAccessConfig,
    "gateway-metadata-config": MetadataConfig,
    "gateway-logging-config": LoggingConfig,
    "credential": Credential,
    "log-writer": LogWriter,
    "mcp-catalogue": McpCatalogue,
    **dict.fromkeys(PROVIDER_TYPES, ProviderAccount),
    **MCP_TYPES,
}
# Refused in files and in `PUT /apply`.
INTERNAL_TYPES = frozenset({"credential", "log-writer", "mcp-catalogue"})

_SOURCES = "sources"  # beside the fields of a stored document
_SOURCES_KEY = b'"sources":'
_ADAPTERS = {cls: TypeAdapter(cls) for cls in set(DOCUMENT_TYPES.values())}
_FAMILIES: Mapping[str, TypeAdapter[Any]] = {
    **{cls.family or name: _ADAPTERS[cls] for name, cls in DOCUMENT_TYPES.items()},
    McpServer.family: TypeAdapter(AnyMcpServer),  # several classes, told apart by their type
}


def parse(data: Mapping[str, Any]) -> Document:
    """The document of a stored or already checked mapping.

    Raises:
        KeyError: the type is unknown. pydantic.ValidationError: a field is wrong.
    """
    cls = DOCUMENT_TYPES[data["type"]]
    sources = data.get(_SOURCES)
    if sources is None:
        document: Document = _ADAPTERS[cls].validate_python(data)
        return document
    plain = {name: value for name, value in data.items() if name != _SOURCES}
    document = _ADAPTERS[cls].validate_python(plain)
    document.asserted_by(sources)
    return document


def parse_json(family: str, body: bytes) -> Document:
    """The document of a stored body, of a family (`provider-account`, not `provider-account/echo`).

    Raises:
        KeyError: the family is unknown. pydantic.ValidationError: a field is wrong.
    """
    if _SOURCES_KEY in body or family in STEPS:
        found = upcast(family, json.loads(body))
        if _SOURCES in found:
            return parse(found)
        body = json.dumps(found).encode()
    document: Document = _FAMILIES[family].validate_json(body)
    return document


def dump(document: Document) -> dict[str, Any]:
    """The mapping to store: names as in a file, unset fields left out (absent is not empty)."""
    data = document.model_dump(mode="json", by_alias=True, exclude_unset=True)
    made = {"type": document.type, "name": document.name, **data}
    if document.sources:
        made[_SOURCES] = dict(document.sources)
    return made
