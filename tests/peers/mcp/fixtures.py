"""Fixtures of the MCP peers: one server of each kind a run, for folders whose `conftest.py` imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.mcp import node, servers


@pytest.fixture(scope="session")
def everything_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """Our own everything-server, which both generations may use."""
    with servers.everything(tmp_path_factory.mktemp("everything")) as server:
        yield server


@pytest.fixture(scope="session")
def public_server() -> Iterator[servers.Server]:
    """The public `server-everything`, which knows sessions only."""
    node.require()
    with servers.server_everything() as server:
        yield server


@pytest.fixture(scope="session")
def node_peers() -> None:
    """Skips where the Node.js peers are missing; fails in CI."""
    node.require()
