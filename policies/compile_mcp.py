"""What MCP servers offer becomes rows: entries point at their server, tools of virtual servers at targets.

An entry that is not offered (held, disabled, new, gone) has no row, so that it does not exist for anybody.
Helpers of `compile.py`, which says how the whole hangs together.
"""

from __future__ import annotations

from collections.abc import Iterator

from authz.errors import InvalidId
from authz.rows import Row, row
from authz.vocabulary import Kind, make_id
from policies.documents import McpCatalogue, VirtualMcpServer
from policies.mcp_catalogue import entry_id
from policies.naming import id_of
from policies.ports import Lookups


def catalogue_rows(catalogue: McpCatalogue, lookups: Lookups) -> Iterator[Row]:
    """Each entry that is offered, as a part of its server."""
    server = make_id(Kind.MCP_SERVER, catalogue.name)
    if lookups.lives(server):
        for entry in lookups.offers(catalogue.name):
            yield row("g2", entry, server)


def virtual_rows(server: VirtualMcpServer, lookups: Lookups) -> Iterator[Row]:
    """The tools of a virtual server, each an alias: no deny on what it stands for may match."""
    for name, (target, tool) in lookups.parts(server.name).items():
        try:
            alias = entry_id("tool", server.name, name)
            stands_for = entry_id("tool", target, tool)
        except InvalidId:  # too long once both names stand in it
            continue
        yield row("g2", alias, id_of(server))
        yield row("a", alias, stands_for)
