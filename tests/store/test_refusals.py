from __future__ import annotations

from store.refusals import MINUTE_US, Refusals

NOW = 100 * MINUTE_US + 5


def test_refusals_of_a_minute_are_one_record_for_each_address_and_code() -> None:
    refusals = Refusals()
    for n in range(5):
        assert not refusals.count(NOW + n, "unknown_credential", address="10.0.0.1")
    refusals.count(NOW, "missing_credential", address="10.0.0.1")
    refusals.count(NOW, "unknown_credential", address="10.0.0.2")
    assert not refusals.due(NOW + 9)
    found = refusals.count(NOW + MINUTE_US, "unknown_credential", address="10.0.0.1")
    assert [(r.code, r.address, r.count, r.minute) for r in found] == [
        ("missing_credential", "10.0.0.1", 1, 100 * MINUTE_US),
        ("unknown_credential", "10.0.0.1", 5, 100 * MINUTE_US),
        ("unknown_credential", "10.0.0.2", 1, 100 * MINUTE_US),
    ]
    assert [r.count for r in refusals.due(NOW + 2 * MINUTE_US)] == [1]
    assert not refusals.due(NOW + 3 * MINUTE_US)


def test_more_addresses_than_fit_are_counted_together() -> None:
    refusals = Refusals(limit=3)
    for n in range(10):
        refusals.count(NOW, "unknown_credential", address=f"10.0.0.{n}")
    found = refusals.drain()
    assert len(found) == 4 and sum(r.count for r in found) == 10
    assert next(r.count for r in found if r.address == "*") == 7


def test_refusals_of_a_principal_are_known_within_the_minute() -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.count(NOW, "too_many_refusals", principal="user:u-1")
    assert refusals.refused("user:u-1") == 3
    refusals.due(NOW + MINUTE_US)
    assert refusals.refused("user:u-1") == 0
