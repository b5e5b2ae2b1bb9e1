"""The MCP servers as they stand, with what each offers. It is an applier of the change log.

Callers write a server's name; what is decided are the ids of what was found, which hold its generation. A
server that nothing touched keeps its very object, so that whatever was made from it may be kept as well.
What follows from documents and catalogues is `policies/mcp_offers.py`'s business, for this and for the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from authz.errors import InvalidId
from authz.vocabulary import Kind, make_id, mcp_id
from policies.change import Entry as ChangeEntry
from policies.documents import (
    Document,
    McpCatalogue,
    McpServer,
    OpenApiMcpServer,
    RemoteMcpServer,
    VirtualMcpServer,
    parse,
)
from policies.mcp_catalogue import EntryState, entry_id, state_of
from policies.mcp_offers import virtual_tools
from policies.mcp_servers import HeaderAuth, McpAuth, OAuth2Auth, policy_of
from policies.naming import plain
from proxy.mcp.primitive import Primitive

SERVER, CATALOGUE = "mcp-server", "mcp-catalogue"  # families


class Snapshot(Protocol):
    """The part of the change log's snapshot that is read here."""

    @property
    def documents(self) -> Iterable[Document]: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A thing of a server: what is decided, what the server calls it, and the definition that was accepted.

    `description` is what the server's document says in place of the server's own.
    """

    id: str
    primitive: Primitive
    name: str
    state: EntryState
    accepted: str
    description: str | None = None
    seen: str | None = None  # its definition of now, where that is not the accepted one

    @property
    def offered(self) -> bool:
        """Whether it exists for callers."""
        return self.state is EntryState.ENABLED


@dataclass(frozen=True, slots=True)
class Server:
    """One server. `entries` are those of its catalogue by kind and name; a virtual one has `targets`
    instead, which say for each of its tools the stored server and what that calls it.
    """

    id: str
    name: str  # as callers write it
    stored: str  # with its generation
    document: McpServer
    entries: Mapping[tuple[str, str], Entry] = field(default_factory=dict)
    targets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    discovered: bool = False  # whether it has a catalogue

    @property
    def virtual(self) -> bool:
        return isinstance(self.document, VirtualMcpServer)

    @property
    def url(self) -> str:
        """Where it is; "" for one that is not spoken with over HTTP."""
        return self.document.url if isinstance(self.document, RemoteMcpServer) else ""

    @property
    def authority(self) -> str | None:
        """PEM text of who vouches for its certificate; None for those that everybody trusts."""
        document = self.document
        if isinstance(document, RemoteMcpServer) and document.tls_settings is not None:
            return document.tls_settings.ca_cert
        return None

    @property
    def auth_data(self) -> McpAuth | None:
        document = self.document
        if isinstance(document, RemoteMcpServer | OpenApiMcpServer):
            return document.auth_data
        return None

    @property
    def additional_headers(self) -> Mapping[str, str]:
        document = self.document
        return document.additional_headers if isinstance(document, RemoteMcpServer) else {}

    @property
    def personal(self) -> bool:
        """Whether each principal has a credential of its own there."""
        auth = self.auth_data
        if isinstance(auth, OAuth2Auth):
            return auth.grant_type == "authorization_code"
        return isinstance(auth, HeaderAuth) and auth.auth_level == "per_user"

    def tool_id(self, name: str) -> str:
        """The id of its tool called `name`. Raises InvalidId."""
        return mcp_id(Kind.MCP_TOOL, self.stored, name)


class Servers:
    """MCP servers by the name that callers write, and by their stored name."""

    def __init__(self, on_change: Callable[[str], None] | None = None) -> None:
        """`on_change` hears the stored name of each server whose document or catalogue changed."""
        self._on_change = on_change
        self._documents: dict[str, McpServer] = {}
        self._catalogues: dict[str, McpCatalogue] = {}
        self._servers: dict[str, Server] = {}  # by stored name
        self._names: dict[str, str] = {}  # as written -> stored
        self._sorted: tuple[Server, ...] = ()

    def __len__(self) -> int:
        return len(self._servers)

    def tells(self, on_change: Callable[[str], None]) -> None:
        """Sets who hears of changes, in place of whoever did."""
        self._on_change = on_change

    def server(self, name: str) -> Server | None:
        """The server that callers call `name`, or None."""
        stored = self._names.get(name)
        return None if stored is None else self._servers[stored]

    def stored(self, name: str) -> Server | None:
        """The server of this stored name, or None."""
        return self._servers.get(name)

    def servers(self) -> Sequence[Server]:
        """All servers, sorted by name."""
        return self._sorted

    def catalogue(self, stored: str) -> McpCatalogue | None:
        """What the server was found to offer, as it is stored; None before anything was."""
        return self._catalogues.get(stored)

    def load(self, snapshot: Snapshot) -> None:
        """Starts from the estate as of one epoch."""
        before = set(self._documents)
        self._documents, self._catalogues, self._servers = {}, {}, {}
        for document in snapshot.documents:
            if isinstance(document, McpServer):
                self._documents[document.name] = document
            elif isinstance(document, McpCatalogue):
                self._catalogues[document.name] = document
        self._make(self._documents)
        for name in sorted(before | set(self._documents)):
            self._tell(name)

    def apply(self, entry: ChangeEntry) -> None:
        """Follows one committed entry."""
        touched: dict[str, None] = {}
        for change in entry.documents:
            family, name = change.key
            if family not in (SERVER, CATALOGUE):
                continue
            touched[name] = None
            document = None if change.after is None else parse(change.after)
            if family == SERVER:
                self._documents.pop(name, None)
            else:
                self._catalogues.pop(name, None)
            if isinstance(document, McpServer):
                self._documents[name] = document
            elif isinstance(document, McpCatalogue):
                self._catalogues[name] = document
        if not touched:
            return
        self._make(touched)
        for name in touched:
            self._tell(name)

    def _make(self, names: Iterable[str]) -> None:
        """Makes the named servers anew, and virtual ones where their parts come to something else."""
        for name in names:
            document = self._documents.get(name)
            if document is None:
                self._servers.pop(name, None)
            elif not isinstance(document, VirtualMcpServer):
                self._servers[name] = _server(document, self._catalogues.get(name))
        for name, document in self._documents.items():
            if isinstance(document, VirtualMcpServer):
                made = _virtual(document, self._servers)
                old = self._servers.get(name)
                if old is None or old.document is not document or old.targets != made.targets:
                    self._servers[name] = made
        self._names = {server.name: stored for stored, server in self._servers.items()}
        self._sorted = tuple(sorted(self._servers.values(), key=lambda server: server.name))

    def _tell(self, name: str) -> None:
        if self._on_change is not None:
            self._on_change(name)


def _server(document: McpServer, catalogue: McpCatalogue | None) -> Server:
    policy = policy_of(document)
    said = document.tool_metadata if isinstance(document, RemoteMcpServer) else {}
    entries: dict[tuple[str, str], Entry] = {}
    for one in catalogue.entries if catalogue is not None else ():
        primitive = Primitive(one.kind)
        told = said.get(one.name) if primitive is Primitive.TOOL else None
        try:
            thing = entry_id(one.kind, document.name, one.name)
        except InvalidId:  # merging leaves such a name out; a longer generation may come later
            continue
        entries[primitive, one.name] = Entry(
            thing,
            primitive,
            one.name,
            state_of(one, policy),
            one.accepted,
            told.description if told is not None else None,
            one.seen,
        )
    return Server(
        make_id(Kind.MCP_SERVER, document.name),
        plain(document.name),
        document.name,
        document,
        entries,
        discovered=catalogue is not None,
    )


def _virtual(document: VirtualMcpServer, servers: Mapping[str, Server]) -> Server:
    tools = {
        part.name: {
            entry.name: entry.offered
            for entry in there.entries.values()
            if entry.primitive is Primitive.TOOL and entry.state is not EntryState.GONE
        }
        for part in document.servers
        if (there := servers.get(part.name)) is not None and not there.virtual
    }
    made = Server(
        make_id(Kind.MCP_SERVER, document.name), plain(document.name), document.name, document
    )
    targets = {
        name: target
        for name, target in virtual_tools(document, tools).items()
        if _is_usable(made, name)
    }
    return Server(made.id, made.name, made.stored, document, targets=targets, discovered=True)


def _is_usable(server: Server, name: str) -> bool:
    try:
        server.tool_id(name)
    except InvalidId:
        return False
    return True
