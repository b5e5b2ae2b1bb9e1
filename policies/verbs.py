"""Which actions administer a family of documents: one table for the API's gates and for the committer.

A family without an action of its own for a verb is administered by the next wider one: what nothing else
creates is created by who may write it. Role bindings are about roles: `role:assign` is what they come to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from authz.vocabulary import Action


class Verbs(NamedTuple):
    """The actions that read, write, create and delete the documents of a family."""

    read: Action
    write: Action
    create: Action
    delete: Action


_MCP_SERVER = Verbs(
    Action.MCP_SERVER_READ,
    Action.MCP_SERVER_WRITE,
    Action.MCP_SERVER_CREATE,
    Action.MCP_SERVER_DELETE,
)
_POLICY = Verbs(Action.POLICY_READ, Action.POLICY_WRITE, Action.POLICY_WRITE, Action.POLICY_DELETE)
_GATEWAY_CONFIG = Verbs(
    Action.GATEWAY_CONFIG_READ,
    Action.GATEWAY_CONFIG_WRITE,
    Action.GATEWAY_CONFIG_WRITE,
    Action.GATEWAY_CONFIG_DELETE,
)
VERBS: Final[Mapping[str, Verbs]] = {
    "user": Verbs(Action.USER_READ, Action.USER_WRITE, Action.USER_CREATE, Action.USER_DELETE),
    "team": Verbs(Action.TEAM_READ, Action.TEAM_WRITE, Action.TEAM_CREATE, Action.TEAM_DELETE),
    "role": Verbs(Action.ROLE_READ, Action.ROLE_WRITE, Action.ROLE_WRITE, Action.ROLE_DELETE),
    "role-binding": Verbs(
        Action.ROLE_READ, Action.ROLE_ASSIGN, Action.ROLE_ASSIGN, Action.ROLE_ASSIGN
    ),
    "virtual-account": Verbs(
        Action.VIRTUAL_ACCOUNT_READ,
        Action.VIRTUAL_ACCOUNT_WRITE,
        Action.VIRTUAL_ACCOUNT_CREATE,
        Action.VIRTUAL_ACCOUNT_DELETE,
    ),
    "provider-account": Verbs(
        Action.PROVIDER_ACCOUNT_READ,
        Action.PROVIDER_ACCOUNT_WRITE,
        Action.PROVIDER_ACCOUNT_CREATE,
        Action.PROVIDER_ACCOUNT_DELETE,
    ),
    "mcp-server": _MCP_SERVER,
    # What a server offers is approved by who may write the server.
    "mcp-catalogue": _MCP_SERVER._replace(
        create=Action.MCP_SERVER_WRITE, delete=Action.MCP_SERVER_WRITE
    ),
    "policy": _POLICY,
    "resource-group": _POLICY,
    "gateway-data-access-config": _GATEWAY_CONFIG,
    "gateway-metadata-config": _GATEWAY_CONFIG,
    "gateway-logging-config": _GATEWAY_CONFIG,
}
