"""What an MCP server offers: tools, prompts, resources and templates of resources."""

from __future__ import annotations

from enum import StrEnum


class Primitive(StrEnum):
    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"  # one fixed URI
    TEMPLATE = "template"  # a URI template (RFC 6570)

    @property
    def member(self) -> str:
        """The field of a definition that names it."""
        return _MEMBER[self]

    @property
    def listed(self) -> str:
        """The field of a list result that holds the definitions."""
        return _LISTED[self]


_MEMBER = {
    Primitive.TOOL: "name",
    Primitive.PROMPT: "name",
    Primitive.RESOURCE: "uri",
    Primitive.TEMPLATE: "uriTemplate",
}
_LISTED = {
    Primitive.TOOL: "tools",
    Primitive.PROMPT: "prompts",
    Primitive.RESOURCE: "resources",
    Primitive.TEMPLATE: "resourceTemplates",
}
