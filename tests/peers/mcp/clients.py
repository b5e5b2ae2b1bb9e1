"""Public MCP clients as processes, unmodified: one way to ask all of them, one shape of what they say.

    report = await run_client(Kind.TYPESCRIPT_2_2026, url, token, [("tools/list", {}), call_tool("echo", text="hi")])
    report.outcomes[1].result

The SDK clients do all actions on one connection and fill in every form that they are asked for; the Inspectors
connect anew for each action, and know neither completion nor ping.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.peers.mcp import node

Action = tuple[str, dict[str, Any]]
"""A method and its params."""

SECONDS = 60
ROOT = Path(__file__).parents[3]
_INSPECTOR_1 = f"{node.SCOPE}/inspector-cli/build/cli.js"
_INSPECTOR_2 = f"{node.SCOPE}/inspector/clients/launcher/build/index.js"


class Kind(StrEnum):
    """Which client: its name, its line, and the generation that it prefers."""

    PYTHON_2025 = "python-2025"
    PYTHON_2026 = "python-2026"
    TYPESCRIPT_1 = "typescript-1"
    TYPESCRIPT_2_2025 = "typescript-2-2025"
    TYPESCRIPT_2_2026 = "typescript-2-2026"
    INSPECTOR_1 = "inspector-1"
    INSPECTOR_2_2025 = "inspector-2-2025"
    INSPECTOR_2_2026 = "inspector-2-2026"

    @property
    def modern(self) -> bool:
        """Whether it speaks 2026-07-28 with a server that does."""
        return self.endswith("2026")

    @property
    def python(self) -> bool:
        return self.startswith("python")

    @property
    def inspector(self) -> bool:
        return self.startswith("inspector")


SDKS = [kind for kind in Kind if not kind.inspector]
INSPECTORS = [kind for kind in Kind if kind.inspector]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as the client gave it to its user; `code` is the protocol's where the client tells it."""

    kind: str
    code: int | str | None
    message: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one action: exactly one of both."""

    result: dict[str, Any] | None = None
    error: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a client said. `failed` if it did not even connect; Inspectors do not tell `version` and `server`."""

    outcomes: list[Outcome] = field(default_factory=list)
    version: str | None = None
    server: str | None = None
    failed: Refusal | None = None

    def names(self, at: int, of: str) -> list[str]:
        """The names (of resources: the addresses) that the list answered by outcome `at` has."""
        outcome = self.outcomes[at]
        assert outcome.result is not None, outcome.error
        key = {"resources": "uri", "resourceTemplates": "uriTemplate"}.get(of, "name")
        return [listed[key] for listed in outcome.result[of]]


LISTS: list[Action] = [("tools/list", {}), ("prompts/list", {}), ("resources/list", {})]


def call_tool(name: str, **arguments: Any) -> Action:
    return ("tools/call", {"name": name, "arguments": arguments})


async def run_client(
    kind: Kind, url: str, token: str | None = None, actions: Sequence[Action] = tuple(LISTS)
) -> Report:
    """Connects with that client, does the actions in their order, and says what came of each."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with tempfile.TemporaryDirectory() as home:
        if kind.inspector:
            return await _inspect(kind, url, headers, actions, Path(home))
        asked = {"url": url, "headers": headers, "era": "auto" if kind.modern else "legacy"}
        words = json.dumps({**asked, "actions": actions})
        if kind.python:
            command = [sys.executable, "-m", "tests.peers.mcp.python_client", words]
        else:
            script = "sdk1.cjs" if kind is Kind.TYPESCRIPT_1 else "sdk2.cjs"
            command = node.command(str(node.SOURCE / script), words)
        code, out, err = await run(command, Path(home))
    if code:
        raise AssertionError(f"{kind} ended with {code}: {err}")
    said = json.loads(out)
    outcomes = [
        Outcome(outcome.get("result"), _refusal(outcome.get("error")))
        for outcome in said["outcomes"]
    ]
    return Report(outcomes, said["version"], said["server"], _refusal(said["failed"]))


def _refusal(said: dict[str, Any] | None) -> Refusal | None:
    return None if said is None else Refusal(**said)


async def run(command: Sequence[str], home: Path) -> tuple[int, str, str]:
    """Runs a process to its end: exit code and both outputs. It does not outlive the caller's patience."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=node.environment(home),
        cwd=ROOT,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(), err.decode()


async def _inspect(
    kind: Kind, url: str, headers: dict[str, str], actions: Sequence[Action], home: Path
) -> Report:
    outcomes = []
    for method, params in actions:
        words = [url, "--transport", "http", "--method", method]
        for name, value in headers.items():
            words += ["--header", f"{name}: {value}"]
        if "uri" in params:
            words += ["--uri", params["uri"]]
        arguments = params.get("arguments") or {}
        if method == "tools/call":
            words += ["--tool-name", params["name"]]
        elif method == "prompts/get":
            words += ["--prompt-name", params["name"]]
        option = "--tool-arg" if method == "tools/call" else "--prompt-args"
        for name, value in arguments.items():
            given = value if isinstance(value, str) else json.dumps(value)
            words += [option, f"{name}={given}"]
        if kind is Kind.INSPECTOR_1:
            outcomes.append(await _inspect_1(words, home))
        else:
            words += ["--protocol-era", "modern" if kind.modern else "legacy"]
            outcomes.append(await _inspect_2(words, home))
    return Report(outcomes)


async def _inspect_1(words: list[str], home: Path) -> Outcome:
    code, out, err = await run(node.command(_INSPECTOR_1, "--cli", *words), home)
    if code == 0:
        return Outcome(json.loads(out))
    lines = [line for line in err.splitlines() if line.startswith("Failed to")]
    message = lines[0] if lines else err.strip()
    found = re.search(r"MCP error (-?\d+)", message)
    return Outcome(error=Refusal("exit 1", int(found[1]) if found else None, message))


async def _inspect_2(words: list[str], home: Path) -> Outcome:
    quiet = ("--format", "json", "--quiet", "--stored-auth-only")
    code, out, err = await run(node.command(_INSPECTOR_2, "--cli", *words, *quiet), home)
    for line in (*out.splitlines(), *err.splitlines()):
        if not line.startswith("{"):
            continue
        said = json.loads(line)
        if "result" in said:
            return Outcome(said["result"])
        if "error" in said:
            error = said["error"]
            return Outcome(
                error=Refusal(f"exit {code}", error.get("code"), error["message"], error)
            )
    return Outcome(error=Refusal(f"exit {code}", None, err.strip()))
