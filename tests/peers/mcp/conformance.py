"""The public MCP conformance suite: runs it against an address, and compares its verdicts.

A leg is everything that the suite has for one version of the protocol. Its verdicts are those of the single checks,
so that a gateway can be held against the server behind it:

    direct = await run_leg(server_url, SESSIONS)
    through = await run_leg(gateway_url, SESSIONS, headers={"Authorization": "Bearer ..."})
    assert difference(direct, through) == []
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.peers.mcp import node
from tests.peers.mcp.adding import adding

SESSIONS = "2025-11-25"
STATELESS = "2026-07-28"
LEGS = (SESSIONS, STATELESS)
SECONDS = 300

MAY_TURN_GREEN = frozenset(
    {
        "dns-rebinding-protection",
        "http-header-validation",
        "http-custom-header-server-validation",
    }
)
"""What a gateway checks by itself, so that it may be better than the server behind it."""

GOOD = "SUCCESS"
_SUITE = f"{node.SCOPE}/conformance/dist/index.js"
_FOLDER = re.compile(r"(?:authorization-server|server)-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


class Check(NamedTuple):
    """One check of a scenario; `nth` counts those with the same id."""

    scenario: str
    id: str
    nth: int

    def __str__(self) -> str:
        return f"{self.scenario}: {self.id}" + (f" [{self.nth}]" if self.nth else "")


@dataclass(frozen=True, slots=True)
class Leg:
    """The verdicts of a run, what its failures said, and what it printed."""

    verdicts: dict[Check, str]
    messages: dict[Check, str]
    code: int
    output: str

    @property
    def failures(self) -> list[str]:
        """All that is neither passed nor skipped, with the reason; empty if the leg is green."""
        bad = [(check, verdict) for check, verdict in self.verdicts.items() if verdict != GOOD]
        lines = [
            f"{check}: {verdict}: {self.messages.get(check, '')}"
            for check, verdict in bad
            if verdict != "SKIPPED"
        ]
        return lines or ([] if self.code == 0 else [f"exit {self.code}: {self.output[-2000:]}"])

    def scenarios(self) -> dict[str, tuple[int, int]]:
        """Checks that passed, and all checks, by scenario."""
        passed: Counter[str] = Counter()
        of: Counter[str] = Counter()
        for check, verdict in self.verdicts.items():
            of[check.scenario] += 1
            passed[check.scenario] += verdict == GOOD
        return {scenario: (passed[scenario], of[scenario]) for scenario in of}


async def run_leg(
    url: str,
    version: str,
    *,
    headers: Mapping[str, str] | None = None,
    scenario: str | None = None,
) -> Leg:
    """Runs the suite for a version of the protocol (or one scenario of it) against a server."""
    words = ["--spec-version", version]
    words += ["--scenario", scenario] if scenario else ["--suite", "all"]
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(adding(url, headers)) if headers else url
        return await _run(["server", "--url", at, *words])


Follow = Callable[[str], Awaitable[None]]
"""Does what a person with a browser does: opens the address, consents, and goes where it is sent."""


async def run_authorization(
    issuer: str,
    client_id: str,
    port: int,
    resource: str,
    follow: Follow,
    *,
    client_secret: str | None = None,
) -> Leg:
    """Runs the scenarios for authorization servers; `follow` gets the address that a person would open.

    The client must be registered with `http://127.0.0.1:<port>/callback`, where the suite listens.
    """
    words = ["--url", issuer, "--client-id", client_id, "-p", str(port), "--resource", resource]
    if client_secret is not None:
        words += ["--client-secret", client_secret]

    async def when_it_listens(address: str) -> None:
        # The suite prints the address before it listens to what comes back.
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return await follow(address)

    return await _run(["authorization", *words], when_it_listens)


async def _run(words: Sequence[str], follow: Follow | None = None) -> Leg:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        process = await asyncio.create_subprocess_exec(
            *node.command(_SUITE, *words, "-o", str(out)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=node.environment(Path(folder)),
            cwd=folder,
            limit=16 << 20,
        )
        assert process.stdout is not None
        lines: list[str] = []
        try:
            async with asyncio.timeout(SECONDS):
                async for raw in process.stdout:
                    line = raw.decode("utf-8", "replace")
                    lines.append(line)
                    if follow is not None and line.startswith(("http://", "https://")):
                        await follow(line.strip())
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        verdicts, messages = _collect(out)
    return Leg(verdicts, messages, process.returncode or 0, "".join(lines))


def _collect(out: Path) -> tuple[dict[Check, str], dict[Check, str]]:
    """Verdicts by check; what only informs is no verdict."""
    verdicts: dict[Check, str] = {}
    messages: dict[Check, str] = {}
    for file in sorted(out.glob("**/checks.json")):
        named = _FOLDER.fullmatch(file.parent.name)
        assert named, file
        seen: Counter[str] = Counter()
        for said in json.loads(file.read_text()):
            if said["status"] == "INFO":
                continue
            check = Check(named[1], said["id"], seen[said["id"]])
            seen[said["id"]] += 1
            verdicts[check] = said["status"]
            if "errorMessage" in said:
                messages[check] = said["errorMessage"]
    return verdicts, messages


def difference(
    direct: Leg, through: Leg, may_turn_green: frozenset[str] = MAY_TURN_GREEN
) -> list[str]:
    """Every check whose verdict is another one through the gateway, a line each; better ones only where allowed."""
    lines = []
    for check in sorted(direct.verdicts.keys() | through.verdicts.keys()):
        was, now = direct.verdicts.get(check), through.verdicts.get(check)
        if was == now or (now == GOOD and check.scenario in may_turn_green):
            continue
        lines.append(f"{check}: {was} -> {now}: {through.messages.get(check, '')}".rstrip(": "))
    return lines


def table(columns: Mapping[str, Leg]) -> str:
    """A Markdown table of checks that passed of all checks: a row a scenario, a column a run."""
    counts = {name: leg.scenarios() for name, leg in columns.items()}
    rows = sorted({scenario for column in counts.values() for scenario in column})
    lines = [
        "| scenario | " + " | ".join(columns) + " |",
        "|---" * (1 + len(columns)) + "|",
    ]
    for row in rows:
        cells = [counts[name].get(row) for name in columns]
        shown = ["not run" if cell is None else f"{cell[0]}/{cell[1]}" for cell in cells]
        lines.append(f"| `{row}` | " + " | ".join(shown) + " |")
    totals = [
        [sum(n) for n in zip(*column.values(), strict=True)] or [0, 0] for column in counts.values()
    ]
    lines.append("| **all** | " + " | ".join(f"**{p}/{of}**" for p, of in totals) + " |")
    return "\n".join(lines) + "\n"
