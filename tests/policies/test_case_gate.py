"""What of failing cases refuses a change, and what is an alarm."""

from __future__ import annotations

import pytest

from policies.case import Case, context_of, fields_of
from policies.case_gate import Failure, StoredCase, refusing

CASE = Case.model_validate(
    {"as": "role:auditor", "action": "self:read", "resource": "self:caller", "expect": "deny"}
)


@pytest.mark.parametrize(
    ("new", "before", "only_revokes", "refuses"),
    [
        (False, False, False, True),
        (False, False, True, False),  # a revocation always commits
        (False, True, False, False),  # it failed already: nobody else is blocked
        (False, True, True, False),
        (True, False, False, True),
        (True, False, True, True),  # what the change itself says must hold
    ],
)
def test_what_held_before_or_is_new_refuses_unless_the_change_only_revokes(
    new: bool, before: bool, only_revokes: bool, refuses: bool
) -> None:
    failure = Failure(StoredCase(("policy", "p~2"), 3, CASE, new), ("expected deny",), before)
    assert bool(refusing([failure], only_revokes=only_revokes)) is refuses


def test_a_finding_names_the_document_as_people_write_it_and_hides_what_may_not_be_known() -> None:
    failure = Failure(StoredCase(("policy", "p~2"), 3, CASE), ("expected deny",), False)
    told = failure.problem(told=True)
    assert told.message == "case `role:auditor self:read self:caller` of policy/p: expected deny"
    assert (told.key, told.path) == (("policy", "p"), ("cases", 3))
    hidden = failure.problem(told=False)
    assert "auditor" not in hidden.message and "expected" not in hidden.message


def test_a_context_is_written_flat_or_nested_and_a_clock_without_zone_is_utc() -> None:
    assert fields_of({"body": {"stream": True}, "time.hour": 3}) == {
        "body.stream": True,
        "time.hour": 3,
    }
    moment = context_of({"time.now": "2026-01-07T03:00:00Z"}, None).values["time.now"]
    assert str(moment) == "2026-01-07 03:00:00+00:00"
