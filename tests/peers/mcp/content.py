"""Tools that answer by themselves: kinds of content, errors, progress, logs, schemas."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

from tests.peers.mcp.shelf import NO_ARGUMENTS, Answer, Context, Shelf, said, takes

STRING = {"type": "string"}
TICK = 0.05
"""How long the tools that report on themselves work on each of their steps."""

shelf = Shelf()


def _png() -> str:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00\xff\x00\x00")
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


def _wav() -> str:
    """Eight silent samples."""
    samples = b"\x80" * 8
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    data = b"data" + struct.pack("<I", len(samples)) + samples
    body = b"WAVE" + form + data
    return base64.b64encode(b"RIFF" + struct.pack("<I", len(body)) + body).decode()


PNG = _png()
WAV = _wav()


@shelf.tool("Answers with one text")
async def test_simple_text(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return said("This is a simple text response for testing.")


@shelf.tool("Answers with an image")
async def test_image_content(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return types.CallToolResult(content=[types.ImageContent(data=PNG, mime_type="image/png")])


@shelf.tool("Answers with a sound")
async def test_audio_content(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return types.CallToolResult(content=[types.AudioContent(data=WAV, mime_type="audio/wav")])


@shelf.tool("Answers with a resource inside the result")
async def test_embedded_resource(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    inside = types.TextResourceContents(
        uri="test://embedded-resource",
        mime_type="text/plain",
        text="This is an embedded resource content.",
    )
    return types.CallToolResult(content=[types.EmbeddedResource(resource=inside)])


@shelf.tool("Answers with a text, an image and a resource")
async def test_multiple_content_types(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    inside = types.TextResourceContents(
        uri="test://mixed-content-resource",
        mime_type="application/json",
        text=json.dumps({"test": "data", "value": 123}),
    )
    return types.CallToolResult(
        content=[
            types.TextContent(text="Multiple content types test:"),
            types.ImageContent(data=PNG, mime_type="image/png"),
            types.EmbeddedResource(resource=inside),
        ]
    )


@shelf.tool("Always fails")
async def test_error_handling(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return said("This tool intentionally returns an error for testing", is_error=True)


@shelf.tool("Tells how far it is")
async def test_tool_with_progress(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100)
        await asyncio.sleep(TICK)
    return said("the work is done")


async def _log(ctx: Context, text: str) -> None:
    await ctx.session.send_log_message("info", text, related_request_id=ctx.request_id)


@shelf.tool("Logs what it does")
async def test_tool_with_logging(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    for step in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await _log(ctx, step)
        await asyncio.sleep(TICK)
    return said("three lines were logged")


@shelf.tool("Logs one line, if the caller wants logs")
async def test_logging_tool(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    await _log(ctx, "one line")
    return said("logged")


@shelf.tool("Closes its stream in the middle of the call, and answers on the next one")
async def test_reconnection(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    await asyncio.sleep(2 * TICK)  # the stream has begun by then, with the event to come back to
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await asyncio.sleep(2 * TICK)
    return said("the result came after the stream had been closed")


@shelf.tool("Needs a client that can sample")
async def test_missing_capability(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    needed = types.ClientCapabilities(sampling=types.SamplingCapability())
    if ctx.session.check_client_capability(needed):
        return said("the client can sample")
    missing = types.MissingRequiredClientCapabilityErrorData(required_capabilities=needed)
    raise MCPError(
        types.MISSING_REQUIRED_CLIENT_CAPABILITY,
        "the client did not declare `sampling`",
        missing.model_dump(by_alias=True, mode="json", exclude_none=True),
    )


@shelf.tool(
    "Has the newer words of JSON Schema",
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": STRING, "city": STRING},
            }
        },
        "properties": {
            "name": STRING,
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": STRING,
            "email": STRING,
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
)
async def json_schema_2020_12_tool(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return said(json.dumps(params.arguments or {}, sort_keys=True))


REGION: dict[str, Any] = {**STRING, "x-mcp-header": "Region"}


@shelf.tool("Has an argument that travels in a header too", takes(region=REGION, query=STRING))
async def query_region(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    asked = params.arguments or {}
    return said(f"{asked['query']} in {asked['region']}")


@shelf.tool("Answers with what it was given", takes(text=STRING))
async def echo(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return said(str((params.arguments or {})["text"]))


@shelf.tool(
    "Answers with an object that has a schema",
    takes(order=STRING),
    output_schema=takes(order=STRING, state=STRING, card=STRING),
    annotations=types.ToolAnnotations(read_only_hint=True),
)
async def order_status(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    found = {"order": (params.arguments or {})["order"], "state": "shipped", "card": "4111-1111"}
    return said(json.dumps(found), structured_content=found)


@shelf.tool("Answers after some time", takes(seconds={"type": "number"}))
async def wait(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    await asyncio.sleep(float((params.arguments or {})["seconds"]))
    return said("waited")


@shelf.tool("Answers with many characters", takes(size={"type": "integer"}))
async def large_text(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return said("x" * int((params.arguments or {})["size"]))


@shelf.tool(
    "Would delete something", NO_ARGUMENTS, annotations=types.ToolAnnotations(destructive_hint=True)
)
async def delete_everything(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return said("everything is gone")
