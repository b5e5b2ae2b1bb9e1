"""What a request refers to outside itself: tool servers, files, stored responses.

An id that a provider handed out belongs to the provider account, which many callers share. So it is
served only to the principal that got it through this gateway; anybody else gets the answer for an id
that does not exist. A tool server that the provider would call is refused: nobody decided on it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from proxy.body import shown
from proxy.errors import (
    InvalidBody,
    OtherModelNamed,
    ReferenceNotFound,
    RemoteToolRefused,
    UnsupportedField,
)
from proxy.providers.base import Dialect, Operation

KEPT = timedelta(days=30)  # how long providers keep a stored response
MAX_ENTRIES = 100_000
MAX_TOOL_DEPTH = 8

# Every field of the top level that is looked at below.
_REFERRING = frozenset(
    {
        "container",
        "conversation",
        "input",
        "mcp_servers",
        "previous_response_id",
        "prompt",
        "tools",
    }
)
_REMOTE_HINT = "register the server here and let your own client call its tools"
_RESPONSE_ID = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")


class State(Protocol):
    """Keeps small values until an instant, for all processes (`store/state.py`)."""

    async def put(self, space: str, key: str, value: str, until: datetime) -> None: ...
    async def get(self, space: str, key: str, now: datetime) -> str | None: ...


class MemoryState:
    """The state of one process: bounded, the oldest entry leaves first, gone at a restart."""

    def __init__(self, limit: int = MAX_ENTRIES) -> None:
        self._entries: OrderedDict[tuple[str, str], tuple[str, datetime]] = OrderedDict()
        self._limit = limit

    async def put(self, space: str, key: str, value: str, until: datetime) -> None:
        self._entries[space, key] = (value, until)
        self._entries.move_to_end((space, key))
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    async def get(self, space: str, key: str, now: datetime) -> str | None:
        found = self._entries.get((space, key))
        if found is None or now >= found[1]:
            return None
        return found[0]


@dataclass(frozen=True, slots=True)
class Reference:
    """An id in a request that a provider handed out earlier, and the field it stands in."""

    field: str
    id: str


class Stateful:
    """Remembers which principal got which id from which account."""

    SPACE = "response"

    def __init__(self, state: State) -> None:
        self._state = state

    async def remember(self, principal: str, account: str, id: str, now: datetime) -> None:
        """`principal` got `id` from `account`."""
        if _RESPONSE_ID.match(id):
            await self._state.put(self.SPACE, f"{principal} {id}", account, now + KEPT)

    async def check(
        self, principal: str, account: str, references: Sequence[Reference], now: datetime
    ) -> None:
        """Passes if `principal` got every one of `references` from `account`.

        Raises:
            ReferenceNotFound: one is unknown, of another principal, of another account, or expired.
        """
        for reference in references:
            if _RESPONSE_ID.match(reference.id):
                key = f"{principal} {reference.id}"
                if await self._state.get(self.SPACE, key, now) == account:
                    continue
            raise ReferenceNotFound(
                f"`{shown(reference.id)}` in `{reference.field}` does not exist, "
                "or was not made by you through this gateway",
                param=reference.field,
            )


def references(
    operation: Operation, fields: Mapping[str, object], watched: Sequence[Mapping[str, object]]
) -> list[Reference]:
    """The ids in a body that a provider handed out. `fields` is the top level, `watched` as in `body.Scan`.

    Raises:
        RemoteToolRefused: the provider would call a tool server.
        OtherModelNamed: a tool of the provider would run another model.
        UnsupportedField: a field refers to what belongs to the account and to no caller.
        InvalidBody: a field that must be read has a type that cannot be.
    """
    if not watched and _REFERRING.isdisjoint(fields):
        return []
    if fields.get("mcp_servers"):
        raise RemoteToolRefused(
            "`mcp_servers` would have the provider call servers that nobody decided on",
            hint=_REMOTE_HINT,
            param="mcp_servers",
        )
    found: list[Reference] = []
    tools = fields.get("tools")
    if tools is not None:
        found += _of_tools(tools)
    for name in ("previous_response_id", "conversation", "container"):
        value = fields.get(name)
        if value is not None:
            found += _named(name, value)
    if operation is Operation.RESPONSES:
        if isinstance(fields.get("prompt"), dict):
            raise UnsupportedField(
                "`prompt` refers to a prompt stored in the provider account",
                hint="send the text in `input` and `instructions`",
                param="prompt",
            )
        found += _of_input(fields.get("input"))
    for held in watched:
        found += _of_object(held, operation.dialect)
    return found


def _of_tools(tools: object, depth: int = 0) -> Iterator[Reference]:
    if not isinstance(tools, list) or depth > MAX_TOOL_DEPTH:
        raise InvalidBody("`tools` is not a list of tools", param="tools")
    for tool in tools:
        if not isinstance(tool, dict):
            raise InvalidBody("`tools` holds something that is not an object", param="tools")
        kind = tool.get("type")
        if (isinstance(kind, str) and kind.startswith(("mcp", "connector"))) or (
            tool.get("server_url") is not None or tool.get("connector_id") is not None
        ):
            raise _remote("tools")
        if tool.get("model") is not None:
            raise OtherModelNamed(
                "a tool names a model of its own, which nobody decided on",
                hint="leave out the tool's `model`",
                param="tools",
            )
        if tool.get("container") is not None:
            yield from _named("container", tool["container"])
        if tool.get("tools") is not None:
            yield from _of_tools(tool["tools"], depth + 1)


def _of_input(items: object) -> Iterator[Reference]:
    """References among the input items of a response; an item with an id and no content is one."""
    if not isinstance(items, list):
        return
    for item in items:
        if not isinstance(item, dict):
            continue
        kind = item.get("type")
        if kind == "item_reference" or (kind is None and "id" in item and "role" not in item):
            yield Reference("input", str(item.get("id")))
        if isinstance(item.get("tools"), list):  # tools that a search of tools has found
            yield from _of_tools(item["tools"], 1)


def _of_object(held: Mapping[str, object], dialect: Dialect) -> Iterator[Reference]:
    kind = held.get("type")
    typed = isinstance(kind, str)
    remote = isinstance(held.get("server_url"), str) or isinstance(held.get("connector_id"), str)
    if remote and isinstance(kind, str) and kind.startswith(("mcp", "connector")):
        raise _remote("tools")
    # Anthropic's `tool_use.input` is the model's own free object: there only a typed one is a reference.
    if dialect is Dialect.ANTHROPIC and not typed:
        return
    for name in ("file_id", "file_ids", "vector_store_ids"):
        value = held.get(name)
        if isinstance(value, str):
            yield Reference(name, value)
        elif isinstance(value, list):
            yield from (Reference(name, str(one)) for one in value)


def _named(name: str, value: object) -> Iterator[Reference]:
    """An id, or an object that has one."""
    if isinstance(value, dict):
        if value.get("id") is not None:
            yield Reference(name, str(value["id"]))
    elif value != "auto":
        yield Reference(name, str(value))


def _remote(field: str) -> RemoteToolRefused:
    return RemoteToolRefused(
        f"`{field}` would have the provider call a server that nobody decided on",
        hint=_REMOTE_HINT,
        param=field,
    )
