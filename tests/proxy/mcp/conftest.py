"""One gateway for a whole module: its tests take servers of names of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.proxy.mcp.house import House, house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """For modules marked with `asyncio(loop_scope="module")`."""
    with pytest.MonkeyPatch.context() as patch:
        async with house(tmp_path_factory.mktemp("house"), patch) as made:
            yield made
