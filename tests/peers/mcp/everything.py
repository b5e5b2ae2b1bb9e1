"""A server of our own that offers everything the protocol has, in both generations.

`python -m tests.peers.mcp.everything --port N` serves `http://127.0.0.1:N/mcp` and passes both legs of the public
conformance suite; `--record FILE` writes down every request that arrives, `--oauth SECONDS` makes it ask for
tokens of its own authorization server.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.auth.provider import ProviderTokenVerifier
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from starlette.types import ASGIApp

from tests.peers.mcp import asking, content, reading, rounds
from tests.peers.mcp.authority import Authority
from tests.peers.mcp.recording import Recorder
from tests.peers.mcp.shelf import Answer, Context, Shelf, said

NAME = "everything"
CACHEABLE: tuple[CacheableMethod, ...] = (
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
)
RETRY_MILLISECONDS = 200


class Events(EventStore):
    """All events of all streams, for clients that come back."""

    def __init__(self) -> None:
        self._events: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(
        self, last_event_id: str, send_callback: EventCallback
    ) -> str | None:
        if not last_event_id.isdecimal() or not 0 < int(last_event_id) <= len(self._events):
            return None
        last = int(last_event_id)
        stream = self._events[last - 1][0]
        for number, (of, message) in enumerate(self._events[last:], last + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def tools(bus: InMemorySubscriptionBus) -> Shelf:
    """All tools, with those that change a list and tell listeners of it."""
    shelf = Shelf()
    for part in (content.shelf, asking.shelf, rounds.shelf):
        shelf.add(part)
    extra = Shelf()

    @extra.tool("Is there after every other change of the tools")
    async def test_extra_tool(ctx: Context, params: types.CallToolRequestParams) -> Answer:
        return said("still here")

    @shelf.tool("Adds a tool or takes it away, and tells all listeners")
    async def test_trigger_tool_change(ctx: Context, params: types.CallToolRequestParams) -> Answer:
        shelf.toggle(extra)
        await bus.publish(ToolsListChanged())
        await ctx.session.send_tool_list_changed()
        return said("told")

    @shelf.tool("Adds a prompt or takes it away, and tells all listeners")
    async def test_trigger_prompt_change(
        ctx: Context, params: types.CallToolRequestParams
    ) -> Answer:
        reading.toggle_extra_prompt()
        await bus.publish(PromptsListChanged())
        await ctx.session.send_prompt_list_changed()
        return said("told")

    return shelf


class Everything(Server[dict[str, Any]]):
    """Tells sessions too that its lists change."""

    def create_initialization_options(
        self, notification_options: NotificationOptions | None = None, *args: Any, **more: Any
    ) -> InitializationOptions:
        told = notification_options or NotificationOptions(
            prompts_changed=True, resources_changed=True, tools_changed=True
        )
        return super().create_initialization_options(told, *args, **more)


def server(name: str = NAME) -> Server[dict[str, Any]]:
    """The server itself, for any transport."""
    bus = InMemorySubscriptionBus()
    shelf = tools(bus)

    async def list_tools(ctx: Context, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=list(shelf))

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> Answer:
        offered = shelf.get(params.name)
        if offered is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
        missing = set(offered.tool.input_schema.get("required", ())) - set(params.arguments or {})
        if missing:
            return said(f"missing arguments: {', '.join(sorted(missing))}", is_error=True)
        return await offered.call(ctx, params)

    async def list_resources(ctx: Context, params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=reading.RESOURCES)

    async def list_templates(ctx: Context, params: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=reading.TEMPLATES)

    async def read_resource(
        ctx: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        return reading.read(str(params.uri))

    async def list_prompts(ctx: Context, params: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=reading.PROMPTS)

    async def get_prompt(
        ctx: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        return await reading.get_prompt(params)

    async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        return reading.complete(params)

    async def accept(ctx: Context, params: Any) -> types.EmptyResult:
        return types.EmptyResult()

    def schema(tool: str) -> dict[str, Any] | None:
        offered = shelf.get(tool)
        return None if offered is None else offered.tool.input_schema

    built = Everything(
        name,
        version="1.0",
        instructions="everything there is",
        cache_hints={method: CacheHint(60_000, "public") for method in CACHEABLE},
        get_tool_input_schema=schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=accept,
        on_unsubscribe_resource=accept,
        on_subscriptions_listen=ListenHandler(bus),
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=accept,
    )
    security = RequestStateSecurity.ephemeral()
    built.middleware.append(RequestStateBoundary(security, default_audience=name))
    return built


def app(
    name: str = NAME,
    *,
    json_response: bool = False,
    authority: Authority | None = None,
    record: Path | None = None,
) -> ASGIApp:
    """The server over HTTP at `/mcp`."""
    serving: ASGIApp = server(name).streamable_http_app(
        event_store=Events(),
        retry_interval=RETRY_MILLISECONDS,
        json_response=json_response,
        auth=authority.settings if authority else None,
        auth_server_provider=authority,
        token_verifier=ProviderTokenVerifier(authority) if authority else None,
    )
    return serving if record is None else Recorder(serving, record)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--port", type=int, required=True)
    asked.add_argument("--record", type=Path)
    asked.add_argument("--name", default=NAME)
    asked.add_argument(
        "--json", action="store_true", help="answer sessions in JSON, not in streams"
    )
    asked.add_argument(
        "--oauth", type=int, metavar="SECONDS", help="ask for tokens, which live so long"
    )
    given = asked.parse_args()
    warnings.simplefilter("ignore", MCPDeprecationWarning)  # what 2025 had is what we serve
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    authority = None
    if given.oauth is not None:
        issuer = f"http://localhost:{given.port}"
        authority = Authority(issuer, f"{issuer}/mcp", given.oauth)
    serving = app(given.name, json_response=given.json, authority=authority, record=given.record)
    uvicorn.run(serving, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
