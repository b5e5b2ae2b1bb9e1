"""What an MCP server offers, from the small facts that every process holds of servers and catalogues.

A fact is a tuple of short texts: of a server its tool policy, of a virtual server its parts, of a catalogue
its entries. From them follow the ids that exist, the tools of virtual servers and what each stands for. The
documents themselves are in `mcp_servers` and `mcp_catalogue`; `estate.Names` asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from authz.errors import InvalidId
from policies.mcp_catalogue import EntryState, McpCatalogue, entry_id
from policies.mcp_servers import SEPARATOR, McpServer, VirtualMcpServer, policy_of
from policies.naming import plain

Fact = tuple[str, ...]
_DEFAULT, _DISABLED, _ENABLED = "default", "-", "+"
_APPROVED, _CHANGED, _PLAIN, _GONE = "+", "!", "-", "x"


@dataclass(frozen=True, slots=True)
class Offer:
    """One entry of a server: its id, what it is, and whether it is offered."""

    id: str
    kind: str
    name: str
    state: EntryState


Chosen = tuple[tuple[str, tuple[str, ...] | None], ...]  # (stored server, tools or None for all)


def server_fact(server: McpServer) -> Fact:
    """What others need to know of a server."""
    if isinstance(server, VirtualMcpServer):
        return tuple(
            part.name if part.enabled_tools is None else "/".join((part.name, tool))
            for part in server.servers
            for tool in (("",) if not part.enabled_tools else sorted(set(part.enabled_tools)))
        )
    policy = policy_of(server)
    return (
        *((_DEFAULT,) if policy.enable_tools_by_default else ()),
        *(f"{_DISABLED}{name}" for name in sorted(set(policy.disabled_tools))),
        *(f"{_ENABLED}{name}" for name in sorted(set(policy.enabled_tools))),
    )


def catalogue_fact(catalogue: McpCatalogue) -> Fact:
    """What others need to know of a catalogue."""
    return tuple(
        f"{_GONE if e.gone else _CHANGED if e.seen else _APPROVED if e.approved else _PLAIN}"
        f"{e.kind} {e.name}"
        for e in catalogue.entries
    )


def chosen_of(fact: Fact) -> Chosen:
    """The parts of a virtual server, from its fact."""
    found: dict[str, list[str] | None] = {}
    for text in fact:
        server, slash, tool = text.partition("/")
        if not slash:
            found[server] = None
        elif (tools := found.setdefault(server, [])) is not None and tool:
            tools.append(tool)
    return tuple((name, None if t is None else tuple(t)) for name, t in found.items())


def offers_of(server: str, policy: Fact, entries: Fact) -> tuple[Offer, ...]:
    """Every entry of a server that is not virtual, by its facts and those of its catalogue."""
    default = _DEFAULT in policy
    disabled = {text[1:] for text in policy if text[0] == _DISABLED}
    enabled = {text[1:] for text in policy if text[0] == _ENABLED}
    made = []
    for text in entries:
        mark, (kind, _, name) = text[0], text[1:].partition(" ")
        tool = kind == "tool"
        if mark == _GONE:
            state = EntryState.GONE
        elif tool and name in disabled:
            state = EntryState.DISABLED
        elif mark == _CHANGED:
            state = EntryState.HELD
        elif mark == _APPROVED or default or (tool and name in enabled):
            state = EntryState.ENABLED
        else:
            state = EntryState.NEW
        try:
            made.append(Offer(entry_id(kind, server, name), kind, name, state))
        except InvalidId:
            continue
    return tuple(made)


def virtual_tools(
    document: VirtualMcpServer, tools: Mapping[str, Mapping[str, bool]]
) -> dict[str, tuple[str, str]]:
    """The tools of a virtual server as stored: name -> (stored server, its tool), sorted by name.

    `tools` are those of each server, with whether they are offered there.
    """
    return composed(chosen_of(server_fact(document)), lambda server: tools.get(server, {}))


def composed(
    chosen: Chosen, tools: Callable[[str], Mapping[str, bool]]
) -> dict[str, tuple[str, str]]:
    """The same of the parts in a fact.

    A tool keeps its name; where several parts have one of that name, each is called `<server>_<tool>`. Those
    that are not offered at the moment count for this, so that holding one never gives its name to another.
    A name that would then stand twice, or holds the separator, is left out.
    """
    picked: list[tuple[str, str, bool]] = []
    for server, names in chosen:
        there = tools(server)
        for name in dict.fromkeys(there if names is None else names):
            picked.append((server, name, there.get(name, False)))
    own = Counter(name for _, name, _ in picked)
    named = [
        (name if own[name] == 1 else f"{plain(server)}_{name}", server, name, offered)
        for server, name, offered in picked
    ]
    taken = Counter(made for made, *_ in named)
    return {
        made: (server, name)
        for made, server, name, offered in sorted(named)
        if offered and taken[made] == 1 and SEPARATOR not in made
    }
