"""What MCP servers offer where none was asked: as much of it as documents and cases name.

Offline nothing is known of a server but its document, and a rule about a tool that nobody knows decides
nothing. So for decision cases whatever is named counts as found and approved; what the document disables
stays disabled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from authz.vocabulary import MCP_KINDS, Kind, kind_of
from policies import globs
from policies.documents import (
    Document,
    McpCatalogue,
    McpServer,
    Policy,
    ResourceGroup,
    RoleBinding,
    VirtualAccount,
    VirtualMcpServer,
)
from policies.mcp_catalogue import CatalogueEntry, EntryKind, digest_of

Named = tuple[str, EntryKind, str]  # server, kind, name


def assumed(documents: Iterable[Document], named: Iterable[str] = ()) -> list[McpCatalogue]:
    """A catalogue for each server that is not virtual; `named` are ids besides those in the documents."""
    everything = list(documents)
    found: dict[str, set[tuple[EntryKind, str]]] = {
        document.name: set()
        for document in everything
        if isinstance(document, McpServer) and not isinstance(document, VirtualMcpServer)
    }
    mentions = [one for document in everything for one in _of_document(document)]
    mentions += [one for text in named for one in _of_id(text)]
    for server, kind, name in mentions:
        if server in found:
            found[server].add((kind, name))
    return [
        McpCatalogue(
            name=server,
            entries=tuple(
                CatalogueEntry(kind=kind, name=name, accepted=digest_of({}), approved=True)
                for kind, name in sorted(entries)
            ),
        )
        for server, entries in found.items()
        if entries
    ]


def _of_document(document: Document) -> Iterator[Named]:
    texts: Iterable[str] = ()
    match document:
        case VirtualMcpServer():
            for part in document.servers:
                for tool in part.enabled_tools or ():
                    yield part.name, "tool", tool
        case Policy():
            texts = (text for rule in document.rules for text in rule.resources)
        case ResourceGroup():
            texts = document.resources
        case RoleBinding():
            texts = (one.resource_fqn for one in document.permissions)
        case VirtualAccount():
            texts = (one.resource_fqn for one in document.permissions)
    for text in texts:
        yield from _of_id(text)


def _of_id(text: str) -> Iterator[Named]:
    kind = kind_of(text)
    if kind not in MCP_KINDS or globs.is_glob(text):
        return
    server, _, rest = text.partition(":")[2].partition("/")
    name = unquote(rest)
    if not name:
        return
    if kind == Kind.MCP_TOOL:
        yield server, "tool", name
    elif kind == Kind.MCP_PROMPT:
        yield server, "prompt", name
    else:
        yield server, "template" if "{" in name else "resource", name
