"""Prints the table of `docs/mcp.md`: what the conformance suite says of the everything-server, directly and through the gateway.

Run `python -m tests.e2e.conformance_table`.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from tests.e2e.gate import remote
from tests.peers.mcp import servers
from tests.peers.mcp.conformance import LEGS, Leg, run_leg, table
from tests.proxy.mcp.house import house


async def runs(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Leg]:
    """Both legs, each directly and through a gateway with full rights."""
    found = {}
    with servers.everything(folder / "server") as server:
        async with house(folder, patch) as gate:
            await gate.apply(remote(server, "all", "team:search"))
            bearer = {"Authorization": f"Bearer {gate.token('alice')}"}
            for leg in LEGS:
                found[f"{leg} direct"] = await run_leg(server.url, leg)
                found[f"{leg} through"] = await run_leg(f"{gate.url}/mcp/all", leg, headers=bearer)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        print(table(asyncio.run(runs(Path(folder), patch))))


if __name__ == "__main__":
    main()
