"""Signed statements in the chain: checkpoints, key rotations, prunings.

Ed25519 over the canonical JSON of the statement without its signature, after a fixed prefix that says
what is signed. Verifying needs the public key only: a new key is introduced by a statement signed with
the old one, so trust in one key leads to all later ones (`trusted`). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from authz.errors import AuthzError
from authz.records import Checkpoint, KeyRotation, Prune, Signed, canonical

_CONTEXT = b"gatewarden journal 1\n"
_S = TypeVar("_S", Checkpoint, KeyRotation, Prune)


class BadStatement(AuthzError):
    """A statement is signed with an unknown key, or its signature is wrong."""

    code = "bad_statement"


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of the public key."""
    return key.public_key().public_bytes_raw()


def key_id(public: bytes) -> str:
    """How a key is named in records: the first 16 hex digits of its SHA-256."""
    return sha256(public).hexdigest()[:16]


def _payload(statement: Signed) -> bytes:
    return _CONTEXT + canonical(msgspec.structs.replace(statement, signature=""))


def sign(statement: _S, key: Ed25519PrivateKey) -> _S:
    """The statement with its signature."""
    return msgspec.structs.replace(statement, signature=key.sign(_payload(statement)).hex())


def check(statement: Signed, keys: dict[str, bytes]) -> None:
    """Checks the signature against the trusted keys (by id).

    Raises:
        BadStatement: unknown key or wrong signature.
    """
    public = keys.get(statement.key)
    if public is None:
        raise BadStatement(f"signed with the unknown key `{statement.key}`")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(
            bytes.fromhex(statement.signature), _payload(statement)
        )
    except (InvalidSignature, ValueError) as error:
        raise BadStatement(f"the signature by key `{statement.key}` is wrong") from error


def statement_of(body: dict[str, object]) -> Signed | None:
    """The signed statement in the body of a record, None if it is of another type.

    Raises:
        BadStatement: it names itself a statement but lacks or garbles its fields.
    """
    if body.get("type") not in ("checkpoint", "key-rotation", "prune"):
        return None
    try:
        found: Signed = msgspec.convert(body, type=Signed)
    except msgspec.ValidationError as error:
        raise BadStatement("the statement is not readable") from error
    return found


def trusted(public: bytes, rotations: Iterable[KeyRotation]) -> dict[str, bytes]:
    """All keys that trust in `public` leads to, by id; rotations that are not signed so are left out."""
    keys = {key_id(public): public}
    waiting = list(rotations)
    while True:
        rest = []
        for rotation in waiting:
            try:
                check(rotation, keys)
                new = bytes.fromhex(rotation.public)
            except (BadStatement, ValueError):
                rest.append(rotation)
            else:
                keys[key_id(new)] = new
        if len(rest) == len(waiting):
            return keys
        waiting = rest
