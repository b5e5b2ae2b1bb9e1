from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.checkpoint import (
    BadStatement,
    check,
    key_id,
    public_bytes,
    sign,
    statement_of,
    trusted,
)
from authz.records import Checkpoint, KeyRotation, canonical

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 5)]
PUBLIC = [public_bytes(key) for key in KEYS]


def checkpoint(**more: object) -> Checkpoint:
    values: dict[str, object] = {
        "writer": "a@b@0",
        "count": 10,
        "head": "ab" * 32,
        "at": 5,
        "every": 100,
        "change_epoch": 3,
        "change_head": "cd" * 32,
        "key": key_id(PUBLIC[0]),
        "peers": {"a@b@1": (4, "ef" * 32)},
    }
    return Checkpoint(**{**values, **more})  # type: ignore[arg-type]


def rotation(old: int, new: int) -> KeyRotation:
    made = KeyRotation(key=key_id(PUBLIC[old]), public=PUBLIC[new].hex(), at=1)
    return sign(made, KEYS[old])


def test_a_signed_checkpoint_survives_its_way_through_json() -> None:
    signed = sign(checkpoint(), KEYS[0])
    found = statement_of(msgspec.json.decode(canonical(signed)))
    assert found == signed
    check(signed, trusted(PUBLIC[0], []))


@pytest.mark.parametrize(
    "field",
    [
        {"count": 11},
        {"head": "00" * 32},
        {"at": 6},
        {"writer": "x@b@0"},
        {"peers": {}},
        {"change_epoch": 2},
        {"every": 10**9},
        {"signature": ""},
        {"signature": "zz"},
        {"signature": "00" * 64},
    ],
)
def test_every_changed_field_breaks_the_signature(field: dict[str, object]) -> None:
    signed = msgspec.structs.replace(sign(checkpoint(), KEYS[0]), **field)
    with pytest.raises(BadStatement):
        check(signed, trusted(PUBLIC[0], []))


def test_a_foreign_key_is_not_trusted() -> None:
    signed = sign(checkpoint(key=key_id(PUBLIC[1])), KEYS[1])
    with pytest.raises(BadStatement, match="unknown key"):
        check(signed, trusted(PUBLIC[0], []))
    forged = sign(checkpoint(), KEYS[1])
    with pytest.raises(BadStatement, match="wrong"):
        check(forged, trusted(PUBLIC[0], []))


def test_trust_follows_rotations_in_any_order_and_only_signed_ones() -> None:
    found = trusted(PUBLIC[0], [rotation(1, 2), rotation(0, 1)])
    assert set(found) == {key_id(PUBLIC[n]) for n in (0, 1, 2)}
    forged = msgspec.structs.replace(rotation(3, 2), key=key_id(PUBLIC[0]))
    assert set(trusted(PUBLIC[0], [forged, rotation(3, 1)])) == {key_id(PUBLIC[0])}


def test_other_records_are_no_statements_and_garbled_ones_are_said_to_be() -> None:
    assert statement_of({"type": "decision"}) is None
    with pytest.raises(BadStatement, match="not readable"):
        statement_of({"type": "checkpoint", "count": "ten"})
