from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from identity.oauth.errors import TooManyAttempts
from proxy.oauth import rate
from proxy.oauth.rate import Rate

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def test_an_address_has_so_much_a_minute() -> None:
    limit = Rate(2)
    limit.spend("192.0.2.1", NOW)
    limit.check("192.0.2.1", NOW)
    limit.spend("192.0.2.1", NOW)
    with pytest.raises(TooManyAttempts):
        limit.check("192.0.2.1", NOW)
    with pytest.raises(TooManyAttempts):
        limit.spend("192.0.2.1", NOW)
    limit.spend("192.0.2.2", NOW)
    limit.spend("192.0.2.1", NOW + timedelta(minutes=1))


def test_the_addresses_of_one_ipv6_network_count_together() -> None:
    limit = Rate(1)
    limit.spend("2001:db8::1", NOW)
    with pytest.raises(TooManyAttempts):
        limit.spend("2001:db8::2", NOW)
    limit.spend("2001:db8:0:1::1", NOW)


def test_a_flood_of_addresses_is_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "MAX_ADDRESSES", 2)
    limit = Rate(1)
    for last in (1, 2, 3):
        limit.spend(f"192.0.2.{last}", NOW)
    with pytest.raises(TooManyAttempts):
        limit.spend("192.0.2.4", NOW)
