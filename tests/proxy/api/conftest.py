"""The control plane on a temporary folder, for every test of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.proxy.api.records_kit import Archive, archive_on
from tests.proxy.api.stack import Stack, stack_on


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """A running control plane with the estate of `stack.py`."""
    async with stack_on(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "mongo"])
async def archive(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Archive]:
    """A control plane with records, on either store."""
    uri = request.getfixturevalue("mongo_uri") if request.param == "mongo" else ""
    async with archive_on(tmp_path, uri) as made:
        yield made


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Archive]:
    """As `archive`, on the embedded store alone."""
    async with archive_on(tmp_path) as made:
        yield made
