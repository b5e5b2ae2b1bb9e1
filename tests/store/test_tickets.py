from __future__ import annotations

from authz.records import RefusalCount
from store.tickets import Outage, cause_of
from tests.store.journal_kit import decision


def test_an_outage_counts_what_was_lost_by_effect() -> None:
    outage = Outage("ENOSPC", 10)
    for record in (decision(), decision("deny"), decision("deny")):
        outage.count(record)
    outage.count(RefusalCount(code="x", minute=0, count=5))
    end = outage.end(20)
    assert (end.since, end.until, end.allowed, end.denied, end.other) == (10, 20, 1, 2, 1)


def test_a_cause_is_the_name_that_the_system_gives_it() -> None:
    assert cause_of(OSError(28, "x")) == "ENOSPC"
    assert cause_of(MemoryError()) == "MemoryError"
    assert cause_of(OSError("no number")) == "OSError"
