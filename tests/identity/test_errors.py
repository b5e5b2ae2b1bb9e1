"""What a caller may see of a refusal, and that every code has a status."""

from __future__ import annotations

import pytest

from identity import errors
from identity.errors import INVALID, IdentityError, Refusal, Unauthenticated
from proxy.errors import status_of

SHOWN = {Refusal.MISSING: "missing_credential", Refusal.MALFORMED: "malformed_credential"}


@pytest.mark.parametrize("refusal", Refusal)
def test_only_missing_and_malformed_are_told_apart(refusal: Refusal) -> None:
    """I7: what is well formed but not valid has one code and one text."""
    error = Unauthenticated(refusal)
    assert error.code == refusal.value
    assert error.public_code == SHOWN.get(refusal, INVALID)
    same = {Unauthenticated(other).message for other in Refusal if other not in SHOWN}
    assert len(same) == 1
    assert (error.message in same) is (refusal not in SHOWN)


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_is_a_401(refusal: Refusal) -> None:
    assert status_of(refusal.value) == 401
    assert status_of(Unauthenticated(refusal).public_code) == 401


def test_conflicting_credentials_are_a_400() -> None:
    assert status_of(errors.ConflictingCredentials.code) == 400


def test_messages_are_in_house_style() -> None:
    texts = [Unauthenticated(refusal).message for refusal in Refusal]
    texts += [errors.ConflictingCredentials().message, errors.UnreadableToken("a").message]
    for text in texts:
        assert text[0].islower()
        assert not text.endswith(".")


def test_codes_differ() -> None:
    classes = IdentityError.__subclasses__()
    assert len({cls.code for cls in classes}) == len(classes)
