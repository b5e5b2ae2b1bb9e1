"""Which action is asked on which kind of thing. Closed tables; nothing is looked up.

A rule whose action can never be asked on any of its resources is a mistake that would otherwise grant, or
refuse, nothing in silence. `compile` does not need this; `validate` does.
"""

from __future__ import annotations

from collections.abc import Mapping

from authz.vocabulary import WILD_ACTION, Action

# The groups of objects that always exist, besides the things themselves.
ANY_OBJECTS = frozenset(
    {
        "any:gateway-config",
        "any:mcp-server",
        "any:model",
        "any:object",
        "any:policy",
        "any:provider-account",
        "any:resource-group",
        "any:role",
        "any:role-binding",
        "any:settings",
        "any:team",
        "any:user",
        "any:virtualaccount",
    }
)
ANY_SUBJECTS = frozenset({"any:subject", "any:user", "any:virtualaccount"})
SINGLE_OBJECTS = frozenset({"self:caller", "settings:gateway"})
DATA_TYPES = ("decisions", "metrics", "payloads", "traces")
DATA_RELATIONS = ("all", "own", "team", "team-accounts")

_OF_SERVERS = {"mcp-server", "resource-group", "any:mcp-server", "any:object", "any:resource-group"}

# By the prefix of the action: the kinds of ids, and the `any:` groups, on which it is asked.
_KINDS: Mapping[str, frozenset[str]] = {
    "data": frozenset({"data"}),
    "decision": frozenset({"any:object", "any:policy", "any:settings", "settings"}),
    "gateway-config": frozenset({"gateway-config", "any:gateway-config", "any:object"}),
    "mcp-prompt": frozenset({"mcp-prompt", *_OF_SERVERS}),
    "mcp-resource": frozenset({"mcp-resource", *_OF_SERVERS}),
    "mcp-server": frozenset(_OF_SERVERS),
    "mcp-tool": frozenset({"mcp-tool", *_OF_SERVERS}),
    "model": frozenset(
        {"model", "provider-account", "resource-group", "any:model", "any:provider-account"}
        | {"any:object", "any:resource-group"}
    ),
    "policy": frozenset(
        {"policy", "resource-group", "any:policy", "any:resource-group", "any:object"}
    ),
    "provider-account": frozenset(
        {"provider-account", "resource-group", "team", "any:provider-account", "any:object"}
    ),
    "role": frozenset(
        {"role", "role-binding", "team", "any:role", "any:role-binding", "any:team", "any:object"}
    ),
    "self": frozenset({"self", "any:settings", "any:object"}),
    "settings": frozenset({"settings", "any:settings", "any:object"}),
    "team": frozenset({"team", "resource-group", "any:team", "any:object"}),
    "user": frozenset({"user", "any:user", "any:object"}),
    "virtualaccount": frozenset(
        {"virtualaccount", "team", "resource-group", "any:virtualaccount", "any:team", "any:object"}
    ),
}

# By the `resourceType` of a resource role: the kinds of things it may be granted on, and the prefixes of
# the actions that it may bundle.
ROLE_TYPES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "mcp-server": (
        frozenset({"mcp-prompt", "mcp-resource", "mcp-server", "mcp-tool"}),
        frozenset({"access", "mcp-prompt", "mcp-resource", "mcp-server", "mcp-tool"}),
    ),
    "model": (frozenset({"model"}), frozenset({"access", "model"})),
    "provider-account": (
        frozenset({"model", "provider-account"}),
        frozenset({"access", "model", "provider-account"}),
    ),
    "resource-group": (
        frozenset({"resource-group"}),
        frozenset(
            {"access", "mcp-prompt", "mcp-resource", "mcp-server", "mcp-tool", "model"}
            | {"provider-account", "team", "virtualaccount"}
        ),
    ),
    "team": (frozenset({"team"}), frozenset({"access", "team", "virtualaccount"})),
    "virtual-account": (frozenset({"virtualaccount"}), frozenset({"access", "virtualaccount"})),
}


def kind_word(resource: str) -> str:
    """What `resource` is for the tables above: its kind, or itself when it is an `any:` group."""
    return resource if resource.startswith("any:") else resource.partition(":")[0]


def fits(action: str, resource: str) -> bool:
    """Whether `action` can be asked on `resource` or on a member of it."""
    if action == WILD_ACTION:
        return True
    word = kind_word(resource)
    if action == Action.ACCESS_GRANT:
        return word not in ("self", "settings")
    return word in _KINDS.get(action.partition(":")[0], frozenset())
