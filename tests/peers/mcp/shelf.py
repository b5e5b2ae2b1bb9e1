"""Where the everything-server keeps its tools: a name, what is advertised, and what a call does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

Context = ServerRequestContext[Any, Any]
Answer = types.CallToolResult | types.InputRequiredResult
Call = Callable[[Context, types.CallToolRequestParams], Awaitable[Answer]]

NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool as it is listed, and its code."""

    tool: types.Tool
    call: Call


class Shelf:
    """Tools by name, listed in the order in which they were put there."""

    def __init__(self) -> None:
        self._offered: dict[str, Offered] = {}

    def tool(
        self, description: str, schema: dict[str, Any] = NO_ARGUMENTS, **more: Any
    ) -> Callable[[Call], Call]:
        """Offers a function under its own name; `more` are other fields of the listing."""

        def offer(call: Call) -> Call:
            name = call.__name__
            listed = types.Tool(name=name, description=description, input_schema=schema, **more)
            self._offered[name] = Offered(listed, call)
            return call

        return offer

    def add(self, other: Shelf) -> None:
        self._offered.update(other._offered)

    def toggle(self, other: Shelf) -> None:
        """Takes the other's tools away if they are here, else adds them."""
        for name, offered in other._offered.items():
            if self._offered.pop(name, None) is None:
                self._offered[name] = offered

    def get(self, name: str) -> Offered | None:
        return self._offered.get(name)

    def __iter__(self) -> Iterator[types.Tool]:
        return (offered.tool for offered in self._offered.values())


def takes(**properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of arguments that are all required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def said(text: str, **more: Any) -> types.CallToolResult:
    """A result of one text."""
    return types.CallToolResult(content=[types.TextContent(text=text)], **more)
