"""On which things an action is asked: what a search lists, and what a difference is counted in.

A grant may stand on a group of things, a question is asked on a thing. A creation is asked before there
is a thing: on the container, `any:<kind>` or the team that will own it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from authz.engine import Engine
from authz.vocabulary import ACTIONS, Action

# By action, then by its prefix: how the ids start; one without a final colon is a whole id.
_OF_ACTION: Final[Mapping[str, tuple[str, ...]]] = {
    Action.ACCESS_GRANT: (
        *("data:", "mcp-prompt:", "mcp-resource:", "mcp-server:", "mcp-tool:"),
        *("model:", "provider-account:", "resource-group:", "team:"),
        "virtualaccount:",
    ),
    Action.DECISION_ASK: ("policy:", "settings:", "user:", "virtualaccount:"),
    Action.MCP_SERVER_CREATE: ("any:mcp-server",),
    Action.PROVIDER_ACCOUNT_CREATE: ("any:provider-account",),
    Action.ROLE_ASSIGN: ("any:role", "role:"),
    Action.TEAM_CREATE: ("any:team",),
    Action.USER_CREATE: ("any:user",),
    Action.VIRTUAL_ACCOUNT_CREATE: ("any:virtualaccount", "team:"),
}
_OF_PREFIX: Final[Mapping[str, tuple[str, ...]]] = {
    "policy": ("policy:", "resource-group:"),
    "role": ("role:", "role-binding:"),
}


def starts_of(action: str) -> tuple[str, ...]:
    """How the ids start that `action` is asked on (a whole id when it has no final colon); () for no action."""
    if action not in ACTIONS:
        return ()
    own = _OF_ACTION.get(action)
    prefix = action.partition(":")[0]
    return own if own is not None else _OF_PREFIX.get(prefix, (f"{prefix}:",))


def is_leaf(action: str, resource: str) -> bool:
    """Whether `action` is asked on `resource` itself."""
    return any(
        resource.startswith(start) if start.endswith(":") else resource == start
        for start in starts_of(action)
    )


def leaves_of(engine: Engine, action: str) -> list[str]:
    """The known things that `action` is asked on, ascending."""
    found: list[str] = []
    for start in starts_of(action):
        if start.endswith(":"):
            found += engine.resources_of(start)
        elif engine.knows(start):
            found.append(start)
    return sorted(found)
