"""A client of MCP that costs little: what `bench.mcp` asks with, so that it measures the server and not the client."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any

from bench.servers import Server

NAME = "bench"  # of the server that it asks
STATELESS = "2026-07-28"
SESSIONS = "2025-11-25"
META = "io.modelcontextprotocol/"
INFO = {"name": "bench", "version": "1"}


@dataclass
class Client:
    """One connection of one MCP client, with or without a session."""

    server: Server
    token: str
    path: str = f"/mcp/{NAME}"
    session: str = ""
    number: int = 0
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)

    async def connect(self) -> Client:
        opened = await asyncio.open_connection("127.0.0.1", self.server.port, limit=4 << 20)
        self.reader, self.writer = opened
        return self

    async def ask(
        self, method: str, params: dict[str, Any], *, modern: bool = True, fails: bool = False
    ) -> bytes:
        """One request and its answer's body; an error ends the measurement, unless it may fail."""
        self.number += 1
        headers: dict[str, str] = {}
        if modern:
            meta = {f"{META}protocolVersion": STATELESS, f"{META}clientCapabilities": {}}
            params = {**params, "_meta": meta}
            headers = {"mcp-protocol-version": STATELESS, "mcp-method": method}
            if "name" in params:
                headers["mcp-name"] = params["name"]
        elif self.session:
            headers = {"mcp-protocol-version": SESSIONS, "mcp-session-id": self.session}
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        if not method.startswith("notifications/"):
            message["id"] = self.number
        self.writer.write(self._raw("POST", headers, json.dumps(message).encode()))
        head, body = await self._answer()
        if found := re.search(rb"mcp-session-id: *(\S+)", head, re.I):
            self.session = found[1].decode()
        if "id" in message and not fails and b'"result"' not in body:
            raise SystemExit(f"{self.server.name}: {method} failed: {head!r} {body[:400]!r}")
        return body

    async def start(self) -> None:
        """Begins a session of 2025."""
        about = {"protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": INFO}
        await self.ask("initialize", about, modern=False)
        await self.ask("notifications/initialized", {}, modern=False)

    async def listen(self) -> None:
        """Opens the stream of the session, and leaves it open."""
        headers = {"mcp-protocol-version": SESSIONS, "mcp-session-id": self.session}
        self.writer.write(self._raw("GET", headers, b""))
        await self.reader.readuntil(b"\r\n\r\n")

    def _raw(self, verb: str, headers: dict[str, str], body: bytes) -> bytes:
        lines = [
            f"{verb} {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.server.port}",
            f"Authorization: Bearer {self.token}",
            "Accept: application/json, text/event-stream",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    async def _answer(self) -> tuple[bytes, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        if found := re.search(rb"content-length: *(\d+)", head, re.I):
            return head, await self.reader.readexactly(int(found[1]))
        if not re.search(rb"transfer-encoding: *chunked", head, re.I):
            return head, b""
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return head, body
