"""A whole gateway with the demo estate in this process, an MCP server that does as it is told, and a client of few words.

async with house(tmp_path, monkeypatch) as gate, Scripted() as server:
    await gate.apply(server.manifest("github", collaborators=["team:search"]))
    alice = await gate.session("alice", "github")
    assert await alice.names("tools") == ["list_issues"]
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from ruamel.yaml import YAML

from conf.settings import load
from proxy import app, demo, installation
from proxy.host import Places
from proxy.runtime import Clock
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState

BOTH = "application/json, text/event-stream"
LATEST = "2025-11-25"
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"


def tool(name: str, description: str = "", **more: Any) -> dict[str, Any]:
    """A definition of a tool."""
    schema = more.pop("inputSchema", {"type": "object"})
    return {"name": name, "description": description or name, "inputSchema": schema, **more}


def rule(effect: str, subject: str, *resources: str, **more: Any) -> dict[str, Any]:
    """A rule about ids such as `mcp-tool:github/list_*`, of one kind; the action is what one does with that kind."""
    kind = resources[0].partition(":")[0]
    verb = {"mcp-tool": "call", "mcp-prompt": "get", "mcp-resource": "read", "mcp-server": "use"}
    return {
        "effect": effect,
        "subjects": [subject],
        "actions": [f"{kind}:{verb[kind]}"],
        "resources": list(resources),
        **more,
    }


def policy(name: str, *rules: Mapping[str, Any]) -> dict[str, Any]:
    """A policy document."""
    return {
        "type": "policy",
        "name": name,
        "rules": [{"id": f"r{number}", **one} for number, one in enumerate(rules)],
    }


# --- the server behind ------------------------------------------------------------------------------


@dataclass
class Asked:
    """One HTTP request that arrived at the server."""

    method: str
    headers: Mapping[str, str]
    body: Any


Handler = Callable[[Any, web.Request], Awaitable[web.StreamResponse | Any]]


@dataclass
class Scripted:
    """An MCP server on a free port. What it offers are its fields; `on` replaces what it does for a method.

    `generation` is "2025" (sessions) or "2026" (stateless). With `page` its lists have pages of that length, with
    `events` it answers as server-sent events.
    """

    generation: str = "2025"
    tools: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[dict[str, Any]] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    templates: list[dict[str, Any]] = field(default_factory=list)
    page: int = 0
    events: bool = False
    on: dict[str, Handler] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    url: str = ""
    _runner: web.AppRunner | None = None
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def __aenter__(self) -> Scripted:
        application = web.Application(client_max_size=32 << 20)
        application.router.add_route("*", "/mcp", self._handle)
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/mcp"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def manifest(self, name: str, users: list[str] | None = None, **more: Any) -> dict[str, Any]:
        """The document that registers it; `users` may use all of it."""
        grants = [{"subject": one, "role_id": "mcp-server-user"} for one in users or []]
        return {
            "type": "mcp-server/remote",
            "name": name,
            "url": self.url,
            "collaborators": grants,
            **more,
        }

    def called(self, method: str) -> list[Any]:
        """The bodies that came with a JSON-RPC method."""
        return [
            a.body
            for a in self.asked
            if isinstance(a.body, dict) and a.body.get("method") == method
        ]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body: Any = json.loads(raw) if raw else None
        self.asked.append(Asked(request.method, dict(request.headers), body))
        custom = self.on.get(
            body.get("method", "response") if isinstance(body, dict) else request.method
        )
        if custom is not None:
            made = await custom(body, request)
            if isinstance(made, web.StreamResponse):
                return made
            return await self._answer(request, body, made)
        if self.generation == "2025":
            return await self._legacy(request, body)
        if request.method != "POST":
            return web.Response(status=405)
        if body["method"] in ("initialize", "ping", "logging/setLevel"):
            error = {"code": -32601, "message": "no such method"}
            return web.json_response(
                {"jsonrpc": "2.0", "id": body["id"], "error": error}, status=404
            )
        return await self._answer(request, body, self._result(body))

    async def _legacy(self, request: web.Request, body: Any) -> web.StreamResponse:
        id = request.headers.get("mcp-session-id", "")
        if request.method == "DELETE":
            return web.Response(status=200 if self.sessions.pop(id, None) is not None else 404)
        if isinstance(body, dict) and body.get("method") == "initialize":
            id = f"upstream-{next(self._numbers)}"
            self.sessions[id] = body["params"]
            answer = {
                "protocolVersion": body["params"]["protocolVersion"],
                "capabilities": self._capabilities(),
                "serverInfo": {"name": "scripted", "version": "1"},
            }
            return await self._answer(request, body, answer, {"mcp-session-id": id})
        if isinstance(body, dict) and body.get("method") == "server/discover":
            return web.json_response(
                {"jsonrpc": "2.0", "id": body["id"], "error": {"code": -32601, "message": "no"}},
                status=404,
            )
        if id not in self.sessions:
            return web.json_response(
                {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "session"}},
                status=404,
            )
        if request.method == "GET":
            return web.Response(status=405)
        if "id" not in body or "method" not in body:
            return web.Response(status=202)
        return await self._answer(request, body, self._result(body))

    def _capabilities(self) -> dict[str, Any]:
        return {
            "tools": {},
            "prompts": {},
            "resources": {"subscribe": True},
            "logging": {},
            "completions": {},
        }

    def _result(self, body: dict[str, Any]) -> Any:
        params = body.get("params", {})
        match body["method"]:
            case "server/discover":
                return {
                    "supportedVersions": [MODERN],
                    "capabilities": self._capabilities(),
                    "_meta": {f"{META}serverInfo": {"name": "scripted", "version": "1"}},
                }
            case "tools/list":
                return self._paged("tools", self.tools, params)
            case "prompts/list":
                return self._paged("prompts", self.prompts, params)
            case "resources/list":
                return self._paged("resources", self.resources, params)
            case "resources/templates/list":
                return self._paged("resourceTemplates", self.templates, params)
            case "tools/call":
                text = json.dumps({"ran": params["name"], "with": params.get("arguments", {})})
                return {"content": [{"type": "text", "text": text}]}
            case "prompts/get":
                return {"messages": []}
            case "resources/read":
                return {"contents": [{"uri": params["uri"], "text": "content"}]}
            case _:
                return {}

    def _paged(self, key: str, items: list[dict[str, Any]], params: Any) -> dict[str, Any]:
        start = int(params.get("cursor", "0"))
        if not self.page:
            return {key: items}
        made: dict[str, Any] = {key: items[start : start + self.page]}
        if start + self.page < len(items):
            made["nextCursor"] = str(start + self.page)
        return made

    async def _answer(
        self, request: web.Request, body: Any, result: Any, headers: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        if self.generation == "2026" and isinstance(result, dict):
            result = {"resultType": "complete", "ttlMs": 60000, "cacheScope": "public", **result}
        message = json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": result})
        if not self.events:
            return web.Response(text=message, content_type="application/json", headers=headers)
        number = next(self._numbers)
        text = f"id: p{number}\ndata: \n\nid: e{number}\nevent: message\ndata: {message}\n\n"
        return web.Response(text=text, content_type="text/event-stream", headers=headers)


# --- the gateway ------------------------------------------------------------------------------------


@dataclass
class Said:
    """What the gateway answered. `message` is the last JSON-RPC message of the answer."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    message: Any

    @property
    def result(self) -> Any:
        return self.message["result"]

    @property
    def error(self) -> Any:
        return self.message["error"]


@dataclass
class House:
    """A running gateway."""

    process: app.Process
    variables: dict[str, str]
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    def token(self, name: str) -> str:
        key = "GATEWARDEN_TOKEN" if name == "operator" else f"DEMO_TOKEN_{name.upper()}"
        return self.variables[key]

    async def apply(self, *documents: Mapping[str, Any], wait: bool = True) -> None:
        """Applies documents as the operator; with `wait`, MCP servers have been asked what they offer."""
        text = io.StringIO()
        YAML(typ="safe").dump_all([dict(one) for one in documents], text)
        async with self.http.put(
            f"{self.url}/api/v1/apply",
            data=text.getvalue(),
            headers={
                "authorization": f"Bearer {self.token('operator')}",
                "content-type": "application/yaml",
            },
        ) as answer:
            assert answer.status < 300, await answer.text()
        if wait:
            for one in documents:
                if str(one["type"]).startswith("mcp-server/"):
                    await self.known(str(one["name"]))

    async def known(self, name: str) -> None:
        """Returns once the gateway knows what a server offers."""
        servers = self.process.servers
        async with asyncio.timeout(10):
            while (found := servers.server(name)) is None or not found.discovered:
                await asyncio.sleep(0.01)

    async def control(self, method: str, path: str, body: Any = None, who: str = "operator") -> Any:
        """A request to the control plane; what it answers."""
        headers = {"authorization": f"Bearer {self.token(who)}"}
        async with self.http.request(
            method, f"{self.url}/api/v1{path}", json=body, headers=headers
        ) as answer:
            text = await answer.text()
            assert answer.status < 300, text
            return json.loads(text) if text else None

    async def looked(self, name: str, until: Callable[[Any], bool]) -> None:
        """Has the server asked what it offers, and returns once `until` holds for it."""
        found = self.process.servers.server(name)
        assert found is not None
        async with asyncio.timeout(10):
            while (found := self.process.servers.server(name)) is None or not until(found):
                await asyncio.sleep(0.01)

    async def send(
        self, who: str, path: str, message: Any, method: str = "POST", **headers: str
    ) -> Said:
        """One HTTP request. `message` may be bytes; `headers` have `_` for `-`."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        sent = {
            "accept": BOTH,
            "content-type": "application/json",
            "authorization": f"Bearer {self.token(who)}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        async with self.http.request(
            method, f"{self.url}{path}", data=body if method == "POST" else None, headers=sent
        ) as answer:
            raw = await answer.read()
            return Said(answer.status, answer.headers, raw, _last(raw, answer.content_type))

    async def session(self, who: str, server: str, **client: Any) -> Client:
        """A client of 2025 that has initialized. `server` "" is the endpoint of all."""
        path = f"/mcp/{server}" if server else "/mcp"
        params = {
            "protocolVersion": LATEST,
            "capabilities": client.get("capabilities", {}),
            "clientInfo": {"name": "test", "version": "1"},
        }
        made = Client(self, who, path)
        said = await made.ask("initialize", params)
        assert said.status == 200, said.raw
        made.session = said.headers["mcp-session-id"]
        made.hello = said.result
        return made

    def modern(self, who: str, server: str) -> Client:
        """A client of 2026."""
        return Client(self, who, f"/mcp/{server}" if server else "/mcp", modern=True)

    async def records(self, kind: str = "decision") -> list[dict[str, Any]]:
        """The records of a kind in the journal, oldest first, each with its id and what stands aside."""
        journal = self.process.runtime.journal
        while journal.depth:
            journal.tick(int(self.process.runtime.clock.now().timestamp() * 1_000_000))
            await asyncio.sleep(0)
        lines = [
            json.loads(line)
            for path in sorted(journal.folder.rglob("*.jsonl"))
            for line in path.read_bytes().splitlines()
            if line.startswith(b"{") and line.endswith(b"}")
        ]
        found = [
            {**one["body"], "id": one["id"], "aside": one.get("aside", {})}
            for one in lines
            if "body" in one
        ]
        return [one for one in found if one.get("type") == kind]


@dataclass
class Client:
    """One client of one endpoint."""

    house: House
    who: str
    path: str
    modern: bool = False
    session: str = ""
    hello: Any = None
    numbers: Any = field(default_factory=lambda: itertools.count(0))

    async def ask(self, method: str, params: Mapping[str, Any] | None = None, **more: str) -> Said:
        """Sends a request; `more` are headers."""
        id = next(self.numbers)
        sent: dict[str, Any] = dict(params or {})
        headers: dict[str, str] = {}
        if self.modern:
            sent["_meta"] = {
                f"{META}protocolVersion": MODERN,
                f"{META}clientCapabilities": {},
                f"{META}clientInfo": {"name": "test", "version": "1"},
                **sent.get("_meta", {}),
            }
            headers = {"mcp_protocol_version": MODERN, "mcp_method": method}
            name = sent.get("uri" if method == "resources/read" else "name")
            if method in ("tools/call", "prompts/get", "resources/read") and name:
                headers["mcp_name"] = name
        elif self.session:
            headers = {"mcp_session_id": self.session, "mcp_protocol_version": LATEST}
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": sent}
        return await self.house.send(self.who, self.path, message, **(headers | more))

    @asynccontextmanager
    async def open(
        self, method: str = "", params: Mapping[str, Any] | None = None, **more: str
    ) -> AsyncIterator[Stream]:
        """A stream: the GET stream of the session, or the answer to a request as it comes."""
        headers = {
            "accept": BOTH if method else "text/event-stream",
            "content-type": "application/json",
            "authorization": f"Bearer {self.house.token(self.who)}",
        }
        sent: dict[str, Any] = dict(params or {})
        if self.modern:
            sent["_meta"] = {
                f"{META}protocolVersion": MODERN,
                f"{META}clientCapabilities": {},
                f"{META}clientInfo": {"name": "test", "version": "1"},
                **sent.get("_meta", {}),
            }
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method}
            if method == "tools/call":
                headers["mcp-name"] = sent["name"]
        else:
            headers |= {"mcp-session-id": self.session, "mcp-protocol-version": LATEST}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        id = next(self.numbers)
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": sent}
        async with self.house.http.request(
            "POST" if method else "GET",
            f"{self.house.url}{self.path}",
            data=json.dumps(body).encode() if method else None,
            headers=headers,
        ) as answer:
            yield Stream(answer, id)

    async def tell(self, message: Mapping[str, Any]) -> Said:
        """Sends a notification or a response (2025)."""
        headers = {"mcp_session_id": self.session, "mcp_protocol_version": LATEST}
        return await self.house.send(self.who, self.path, {"jsonrpc": "2.0", **message}, **headers)

    async def call(self, tool: str, **arguments: Any) -> Said:
        return await self.ask("tools/call", {"name": tool, "arguments": arguments})

    async def names(self, what: str = "tools") -> list[str]:
        """The names that the first page of a list shows (`tools`, `prompts`, `resources`)."""
        said = await self.ask(f"{what}/list")
        member = "uri" if what == "resources" else "name"
        return [one[member] for one in said.result[what]]


@dataclass
class Event:
    """One event with data. `message` is None where that is empty."""

    id: str | None
    message: Any


@dataclass
class Stream:
    """An answer that comes as events. `id` is that of the request."""

    answer: aiohttp.ClientResponse
    id: int
    held: bytes = b""

    async def event(self, seconds: float = 5.0) -> Event | None:
        """The next event that has an id or data; None once the stream has ended. Raises TimeoutError."""
        while True:
            head, found, rest = self.held.partition(b"\n\n")
            if found:
                self.held = rest
                lines = head.decode().split("\n")
                data = "\n".join(one[6:] for one in lines if one.startswith("data: "))
                id = next((one[4:] for one in lines if one.startswith("id: ")), None)
                if data or id is not None:
                    return Event(id, json.loads(data) if data else None)
                continue
            async with asyncio.timeout(seconds):
                chunk = await self.answer.content.readany()
            if not chunk:
                return None
            self.held += chunk.replace(b"\r\n", b"\n")

    async def message(self, seconds: float = 5.0) -> Any:
        """The next message; None once the stream has ended. Raises TimeoutError."""
        while (event := await self.event(seconds)) is not None:
            if event.message is not None:
                return event.message
        return None


@asynccontextmanager
async def house(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> AsyncIterator[House]:
    """A gateway of its own on `tmp_path`; `settings` are `GATEWARDEN_…` without the prefix."""
    given = {
        "DATA": str(tmp_path / "var"),
        "PORT": "0",
        "DEMO": "true",
        "UPSTREAM__ALLOW_PRIVATE": "127.0.0.0/8",
        **settings,
    }
    for name, value in given.items():
        monkeypatch.setenv(f"GATEWARDEN_{name}", value)
    made = load()
    keys = installation.keys_of(made)
    await installation.bootstrap(made, keys, Clock())
    async with (
        app.running(made, keys) as process,
        aiohttp.ClientSession(auto_decompress=False) as http,
    ):
        yield House(process, demo.read(Places(made.data).demo), http)


def _last(raw: bytes, media: str) -> Any:
    if not raw:
        return None
    if media != "text/event-stream":
        return json.loads(raw)
    texts = [line[6:] for line in raw.decode().split("\n") if line.startswith("data: ")]
    return json.loads([data for data in texts if data.strip()][-1])


@asynccontextmanager
async def state(folder: Path) -> AsyncIterator[SqliteState]:
    """Short-lived state of its own, in `folder`."""
    store = SqliteStore(folder / "state.db")
    await store.open()
    try:
        yield SqliteState(store)
    finally:
        await store.close()
