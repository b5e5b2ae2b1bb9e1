from __future__ import annotations

import hashlib

import pytest

from authz.decision import Decision, Effect, Reason
from authz.vocabulary import split_id
from proxy.errors import status_of
from proxy.models import digest_of, refusal, resource_of


def denied(reason: Reason, message: str = "") -> Decision:
    return Decision(Effect.DENY, reason, 1, "0" * 64, message=message)


@pytest.mark.parametrize(
    "name", ["", "a", "a/b", "../x", "a/b\x00", "ü/ö", "x" * 5000, "\ud800", "a/b c"]
)
def test_whatever_a_caller_writes_becomes_an_id_that_can_be_asked(name: str) -> None:
    kind, _ = split_id(resource_of(name))
    assert kind == "model"


def test_a_declared_name_is_its_own_id_and_nothing_else_becomes_it() -> None:
    assert resource_of("acme/gpt-4.1:free@x+y") == "model:acme/gpt-4.1:free@x+y"
    for name in ("acme%2Fmini", "acme/mini ", "acme/mini\x00"):
        assert resource_of(name) != "model:acme/mini"


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.NO_GRANT, 404),
        (Reason.UNKNOWN_RESOURCE, 404),
        (Reason.OUTSIDE_BOUND, 404),
        (Reason.OUTSIDE_TOKEN, 404),
        (Reason.DENIED_BY_RULE, 403),
        (Reason.CONDITION_NOT_MET, 403),
        (Reason.TARGET_DENIED, 403),
        (Reason.ERROR, 503),
    ],
)
def test_each_reason_has_its_status(reason: Reason, status: int) -> None:
    assert status_of(refusal("a/b", denied(reason), "ops", "d1").code) == status


def test_a_refusal_names_contact_and_decision() -> None:
    text = refusal("a/b", denied(Reason.NO_GRANT), "ops", "d1").message
    assert text == "`a/b` does not exist or you have no access; contact ops; decision d1"
    text = refusal("a/b", denied(Reason.DENIED_BY_RULE, "stopped"), "ops", "d1").message
    assert text == "stopped; contact ops; decision d1"


def test_the_digest_of_a_list_is_of_its_lines() -> None:
    assert digest_of(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()
