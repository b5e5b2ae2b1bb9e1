"""The control plane on a temporary folder, for every test of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.proxy.api.stack import Stack, stack_on


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """A running control plane with the estate of `stack.py`."""
    async with stack_on(tmp_path) as made:
        yield made
