from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from authz.decision import (
    ConditionOutcome,
    Decision,
    Effect,
    Part,
    Question,
    Reason,
    Verdict,
)
from authz.recording import decision_record, is_stamped, plain, request_record
from authz.records import DecisionRecord, canonical

QUESTION = Question(Part.SUBJECT, "user:u-1", "model:use", "model:acme/mini")


def decided(**more: Any) -> Decision:
    verdict = Verdict(
        QUESTION,
        Effect.DENY,
        Reason.CONDITION_NOT_MET,
        ("policy/office#1",),
        "user:u-1 > team:ml",
        (ConditionOutcome("policy/office#1", "c-1", None),),
        Effect.ALLOW,
        ("policy/next#1",),
    )
    values: dict[str, Any] = {
        "effect": verdict.effect,
        "reason": verdict.reason,
        "epoch": 7,
        "digest": "ab" * 32,
        "verdicts": (verdict,),
        "rules": verdict.rules,
        "path": verdict.path,
    }
    return Decision(**{**values, **more})


def record_of(decision: Decision, **more: Any) -> DecisionRecord:
    return decision_record(
        decision,
        principal="user:u-1",
        credential="credential:c",
        **more,
    )


def test_a_decision_record_lists_every_question_with_its_conditions_and_shadow() -> None:
    found = json.loads(canonical(record_of(decided(), request_id="r", client="10.0.0.1", us=9)))
    assert found["type"] == "decision"
    assert (found["effect"], found["reason"], found["epoch"]) == ("deny", "condition_not_met", 7)
    assert (found["action"], found["resource"]) == ("model:use", "model:acme/mini")
    assert found["questions"] == [
        {
            "part": "subject",
            "subject": "user:u-1",
            "action": "model:use",
            "resource": "model:acme/mini",
            "effect": "deny",
            "reason": "condition_not_met",
            "rules": ["policy/office#1"],
            "path": "user:u-1 > team:ml",
            "conditions": [{"rule": "policy/office#1", "name": "c-1", "met": "unknown"}],
            "shadow": "allow",
            "shadow_rules": ["policy/next#1"],
        }
    ]
    assert found["request"] == "r" and found["us"] == 9


def test_text_of_a_caller_that_a_condition_read_goes_aside() -> None:
    context = {
        "principal.team": "team:ml",
        "time.now": datetime(2026, 11, 25, tzinfo=UTC),
        "metadata.customer": "Ada Lovelace",
        "body.stream": True,
        "header.x-note": "hello",
        "record.metadata.customer": "x",
        "record.created_by": "user:u-2",
    }
    record = record_of(decided(context=context))
    assert record.context == {
        "principal.team": "team:ml",
        "time.now": "2026-11-25T00:00:00+00:00",
        "record.created_by": "user:u-2",
    }
    assert record.masked == (
        "body.stream",
        "header.x-note",
        "metadata.customer",
        "record.metadata.customer",
    )
    assert record.aside is not None
    assert "Ada Lovelace" in str(record.aside)


def test_a_resource_outside_the_catalogue_is_a_callers_text_and_goes_aside() -> None:
    unknown = Decision(Effect.DENY, Reason.UNKNOWN_RESOURCE, 7, "ab" * 32)
    record = record_of(unknown, action="model:use", resource="model:my-secret")
    assert record.resource == "" and record.action == "model:use"
    assert record.aside == {"resource": "model:my-secret"}


def test_a_list_is_one_record_with_count_and_digest() -> None:
    found = json.loads(canonical(record_of(decided(), count=12, result_digest="cd" * 32)))
    assert (found["count"], found["result_digest"]) == (12, "cd" * 32)


def test_a_field_at_its_default_is_not_written() -> None:
    found = json.loads(canonical(record_of(decided())))
    assert not {"count", "trace", "aside", "context", "masked", "on_behalf_of"} & found.keys()


def test_claimed_metadata_and_free_text_of_an_error_go_aside() -> None:
    record = request_record(
        request_id="r",
        decision_id="d",
        principal="user:u-1",
        credential="c",
        status=502,
        error="Upstream said: Dear Ada",
        pinned={"cost-centre": "42"},
        claimed={"customer": "Ada"},
        teams=["team:ml"],
    )
    assert record.error == "other" and record.pinned == {"cost-centre": "42"}
    assert record.aside == {"claimed": {"customer": "Ada"}, "error": "Upstream said: Dear Ada"}
    assert request_record(
        request_id="r",
        decision_id="d",
        principal="p",
        credential="c",
        status=504,
        error="upstream_timeout",
    ).error == ("upstream_timeout")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, "1.5"),
        (float("nan"), "nan"),
        (1 << 60, "0x1000000000000000"),
        (-5, -5),
        (True, True),
        (None, None),
        (("a", 1.25), ["a", "1.25"]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ("x" * 300, "x" * 256 + "…"),
        ({"a": 1}, "{'a': 1}"),
    ],
)
def test_context_values_become_plain_json_without_floats(value: object, expected: object) -> None:
    assert plain(value) == expected


def test_which_fields_are_ours() -> None:
    assert is_stamped("client.ip") and is_stamped("pinned.team")
    assert not is_stamped("metadata.team") and not is_stamped("header.authorization")


def test_a_record_is_read_back_as_its_own_type() -> None:
    record = record_of(decided(context={"principal.team": "team:ml"}), request_id="r")
    assert msgspec.json.decode(canonical(record), type=DecisionRecord) == record
