"""How TrueFoundry's manifests name things, put into our own words.

Permission strings (`provider-account:UseIntegrations`), resource names (`acme:openai:main:model:mini`) and
older subject prefixes (`serviceaccount:`) become our actions and ids here and nowhere else; `validate` and
`compile` both ask this module, so that what was checked is what is compiled. What TrueFoundry has and we
do not have yet is listed, so that an error can say so. Pure; raises, never guesses.
"""

from __future__ import annotations

from collections.abc import Mapping

from authz.errors import InvalidId
from authz.vocabulary import MCP_KINDS, Action, Kind, make_id, model_id, split_id
from policies.errors import PolicyError


class UnknownPermission(PolicyError):
    """A permission string is neither an action of ours nor one of TrueFoundry's that we map."""

    code = "unknown_permission"


class UnknownResource(PolicyError):
    """A resource name has none of the forms that its type can have."""

    code = "unknown_resource_name"


_READ_ACCOUNT = (Action.PROVIDER_ACCOUNT_READ,)
_READ_VIRTUAL = (Action.VIRTUAL_ACCOUNT_READ,)

PERMISSIONS: Mapping[str, tuple[Action, ...]] = {
    "gateway-controls:ListGatewayControls": (Action.GATEWAY_CONFIG_READ,),
    "gateway-controls:ManageGatewayControls": (
        Action.GATEWAY_CONFIG_DELETE,
        Action.GATEWAY_CONFIG_READ,
        Action.GATEWAY_CONFIG_WRITE,
    ),
    "mcp-server:CreateMcpServer": (Action.MCP_SERVER_CREATE,),
    "mcp-server:DeleteMcpServer": (Action.MCP_SERVER_DELETE,),
    # A manager there edits the settings, approves tools and hands out grants on the server.
    "mcp-server:ManageMcpServer": (
        Action.ACCESS_GRANT,
        Action.MCP_SERVER_READ,
        Action.MCP_SERVER_WRITE,
    ),
    "mcp-server:ReadMcpServer": (Action.MCP_SERVER_READ,),
    "mcp-server:UseMcpServer": (
        Action.MCP_PROMPT_GET,
        Action.MCP_RESOURCE_READ,
        Action.MCP_SERVER_USE,
        Action.MCP_TOOL_CALL,
    ),
    "policy:ListPolicies": (Action.POLICY_READ,),
    "policy:ManagePolicies": (Action.POLICY_DELETE, Action.POLICY_READ, Action.POLICY_WRITE),
    "provider-account:CreateProviderAccount": (Action.PROVIDER_ACCOUNT_CREATE,),
    "provider-account:DeleteProviderAccount": (Action.PROVIDER_ACCOUNT_DELETE,),
    # A manager there edits the settings, adds models and hands out grants on the account.
    "provider-account:ManageProviderAccount": (
        Action.ACCESS_GRANT,
        Action.PROVIDER_ACCOUNT_READ,
        Action.PROVIDER_ACCOUNT_WRITE,
    ),
    "provider-account:ReadProviderAccount": _READ_ACCOUNT,
    "provider-account:UseIntegrations": (Action.MODEL_USE,),
    "role:ListRoles": (Action.ROLE_READ,),
    "role:ManageRoles": (Action.ROLE_DELETE, Action.ROLE_READ, Action.ROLE_WRITE),
    "settings:ListSettings": (Action.SETTINGS_READ,),
    "settings:ManageSettings": (Action.SETTINGS_READ, Action.SETTINGS_WRITE),
    "team:CreateTeam": (Action.TEAM_CREATE,),
    "team:DeleteTeam": (Action.TEAM_DELETE,),
    "team:ManageTeam": (Action.TEAM_MANAGE_MEMBERS, Action.TEAM_READ, Action.TEAM_WRITE),
    "team:ReadTeam": (Action.TEAM_READ,),
    "tenant:AssignRole": (Action.ROLE_ASSIGN,),
    "user:ListUsers": (Action.USER_READ,),
    "user:ManageUsers": (
        Action.USER_CREATE,
        Action.USER_DELETE,
        Action.USER_READ,
        Action.USER_WRITE,
    ),
    "virtual-account:CreateVirtualAccount": (Action.VIRTUAL_ACCOUNT_CREATE,),
    "virtual-account:DeleteVirtualAccount": (Action.VIRTUAL_ACCOUNT_DELETE,),
    "virtual-account:ListVirtualAccounts": _READ_VIRTUAL,
    "virtual-account:ManageVirtualAccount": (
        Action.VIRTUAL_ACCOUNT_READ,
        Action.VIRTUAL_ACCOUNT_READ_TOKEN,
        Action.VIRTUAL_ACCOUNT_ROTATE,
        Action.VIRTUAL_ACCOUNT_WRITE,
    ),
    "virtual-account:ReadVirtualAccount": _READ_VIRTUAL,
}

# Prefixes of permissions that TrueFoundry has and we do not have yet.
UNSUPPORTED_PERMISSION_PREFIXES = frozenset(
    {
        "agent",
        "agent-identity",
        "cluster",
        "environment",
        "external-identity",
        "ml-repo",
        "secret-group",
        "tracing-project",
        "workspace",
    }
)

# Kinds of manifests that TrueFoundry has and we do not have yet (exact, or a prefix that ends in `/`).
UNSUPPORTED_TYPES = (
    "agent",
    "agent-identity",
    "external-identity",
    "gateway-approval-request",
    "gateway-budget-config",
    "gateway-data-routing-config",
    "gateway-fallback-config",
    "gateway-global-settings",
    "gateway-guardrails-config",
    "gateway-load-balancing-config",
    "gateway-otel-config",
    "gateway-policy",
    "gateway-rate-limiting-config",
    "identity-provider",
    "mcp-server/",  # any that is not in our own list: see `REFUSED_TYPES`
    "ml-repo",
    "provider-account/",  # any provider type that is not in our own list
    "secret-group",
    "secret-store/",
    "settings",
    "sso/",
    "team-budget-config",
    "tenant-budget-config",
    "tenant-rate-limit-config/",
    "tracing-project",
    "workspace",
)

# Kinds that are never to be supported, and what to do instead.
REFUSED_TYPES: Mapping[str, str] = {
    "mcp-server/stdio": "a gateway starts no programs of others: run it behind an HTTP endpoint and declare"
    " that as `mcp-server/remote`, or apply with --skip-unsupported",
    "mcp-server/tfy-managed": "declare the server's own address as `mcp-server/remote`,"
    " or apply with --skip-unsupported",
}
# The same of logins: (the document's family, the `type` under `auth_data`).
REFUSED_LOGINS: Mapping[tuple[str, str], str] = {
    (
        "mcp-server",
        "passthrough",
    ): "the caller's token never goes upstream: use `header` with `auth_level:"
    " per_user`, or `oauth2` with `grant_type: authorization_code` (--skip-unsupported leaves it out)",
}

# Fields of supported kinds that TrueFoundry has and we do not have yet, by the place they stand in:
# the document's family, then the path of fields to it.
UNSUPPORTED_FIELDS: Mapping[str, frozenset[str]] = {
    "mcp-server.auth_data": frozenset(
        {"introspection_url", "jwt_source", "pkce", "provider", "assumed_role_arn"}
    ),
    "mcp-server.servers": frozenset({"auth_data"}),
    "provider-account": frozenset({"discount_percent", "display_name"}),
    "provider-account.auth_data": frozenset({"assumed_role_arn", "external_id"}),
    "provider-account.integrations": frozenset({"guardrails", "rate_limits", "sticky_routing"}),
    "provider-account.integrations.routing_config": frozenset({"sticky_routing"}),
    "provider-account.integrations.routing_config.targets": frozenset(
        {
            "fallback_candidate",
            "fallback_status_codes",
            "headers_override",
            "metadata_match",
            "override_params",
            "priority",
            "retry_config",
            "sla_cutoff",
            "weight",
        }
    ),
    "team": frozenset({"metadata"}),
    "virtual-account": frozenset({"notification_target", "secret_store_config"}),
}

# Types of resources in permissions that TrueFoundry has and we do not have yet.
UNSUPPORTED_RESOURCE_TYPES = frozenset(
    {
        "agent",
        "cluster",
        "gateway-controls",
        "ml-repo",
        "secret-group",
        "tracing-project",
        "workspace",
    }
)

# Older spellings of subject kinds, and ours.
SUBJECT_ALIASES: Mapping[str, str] = {
    "serviceaccount": "virtualaccount",
    "service-account": "virtualaccount",
    "virtual-account": "virtualaccount",
}
# Subject kinds that TrueFoundry has and we do not have yet.
UNSUPPORTED_SUBJECTS = frozenset(
    {"agent", "agent-channel-identity", "agent-identity", "external-identity"}
)

_ACTIONS = {action.value: action for action in Action}
_TENANT_OBJECT_OF_PREFIX = {
    "access": "any:object",
    "decision": "any:object",
    "gateway-config": "any:gateway-config",
    "mcp-prompt": "any:mcp-server",
    "mcp-resource": "any:mcp-server",
    "mcp-server": "any:mcp-server",
    "mcp-tool": "any:mcp-server",
    "model": "any:model",
    "policy": "any:policy",
    "provider-account": "any:provider-account",
    "role": "any:role",
    "self": "self:caller",
    "settings": "any:settings",
    "team": "any:team",
    "user": "any:user",
    "virtualaccount": "any:virtualaccount",
}
_MODEL_TYPES = frozenset({"integration", "model", "provider-integration"})
_OTHER_TYPES: Mapping[str, Kind] = {
    "resource-group": Kind.RESOURCE_GROUP,
    "team": Kind.TEAM,
    "virtual-account": Kind.VIRTUAL_ACCOUNT,
    "virtualaccount": Kind.VIRTUAL_ACCOUNT,
}
_MCP_TYPES = frozenset({"mcp-server", *(kind.value for kind in MCP_KINDS)})
RESOURCE_TYPES = (
    "provider-account",
    *sorted(_MCP_TYPES),
    *sorted(_MODEL_TYPES),
    *sorted(_OTHER_TYPES),
    "tenant",
)


def actions_of(permission: str) -> tuple[Action, ...]:
    """The actions that a permission string stands for: one of ours as it is, one of TrueFoundry's mapped.

    Raises:
        UnknownPermission: it is neither; the hint says whether TrueFoundry has it.
    """
    own = _ACTIONS.get(permission)
    if own is not None:
        return (own,)
    mapped = PERMISSIONS.get(permission)
    if mapped is not None:
        return mapped
    if permission.partition(":")[0] in UNSUPPORTED_PERMISSION_PREFIXES:
        raise UnknownPermission(
            f"the permission `{permission[:80]}` is not supported yet",
            hint="remove it, or apply with --skip-unsupported",
        )
    raise UnknownPermission(f"the permission `{permission[:80]}` is not known")


def tenant_wide(permission: str) -> tuple[tuple[Action, str], ...]:
    """What a permission of a tenant role gives, tenant-wide: (action, object) pairs.

    `access:grant` inside a mapped permission reaches only the kind that the permission is about.

    Raises:
        UnknownPermission: it is not known, or it names data, whose reach no permission can state.
    """
    actions = actions_of(permission)
    if permission in _ACTIONS:
        prefix = permission.partition(":")[0]
        if prefix not in _TENANT_OBJECT_OF_PREFIX:
            raise UnknownPermission(
                f"`{permission}` cannot hold tenant-wide",
                hint="name the resources under `grants`, or use a gateway-data-access-config",
            )
        return ((actions[0], _TENANT_OBJECT_OF_PREFIX[prefix]),)
    about = permission.partition(":")[0]
    pairs = []
    for action in actions:
        prefix = action.value.partition(":")[0]
        if action is Action.ACCESS_GRANT:
            prefix = about
        pairs.append((action, _TENANT_OBJECT_OF_PREFIX[prefix]))
    return tuple(pairs)


def subject_of(text: str) -> str:
    """`text` with an older spelling of the subject's kind replaced by ours; nothing is checked."""
    kind, colon, name = text.partition(":")
    return f"{SUBJECT_ALIASES[kind]}:{name}" if colon and kind in SUBJECT_ALIASES else text


def resource_of(fqn: str, resource_type: str) -> str:
    """The id of the resource that a permission or binding names.

    Accepts our own ids (`provider-account:main`, `model:main/mini`), TrueFoundry's qualified names
    (`acme:openai:main`, `acme:openai:main:model:mini`) and the bare name. `tenant` is `any:object`.

    Raises:
        UnknownResource: the type or the form of the name is not known. InvalidId: a name is too long.
    """
    if resource_type == "tenant":
        return "any:object"
    parts = fqn.split(":")
    if resource_type == "provider-account" or resource_type in _MODEL_TYPES:
        return _of_account(fqn, parts)
    if resource_type in _MCP_TYPES:
        return _of_mcp_server(fqn, parts)
    kind = _OTHER_TYPES.get(resource_type)
    if kind is None:
        raise UnknownResource(
            f"the resource type `{resource_type[:80]}` is not supported",
            hint="one of " + ", ".join(RESOURCE_TYPES),
        )
    own = parts[0] in (kind.value, resource_type)
    if len(parts) == 1 and parts[0]:
        return make_id(kind, parts[0])
    if len(parts) == 2 and own and parts[1]:
        return make_id(kind, parts[1])
    if len(parts) == 3 and parts[1] in (kind.value, resource_type) and parts[2]:
        return make_id(kind, parts[2])
    raise UnknownResource(
        f"`{fqn[:120]}` does not name a {resource_type}", hint=f"write `{kind.value}:<name>`"
    )


def _of_mcp_server(fqn: str, parts: list[str]) -> str:
    """The id of an MCP server (`github`, `acme:mcp-server:github`), or of what one offers, in our own words."""
    kind, _, name = fqn.partition(":")
    server, slash, inner = name.partition("/")
    if kind in {each.value for each in MCP_KINDS}:
        if server and inner and ":" not in server:
            return _canonical(fqn)
    elif len(parts) == 1 and parts[0] and "/" not in fqn:
        return make_id(Kind.MCP_SERVER, fqn)
    elif len(parts) == 2 and kind == Kind.MCP_SERVER.value and name and not slash:
        return make_id(Kind.MCP_SERVER, name)
    elif len(parts) == 3 and all(parts) and parts[1] == Kind.MCP_SERVER.value:
        return make_id(Kind.MCP_SERVER, parts[2])
    raise UnknownResource(
        f"`{fqn[:120]}` does not name an MCP server or what one offers",
        hint="write `mcp-server:<server>`, `mcp-tool:<server>/<tool>` or `<tenant>:mcp-server:<server>`",
    )


def _canonical(text: str) -> str:
    """The text, which is written as ids are. Raises: UnknownResource, it is not."""
    try:
        split_id(text)
    except InvalidId as error:
        raise UnknownResource(f"`{text[:120]}` is not an id", hint=error.hint) from error
    return text


def _of_account(fqn: str, parts: list[str]) -> str:
    """The id of an account or of one of its models. A model's name may hold colons and slashes."""
    if parts[0] == "model" and "/" in fqn:
        account, _, model = fqn[len("model:") :].partition("/")
        if account and model and ":" not in account:
            return model_id(account, model)
    elif len(parts) == 2 and parts[0] == "provider-account" and parts[1]:
        return make_id(Kind.PROVIDER_ACCOUNT, parts[1])
    elif len(parts) == 1 and parts[0]:
        account, slash, model = fqn.partition("/")
        if not slash:
            return make_id(Kind.PROVIDER_ACCOUNT, account)
        if account and model:
            return model_id(account, model)
    elif len(parts) == 3 and all(parts) and parts[1] != "mcp-server":
        return make_id(Kind.PROVIDER_ACCOUNT, parts[2])
    elif len(parts) >= 5 and all(parts) and parts[3] == "model":
        return model_id(parts[2], ":".join(parts[4:]))
    raise UnknownResource(
        f"`{fqn[:120]}` does not name a provider account or a model",
        hint="write `provider-account:<account>`, `model:<account>/<model>` or"
        " `<tenant>:<provider>:<account>[:model:<model>]`",
    )
