from __future__ import annotations

from collections.abc import Iterator

from authz.errors import GatewardenError
from identity.errors import Refusal
from proxy import answers, headers, intake, models
from proxy.errors import STATUS, status_of
from proxy.providers import base

OURS = {module.__name__ for module in (answers, headers, intake, models, base)} | {"proxy.errors"}


def subclasses(cls: type[GatewardenError]) -> Iterator[type[GatewardenError]]:
    for found in cls.__subclasses__():
        yield found
        yield from subclasses(found)


def test_every_error_of_the_data_plane_has_a_status() -> None:
    found = [cls for cls in subclasses(GatewardenError) if cls.__module__ in OURS]
    assert len(found) > 10
    assert {cls.code for cls in found} <= set(STATUS)


def test_every_reason_for_not_accepting_a_credential_is_a_401_and_nothing_else_is() -> None:
    reasons = {refusal.value for refusal in Refusal} | {"invalid_credential", "unauthenticated"}
    assert {code for code, status in STATUS.items() if status == 401} == reasons


def test_our_own_fault_is_never_a_401_or_a_403() -> None:
    for code in ("journal_unavailable", "policy_stale", "decision_failed", "store_unavailable"):
        assert status_of(code) == 503
    assert status_of("a code that nobody mapped") == 500
