"""The closed vocabularies: kinds of things, actions, and how an id is written.

Every id carries its kind before the first colon (`model:acme/mini`), so that a person's name can never
be taken for a role. Bytes outside `[A-Za-z0-9._@~+:/-]` are written as canonical `%XX`.
"""

from __future__ import annotations

import re
from enum import StrEnum

from authz.errors import InvalidId


class Kind(StrEnum):
    """What stands before the colon of an id."""

    ANY = "any"  # any:user, any:model, any:object: implicit groups
    BOUND = "bound"  # bound:<team>: a subject that only narrows
    BUNDLE = "bundle"  # bundle:<name>: a set of actions inside the shipped roles
    CREDENTIAL = "credential"  # credential:<token id>
    DATA = "data"  # data:<type>/<relation>
    GATEWAY_CONFIG = "gateway-config"  # gateway-config:<type>/<name>
    MCP_PROMPT = "mcp-prompt"  # mcp-prompt:<server>/<prompt>
    MCP_RESOURCE = "mcp-resource"  # mcp-resource:<server>/<uri, or template of uris>
    MCP_SERVER = "mcp-server"
    MCP_TOOL = "mcp-tool"  # mcp-tool:<server>/<tool>
    MODEL = "model"  # model:<account>/<model>
    OPEN_MODELS = "open-models"  # open-models:<account>: models without subjects of their own
    OPEN_GROUP = "open-group"  # open-group:<resource group>: the same, of the group's accounts
    POLICY = "policy"
    PROVIDER_ACCOUNT = "provider-account"
    RESOURCE_GROUP = "resource-group"
    ROLE = "role"
    ROLE_BINDING = "role-binding"
    SELF = "self"  # self:caller: what everyone may do about themselves
    SETTINGS = "settings"
    TEAM = "team"
    TOKEN = "token"  # token:<id>: the restrictions of one credential
    USER = "user"
    VIRTUAL_ACCOUNT = "virtualaccount"


# What an MCP server offers: the kinds of ids whose first part is the server.
MCP_KINDS = frozenset({Kind.MCP_TOOL, Kind.MCP_PROMPT, Kind.MCP_RESOURCE})
SUBJECT_KINDS = frozenset({Kind.USER, Kind.TEAM, Kind.VIRTUAL_ACCOUNT, Kind.ROLE, Kind.ANY})


class Action(StrEnum):
    """Everything that can be decided, `<type>:<verb>`, alphabetical."""

    ACCESS_GRANT = "access:grant"
    DATA_READ = "data:read"
    DECISION_ASK = "decision:ask"
    GATEWAY_CONFIG_DELETE = "gateway-config:delete"
    GATEWAY_CONFIG_READ = "gateway-config:read"
    GATEWAY_CONFIG_WRITE = "gateway-config:write"
    MCP_PROMPT_GET = "mcp-prompt:get"
    MCP_RESOURCE_READ = "mcp-resource:read"
    MCP_SERVER_CREATE = "mcp-server:create"
    MCP_SERVER_DELETE = "mcp-server:delete"
    MCP_SERVER_READ = "mcp-server:read"
    MCP_SERVER_USE = "mcp-server:use"
    MCP_SERVER_WRITE = "mcp-server:write"
    MCP_TOOL_CALL = "mcp-tool:call"
    MODEL_USE = "model:use"
    POLICY_DELETE = "policy:delete"
    POLICY_READ = "policy:read"
    POLICY_WRITE = "policy:write"
    PROVIDER_ACCOUNT_CREATE = "provider-account:create"
    PROVIDER_ACCOUNT_DELETE = "provider-account:delete"
    PROVIDER_ACCOUNT_READ = "provider-account:read"
    PROVIDER_ACCOUNT_WRITE = "provider-account:write"
    ROLE_ASSIGN = "role:assign"
    ROLE_DELETE = "role:delete"
    ROLE_READ = "role:read"
    ROLE_WRITE = "role:write"
    SELF_MANAGE_TOKENS = "self:manage-tokens"
    SELF_READ = "self:read"
    SETTINGS_READ = "settings:read"
    SETTINGS_WRITE = "settings:write"
    TEAM_CREATE = "team:create"
    TEAM_DELETE = "team:delete"
    TEAM_MANAGE_MEMBERS = "team:manage-members"
    TEAM_READ = "team:read"
    TEAM_WRITE = "team:write"
    USER_CREATE = "user:create"
    USER_DELETE = "user:delete"
    USER_MANAGE_TOKENS = "user:manage-tokens"
    USER_READ = "user:read"
    USER_WRITE = "user:write"
    VIRTUAL_ACCOUNT_CREATE = "virtualaccount:create"
    VIRTUAL_ACCOUNT_DELETE = "virtualaccount:delete"
    VIRTUAL_ACCOUNT_READ = "virtualaccount:read"
    VIRTUAL_ACCOUNT_READ_TOKEN = "virtualaccount:read-token"
    VIRTUAL_ACCOUNT_ROTATE = "virtualaccount:rotate"
    VIRTUAL_ACCOUNT_UNBIND = "virtualaccount:unbind"
    VIRTUAL_ACCOUNT_WRITE = "virtualaccount:write"


ACTIONS = frozenset(action.value for action in Action)
WILD_ACTION = "*"  # legal on deny rows only

_PLAIN = re.compile(r"[A-Za-z0-9._@~+:/-]*\Z")
_CANONICAL = re.compile(r"(?:[A-Za-z0-9._@~+:/-]|%[0-9A-F]{2})+\Z")
_KINDS = frozenset(kind.value for kind in Kind)
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@~+:/-")
MAX_ID = 512


def escape(name: str) -> str:
    """`name` with every byte outside the plain set as upper-case `%XX` (a `%` itself included)."""
    if _PLAIN.match(name):
        return name
    return "".join(
        chr(b) if b in _SAFE else f"%{b:02X}" for b in name.encode("utf-8", "surrogatepass")
    )


def make_id(kind: Kind, name: str) -> str:
    """The canonical id of the thing of `kind` called `name`.

    Raises:
        InvalidId: the name is empty or the id would be longer than 512 characters.
    """
    if not name:
        raise InvalidId(f"a {kind.value} needs a name")
    made = f"{kind.value}:{escape(name)}"
    if len(made) > MAX_ID:
        raise InvalidId(f"the id of a {kind.value} is longer than {MAX_ID} characters")
    return made


def model_id(account: str, model: str) -> str:
    """`model:<account>/<model>`; ids split at the first slash, so an account's name has none."""
    if "/" in account:
        raise InvalidId(f"the account name `{account}` contains a slash")
    return make_id(Kind.MODEL, f"{account}/{model}")


def mcp_id(kind: Kind, server: str, name: str) -> str:
    """`mcp-tool:<server>/<tool>`, or the same of a prompt or a resource (its URI, or URI template).

    Raises:
        InvalidId: the server's name holds a slash, `name` is empty, or the id would be too long.
    """
    if "/" in server:
        raise InvalidId(f"the MCP server's name `{server[:80]}` contains a slash")
    if not name:
        raise InvalidId(f"a {kind.value} needs a name")
    return make_id(kind, f"{server}/{name}")


def split_id(value: str) -> tuple[Kind, str]:
    """The kind and the (still escaped) name of a canonical id.

    Raises:
        InvalidId: no known kind, an empty name, or characters outside the canonical set.
    """
    kind, colon, name = value.partition(":")
    if not colon or kind not in _KINDS or not _CANONICAL.match(name) or len(value) > MAX_ID:
        raise InvalidId(f"`{value[:80]}` is not an id", hint="an id is `<kind>:<name>`")
    return Kind(kind), name


def kind_of(value: str) -> str:
    """The text before the first colon; no check."""
    return value.partition(":")[0]
