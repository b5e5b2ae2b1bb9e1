"""The built-in MCP server: three tools, a prompt and a resource, so that demo and tests need no outside.

It says back what it gets and touches nothing. Like the echo provider of models it has no account anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from identity.principal import Principal
from proxy.mcp.arguments import Arguments
from proxy.mcp.local import InvalidArguments
from proxy.mcp.primitive import Primitive

_LONGEST = 64 * 1024  # characters of a text that is said back

_TOOLS: Sequence[Mapping[str, Any]] = (
    {
        "name": "say",
        "title": "Say",
        "description": "Says the text back.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string", "maxLength": _LONGEST}},
            "required": ["text"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False},
    },
    {
        "name": "add",
        "title": "Add",
        "description": "Adds two numbers.",
        "inputSchema": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
        "outputSchema": {
            "type": "object",
            "properties": {"sum": {"type": "number"}},
            "required": ["sum"],
        },
        "annotations": {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False},
    },
    {
        "name": "clock",
        "title": "Clock",
        "description": "Tells the time in UTC.",
        "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False},
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
)
_PROMPTS: Sequence[Mapping[str, Any]] = (
    {
        "name": "greet",
        "title": "Greet",
        "description": "Asks for a greeting of somebody.",
        "arguments": [{"name": "name", "description": "who is greeted", "required": True}],
    },
)
_README = "demo://readme"
_RESOURCES: Sequence[Mapping[str, Any]] = (
    {
        "uri": _README,
        "name": "readme",
        "title": "About this server",
        "description": "What this server is for.",
        "mimeType": "text/plain",
    },
)
_TEXT = """This server is part of the gateway and answers in its process.

say    says a text back
add    adds two numbers and gives a structured answer
clock  tells the time in UTC
greet  is a prompt that asks for a greeting

Which of these somebody sees is decided for each of them: ask as different people and compare.
"""


class EchoServer:
    """A `LocalServer` without anything behind it."""

    info: Mapping[str, Any] = {"name": "echo", "title": "Echo", "version": "1.0.0"}
    instructions = "A server to try things with. It has no data and changes nothing."

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._checks = {tool["name"]: Arguments(tool["inputSchema"]) for tool in _TOOLS}

    async def definitions(self, primitive: Primitive) -> Sequence[Mapping[str, Any]]:
        match primitive:
            case Primitive.TOOL:
                return _TOOLS
            case Primitive.PROMPT:
                return _PROMPTS
            case Primitive.RESOURCE:
                return _RESOURCES
            case Primitive.TEMPLATE:
                return ()

    async def call(
        self, tool: str, arguments: Mapping[str, Any], principal: Principal
    ) -> Mapping[str, Any]:
        self._checks[tool].check(arguments)
        match tool:
            case "say":
                return _said(arguments["text"])
            case "add":
                total = _sum(arguments["a"], arguments["b"])
                return {**_said(str(total)), "structuredContent": {"sum": total}}
            case _:
                now = self._now().astimezone(UTC)
                return _said(now.isoformat(timespec="seconds").replace("+00:00", "Z"))

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> Mapping[str, Any]:
        if name != "greet":
            raise KeyError(name)
        if set(arguments) != {"name"} or not isinstance(arguments["name"], str):
            raise InvalidArguments("`greet` takes one argument, `name`, which is text")
        text = f"Write one friendly sentence that greets {arguments['name'][:200]}."
        return {
            "description": "Asks for a greeting of somebody.",
            "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
        }

    async def read(self, uri: str) -> Mapping[str, Any]:
        if uri != _README:
            raise KeyError(uri)
        return {"contents": [{"uri": _README, "mimeType": "text/plain", "text": _TEXT}]}

    async def complete(
        self, primitive: Primitive, name: str, argument: str, value: str
    ) -> Sequence[str]:
        return ()


def _said(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def _sum(a: float, b: float) -> float:
    """Raises InvalidArguments: the sum is more than JSON can say."""
    try:
        total = a + b
        if abs(total) <= 1e300:
            return total
    except OverflowError:
        pass
    raise InvalidArguments("`a` and `b` are too large to be added")
