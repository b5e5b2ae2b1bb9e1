"""A sealed value opens where it was sealed, with the key that sealed it, unchanged; and never shows."""

from __future__ import annotations

import pytest

from store.errors import SealBroken
from store.sealed import Sealer

KEY = bytes(range(32))


def test_what_was_sealed_opens_in_its_place() -> None:
    sealer = Sealer(KEY)
    blob = sealer.seal("sk-canary", "provider-account/acme|api_key|https://a")
    assert sealer.open(blob, b"provider-account/acme|api_key|https://a") == b"sk-canary"
    assert b"canary" not in blob
    assert blob != sealer.seal("sk-canary", "provider-account/acme|api_key|https://a")


@pytest.mark.parametrize("aad", ["provider-account/beta|f|o", "provider-account/acme|f|other", ""])
def test_it_does_not_open_in_another_place(aad: str) -> None:
    blob = Sealer(KEY).seal("sk", "provider-account/acme|f|o")
    with pytest.raises(SealBroken):
        Sealer(KEY).open(blob, aad)


def test_it_does_not_open_with_another_key_or_when_changed() -> None:
    blob = Sealer(KEY).seal("sk", "a")
    with pytest.raises(SealBroken):
        Sealer(bytes(reversed(KEY))).open(blob, "a")
    for place in range(len(blob)):
        changed = bytearray(blob)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            Sealer(KEY).open(bytes(changed), "a")
    with pytest.raises(SealBroken):
        Sealer(KEY).open(b"", "a")


@pytest.mark.parametrize("key", [b"", b"short", bytes(32), b"x" * 32, bytes(33)])
def test_a_weak_key_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        Sealer(key)


def test_digests_tell_equal_secrets_in_one_place_and_nothing_else() -> None:
    one, other = Sealer(KEY), Sealer(bytes(reversed(KEY)))
    assert one.digest("sk", "a") == one.digest(b"sk", b"a")
    assert (
        len(
            {
                one.digest("sk", "a"),
                one.digest("sk", "b"),
                one.digest("sl", "a"),
                other.digest("sk", "a"),
            }
        )
        == 4
    )
    # The border between place and secret cannot be moved.
    assert one.digest("bc", "a") != one.digest("c", "ab")


def test_the_key_is_in_no_text_of_the_sealer() -> None:
    assert repr(Sealer(KEY)) == "Sealer(…)"
