"""The built-in server: three tools, a prompt and a resource, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from proxy.mcp.echo import EchoServer
from proxy.mcp.local import InvalidArguments, LocalServer
from proxy.mcp.primitive import Primitive
from tests.proxy.mcp.openapi.shed import ANN

NOON = datetime(2026, 3, 4, 13, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.fixture
def server() -> LocalServer:
    return EchoServer(lambda: NOON)


async def test_it_offers_what_the_demo_shows(server: LocalServer) -> None:
    named = {
        kind: [item[kind.member] for item in await server.definitions(kind)] for kind in Primitive
    }
    assert named == {
        Primitive.TOOL: ["say", "add", "clock"],
        Primitive.PROMPT: ["greet"],
        Primitive.RESOURCE: ["demo://readme"],
        Primitive.TEMPLATE: [],
    }
    for tool in await server.definitions(Primitive.TOOL):
        Draft202012Validator.check_schema(tool["inputSchema"])
        assert tool["annotations"]["readOnlyHint"] is True
    assert server.info["name"] == "echo"
    assert server.instructions


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("say", {"text": "hällo"}, "hällo"),
        ("add", {"a": 1, "b": 2}, "3"),
        ("add", {"a": 0.5, "b": 2}, "2.5"),
        ("clock", {}, "2026-03-04T12:00:00Z"),
    ],
)
async def test_its_tools_answer(
    server: LocalServer, tool: str, arguments: dict[str, Any], text: str
) -> None:
    result = await server.call(tool, arguments, ANN)
    assert result["content"] == [{"type": "text", "text": text}]
    assert "isError" not in result


async def test_a_sum_is_structured_as_its_schema_says(server: LocalServer) -> None:
    result = await server.call("add", {"a": 1, "b": 2}, ANN)
    assert result["structuredContent"] == {"sum": 3}
    add = (await server.definitions(Primitive.TOOL))[1]
    Draft202012Validator(add["outputSchema"]).validate(result["structuredContent"])


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("say", {}),
        ("say", {"text": 1}),
        ("say", {"text": "a", "more": 1}),
        ("add", {"a": "1", "b": 2}),
        ("add", {"a": True, "b": 2}),
        ("add", {"a": 1e308, "b": 1e308}),
        ("add", {"a": 10**400, "b": 0.5}),
        ("clock", {"zone": "CET"}),
    ],
)
async def test_arguments_must_fit(
    server: LocalServer, tool: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArguments):
        await server.call(tool, arguments, ANN)


async def test_its_prompt_and_its_resource(server: LocalServer) -> None:
    prompt = await server.prompt("greet", {"name": "Ann"})
    assert "greets Ann" in prompt["messages"][0]["content"]["text"]
    content = (await server.read("demo://readme"))["contents"][0]
    assert content["mimeType"] == "text/plain"
    assert "tells the time" in content["text"]
    assert await server.complete(Primitive.PROMPT, "greet", "name", "A") == ()
    with pytest.raises(InvalidArguments):
        await server.prompt("greet", {})


async def test_what_it_does_not_have_is_unknown(server: LocalServer) -> None:
    with pytest.raises(KeyError):
        await server.call("shout", {}, ANN)
    with pytest.raises(KeyError):
        await server.prompt("insult", {"name": "Ann"})
    with pytest.raises(KeyError):
        await server.read("demo://other")
