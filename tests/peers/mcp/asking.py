"""Tools that ask the client in mid-call, as sessions until 2025-11-25 do it: sampling and elicitation."""

from __future__ import annotations

import json
from typing import Any

import mcp_types as types

from tests.peers.mcp.shelf import Answer, Context, Shelf, said, takes

STRING = {"type": "string"}

shelf = Shelf()


def _lacks(
    ctx: Context, needed: types.ClientCapabilities, word: str
) -> types.CallToolResult | None:
    if ctx.session.check_client_capability(needed):
        return None
    return said(f"the client did not declare `{word}`", is_error=True)


async def _elicit(ctx: Context, message: str, schema: dict[str, Any], start: str) -> Answer:
    """Asks the person at the client, and says what came back."""
    needed = types.ClientCapabilities(elicitation=types.ElicitationCapability())
    if lacks := _lacks(ctx, needed, "elicitation"):
        return lacks
    got = await ctx.session.elicit_form(message, schema, ctx.request_id)
    return said(f"{start}: action={got.action}, content={json.dumps(got.content or {})}")


@shelf.tool("Lets the client's model answer", takes(prompt=STRING))
async def test_sampling(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    needed = types.ClientCapabilities(sampling=types.SamplingCapability())
    if lacks := _lacks(ctx, needed, "sampling"):
        return lacks
    asked = types.TextContent(text=str((params.arguments or {})["prompt"]))
    got = await ctx.session.create_message(
        [types.SamplingMessage(role="user", content=asked)],
        max_tokens=100,
        related_request_id=ctx.request_id,
    )
    text = got.content.text if isinstance(got.content, types.TextContent) else "not a text"
    return said(f"LLM response: {text}")


@shelf.tool("Asks the person at the client", takes(message=STRING))
async def test_elicitation(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    schema = takes(
        username={**STRING, "description": "User's response"},
        email={**STRING, "description": "User's email address"},
    )
    del schema["additionalProperties"]
    return await _elicit(ctx, str((params.arguments or {})["message"]), schema, "User response")


@shelf.tool("Asks with a default for every kind of value")
async def test_elicitation_sep1034_defaults(
    ctx: Context, params: types.CallToolRequestParams
) -> Answer:
    properties: dict[str, Any] = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    }
    schema = {"type": "object", "properties": properties}
    return await _elicit(ctx, "Please look through these values", schema, "Elicitation completed")


def _titled(word: str) -> list[dict[str, str]]:
    numbers = enumerate(("First", "Second", "Third"), 1)
    return [{"const": f"value{n}", "title": f"{ordinal} {word}"} for n, ordinal in numbers]


@shelf.tool("Asks with every kind of choice")
async def test_elicitation_sep1330_enums(
    ctx: Context, params: types.CallToolRequestParams
) -> Answer:
    plain = {"type": "string", "enum": ["option1", "option2", "option3"]}
    properties: dict[str, Any] = {
        "untitledSingle": plain,
        "titledSingle": {"type": "string", "oneOf": _titled("Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": plain},
        "titledMulti": {"type": "array", "items": {"anyOf": _titled("Choice")}},
    }
    schema = {"type": "object", "properties": properties}
    return await _elicit(ctx, "Please choose", schema, "Elicitation completed")
