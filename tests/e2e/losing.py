"""An MCP client that loses a grant in the middle of its session, told as it happens.

`python -m tests.e2e.losing` prints the transcript that stands in `docs/mcp.md`; a test compares both. The gateway is a
process, the client speaks plain HTTP, the change is made by `gatewarden apply`. Ids that differ each time are masked.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from proxy import demo
from tests.e2e.test_process import ROOT, served

RULE = """\
type: policy
name: bits
rules:
  - id: support
    effect: allow
    subjects: ["team:support"]
    actions: ["mcp-tool:call"]
    resources: [{}]
"""
GRANTED = RULE.format('"mcp-tool:tools/say", "mcp-tool:tools/add"')
TAKEN = RULE.format('"mcp-tool:tools/say"')
ENDPOINT = "/mcp/tools"
SECONDS = 30
_MASKED = ((re.compile(r"(mcp-session-id: )\S+"), r"\1…"), (re.compile(r"\bepoch \d+"), "epoch …"))


class Telling:
    """A client of 2025 that tells what it sends and what comes back."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str) -> None:
        self._http = http
        self._url = url + ENDPOINT
        self._headers = {
            "authorization": f"Bearer {token}",
            "accept": "application/json, text/event-stream",
        }
        self._number = 0
        self.lines: list[str] = []

    def tell(self, line: str) -> None:
        for pattern, instead in _MASKED:
            line = pattern.sub(instead, line)
        self.lines.append(line)

    async def ask(self, method: str, **params: Any) -> Any:
        """One request; its answer."""
        self._number += 1
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        self.tell(f"> POST {ENDPOINT}  {json.dumps(message)}")
        async with self._http.post(self._url, json=message, headers=self._headers) as answer:
            said = await answer.json()
            if session := answer.headers.get("mcp-session-id"):
                self._headers |= {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
                if method == "initialize":
                    self.tell(f"< {answer.status}  mcp-session-id: {session}")
            self.tell(f"< {answer.status}  {json.dumps(shortened(said), ensure_ascii=False)}")
            return said

    async def start(self) -> None:
        about = {"name": "client", "version": "1"}
        await self.ask(
            "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=about
        )
        message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        self.tell(f"> POST {ENDPOINT}  {json.dumps(message)}")
        async with self._http.post(self._url, json=message, headers=self._headers) as answer:
            self.tell(f"< {answer.status}")

    async def stream(self) -> aiohttp.ClientResponse:
        """The stream on which the gateway says what happens unasked."""
        self.tell(f"> GET {ENDPOINT}  accept: text/event-stream")
        answer = await self._http.get(self._url, headers=self._headers)
        self.tell(f"< {answer.status}  content-type: {answer.content_type}")
        return answer


def shortened(said: Any) -> Any:
    """An answer with what this is about: of tools their names, of an initialization the capabilities."""
    result = said.get("result", {})
    if "tools" in result:
        return {**said, "result": {"tools": [{"name": t["name"]} for t in result["tools"]]}}
    if "serverInfo" in result:
        kept = {key: result[key] for key in ("protocolVersion", "capabilities", "serverInfo")}
        return {**said, "result": kept}
    if "content" in result:
        return {**said, "result": {"content": result["content"]}}
    return said


async def command(folder: Path, url: str, token: str, *words: str) -> str:
    """What `gatewarden` prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "proxy.cli",
        *words,
        cwd=folder,
        env={
            "PATH": "",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "GATEWARDEN_URL": url,
            "GATEWARDEN_TOKEN": token,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def known(http: aiohttp.ClientSession, url: str, token: str) -> None:
    """Returns once the gateway has asked the demo server what it offers."""
    while True:
        async with http.get(
            f"{url}/api/v1/mcp-servers/tools/catalogue",
            headers={"authorization": f"Bearer {token}"},
        ) as answer:
            if answer.status == 200 and "clock" in await answer.text():
                return
        await asyncio.sleep(0.05)


async def next_message(stream: aiohttp.ClientResponse) -> str:
    """The data of the next event that has some; comments keep the stream alive."""
    while True:
        line = (await stream.content.readline()).decode()
        assert line, "the stream ended"
        if line.startswith("data: ") and line[6:].strip():
            return line[6:].strip()


async def transcript(folder: Path) -> list[str]:
    """The lines of the whole story."""
    async with (
        served(folder / "var", GATEWARDEN_DEMO="true") as gateway,
        aiohttp.ClientSession() as http,
        asyncio.timeout(SECONDS),
    ):
        tokens = demo.read(gateway.data / "demo.env")
        bob = Telling(http, gateway.url, tokens["DEMO_TOKEN_BOB"])

        async def apply(name: str, text: str) -> None:
            (folder / name).write_text(text)
            said = await command(
                folder, gateway.url, tokens["GATEWARDEN_TOKEN"], "apply", "-f", name
            )
            bob.tell(f"$ gatewarden apply -f {name}")
            for line in said.splitlines():
                if line.strip():
                    bob.tell(line.rstrip())

        await known(http, gateway.url, tokens["GATEWARDEN_TOKEN"])
        await apply("granted.yaml", GRANTED)
        await bob.start()
        stream = await bob.stream()
        await bob.ask("tools/list")
        await bob.ask("tools/call", name="add", arguments={"a": 2, "b": 3})
        await apply("taken.yaml", TAKEN)
        message = await next_message(stream)
        bob.tell(f"< (GET stream)  data: {message}")
        await bob.ask("tools/list")
        await bob.ask("tools/call", name="add", arguments={"a": 2, "b": 3})
        await bob.ask("tools/call", name="never_was", arguments={})
        stream.close()
    return bob.lines


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(await transcript(Path(folder))))


if __name__ == "__main__":
    asyncio.run(main())
