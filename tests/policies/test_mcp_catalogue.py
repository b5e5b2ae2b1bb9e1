"""What a server was found to offer: what is held, what is new, what is left out, and two ways that agree."""

from __future__ import annotations

from typing import Any

import pytest
from estates import House, mcp, virtual_mcp
from hypothesis import given
from hypothesis import strategies as st

from policies.documents import McpCatalogue, VirtualMcpServer, dump, parse, parse_json
from policies.mcp_catalogue import (
    HIDDEN,
    LONG,
    MAX_ENTRIES,
    CatalogueEntry,
    EntryState,
    approved,
    digest_of,
    entry_id,
    merged,
    state_of,
)
from policies.mcp_offers import catalogue_fact, offers_of, server_fact, virtual_tools
from policies.mcp_servers import RemoteMcpServer, ToolPolicy, policy_of

TOOL = {"name": "read", "description": "Reads.", "inputSchema": {"type": "object"}}
OPEN, CLOSED = ToolPolicy(), ToolPolicy(enable_tools_by_default=False)


def states(catalogue: McpCatalogue, policy: ToolPolicy = OPEN) -> dict[str, EntryState]:
    return {entry.name: state_of(entry, policy) for entry in catalogue.entries}


def found(*tools: dict[str, Any], before: McpCatalogue | None = None, **how: Any) -> McpCatalogue:
    return merged("s", before, {"tool": tools}, **how).catalogue


# --- digests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"description": "Reads and writes."},
        {"inputSchema": {"type": "object", "required": ["x"]}},
        {"outputSchema": {}},
        {"annotations": {"readOnlyHint": True}},
        {"title": ""},
    ],
)
def test_every_part_of_a_definition_that_anybody_goes_by_is_in_its_digest(
    change: dict[str, Any],
) -> None:
    assert digest_of({**TOOL, **change}) != digest_of(TOOL)


def test_what_nobody_goes_by_and_the_order_of_members_are_not() -> None:
    turned = dict(reversed(TOOL.items()))
    assert digest_of({**turned, "_meta": {"a": 1}, "icons": []}) == digest_of(TOOL)


# --- following --------------------------------------------------------------------------------------


def test_a_new_tool_is_offered_where_new_ones_are() -> None:
    catalogue = found(TOOL)
    assert states(catalogue) == {"read": EntryState.ENABLED}
    assert states(catalogue, CLOSED) == {"read": EntryState.NEW}
    named = ToolPolicy(enable_tools_by_default=False, enabled_tools=("read",))
    assert states(catalogue, named) == {"read": EntryState.ENABLED}


def test_a_changed_tool_is_held_until_it_is_approved_or_is_again_what_it_was() -> None:
    changed = found({**TOOL, "description": "Sends."}, before=found(TOOL))
    assert states(changed) == {"read": EntryState.HELD}
    assert states(approved(changed, [("tool", "read")])) == {"read": EntryState.ENABLED}
    assert found(TOOL, before=changed) == found(TOOL)


def test_disabled_wins_over_everything_and_is_about_tools() -> None:
    policy = ToolPolicy(disabled_tools=("read",), enabled_tools=("read",))
    catalogue = merged("s", None, {"tool": [TOOL], "prompt": [{"name": "read"}]}).catalogue
    by_kind = {entry.kind: state_of(entry, policy) for entry in catalogue.entries}
    assert by_kind == {"tool": EntryState.DISABLED, "prompt": EntryState.ENABLED}


def test_going_away_and_coming_back_changed_is_a_change() -> None:
    gone = found(before=found(TOOL))
    assert states(gone) == {"read": EntryState.GONE}
    back = found({**TOOL, "description": "Sends."}, before=gone)
    assert states(back) == {"read": EntryState.HELD}
    assert found(TOOL, before=gone) == found(TOOL)


def test_what_was_not_asked_for_is_not_gone() -> None:
    before = merged("s", None, {"tool": [TOOL], "prompt": [{"name": "p"}]}).catalogue
    assert found(before=before, partial=True) == before
    kinds = {e.kind: e.gone for e in found(before=before).entries}
    assert kinds == {"tool": True, "prompt": False}


def test_what_is_gone_cannot_be_approved_and_what_never_was_neither() -> None:
    gone = found(before=found(TOOL))
    for key in (("tool", "read"), ("tool", "x"), ("prompt", "read")):
        with pytest.raises(KeyError):
            approved(gone, [key])


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("plain\ttext\nwith äöü 漢字", ()),
        ("a\u200bb", (HIDDEN,)),
        ("a\u202eb", (HIDDEN,)),
        ("a\U000e0041b", (HIDDEN,)),
        ("a\x1b[2Jb", (HIDDEN,)),
        ("x" * 5000, (LONG,)),
    ],
)
def test_a_description_that_hides_something_is_flagged(text: str, flags: tuple[str, ...]) -> None:
    (entry,) = found({**TOOL, "description": text}).entries
    assert entry.flags == flags
    nested = {**TOOL, "inputSchema": {"properties": {"a": {"description": text}}}}
    (entry,) = found(nested).entries
    assert entry.flags == flags


def test_what_does_not_fit_is_left_out_and_named() -> None:
    tools = [{"name": n} for n in ("a__b", "", "x" * 129, "a\u200b", "ok", "ok", "é" * 100)]
    made = merged("s", None, {"tool": [*tools, {}], "resource": [{"uri": "u:" + "x" * 600}]})
    assert [entry.name for entry in made.catalogue.entries] == ["ok"]
    assert len(made.left_out) == 8
    assert "parts server and tool" in made.left_out[0]


def test_a_catalogue_has_an_end() -> None:
    many = [{"name": f"t{n}"} for n in range(MAX_ENTRIES + 5)]
    made = merged("s", None, {"tool": many})
    assert len(made.catalogue.entries) == MAX_ENTRIES and len(made.left_out) == 5
    other = [{"name": f"u{n}"} for n in range(10)]
    again = merged("s", made.catalogue, {"tool": other}).catalogue
    assert len(again.entries) == MAX_ENTRIES
    assert {e.name for e in again.entries if not e.gone} == {f"u{n}" for n in range(10)}


def test_an_equal_catalogue_is_stored_alike() -> None:
    catalogue = found(TOOL)
    assert dump(found(TOOL, before=catalogue)) == dump(catalogue)
    assert parse(dump(catalogue)) == catalogue
    assert parse_json("mcp-catalogue", catalogue.model_dump_json().encode()) == catalogue


# --- facts say what documents say -------------------------------------------------------------------

_NAMES = st.sampled_from(["a", "b", "c d", "e/f"])
_ENTRIES = st.lists(
    st.builds(
        CatalogueEntry,
        kind=st.sampled_from(["tool", "prompt", "resource"]),
        name=_NAMES,
        accepted=st.just("0" * 64),
        seen=st.sampled_from([None, "1" * 64]),
        approved=st.booleans(),
        gone=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda entry: entry.key,
)
_POLICIES = st.builds(
    ToolPolicy,
    enable_tools_by_default=st.booleans(),
    disabled_tools=st.lists(_NAMES, max_size=2).map(tuple),
    enabled_tools=st.lists(_NAMES, max_size=2).map(tuple),
)


@given(_ENTRIES, _POLICIES)
def test_the_facts_give_each_entry_the_state_that_the_documents_give_it(
    entries: list[CatalogueEntry], policy: ToolPolicy
) -> None:
    server = RemoteMcpServer(name="s", url="https://x.example.com", tool_policy=policy)
    catalogue = McpCatalogue(name="s", entries=tuple(entries))
    offers = offers_of("s", server_fact(server), catalogue_fact(catalogue))
    assert {(o.kind, o.name): o.state for o in offers} == {
        e.key: state_of(e, policy_of(server)) for e in entries
    }
    assert [o.id for o in offers] == [entry_id(e.kind, "s", e.name) for e in entries]


# --- virtual servers --------------------------------------------------------------------------------


def tools_of(*parts: str, **offered: list[str]) -> dict[str, tuple[str, str]]:
    """The tools of a composition; one that is held is written `name!`."""
    document = virtual_mcp("v", *parts)
    assert isinstance(document, VirtualMcpServer)
    there = {
        server: {name.rstrip("!"): not name.endswith("!") for name in names}
        for server, names in offered.items()
    }
    return virtual_tools(document, there)


def test_a_tool_keeps_its_name_where_it_is_the_only_one() -> None:
    assert tools_of("a", "b=y", a=["x"], b=["y", "z"]) == {"x": ("a", "x"), "y": ("b", "y")}


def test_a_held_tool_does_not_give_its_name_to_another() -> None:
    assert tools_of("a", "b", a=["x!"], b=["x"]) == {"b_x": ("b", "x")}
    assert tools_of("a=x", "b", a=[], b=["x"]) == {"b_x": ("b", "x")}


def test_a_name_that_would_stand_twice_stands_not_at_all() -> None:
    assert tools_of("a", "b", a=["x", "b_x"], b=["x"]) == {"a_x": ("a", "x")}
    assert tools_of("a", "b", a=["_x"], b=["_x"]) == {}


def test_generations_do_not_show_in_names_of_tools() -> None:
    house = House(mcp("a"), mcp("b"))
    house.delete(("mcp-server", "a"))
    house.put(mcp("a"), virtual_mcp("v", "a", "b"))
    house.put(merged("a~2", None, {"tool": [TOOL]}).catalogue)
    house.put(merged("b", None, {"tool": [TOOL]}).catalogue)
    assert house.estate.names.parts("v") == {"a_read": ("a~2", "read"), "b_read": ("b", "read")}
