"""Keeps each server's catalogue: what it says it offers is looked at, and what is new or changed becomes a change.

Every list that passes is looked at; a server is asked outright when its document changes, when it says that a list
changed, and from time to time. What was found is written by the gateway itself, with the source `discovery`; whether
it is offered follows from the server's tool policy and from approvals (`policies/mcp_catalogue.py`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from authz.errors import GatewardenError
from policies.change import Change, Entry, Source
from policies.documents import dump
from policies.estate import Stored
from policies.mcp_catalogue import FAMILY, EntryState, McpCatalogue, digest_of, merged
from policies.naming import plain
from proxy import logs
from proxy.mcp import jsonrpc
from proxy.mcp.link import Link, UpstreamSaid
from proxy.mcp.primitive import Primitive
from proxy.mcp.servers import Server

log = logs.get("mcp.discovery")

METHODS: Mapping[Primitive, str] = {
    Primitive.TOOL: "tools/list",
    Primitive.PROMPT: "prompts/list",
    Primitive.RESOURCE: "resources/list",
    Primitive.TEMPLATE: "resources/templates/list",
}
CAPABILITIES: Mapping[Primitive, str] = {
    Primitive.TOOL: "tools",
    Primitive.PROMPT: "prompts",
    Primitive.RESOURCE: "resources",
    Primitive.TEMPLATE: "resources",
}
MAX_PAGES = 1000
PAUSE = 1.0  # seconds between two changes of one catalogue that lists bring about
MAX_REMEMBERED = 16 << 20  # bytes of definitions whose digests are kept
PATIENCE = 30.0  # seconds that a server may take to say what it offers


class Commits(Protocol):
    """`store.changes.ChangeLog`."""

    async def document(self, key: tuple[str, str]) -> Stored | None: ...

    async def commit(self, change: Change, asker: None, now: datetime) -> Entry: ...


Ask = Callable[[Link, str, Mapping[str, Any]], Awaitable[jsonrpc.Message]]


class Discovery:
    """What servers are known to offer, in this process; the catalogue is in the change log."""

    def __init__(
        self,
        changes: Commits,
        ask: Ask,
        now: Callable[[], datetime],
        timer: Callable[[], float],
    ) -> None:
        """`ask` sends a request over a link, in its generation, and gives the response."""
        self._changes = changes
        self._ask = ask
        self._now = now
        self._timer = timer
        self._schemas: dict[tuple[str, str], object] = {}
        self._digests: dict[bytes, str] = {}
        self._remembered = 0
        self._locks: dict[str, asyncio.Lock] = {}
        self._moved: dict[str, float] = {}
        self._later: Callable[[str], None] | None = None

    def tells(self, later: Callable[[str], None]) -> None:
        """Sets who hears of a server (its stored name) that says something else again already."""
        self._later = later

    def digest(self, item: Mapping[str, Any]) -> str:
        """What a definition comes to."""
        # Two encodings are the same only if the definitions are (`1`, `1.0` and `true` differ). A list says
        # the same each time, and encoding costs a tenth of its digest.
        try:
            encoded = msgspec.json.encode(item)
        except ValueError:  # text that is no text
            return digest_of(item)
        found = self._digests.get(encoded)
        if found is None:
            found = digest_of(item)
            self._remembered += len(encoded)
            if self._remembered > MAX_REMEMBERED:
                self._digests.clear()
                self._remembered = len(encoded)
            self._digests[encoded] = found
        return found

    def schema(self, server: Server, tool: str) -> object:
        """The input schema of a tool as the server last said it here; None if it has not."""
        return self._schemas.get((server.stored, tool))

    async def learnt(self, server: Server, tool: str, link: Link) -> object:
        """The input schema of a tool; the server is asked if it has not said it here yet.

        Raises:
            GatewardenError: it cannot be asked.
        """
        if (server.stored, tool) not in self._schemas:
            self._keep(server, Primitive.TOOL, await self._all(link, Primitive.TOOL))
            self._schemas.setdefault((server.stored, tool), None)
        return self.schema(server, tool)

    async def saw(
        self, server: Server, primitive: Primitive, items: Sequence[Mapping[str, Any]]
    ) -> bool:
        """Takes note of definitions as a server says them now; whether its catalogue moved by it.

        What is not among them is not gone: servers show some clients less than others.
        """
        self._keep(server, primitive, items)
        if not any(self._news(server, primitive, item) for item in items):
            return False
        at = self._timer()
        if at - self._moved.get(server.stored, float("-inf")) < PAUSE:
            # Until the look that is asked for, a list does not show it, and a call may still reach it.
            if self._later is not None:
                self._later(server.stored)
            return False
        self._moved[server.stored] = at
        return await self._write(server, {primitive.value: items}, partial=True)

    def _news(self, server: Server, primitive: Primitive, item: Mapping[str, Any]) -> bool:
        name = item.get(primitive.member)
        if not isinstance(name, str):
            return False
        entry = server.entries.get((primitive, name))
        if entry is None or entry.state is EntryState.GONE:
            return True
        return (entry.seen or entry.accepted) != self.digest(item)

    async def refresh(self, server: Server, link: Link) -> bool:
        """Asks a server for all that it offers; whether its catalogue moved.

        Raises:
            GatewardenError: it cannot be asked.
        """
        async with asyncio.timeout(PATIENCE):
            hello = await link.hello()
            offered = hello.get("capabilities", {})
            found: dict[str, Sequence[Mapping[str, Any]]] = {}
            for primitive, capability in CAPABILITIES.items():
                items = await self._all(link, primitive) if capability in offered else []
                self._keep(server, primitive, items)
                found[primitive.value] = items
        return await self._write(server, found, partial=False)

    async def _all(self, link: Link, primitive: Primitive) -> list[Mapping[str, Any]]:
        items: list[Mapping[str, Any]] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            params = {} if cursor is None else {"cursor": cursor}
            answer = await self._ask(link, METHODS[primitive], params)
            if answer.error is not None:
                if answer.error["code"] == jsonrpc.METHOD_NOT_FOUND:
                    return items  # resources without templates, say
                raise UpstreamSaid(answer.error)
            result = answer.result if isinstance(answer.result, dict) else {}
            listed = result.get(primitive.listed)
            if isinstance(listed, list):
                items += [item for item in listed if isinstance(item, dict)]
            following = result.get("nextCursor")
            if not isinstance(following, str) or following == cursor:
                break
            cursor = following
        return items

    def _keep(
        self, server: Server, primitive: Primitive, items: Sequence[Mapping[str, Any]]
    ) -> None:
        if primitive is Primitive.TOOL:
            for item in items:
                if isinstance(name := item.get("name"), str):
                    self._schemas[server.stored, name] = item.get("inputSchema")

    async def _write(
        self, server: Server, found: Mapping[str, Sequence[Mapping[str, Any]]], *, partial: bool
    ) -> bool:
        async with self._locks.setdefault(server.stored, asyncio.Lock()):
            held = await self._changes.document((FAMILY, server.stored))
            before = held.document if held is not None else None
            change, left_out = catalogue_change(
                server.stored,
                before if isinstance(before, McpCatalogue) else None,
                held.version if held is not None else 0,
                found,
                partial=partial,
                request_id=f"discovery-{secrets.token_hex(6)}",
            )
            for text in left_out:
                log.warning("not_offered", server=server.name, what=text)
            if change is None:
                return False
            try:
                await self._changes.commit(change, None, self._now())
            except GatewardenError as error:
                # Another process may have written the same, or the server is gone: the next look tells.
                log.warning("not_written", server=server.name, code=error.code, text=error.message)
                return False
            return True


def catalogue_change(
    server: str,
    before: McpCatalogue | None,
    version: int,
    found: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    partial: bool = False,
    request_id: str,
) -> tuple[Change | None, tuple[str, ...]]:
    """The change that writes down what a server was found to offer, and what could not be taken in.

    `server` is its stored name, `before` its catalogue as stored in `version` (0: none yet), `found` the
    definitions by kind (`tool`, `prompt`, `resource`, `template`). No change where nothing differs. To be
    committed by the host (asker None); a `Conflict` says that another process was first: look again.
    """
    result = merged(server, before, found, partial)
    if before is not None and dump(before) == dump(result.catalogue):
        return None, result.left_out
    change = Change(
        actor="host",
        source=Source.DISCOVERY,
        request_id=request_id,
        puts=(result.catalogue,),
        expect={(FAMILY, server): version},
        comment=f"what the MCP server {plain(server)} offers",
    )
    return change, result.left_out
