"""Secrets that must be read back: AES-256-GCM, bound to the place that they belong to.

The associated data names document, field and origin, so that a sealed value that is moved elsewhere does
not open. The key comes from the host's key folder (`identity.first_start`) and is never in the store.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from store.errors import SealBroken

KEY_BYTES = 32
_FORMAT = b"\x01"
_NONCE_BYTES = 12


class Sealer:
    """Seals, opens and takes keyed digests with one installation's key."""

    __slots__ = ("_aead", "_digest_key")

    def __init__(self, key: bytes) -> None:
        """Raises: ValueError for a key that is not 32 bytes, or that is one byte repeated."""
        if len(key) != KEY_BYTES or len(set(key)) < 2:
            raise ValueError("a sealing key is 32 random bytes")
        self._aead = AESGCM(_derived(key, b"gatewarden seal"))
        self._digest_key = _derived(key, b"gatewarden digest")

    def __repr__(self) -> str:
        return "Sealer(…)"

    def seal(self, plain: str | bytes, aad: str | bytes) -> bytes:
        """`plain`, sealed; each call gives another value."""
        nonce = os.urandom(_NONCE_BYTES)
        return _FORMAT + nonce + self._aead.encrypt(nonce, _bytes(plain), _bytes(aad))

    def open(self, blob: bytes, aad: str | bytes) -> bytes:
        """What was sealed with the same associated data.

        Raises:
            SealBroken: another key, another place, or changed since.
        """
        if blob[:1] != _FORMAT or len(blob) < 1 + _NONCE_BYTES + 16:
            raise SealBroken("a sealed value has an unknown form")
        nonce, sealed = blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, sealed, _bytes(aad))
        except InvalidTag:
            raise SealBroken(
                "a sealed value does not open here",
                hint="was the sealing key replaced, or the value moved?",
            ) from None

    def digest(self, plain: str | bytes, aad: str | bytes) -> str:
        """64 hex digits that tell whether two secrets in one place are equal, and nothing else."""
        place = hashlib.sha256(_bytes(aad)).digest()
        return hmac.new(self._digest_key, place + _bytes(plain), hashlib.sha256).hexdigest()


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(key)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
