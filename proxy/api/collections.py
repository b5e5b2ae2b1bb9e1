"""The kinds of documents that the control plane serves, as data: path, family, and the actions they ask.

A kind's read action decides whether a thing exists for a caller. `also` are actions that open a PUT beside
the write action; what such a caller may then really change is judged by the committer, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from authz.vocabulary import Action, Kind, make_id
from policies.mcp_servers import MCP_TYPES
from policies.provider_accounts import PROVIDER_TYPES
from policies.verbs import VERBS


@dataclass(frozen=True, slots=True)
class Collection:
    """One kind. `path` is its place below `/api/v1`; `container` is where *create* is asked."""

    path: str
    word: str  # for summaries and messages
    family: str
    types: tuple[str, ...]
    kind: Kind
    also: tuple[Action, ...] = ()
    asked_on: str = ""  # every question is asked on this id instead of the thing's own
    fixed_name: str = ""  # the only document of its kind; its path has no name
    example: Mapping[str, object] = field(default_factory=dict)

    @property
    def read(self) -> Action:
        return VERBS[self.family].read

    @property
    def write(self) -> Action:
        return VERBS[self.family].write

    @property
    def create(self) -> Action:
        return VERBS[self.family].create

    @property
    def delete(self) -> Action:
        return VERBS[self.family].delete

    @property
    def container(self) -> str:
        return f"any:{self.kind.value}"

    @property
    def actions(self) -> tuple[Action, ...]:
        """Every action that a PUT may ask, without repetition."""
        return tuple(dict.fromkeys((self.write, self.create, *self.also)))

    def resource(self, name: str) -> str:
        """The id of the thing called `name`."""
        return make_id(self.kind, name)


USERS = Collection(
    "users",
    "user",
    "user",
    ("user",),
    Kind.USER,
    (Action.ROLE_ASSIGN,),
    example={"type": "user", "name": "ann@example.com", "roles": ["tenant-member"]},
)
TEAMS = Collection(
    "teams",
    "team",
    "team",
    ("team",),
    Kind.TEAM,
    (Action.TEAM_MANAGE_MEMBERS, Action.ROLE_ASSIGN),
    example={"type": "team", "name": "search", "members": ["ann@example.com"]},
)
ROLES = Collection(
    "roles",
    "role",
    "role",
    ("role",),
    Kind.ROLE,
    example={
        "type": "role",
        "name": "reader",
        "resourceType": "tenant",
        "grants": [{"actions": ["team:read"], "resources": ["any:team"]}],
    },
)
ROLE_BINDINGS = Collection(
    "role-bindings",
    "role binding",
    "role-binding",
    ("role-binding",),
    Kind.ROLE_BINDING,
    (Action.ACCESS_GRANT,),
    asked_on="any:role",  # bindings are about roles; the vocabulary has no action of their own
    example={
        "type": "role-binding",
        "name": "search-mini",
        "subjects": [{"type": "team", "name": "search"}],
        "permissions": [
            {
                "resourceType": "provider-account",
                "resourceFqn": "acme",
                "role": "provider-account-access",
            }
        ],
    },
)
PROVIDER_ACCOUNTS = Collection(
    "provider-accounts",
    "provider account",
    "provider-account",
    PROVIDER_TYPES,
    Kind.PROVIDER_ACCOUNT,
    (Action.ACCESS_GRANT,),
    example={
        "type": "provider-account/echo",
        "name": "acme",
        "integrations": [{"type": "integration/model/echo", "name": "mini"}],
    },
)
MCP_SERVERS = Collection(
    "mcp-servers",
    "MCP server",
    "mcp-server",
    tuple(MCP_TYPES),
    Kind.MCP_SERVER,
    (Action.ACCESS_GRANT,),
    example={
        "type": "mcp-server/remote",
        "name": "github",
        "url": "https://mcp.example.com/mcp",
        "collaborators": [{"subject": "team:search", "role_id": "mcp-server-user"}],
    },
)
VIRTUAL_ACCOUNTS = Collection(
    "virtual-accounts",
    "virtual account",
    "virtual-account",
    ("virtual-account",),
    Kind.VIRTUAL_ACCOUNT,
    example={"type": "virtual-account", "name": "checkout", "ownedBy": {"team": "search"}},
)
POLICIES = Collection(
    "policies",
    "policy",
    "policy",
    ("policy",),
    Kind.POLICY,
    example={
        "type": "policy",
        "name": "no-weekends",
        "rules": [
            {
                "id": "stop",
                "effect": "deny",
                "subjects": ["team:search"],
                "actions": ["model:use"],
                "resources": ["any:model"],
                "when": [{"field": "time.weekday", "operator": "IN", "value": ["sat", "sun"]}],
            }
        ],
    },
)
RESOURCE_GROUPS = Collection(
    "resource-groups",
    "resource group",
    "resource-group",
    ("resource-group",),
    Kind.RESOURCE_GROUP,
    example={"type": "resource-group", "name": "premium", "resources": ["model:acme/mini"]},
)
DATA_ACCESS = Collection(
    "gateway-configs/gateway-data-access-config",
    "data access configuration",
    "gateway-data-access-config",
    ("gateway-data-access-config",),
    Kind.GATEWAY_CONFIG,
    fixed_name="data-access",
    example={
        "type": "gateway-data-access-config",
        "name": "data-access",
        "rules": [
            {
                "id": "own",
                "subjects": ["team:everyone"],
                "data_types": ["traces"],
                "scope": "own_data",
            }
        ],
    },
)
METADATA = Collection(
    "gateway-configs/gateway-metadata-config",
    "metadata configuration",
    "gateway-metadata-config",
    ("gateway-metadata-config",),
    Kind.GATEWAY_CONFIG,
    fixed_name="metadata",
    example={
        "type": "gateway-metadata-config",
        "name": "metadata",
        "rules": [
            {
                "id": "search",
                "subjects": ["team:search"],
                "metadata_override": {"cost-center": "42"},
            }
        ],
    },
)

LOGGING = Collection(
    "gateway-configs/gateway-logging-config",
    "logging configuration",
    "gateway-logging-config",
    ("gateway-logging-config",),
    Kind.GATEWAY_CONFIG,
    fixed_name="logging",
    example={
        "type": "gateway-logging-config",
        "name": "logging",
        "rules": [
            {
                "id": "legal",
                "when": {"subjects": {"in": ["team:search"]}},
                "log": "never",
            }
        ],
    },
)

COLLECTIONS = (
    USERS,
    TEAMS,
    ROLES,
    ROLE_BINDINGS,
    PROVIDER_ACCOUNTS,
    MCP_SERVERS,
    VIRTUAL_ACCOUNTS,
    POLICIES,
    RESOURCE_GROUPS,
    DATA_ACCESS,
    METADATA,
    LOGGING,
)
OF_FAMILY = {collection.family: collection for collection in COLLECTIONS}
