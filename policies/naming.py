"""How documents, ids and generations hang together: `team:search~2` is the second team called search.

A document is known by its key (family, name). As written the name is plain; as stored it carries its
generation once a deleted name was taken again, so every id made from a stored name is unique for ever.
Pure text; what exists is `estate`'s business.
"""

from __future__ import annotations

import re
from typing import Final

from authz.vocabulary import ACTIONS, Kind
from policies.documents import Document
from policies.mcp_servers import MAX_SERVER_NAME, SEPARATOR

Key = tuple[str, str]

EVERYONE: Final = "team:everyone"  # every active user; no document
_RESERVED: Final = frozenset({"v1"})  # a path of the gateway (`/v1/…`, `/mcp/v1/…`)
_RESERVED_TEAMS: Final = frozenset({EVERYONE.partition(":")[2], "any"})

_EMAIL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:localhost|(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]"
    r"(?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)\Z"
)

# The kind of the thing that a document of a family describes.
KIND_OF_FAMILY: Final = {
    "user": Kind.USER,
    "team": Kind.TEAM,
    "role": Kind.ROLE,
    "role-binding": Kind.ROLE_BINDING,
    "virtual-account": Kind.VIRTUAL_ACCOUNT,
    "provider-account": Kind.PROVIDER_ACCOUNT,
    "mcp-server": Kind.MCP_SERVER,
    "mcp-catalogue": Kind.MCP_SERVER,  # what a server offers is part of it
    "policy": Kind.POLICY,
    "resource-group": Kind.RESOURCE_GROUP,
    "gateway-data-access-config": Kind.GATEWAY_CONFIG,
    "gateway-metadata-config": Kind.GATEWAY_CONFIG,
    "gateway-logging-config": Kind.GATEWAY_CONFIG,
    "credential": Kind.CREDENTIAL,
}
# The family whose document describes a thing of a kind: where a mention is looked up.
FAMILY_OF_KIND: Final = {
    Kind.USER.value: "user",
    Kind.TEAM.value: "team",
    Kind.BOUND.value: "team",
    Kind.ROLE.value: "role",
    Kind.VIRTUAL_ACCOUNT.value: "virtual-account",
    Kind.PROVIDER_ACCOUNT.value: "provider-account",
    Kind.OPEN_MODELS.value: "provider-account",
    Kind.OPEN_GROUP.value: "resource-group",
    Kind.MCP_SERVER.value: "mcp-server",
    Kind.POLICY.value: "policy",
    Kind.RESOURCE_GROUP.value: "resource-group",
}
# Configurations, which one id names whatever their family.
CONFIG_FAMILIES: Final = tuple(
    family for family, kind in KIND_OF_FAMILY.items() if kind is Kind.GATEWAY_CONFIG
)
# Names of these are made by the server and never taken twice.
OPAQUE_FAMILIES: Final = frozenset({"user", "credential", "log-writer", "mcp-catalogue"})
# No document mentions these, so nothing is remembered of them.
UNMENTIONED_FAMILIES: Final = frozenset({"credential", "log-writer"})
# Only the host itself writes these, whoever may do whatever.
HOST_FAMILIES: Final = frozenset({"log-writer"})


def is_email(text: str) -> bool:
    """Whether `text` is an e-mail address that a person could sign in with."""
    return len(text) <= 254 and _EMAIL.match(text) is not None


def why_reserved(key: Key) -> str:
    """Why nothing may be called like this, as a way to mend it; "" when the name is free to take."""
    family, name = key
    folded = name.casefold()
    if family == "team" and folded in _RESERVED_TEAMS:
        return "`team:everyone` is every active user; it is never written down"
    if family == "mcp-server" and (SEPARATOR in name or name.endswith("_")):
        return f"`{SEPARATOR}` parts server and tool in one name; no server's name holds it or ends in `_`"
    if family == "mcp-server" and len(plain(name)) > MAX_SERVER_NAME:
        return f"an MCP server's name has at most {MAX_SERVER_NAME} characters: clients limit names of tools"
    if folded in _RESERVED:
        return "it is a path of the gateway; choose another name"
    if family == "role" and f"{Kind.ROLE.value}:{name}" in ACTIONS:
        # Its bundle would be written like the action, and a grant of it would be the action.
        return f"`role:{name}` is an action; choose another name"
    return ""


def id_of(document: Document) -> str:
    """The id of the thing that a stored document describes."""
    return f"{KIND_OF_FAMILY[document.key[0]].value}:{document.name}"


def split_generation(name: str) -> tuple[str, int]:
    """`("search", 2)` of `search~2`, `("search", 1)` of `search`."""
    plain, tilde, number = name.rpartition("~")
    # One generation has one spelling: `search~1` and `search~02` are names that nothing has.
    if tilde and number.isascii() and number.isdigit() and number[0] != "0" and number != "1":
        return plain, int(number)
    return name, 1


def plain(name: str) -> str:
    """The name as a person writes it, without the generation."""
    return split_generation(name)[0]


def with_generation(name: str, generation: int) -> str:
    """The stored name of a plain one."""
    return name if generation <= 1 else f"{name}~{generation}"


def plain_key(key: Key) -> Key:
    """The key as a person writes it (a user's stays: its name is opaque)."""
    return key if key[0] in OPAQUE_FAMILIES else (key[0], plain(key[1]))


def label(key: Key) -> str:
    """`team/search`: how a document is called in problems and rule ids."""
    return f"{key[0]}/{key[1]}"


def is_user_id(name: str) -> bool:
    """Whether a user's name is the immutable id rather than an e-mail."""
    return name.startswith("u-") and "@" not in name
