from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.peers.oauth_server import OAuthServer, oauth_server
from tests.proxy.mcp.auth.world import World, world


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[World]:
    """One process."""
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[World]:
    """Two processes over one store."""
    async with world(tmp_path, 2) as made:
        yield made


@pytest.fixture
async def peer() -> AsyncIterator[OAuthServer]:
    async with oauth_server() as made:
        yield made
        assert not made.refusals
