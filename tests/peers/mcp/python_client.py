"""A client on the Python SDK, as a process: connects, does what it is asked, prints one JSON object.

`python -m tests.peers.mcp.python_client '{"url": ..., "era": "legacy" | "auto", "headers": {}, "actions": [...]}'`
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import mcp_types as types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError

VALUES = {"boolean": True, "integer": 1, "number": 1}


async def fill(context: Any, asked: types.ElicitRequestParams) -> types.ElicitResult:
    """Answers every form by the kinds of its fields, so that a call that asks goes on by itself."""
    schema = asked.requested_schema if isinstance(asked, types.ElicitRequestFormParams) else {}
    content: dict[str, Any] = {}
    for name, field in schema.get("properties", {}).items():
        content[name] = field["enum"][0] if "enum" in field else VALUES.get(field["type"], "Ada")
    return types.ElicitResult(action="accept", content=content)


async def call(client: Client, method: str, params: dict[str, Any]) -> Any:
    match method:
        case "tools/list":
            return await client.list_tools(**params)
        case "tools/call":
            return await client.call_tool(**params)
        case "prompts/list":
            return await client.list_prompts(**params)
        case "prompts/get":
            return await client.get_prompt(**params)
        case "resources/list":
            return await client.list_resources(**params)
        case "resources/templates/list":
            return await client.list_resource_templates(**params)
        case "resources/read":
            return await client.read_resource(**params)
        case "ping":
            return await client.send_ping()
    raise ValueError(f"no such action: `{method}`")


def described(error: BaseException) -> dict[str, Any]:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said: dict[str, Any] = {
        "kind": type(error).__name__,
        "code": None,
        "message": str(error),
        "data": None,
    }
    if isinstance(error, MCPError):
        said |= {"code": error.error.code, "message": error.error.message, "data": error.error.data}
    return said


async def run(asked: dict[str, Any]) -> dict[str, Any]:
    outcomes: list[dict[str, Any]] = []
    report: dict[str, Any] = {"version": None, "server": None, "failed": None, "outcomes": outcomes}
    try:
        async with (
            create_mcp_http_client(headers=asked["headers"]) as http,
            Client(
                streamable_http_client(asked["url"], http_client=http),
                mode=asked["era"],
                elicitation_callback=fill,  # type: ignore[arg-type]
            ) as client,
        ):
            report["version"] = client.protocol_version
            report["server"] = client.server_info.name if client.server_info else None
            for method, params in asked["actions"]:
                try:
                    got = await call(client, method, params)
                    result = got.model_dump(by_alias=True, mode="json", exclude_none=True)
                    outcomes.append({"result": result})
                except Exception as error:
                    outcomes.append({"error": described(error)})
    except Exception as error:
        report["failed"] = described(error)
    return report


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
