"""The tokens themselves: how they are made, recognised and digested.

`gw_pat_<id>_<random>_<checksum>`: the prefix is for secret scanners, the id is public and random, the
random part has 190 bits, the checksum (CRC-32) lets anybody refuse a mistyped token without a look-up.
Only the SHA-256 digest is stored; a random secret of this size needs no slow hash. No clock, no store.
Next: `directory.py` answers who a token is.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

from identity.errors import Refusal, Unauthenticated
from identity.principal import CredentialKind

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PAIRS = tuple(a + b for a in _BASE62 for b in _BASE62)  # two digits at a time
_BASE = len(_PAIRS)
_ID_ALPHABET = string.ascii_lowercase + string.digits  # names are unique by casefold
ID_LENGTH = 16  # 82 bits
RANDOM_LENGTH = 32  # 190 bits
CHECKSUM_LENGTH = 6  # 62^6 > 2^32
ONE_TIME = "otp"  # the prefix of links that work once; never accepted as a bearer token

_SHAPE = (
    rf"_([a-z0-9]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{RANDOM_LENGTH}}}_([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)
_BEARER = re.compile(rf"gw_(?:pat|vat){_SHAPE}\Z")
_ONE_TIME = re.compile(rf"gw_{ONE_TIME}{_SHAPE}\Z")
_ANY = re.compile(r"gw_[a-z]{3}_[0-9A-Za-z_]{8,}")


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token. `secret` is shown once and never kept; neither it nor the digest is in `repr`."""

    id: str
    secret: str = field(repr=False)
    digest: str = field(repr=False)


def mint(kind: CredentialKind) -> Minted:
    """A new token of `kind`.

    Raises:
        ValueError: the kind has no token (the host's command line).
    """
    if kind not in (CredentialKind.PAT, CredentialKind.VAT):
        raise ValueError(f"a credential of kind {kind.value} has no token")
    return _mint(kind.value)


def mint_one_time() -> Minted:
    """A new one-time secret, for the first administrator's link."""
    return _mint(ONE_TIME)


def check(secret: str) -> str:
    """The id of a well-formed bearer token: shape and checksum only, no look-up.

    Raises:
        Unauthenticated: `malformed_credential`.
    """
    return _check(_BEARER, secret)


def check_one_time(secret: str) -> str:
    """The id of a well-formed one-time secret.

    Raises:
        Unauthenticated: `malformed_credential`.
    """
    return _check(_ONE_TIME, secret)


def digest_of(secret: str) -> str:
    """The SHA-256 of a token as 64 hex digits: what a `credential` document holds."""
    return hashlib.sha256(secret.encode()).hexdigest()


def digest_key(secret: str) -> bytes:
    """The same digest as 32 bytes: what the directory looks up by."""
    return hashlib.sha256(secret.encode()).digest()


def hint_of(secret: str) -> str:
    """What may be shown of a token afterwards: prefix, id and the last four characters."""
    head, _, tail = secret.rpartition("_")
    return f"{head.rpartition('_')[0]}_…{tail[-4:]}"


def redact(text: str) -> str:
    """`text` with everything that looks like a token cut out: for logs and error texts."""
    return _ANY.sub("gw_…", text) if "gw_" in text else text


def _mint(prefix: str) -> Minted:
    token_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(ID_LENGTH))
    random = "".join(secrets.choice(_BASE62) for _ in range(RANDOM_LENGTH))
    body = f"gw_{prefix}_{token_id}_{random}"
    secret = f"{body}_{_checksum(body)}"
    return Minted(token_id, secret, digest_of(secret))


def _check(shape: re.Pattern[str], secret: str) -> str:
    found = shape.match(secret)
    if found is None or _checksum(secret[: -CHECKSUM_LENGTH - 1]) != found[2]:
        raise Unauthenticated(Refusal.MALFORMED)
    return found[1]


def _checksum(body: str) -> str:
    """CRC-32 in base 62: it finds every change of up to four neighbouring bytes. Not a secret."""
    number = zlib.crc32(body.encode())
    rest = number // _BASE
    return _PAIRS[rest // _BASE] + _PAIRS[rest % _BASE] + _PAIRS[number % _BASE]
