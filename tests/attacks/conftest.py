"""The whole demo gateway (as in the walks), and a house that attacks it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.attacks.house import House, house_of
from tests.e2e.conftest import Demo, _no_settings_from_outside, gateway, settings

__all__ = ["_no_settings_from_outside", "gateway", "settings"]


@pytest.fixture
async def house(gateway: Demo) -> AsyncIterator[House]:
    async with house_of(gateway) as made:
        yield made
