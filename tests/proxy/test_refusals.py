from __future__ import annotations

from authz.records import Record, RefusalCount
from proxy.refusals import MAX_KEYS, MINUTE, OTHERS, Refusals

T = 1_000 * MINUTE


def counting(per_minute: int = 2) -> tuple[Refusals, list[RefusalCount]]:
    noted: list[RefusalCount] = []

    def note(record: Record) -> None:
        assert isinstance(record, RefusalCount)
        noted.append(record)

    return Refusals(note, per_minute), noted


def test_a_principal_is_counted_apart_from_others_and_from_other_minutes() -> None:
    refusals, noted = counting()
    assert [refusals.denied("a", T) for _ in range(4)] == [True, True, False, False]
    assert refusals.denied("b", T)
    assert refusals.denied("a", T + MINUTE)
    assert [(r.principal, r.count, r.minute) for r in noted] == [("a", 2, T)]


def test_within_the_rate_nothing_is_counted() -> None:
    refusals, noted = counting()
    refusals.denied("a", T)
    refusals.flush()
    assert not noted


def test_the_end_of_the_minute_is_written_by_the_tick_or_by_the_end() -> None:
    refusals, noted = counting()
    refusals.unauthenticated("10.0.0.1", "missing_credential", T + 5)
    refusals.tick(T + MINUTE - 1)
    assert not noted
    refusals.tick(T + MINUTE)
    assert [(r.address, r.code, r.count) for r in noted] == [("10.0.0.1", "missing_credential", 1)]
    refusals.flush()
    assert len(noted) == 1


def test_a_flood_of_addresses_is_bounded() -> None:
    refusals, noted = counting()
    for number in range(MAX_KEYS + 50):
        refusals.unauthenticated(str(number), "missing_credential", T)
    refusals.flush()
    assert len(noted) == MAX_KEYS + 1
    assert [r.count for r in noted if r.address == OTHERS] == [50]


def test_the_seconds_left_reach_into_the_next_minute() -> None:
    refusals, _ = counting()
    assert refusals.seconds_left(T) == 61
    assert refusals.seconds_left(T + MINUTE - 1) == 1
