"""What an endpoint covers: one server, a composition of tools of several, or every server of the principal at once.

A scope knows things by the names that the client says, and what is decided and which server is asked for each. It knows
nothing of who may use them: that is `view.py`. Resources keep their URIs where several servers are one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from authz.vocabulary import Kind
from proxy.mcp.names import SEPARATOR, Names
from proxy.mcp.primitive import Primitive
from proxy.mcp.servers import Entry, Server
from proxy.mcp.uris import declared

EVERYTHING = "*"  # the endpoint of all servers; no server is called so
_NAMED = (Primitive.TOOL, Primitive.PROMPT)


@dataclass(frozen=True, slots=True)
class Thing:
    """`id` is what is decided, `name` what the client says, `own` what `server` calls it."""

    id: str
    primitive: Primitive
    name: str
    server: Server
    own: str
    entry: Entry


class Finds(Protocol):
    """`proxy.mcp.servers.Servers`."""

    def server(self, name: str) -> Server | None: ...
    def stored(self, name: str) -> Server | None: ...
    def servers(self) -> Sequence[Server]: ...


class Scope:
    """The things of one endpoint. `endpoint` is the server's stored name, or `*`."""

    __slots__ = ("_by_name", "_by_own", "endpoint", "hints", "members", "server", "title")

    def __init__(
        self, endpoint: str, title: str, server: Server | None, members: Sequence[Server]
    ) -> None:
        self.endpoint = endpoint
        self.title = title  # what it is called towards a client
        self.server = server  # None for the endpoint of everything
        self.members = tuple(members)  # who is really spoken with, in the order of lists
        # Ids that a principal saw when last asked, for `View`: where to look first, never an answer.
        self.hints: dict[tuple[str, Primitive], str] = {}
        self._by_name: dict[tuple[Primitive, str], list[Thing]] = {}
        self._by_own: dict[tuple[Primitive, str, str], list[Thing]] = {}

    @property
    def container(self) -> str:
        """The id of what a list of this endpoint is a list of."""
        return self.server.id if self.server is not None else f"{Kind.ANY.value}:mcp-server"

    @property
    def single(self) -> bool:
        """Whether it is one server that is spoken with as it is."""
        return self.server is not None and self.members == (self.server,)

    def add(self, thing: Thing) -> None:
        self._by_name.setdefault((thing.primitive, thing.name), []).append(thing)
        self._by_own.setdefault((thing.primitive, thing.server.stored, thing.own), []).append(thing)

    def things(self, primitive: Primitive) -> Iterator[Thing]:
        """All of a kind."""
        for (of, _), found in self._by_name.items():
            if of is primitive:
                yield from found

    def offered(self, server: Server, primitive: Primitive, own: str) -> list[Thing]:
        """What stands for that which a server calls `own`; a composition may be here beside its parts."""
        return self._by_own.get((primitive, server.stored, own), [])

    def named(self, primitive: Primitive, name: str) -> list[Thing]:
        """What the client calls `name`: one thing, but where servers offer the same URI."""
        found = self._by_name.get((primitive, name), [])
        if found or primitive in _NAMED:
            return found
        if primitive is Primitive.RESOURCE:
            template = declared(name, self._templates())
            if template is not None:
                return self._by_name[Primitive.TEMPLATE, template]
        return []

    def _templates(self) -> Iterator[str]:
        for primitive, name in self._by_name:
            if primitive is Primitive.TEMPLATE:
                yield name


class Scopes:
    """Scopes of the servers as they are now, each made once as long as its servers stay the same."""

    def __init__(self, servers: Finds) -> None:
        self._servers = servers
        self._made: dict[str, tuple[tuple[Server, ...], Scope]] = {}

    def one(self, name: str) -> Scope | None:
        """The endpoint of the server that callers call `name`."""
        server = self._servers.server(name)
        if server is None:
            return None
        if not server.virtual:
            return self._kept(server.stored, (server,), lambda: _of_server(server))
        parts = {target for target, _ in server.targets.values()}
        found = [self._servers.stored(part) for part in sorted(parts)]
        members = tuple(member for member in found if member is not None)
        return self._kept(server.stored, (server, *members), lambda: _of_virtual(server, members))

    def everything(self) -> Scope:
        """The endpoint of all servers."""
        servers = tuple(sorted(self._servers.servers(), key=lambda server: server.name))
        return self._kept(EVERYTHING, servers, lambda: self._aggregate(servers))

    def _kept(self, key: str, servers: tuple[Server, ...], make: _Makes) -> Scope:
        kept = self._made.get(key)
        # The very same objects: an applier makes new ones for what it touches.
        if kept is not None and [*map(id, kept[0])] == [*map(id, servers)]:
            return kept[1]
        scope = make()
        self._made[key] = (servers, scope)
        return scope

    def _aggregate(self, servers: Sequence[Server]) -> Scope:
        parts = [found for server in servers if (found := self.one(server.name)) is not None]
        behind = {member.stored: member for part in parts for member in part.members}
        scope = Scope(EVERYTHING, "gatewarden", None, sorted(behind.values(), key=lambda s: s.name))
        names = {
            primitive: Names(
                (part.title, thing.name) for part in parts for thing in part.things(primitive)
            )
            for primitive in _NAMED
        }
        for part in parts:
            for primitive in Primitive:
                for thing in part.things(primitive):
                    name = thing.name
                    if primitive in _NAMED:
                        name = names[primitive].of(part.title, thing.name)
                    scope.add(
                        Thing(thing.id, primitive, name, thing.server, thing.own, thing.entry)
                    )
        return scope


class _Makes(Protocol):
    def __call__(self) -> Scope: ...


def _of_server(server: Server) -> Scope:
    scope = Scope(server.stored, server.name, server, (server,))
    for entry in server.entries.values():
        if entry.offered and SEPARATOR not in (entry.name if entry.primitive in _NAMED else ""):
            scope.add(Thing(entry.id, entry.primitive, entry.name, server, entry.name, entry))
    return scope


def _of_virtual(server: Server, members: Sequence[Server]) -> Scope:
    scope = Scope(server.stored, server.name, server, members)
    behind = {member.stored: member for member in members}
    for name, (target, own) in server.targets.items():
        member = behind.get(target)
        entry = None if member is None else member.entries.get((Primitive.TOOL, own))
        if member is not None and entry is not None:
            id = server.tool_id(name)
            scope.add(Thing(id, Primitive.TOOL, name, member, own, entry))
    return scope
