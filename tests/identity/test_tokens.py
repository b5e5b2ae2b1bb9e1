"""Tokens: recognised by shape and checksum alone, digested whole, shown nowhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity import tokens
from identity.errors import Refusal, Unauthenticated
from identity.principal import CredentialKind
from policies.documents import Credential

KINDS = (CredentialKind.PAT, CredentialKind.VAT)
SAMPLE = tokens.mint(CredentialKind.PAT).secret


@pytest.mark.parametrize("kind", KINDS)
def test_minted_token_is_accepted_and_gives_its_id(kind: CredentialKind) -> None:
    minted = tokens.mint(kind)
    assert minted.secret.startswith(f"gw_{kind.value}_{minted.id}_")
    assert tokens.check(minted.secret) == minted.id
    assert minted.digest == tokens.digest_of(minted.secret)
    assert bytes.fromhex(minted.digest) == tokens.digest_key(minted.secret)


def test_token_has_at_least_160_random_bits_beside_its_id() -> None:
    assert 62**tokens.RANDOM_LENGTH >= 2**160
    assert len({tokens.mint(CredentialKind.PAT).secret for _ in range(200)}) == 200


def test_id_fits_a_document_name_and_is_unique_by_casefold() -> None:
    pattern = next(
        m.pattern for m in Credential.model_fields["name"].metadata if getattr(m, "pattern", None)
    )
    for _ in range(50):
        minted = tokens.mint(CredentialKind.VAT)
        assert re.match(pattern, minted.id)
        assert minted.id == minted.id.casefold()


def test_the_host_has_no_token() -> None:
    with pytest.raises(ValueError, match="host"):
        tokens.mint(CredentialKind.HOST)


def test_secret_and_digest_are_not_in_repr() -> None:
    """I8: a value that holds a secret never shows it."""
    minted = tokens.mint(CredentialKind.PAT)
    for shown in (repr(minted), str(minted), f"{minted}"):
        assert minted.secret not in shown
        assert minted.digest not in shown


@settings(max_examples=200)
@given(place=st.integers(0, len(SAMPLE) - 1), byte=st.characters(max_codepoint=0x24F))
def test_any_changed_character_is_refused_by_the_checksum(place: int, byte: str) -> None:
    changed = SAMPLE[:place] + byte + SAMPLE[place + 1 :]
    if changed == SAMPLE:
        assert tokens.check(changed)
        return
    with pytest.raises(Unauthenticated) as refused:
        tokens.check(changed)
    assert refused.value.code == Refusal.MALFORMED


def test_every_flip_of_every_bit_of_every_byte_is_refused() -> None:
    for place in range(len(SAMPLE)):
        for bit in range(7):
            flipped = SAMPLE[:place] + chr(ord(SAMPLE[place]) ^ 1 << bit) + SAMPLE[place + 1 :]
            with pytest.raises(Unauthenticated):
                tokens.check(flipped)


@settings(max_examples=100)
@given(st.integers(7, len(SAMPLE) - 2))
def test_swapped_neighbours_are_refused(place: int) -> None:
    swapped = SAMPLE[:place] + SAMPLE[place + 1] + SAMPLE[place] + SAMPLE[place + 2 :]
    if swapped != SAMPLE:
        with pytest.raises(Unauthenticated):
            tokens.check(swapped)


@settings(max_examples=200)
@given(st.text(max_size=200))
def test_no_other_text_is_a_token_and_none_raises_something_else(text: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.check(text)


def test_one_time_secret_is_no_bearer_token_and_the_reverse() -> None:
    once = tokens.mint_one_time()
    assert tokens.check_one_time(once.secret) == once.id
    with pytest.raises(Unauthenticated):
        tokens.check(once.secret)
    with pytest.raises(Unauthenticated):
        tokens.check_one_time(SAMPLE)


def test_hint_shows_the_id_and_four_characters_only() -> None:
    minted = tokens.mint(CredentialKind.VAT)
    shown = tokens.hint_of(minted.secret)
    assert shown == f"gw_vat_{minted.id}_…{minted.secret[-4:]}"


@pytest.mark.parametrize("around", ["%s", "x%sy", 'token="%s"', "a %s b %s", "\n%s\n"])
def test_redact_leaves_nothing_of_a_token(around: str) -> None:
    minted = tokens.mint(CredentialKind.PAT)
    text = around.replace("%s", minted.secret)
    cleaned = tokens.redact(text)
    assert minted.secret[12:] not in cleaned
    assert minted.secret.split("_")[3] not in cleaned


def test_text_without_a_token_is_not_touched() -> None:
    assert tokens.redact("gateway gw is fine") == "gateway gw is fine"
