"""A list shows exactly what some call would be allowed: over random estates, without HTTP in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.conditions import Context
from authz.engine import Engine
from authz.vocabulary import Kind, mcp_id
from identity.principal import CredentialKind, Principal
from policies.documents import Document, parse
from proxy.judge import Judge
from proxy.mcp.primitive import Primitive
from proxy.mcp.scope import Scope, Scopes, Thing
from proxy.mcp.servers import Servers
from proxy.mcp.view import ACTIONS, McpFacts, View
from tests.peers.estate import Snapshot
from tests.policies.estates import House, catalogue, mcp, policy, team, uid, user, virtual_mcp

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
ANN, BEN = "ann@example.com", "ben@example.com"
TEMPLATE = "demo://notes/{id}"
NAMES = {
    Primitive.TOOL: ("read", "write", "wipe"),
    Primitive.PROMPT: ("greet", "part"),
    Primitive.RESOURCE: ("demo://a", "demo://b"),
    Primitive.TEMPLATE: (TEMPLATE,),
}
KINDS = {
    "mcp-tool:call": Primitive.TOOL,
    "mcp-prompt:get": Primitive.PROMPT,
    "mcp-resource:read": Primitive.RESOURCE,
}


class NoHeaders:
    def getall(self, key: str, default: list[str], /) -> list[str]:
        return default


@dataclass
class World:
    """Documents as they stand, and who asks."""

    engine: Engine
    scopes: Scopes
    open_uris: bool = False  # whether a rule turns on the URI that a template is filled with

    def facts(self, who: str) -> McpFacts:
        principal = Principal(uid(who), "c-1", CredentialKind.PAT)
        return McpFacts(principal, NOW, "192.0.2.7", NoHeaders(), {}, {"env": "dev"})

    def view(self, who: str, scope: Scope) -> View:
        parts = SimpleNamespace(
            policy=SimpleNamespace(engine=self.engine),
            journal=SimpleNamespace(note=None),
            limits=SimpleNamespace(refusals_per_minute=1),
        )
        facts = self.facts(who)
        return View(scope, Judge(cast(Any, parts)), facts.principal, facts)

    def may(
        self, who: str, scope: Scope, thing: Thing, name: str, arguments: Mapping[str, Any]
    ) -> bool:
        """What a call of `name` comes to, decided as the service decides it."""
        facts = self.facts(who)
        if thing.primitive is Primitive.TOOL:
            facts.tool, facts.arguments = thing.own, arguments
        else:
            facts.uri = name
        action = ACTIONS[thing.primitive].value
        return bool(self.engine.decide(facts.principal, action, thing.id, Context(lazy=facts)))

    def callable(
        self, who: str, scope: Scope, primitive: Primitive, arguments: list[dict[str, Any]]
    ) -> set[str]:
        """The names of a kind for which some call is allowed."""
        found = set()
        for thing in list(scope.things(primitive)):
            said = [thing.name]
            if primitive is Primitive.TEMPLATE:
                said = [thing.name.replace("{id}", id) for id in ("1", "2")]
            things = [(name, meant) for name in said for meant in scope.named(primitive, name)]
            if primitive is Primitive.TEMPLATE:
                things = [(n, m) for n in said for m in scope.named(Primitive.RESOURCE, n)]
            if any(self.may(who, scope, m, n, one) for n, m in things for one in arguments):
                found.add(thing.name)
        return found


def world(*documents: Document) -> World:
    house = House(user(ANN), user(BEN), team("red", ANN), team("blue", ANN, BEN))
    kept: dict[tuple[str, str], Document] = {}
    for document in documents:
        for change in house.put(document).documents:
            if change.after is None:
                kept.pop(change.key, None)
            else:
                kept[change.key] = parse(change.after)
    servers = Servers()
    servers.load(Snapshot(kept.values()))
    return World(house.engine(), Scopes(servers))


SERVERS = (
    lambda grants: mcp("git", *grants),
    lambda grants: mcp("chat", *grants),
)
FOUND = {
    "prompt": NAMES[Primitive.PROMPT],
    "resource": NAMES[Primitive.RESOURCE],
    "template": NAMES[Primitive.TEMPLATE],
}

_subjects = st.sampled_from(["team:red", "team:blue", f"user:{ANN}", f"user:{BEN}", "any:user"])
_roles = st.lists(
    st.builds(lambda who: f"{who}=mcp-server-user", st.sampled_from(["team:red", "team:blue"])),
    max_size=1,
)
_items = st.sampled_from(
    [
        {"field": "tool.name", "operator": "EQUAL", "value": "read"},
        {"field": "resource.tool", "operator": "STRING_STARTS_WITH", "value": "w"},
        {"field": "resource.server", "operator": "EQUAL", "value": "git"},
        {"field": "time.hour", "operator": "LESS_THAN", "value": 12},
        {"field": "time.hour", "operator": "EQUAL", "value": 12},
        {"field": "client.ip", "operator": "IN_NETWORK", "value": ["192.0.2.0/24"]},
        {"field": "resource.uri", "operator": "EQUAL", "value": "demo://a"},
        {"field": "resource.uri", "operator": "STRING_ENDS_WITH", "value": "2"},
    ]
)
_arguments = st.sampled_from(
    [
        {"field": "tool.args.x", "operator": "EQUAL", "value": 1},
        {"field": "tool.args.x", "operator": "NOT_EQUAL", "value": 1},
        {"field": "tool.args.x", "operator": "EXISTS", "value": True},
        {"field": "tool.args.x", "operator": "GREATER_THAN", "value": 1},
        {"field": "tool.args.a.b", "operator": "IN", "value": [1, 2]},
    ]
)
CALLS: list[dict[str, Any]] = [
    {**({} if x is None else {"x": x}), **({} if b is None else {"a": {"b": b}})}
    for x in (None, 1, 2, 0)
    for b in (None, 1, 3)
]
_SUPPLIED = {
    "tool.name": {"mcp-tool:call"},
    "resource.tool": {"mcp-tool:call"},
    "resource.uri": {"mcp-resource:read"},
}


@st.composite
def _rules(draw: st.DrawFn, effect: str, about_arguments: str) -> dict[str, Any]:
    item = draw(st.none() | _items)
    actions = _SUPPLIED.get(item["field"], set(KINDS)) if item else set(KINDS)
    action = draw(st.sampled_from(sorted(actions)))
    when = [item] if item else []
    if about_arguments in (effect, "both") and action == "mcp-tool:call" and draw(st.booleans()):
        when.append(
            draw(st.shared(_arguments, key="one")) if effect == "allow" else draw(_arguments)
        )
    kind = action.partition(":")[0]
    server = draw(st.sampled_from(["git", "chat", "both", *(["*"] if effect == "deny" else [])]))
    names = [*NAMES[KINDS[action]], *(NAMES[Primitive.TEMPLATE] if "resource" in kind else ())]
    name = draw(st.sampled_from(names))
    rest = mcp_id(Kind(kind), server, name).partition("/")[2] if server != "*" else "*"
    resource = draw(st.sampled_from([f"{kind}:{server}/{rest}", f"{kind}:{server}/*"]))
    if server == "both" and kind != "mcp-tool":
        resource = f"{kind}:git/*"
    made = {
        "effect": effect,
        "subjects": [draw(_subjects)],
        "actions": [action],
        "resources": [resource],
    }
    return {**made, "when": when} if when else made


@st.composite
def _worlds(draw: st.DrawFn, about_arguments: str) -> World:
    documents: list[Document] = []
    for name, make in zip(("git", "chat"), SERVERS, strict=True):
        tools = draw(st.lists(st.sampled_from(NAMES[Primitive.TOOL]), unique=True, min_size=1))
        documents += [make(draw(_roles)), catalogue(name, *tools, **FOUND)]
    parts = draw(st.sampled_from([("git",), ("git", "chat"), ("git=read", "chat")]))
    grants = [
        {"subject": grant.partition("=")[0], "role_id": "mcp-server-user"} for grant in draw(_roles)
    ]
    documents.append(virtual_mcp("both", *parts, collaborators=grants))
    allows = draw(st.lists(_rules("allow", about_arguments), max_size=4))
    denies = draw(st.lists(_rules("deny", about_arguments), max_size=3))
    if allows or denies:
        documents.append(policy("random", *allows, *denies))
    made = world(*documents)
    fields = [item["field"] for rule in (*allows, *denies) for item in rule.get("when", ())]
    made.open_uris = "resource.uri" in fields
    return made


def _scopes(made: World) -> list[Scope]:
    found = [made.scopes.one(name) for name in ("git", "chat", "both")]
    assert all(found)
    return [*[scope for scope in found if scope is not None], made.scopes.everything()]


def _compared(made: World, arguments: list[dict[str, Any]]) -> list[tuple[set[str], set[str]]]:
    """What is listed and what can be called, for everybody, everywhere, of each kind."""
    pairs = []
    for who in (ANN, BEN):
        for scope in _scopes(made):
            view = made.view(who, scope)
            for primitive in Primitive:
                listed = {t.name for t in scope.things(primitive) if view.sees(t)}
                allowed = made.callable(who, scope, primitive, arguments)
                if primitive is Primitive.TEMPLATE and made.open_uris:
                    assert allowed <= listed  # what could be read is more than the few URIs here
                else:
                    pairs.append((listed, allowed))
    return pairs


@settings(max_examples=60, deadline=None)
@given(_worlds("none"))
def test_without_conditions_on_arguments_listed_is_allowed(made: World) -> None:
    for listed, allowed in _compared(made, [{}]):
        assert listed == allowed


@settings(max_examples=40, deadline=None)
@given(_worlds("allow"))
def test_what_is_listed_can_be_called_with_some_arguments(made: World) -> None:
    for listed, allowed in _compared(made, CALLS):
        assert listed == allowed


@settings(max_examples=40, deadline=None)
@given(_worlds("both"))
def test_what_can_be_called_with_any_arguments_is_listed(made: World) -> None:
    for listed, allowed in _compared(made, CALLS):
        assert allowed <= listed


# --- single cases -----------------------------------------------------------------------------------

READS = {
    "effect": "allow",
    "subjects": ["team:red"],
    "actions": ["mcp-tool:call"],
    "resources": ["mcp-tool:git/read"],
}


def _argument(path: str, arguments: dict[str, Any]) -> object:
    facts = world().facts(ANN)
    facts.arguments = arguments
    return facts(f"tool.args.{path}")


@pytest.mark.parametrize(
    ("path", "arguments", "found"),
    [
        ("a.b", {"a": {"b": 1}}, "1"),
        ("a.b", {"a.b": 1}, "MISSING"),
        ("a.b", {"a.b": 2, "a": {"b": 1}}, "1"),
        ("a", {"a": None}, "MISSING"),
        ("a.b", {"a": [{"b": 1}]}, "MISSING"),
        ("a.b", {"a": "b"}, "MISSING"),
        ("a", {}, "MISSING"),
        ("a", {"a": False}, "False"),
        ("a", {"a": 0}, "0"),
    ],
)
def test_a_dot_goes_one_object_deeper_and_never_stands_for_itself(
    path: str, arguments: dict[str, Any], found: str
) -> None:
    assert repr(_argument(path, arguments)) == found


def test_the_print_changes_with_what_is_seen_and_with_nothing_else() -> None:
    git, found = mcp("git", "team:red=mcp-server-user"), catalogue("git", "read", "write")
    base = world(git, found)
    one = base.scopes.one("git")
    assert one is not None
    before = base.view(ANN, one).print(Primitive.TOOL)
    other = world(git, found, mcp("chat"), catalogue("chat", "read"))
    assert other.view(ANN, _one(other)).print(Primitive.TOOL) == before
    denied = world(git, found, policy("p", {**READS, "effect": "deny"}))
    assert denied.view(ANN, _one(denied)).print(Primitive.TOOL) != before
    grown = world(git, catalogue("git", "read", "write", "wipe"))
    assert grown.view(ANN, _one(grown)).print(Primitive.TOOL) != before


def _one(made: World) -> Scope:
    scope = made.scopes.one("git")
    assert scope is not None
    return scope


def test_somebody_who_may_use_one_tool_reaches_the_endpoint_and_nobody_else_does() -> None:
    made = world(mcp("git"), catalogue("git", "read"), policy("p", READS))
    ann, ben = made.view(ANN, _one(made)), made.view(BEN, _one(made))
    assert (ann.reaches(), ann.uses(), ann.primitives()) == (True, False, {Primitive.TOOL})
    assert (ben.reaches(), ben.uses(), ben.primitives()) == (False, False, frozenset())


def test_a_composition_is_granted_by_itself_and_a_deny_on_what_it_stands_for_holds() -> None:
    grants = [{"subject": "team:red", "role_id": "mcp-server-user"}]
    documents = (
        mcp("git"),
        catalogue("git", "read", "write"),
        virtual_mcp("both", "git", collaborators=grants),
    )
    made = world(*documents)
    scope = made.scopes.one("both")
    assert scope is not None
    assert made.view(ANN, scope).visible(Primitive.TOOL) == {
        "mcp-tool:both/read",
        "mcp-tool:both/write",
    }
    assert not made.view(ANN, _one(made)).reaches()
    denied = world(*documents, policy("p", {**READS, "effect": "deny"}))
    scope = denied.scopes.one("both")
    assert scope is not None
    assert denied.view(ANN, scope).visible(Primitive.TOOL) == {"mcp-tool:both/write"}
