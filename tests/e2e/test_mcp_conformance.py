"""The public conformance suite sees the same server through the gateway as without it, check by check."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.gate import consent, register, remote
from tests.peers.mcp.conformance import (
    LEGS,
    MAY_TURN_GREEN,
    SESSIONS,
    STATELESS,
    difference,
    run_authorization,
    run_leg,
)
from tests.peers.mcp.servers import Server
from tests.peers.mongod import free_port
from tests.proxy.mcp.house import House, house


@pytest.fixture
async def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    async with house(tmp_path, monkeypatch) as made:
        yield made


def bearer(gate: House) -> dict[str, str]:
    return {"Authorization": f"Bearer {gate.token('alice')}"}


@pytest.mark.parametrize("version", LEGS)
async def test_with_full_rights_every_check_has_the_verdict_that_it_has_without_the_gateway(
    version: str, gate: House, everything_server: Server, node_peers: None
) -> None:
    await gate.apply(remote(everything_server, "all", "team:search"))
    direct = await run_leg(everything_server.url, version)
    everything_server.forget()
    through = await run_leg(f"{gate.url}/mcp/all", version, headers=bearer(gate))
    assert difference(direct, through) == []
    assert through.failures == []
    assert len(through.verdicts) == len(direct.verdicts) == {SESSIONS: 84, STATELESS: 152}[version]
    got = everything_server.received()
    assert got
    assert gate.token("alice") not in "".join(repr(one) for one in got)


NOT_THERE = frozenset(
    {
        "resources-subscribe",
        "resources-unsubscribe",
        "server-sse-polling",
        "tools-call-error",
        "tools-call-simple-text",
    }
)
"""Scenarios that ask the public server for things that it does not offer: it says something, the gateway says unknown."""


async def test_a_server_that_only_has_sessions_keeps_its_verdicts_on_what_it_offers(
    gate: House, public_server: Server
) -> None:
    await gate.apply(remote(public_server, "public", "team:search"))
    direct = await run_leg(public_server.url, SESSIONS)
    through = await run_leg(f"{gate.url}/mcp/public", SESSIONS, headers=bearer(gate))
    # A session that was ended is unknown (404) at the gateway, where the public server answers 400.
    greener = MAY_TURN_GREEN | {"server-session-lifecycle"}
    differing = difference(direct, through, greener)
    assert [line for line in differing if line.partition(":")[0] not in NOT_THERE] == []


async def test_the_gateway_passes_as_an_authorization_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node_peers: None
) -> None:
    port, listens = free_port(), free_port()
    url = f"http://localhost:{port}"
    async with house(tmp_path, monkeypatch, PORT=str(port), PUBLIC_URL=url) as gate:
        client = await register(url, f"http://127.0.0.1:{listens}/callback")

        async def follow(address: str) -> None:
            assert (await consent(address, gate.token("alice"))).status == 200

        leg = await run_authorization(url, client, listens, f"{url}/mcp/tools", follow)
    assert leg.failures == []
    assert leg.scenarios().keys() == {
        "authorization-server-metadata-endpoint",
        "authorization-code-grant",
    }
