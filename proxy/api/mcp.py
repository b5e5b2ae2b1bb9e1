"""What an MCP server was found to offer: looked at, and approved where its definition changed or is new.

Approving is a change of the server's catalogue, and needs the right to write the server. The catalogue
itself is written by the gateway alone, when it asks the server (`proxy/mcp/discovery.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

from authz.vocabulary import Action
from policies.documents import McpCatalogue, McpServer, VirtualMcpServer
from policies.errors import Conflict, NotFound
from policies.estate import Stored
from policies.mcp_catalogue import CatalogueEntry, EntryState, approved, entry_id, state_of
from policies.mcp_servers import policy_of
from policies.naming import plain
from policies.nearest import did_you_mean
from proxy.api.changing import carry_out, change_of, etag, expected, not_modified, plan_answer
from proxy.api.collections import MCP_SERVERS
from proxy.api.find import find, resource_of
from proxy.api.models import (
    ApproveAnswer,
    ApproveBody,
    CatalogueAnswer,
    CatalogueEntryAnswer,
    DryRunQuery,
)
from proxy.api.problem import BadBody
from proxy.api.routes import Answer, Body, Call, Gate, Gates, Route
from proxy.middleware.access import missing

FAMILY = "mcp-catalogue"


async def see(call: Call) -> Gates:
    """Gates of GET: who may read the server."""
    return await _gates(call, Action.MCP_SERVER_READ)


async def approve_gates(call: Call) -> Gates:
    """Gates of POST: who may write the server."""
    return await _gates(call, Action.MCP_SERVER_WRITE)


async def _gates(call: Call, action: Action) -> Gates:
    stored = await find(call, MCP_SERVERS, call.path("name"))
    call.kept["stored"] = stored
    thing = resource_of(MCP_SERVERS, stored, call.path("name"))
    return ((Gate(action, thing, Action.MCP_SERVER_READ),),)


async def show(call: Call) -> Answer:
    """GET: every entry with its state."""
    server = _server(call)
    if isinstance(server, VirtualMcpServer):
        return Answer(_composed(call, server))
    stored = await _catalogue(call, server)
    version = stored.version if stored is not None else 0
    headers = {"ETag": etag(version)} if stored is not None else {}
    if stored is not None and not_modified(call, version):
        return Answer(None, 304, headers)
    return Answer(_answer(server, _entries(stored), version), headers=headers)


async def approve(call: Call) -> Answer:
    """POST: approves entries as they are now; what is approved already stays so."""
    query, body = call.query_as(DryRunQuery), call.body_as(ApproveBody)
    server = _server(call)
    if isinstance(server, VirtualMcpServer):
        raise Conflict(
            "a virtual server has no catalogue of its own",
            hint="approve the tools of the servers that it is made of",
        )
    stored = await _catalogue(call, server)
    if stored is None:
        raise Conflict(
            f"nothing was found on the MCP server `{plain(server.name)}` yet",
            hint="it is asked for what it offers shortly after it is declared, and when it is used",
        )
    assert isinstance(stored.document, McpCatalogue)
    keys = _wanted(body, stored.document)
    after = approved(stored.document, keys)
    expect = expected(call, stored.key, stored.version) or {stored.key: stored.version}
    change = change_of(call, puts=(after,), expect=expect)
    outcome = await carry_out(call, change, dry_run=query.dry_run)
    now = await _catalogue(call, server)
    version = now.version if now is not None else 0
    shown = after.entries if query.dry_run else _entries(now)
    wanted = frozenset(keys)
    answer = ApproveAnswer(
        epoch=outcome.epoch,
        changed=outcome.changed,
        dry_run=query.dry_run,
        plan=plan_answer(outcome),
        catalogue=_answer(server, [one for one in shown if one.key in wanted], version),
    )
    return Answer(answer, headers={"ETag": etag(version)}, epoch=outcome.epoch)


def _wanted(body: ApproveBody, catalogue: McpCatalogue) -> list[tuple[str, str]]:
    """The entries that are meant. Raises: BadBody, none; NotFound: one is not there."""
    keys = [("tool", name) for name in body.tools]
    keys += [(entry.kind, entry.name) for entry in body.entries]
    if not keys:
        raise BadBody("nothing is to be approved", hint="name `tools`, or `entries`")
    there = {entry.key for entry in catalogue.entries if not entry.gone}
    for kind, name in keys:
        if (kind, name) not in there:
            known = sorted(other for of, other in there if of == kind)
            raise NotFound(
                f"the MCP server `{plain(catalogue.name)}` offers no {kind} `{name[:80]}`",
                hint=did_you_mean(name, known, "look at its catalogue"),
            )
    return keys


def _server(call: Call) -> McpServer:
    stored = call.kept["stored"]
    if stored is None:
        raise missing(call)
    assert isinstance(stored, Stored) and isinstance(stored.document, McpServer)
    return stored.document


async def _catalogue(call: Call, server: McpServer) -> Stored | None:
    return await call.runtime.changes.document((FAMILY, server.name))


def _entries(stored: Stored | None) -> tuple[CatalogueEntry, ...]:
    document = stored.document if stored is not None else None
    return document.entries if isinstance(document, McpCatalogue) else ()


def _answer(server: McpServer, entries: Iterable[CatalogueEntry], version: int) -> CatalogueAnswer:
    policy = policy_of(server)
    return CatalogueAnswer(
        server=plain(server.name),
        version=version,
        discovered=version > 0,
        entries=[
            CatalogueEntryAnswer(
                kind=entry.kind,
                name=entry.name,
                id=entry_id(entry.kind, server.name, entry.name),
                state=(state := state_of(entry, policy)).value,
                approved=entry.approved,
                accepted=entry.accepted,
                seen=entry.seen,
                flags=list(entry.flags),
                waits=state in (EntryState.HELD, EntryState.NEW),
            )
            for entry in entries
        ],
    )


def _composed(call: Call, server: VirtualMcpServer) -> CatalogueAnswer:
    """The tools of a virtual server: those of its parts that these offer now."""
    parts = call.runtime.changes.names.parts(server.name)
    return CatalogueAnswer(
        server=plain(server.name),
        version=0,
        discovered=True,
        entries=[
            CatalogueEntryAnswer(
                kind="tool",
                name=name,
                id=entry_id("tool", server.name, name),
                state=EntryState.ENABLED.value,
                approved=True,
                accepted=None,
                seen=None,
                flags=[],
                waits=False,
                target=entry_id("tool", target, tool),
            )
            for name, (target, tool) in parts.items()
        ],
    )


_EXAMPLE = {"tools": ["create_issue"]}

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/mcp-servers/{name}/catalogue",
        "get_mcp_catalogue",
        "What an MCP server was found to offer",
        "mcp-servers",
        (Action.MCP_SERVER_READ,),
        show,
        CatalogueAnswer,
        gates=see,
        versioned=True,
        description="Each tool, prompt, resource and template with its state: `enabled`; `disabled` by the "
        "server's document; `held`, its definition changed and waits for approval; `new`, it waits because new "
        "ones are not offered by themselves; `gone`.",
    ),
    Route(
        "POST",
        "/mcp-servers/{name}/catalogue/approve",
        "approve_mcp_catalogue",
        "Approve what an MCP server offers, as it is now",
        "mcp-servers",
        (Action.MCP_SERVER_WRITE,),
        approve,
        ApproveAnswer,
        gates=approve_gates,
        query=DryRunQuery,
        body=Body(model=ApproveBody, example=_EXAMPLE),
        versioned=True,
        mutates=True,
        description="With `If-Match` (the ETag of the catalogue) only what was looked at is approved.",
    ),
)
