"""The values of a decision."""

from __future__ import annotations

import pytest

from authz.decision import Decision, Effect, Reason


def test_a_denied_decision_is_falsy() -> None:
    assert Decision(Effect.ALLOW, Reason.ALLOWED, 1, "")
    assert not Decision(Effect.DENY, Reason.NO_GRANT, 1, "")


def test_a_decision_cannot_be_changed_afterwards() -> None:
    decision = Decision(Effect.DENY, Reason.NO_GRANT, 1, "")
    with pytest.raises(AttributeError):
        decision.effect = Effect.ALLOW  # type: ignore[misc]
    with pytest.raises(TypeError):
        decision.context["x"] = 1  # type: ignore[index]


def test_reasons_and_effects_are_words_for_records() -> None:
    assert all(str(word) == word.value for word in (*Reason, *Effect))
