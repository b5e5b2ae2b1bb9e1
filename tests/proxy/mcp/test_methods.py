"""The whole table, line by line, and that nothing outside it is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from authz.vocabulary import Action
from proxy.mcp import jsonrpc
from proxy.mcp.era import Generation
from proxy.mcp.jsonrpc import InvalidMessage, Kind
from proxy.mcp.methods import (
    INPUT_REQUESTS,
    TABLE,
    Asked,
    Direction,
    Rule,
    Shape,
    Target,
    asked,
    rule,
)
from proxy.mcp.primitive import Primitive

S, N = Generation.SESSIONS, Generation.STATELESS
C, V = Direction.CLIENT, Direction.SERVER
REQ, NOTE = Kind.REQUEST, Kind.NOTIFICATION
USE, CALL, GET, READ = "mcp-server:use", "mcp-tool:call", "mcp-prompt:get", "mcp-resource:read"

# generations, direction, kind, method, shape, action, primitive, capability, target
MATRIX = [
    # start
    ("S", C, REQ, "initialize", "start", USE, "", "", ""),
    ("N", C, REQ, "server/discover", "start", USE, "", "", ""),
    # tools
    ("SN", C, REQ, "tools/list", "list", CALL, "tool", "tools", ""),
    ("SN", C, REQ, "tools/call", "call", CALL, "tool", "tools", "params.name"),
    ("SN", V, NOTE, "notifications/tools/list_changed", "notice", CALL, "tool", "tools", ""),
    # prompts
    ("SN", C, REQ, "prompts/list", "list", GET, "prompt", "prompts", ""),
    ("SN", C, REQ, "prompts/get", "call", GET, "prompt", "prompts", "params.name"),
    ("SN", V, NOTE, "notifications/prompts/list_changed", "notice", GET, "prompt", "prompts", ""),
    # resources
    ("SN", C, REQ, "resources/list", "list", READ, "resource", "resources", ""),
    ("SN", C, REQ, "resources/templates/list", "list", READ, "template", "resources", ""),
    ("SN", C, REQ, "resources/read", "read", READ, "resource", "resources", "params.uri"),
    (
        "S",
        C,
        REQ,
        "resources/subscribe",
        "read",
        READ,
        "resource",
        "resources.subscribe",
        "params.uri",
    ),
    (
        "S",
        C,
        REQ,
        "resources/unsubscribe",
        "control",
        "",
        "resource",
        "resources.subscribe",
        "params.uri",
    ),
    (
        "SN",
        V,
        NOTE,
        "notifications/resources/list_changed",
        "notice",
        READ,
        "resource",
        "resources",
        "",
    ),
    (
        "SN",
        V,
        NOTE,
        "notifications/resources/updated",
        "notice",
        READ,
        "resource",
        "resources.subscribe",
        "params.uri",
    ),
    # completion, logging, subscriptions
    ("SN", C, REQ, "completion/complete", "complete", "", "", "completions", "params.ref"),
    ("S", C, REQ, "logging/setLevel", "control", USE, "", "logging", ""),
    ("SN", V, NOTE, "notifications/message", "notice", "", "", "logging", ""),
    ("N", C, REQ, "subscriptions/listen", "listen", USE, "", "", "params.notifications"),
    (
        "N",
        V,
        NOTE,
        "notifications/subscriptions/acknowledged",
        "listen",
        "",
        "",
        "",
        "params.notifications",
    ),
    # the connection
    ("S", C, REQ, "ping", "control", USE, "", "", ""),
    ("S", V, REQ, "ping", "control", "", "", "", ""),
    ("S", C, NOTE, "notifications/initialized", "control", "", "", "", ""),
    ("SN", C, NOTE, "notifications/cancelled", "control", "", "", "", "params.requestId"),
    ("S", V, NOTE, "notifications/cancelled", "control", "", "", "", "params.requestId"),
    ("S", C, NOTE, "notifications/progress", "control", "", "", "", "params.progressToken"),
    ("SN", V, NOTE, "notifications/progress", "control", "", "", "", "params.progressToken"),
    ("S", C, NOTE, "notifications/roots/list_changed", "notice", "", "", "", ""),
    # what a server asks
    ("S", V, REQ, "sampling/createMessage", "ask", "", "", "sampling", ""),
    ("S", V, REQ, "elicitation/create", "ask", "", "", "elicitation", ""),
    ("S", V, REQ, "roots/list", "ask", "", "", "roots", ""),
    ("S", V, NOTE, "notifications/elicitation/complete", "notice", "", "", "elicitation", ""),
    # tasks, of either side
    *(
        ("S", direction, REQ, f"tasks/{verb}", shape, "", "", capability, target)
        for direction in (C, V)
        for verb, shape, capability, target in (
            ("get", "task", "tasks", "params.taskId"),
            ("result", "task", "tasks", "params.taskId"),
            ("cancel", "task", "tasks.cancel", "params.taskId"),
            ("list", "list", "tasks.list", ""),
        )
    ),
    ("S", C, NOTE, "notifications/tasks/status", "task", "", "", "tasks", "params.taskId"),
    ("S", V, NOTE, "notifications/tasks/status", "task", "", "", "tasks", "params.taskId"),
]
EXPECTED = {
    ({"S": S, "N": N}[generation], direction, kind, method): Rule(
        method,
        Shape(shape),
        Action(action) if action else None,
        Primitive(primitive) if primitive else None,
        capability or None,
        Target(target),
        durable_before=method == "tools/call",
    )
    for generations, direction, kind, method, shape, action, primitive, capability, target in MATRIX
    for generation in generations
}


def test_the_table_is_what_is_written_here() -> None:
    assert dict(TABLE) == EXPECTED


@pytest.mark.parametrize("generation", Generation)
@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("kind", [REQ, NOTE, Kind.RESPONSE])
def test_each_method_in_each_place_is_as_written_or_denied(
    generation: Generation, direction: Direction, kind: Kind
) -> None:
    every = {method for _, _, _, method in EXPECTED} | {
        "",
        "nope/nope",
        "Tools/Call",
        "tools/call ",
        "tools/delete",
        "notifications/nope",
        "rpc.discover",
        "tasks/update",
    }
    for method in every:
        assert rule(generation, method, direction, kind) == EXPECTED.get(
            (generation, direction, kind, method)
        )


def test_only_the_start_is_never_refused_and_only_a_call_of_a_tool_waits_for_the_disk() -> None:
    started = {key[3] for key, held in TABLE.items() if held.shape is Shape.START}
    assert started == {"initialize", "server/discover"}
    assert {key[3] for key, held in TABLE.items() if held.durable_before} == {"tools/call"}


def test_every_request_of_a_client_that_names_a_thing_has_a_question() -> None:
    for (_, direction, kind, method), held in TABLE.items():
        if direction is C and kind is REQ and held.target in (Target.NAME, Target.URI):
            assert held.action is not None or method == "resources/unsubscribe"
            assert held.primitive is not None


def test_a_stateless_server_asks_inside_results_only() -> None:
    assert set(INPUT_REQUESTS) == {"sampling/createMessage", "elicitation/create", "roots/list"}
    assert not any(g is N and d is V and k is REQ for g, d, k, _ in TABLE)


def question(method: str, params: dict[str, Any]) -> Asked | None:
    found = rule(S, method, C)
    assert found is not None
    return asked(found, jsonrpc.parse(jsonrpc.request(9, method, params)))


def test_the_question_is_about_what_the_params_name() -> None:
    assert question("tools/call", {"name": "add"}) == Asked(
        Action.MCP_TOOL_CALL, Primitive.TOOL, "add"
    )
    assert question("prompts/get", {"name": "greet"}) == Asked(
        Action.MCP_PROMPT_GET, Primitive.PROMPT, "greet"
    )
    read = Asked(Action.MCP_RESOURCE_READ, Primitive.RESOURCE, "demo://x")
    assert question("resources/read", {"uri": "demo://x"}) == read
    assert question("resources/subscribe", {"uri": "demo://x"}) == read
    assert question(
        "completion/complete", {"ref": {"type": "ref/prompt", "name": "greet"}}
    ) == Asked(Action.MCP_PROMPT_GET, Primitive.PROMPT, "greet")
    assert question(
        "completion/complete", {"ref": {"type": "ref/resource", "uri": "demo://{id}"}}
    ) == Asked(Action.MCP_RESOURCE_READ, Primitive.TEMPLATE, "demo://{id}")
    for method in ("tools/list", "ping", "initialize", "tasks/get"):
        assert question(method, {"name": "add", "uri": "x", "taskId": "t"}) is None
    assert question("resources/unsubscribe", {"uri": "demo://x"}) is None


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {}),
        ("tools/call", {"name": 1}),
        ("tools/call", {"name": ""}),
        ("tools/call", {"uri": "x"}),
        ("resources/read", {"name": "x"}),
        ("completion/complete", {}),
        ("completion/complete", {"ref": "x"}),
        ("completion/complete", {"ref": {"type": "ref/tool", "name": "x"}}),
        ("completion/complete", {"ref": {"type": [], "name": "x"}}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "uri": "x"}}),
        ("completion/complete", {"ref": {"type": "ref/resource", "name": "x"}}),
        ("resources/unsubscribe", {}),
    ],
)
def test_without_a_name_there_is_no_question(method: str, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage) as caught:
        question(method, params)
    assert (caught.value.rpc_code, caught.value.id) == (-32602, 9)
