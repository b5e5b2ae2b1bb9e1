"""The keys of an installation: made at the first start, checked at every start. No default secrets.

`<DATA>/keys/` holds `sealing.key` (32 bytes, AES-GCM), `signing.key` (Ed25519, checkpoints) and
`installation` (its id, and fingerprints of both keys). A key may come from the settings instead; then
no file is made. A signing key is exchanged by putting the old one beside it as `signing.previous.key`. What is weak, readable by others, or not the key the data was made with refuses to start
and says how to mend it. Blocking: called before the loop runs. Next: `first_admin.py`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from identity.errors import MissingKey, WeakKey, WrongKey
from identity.private_files import (
    locked,
    make_folder,
    read_private,
    refuse_writable,
    write_private,
)

KEY_BYTES = 32
PREVIOUS = (
    "signing.previous.key"  # the signing key before, until the journal has introduced the new one
)
_MIN_DISTINCT = 16  # 32 random bytes have about 30 distinct ones; fewer than 16 never happens
_INSTALLATION = re.compile(r"[a-z0-9]{8,64}\Z")

# Keys that are printed somewhere: RFC 8032 7.1 (tests 1-3), and the SHA-256 of plain words.
_WORDS = (b"", b"admin", b"changeme", b"gatewarden", b"password", b"secret", b"test")
_PRINTED = (
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
)
_KNOWN = frozenset(bytes.fromhex(key) for key in _PRINTED) | frozenset(
    hashlib.sha256(word).digest() for word in _WORDS
)


@dataclass(frozen=True, slots=True)
class Keys:
    """What an installation seals and signs with. `created` names the files made by this call."""

    installation: str
    sealing: bytes = field(repr=False)
    signing: Ed25519PrivateKey = field(repr=False)
    previous: Ed25519PrivateKey | None = field(default=None, repr=False)  # introduces `signing`
    created: tuple[Path, ...] = ()

    def public_key(self) -> bytes:
        """The public half of the signing key, 32 bytes: all that `log verify` needs."""
        return self.signing.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def root_key(self) -> bytes:
        """The public half of the oldest key at hand: trust in it leads to the one of now."""
        first = self.previous if self.previous is not None else self.signing
        return first.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def prepare(
    data: Path,
    *,
    established: bool,
    sealing: str | None = None,
    signing: str | None = None,
    installation: str | None = None,
) -> Keys:
    """The keys of the installation in `data`, made if this is the first start.

    Args:
        established: whether a database or a journal exists already; then no key is made.
        sealing: the sealing key from the settings (32 bytes in base64 or hex).
        signing: the signing key from the settings (PEM, or 32 bytes in base64 or hex).
        installation: the id, for a further host of the same installation.

    Raises:
        WeakKey: a key is weak, known, damaged or within reach of others.
        MissingKey: a key is gone although there is data.
        WrongKey: a key is not the one that the data was made with.
    """
    if installation is not None and not _INSTALLATION.match(installation):
        raise WeakKey("the installation id must be 8 to 64 lower-case letters and digits")
    folder = data / "keys"
    make_folder(data, 0o700)
    make_folder(folder, 0o700)
    refuse_writable(folder)
    with locked(folder / ".lock"):
        known = _read_installation(folder / "installation")
        required = established or known is not None
        created: list[Path] = []

        def key(name: str, given: str | None, make: Callable[[], bytes]) -> bytes:
            if given is not None:
                return given.encode()
            path = folder / name
            text = read_private(path)
            if text is None:
                if required:
                    raise _missing(path)
                text = make()
                write_private(path, text)
                created.append(path)
            return text

        sealing_text = key("sealing.key", sealing, _new_sealing)
        signing_text = key("signing.key", signing, _new_signing)
        sealing_key = _sealing_key(sealing_text, _where(folder, "sealing.key", sealing))
        signing_key = _signing_key(signing_text, _where(folder, "signing.key", signing))
        previous_text = read_private(folder / PREVIOUS)
        previous_key = None
        if previous_text is not None:
            previous_key = _signing_key(previous_text, f"`{folder / PREVIOUS}`")
        if sealing_key == _raw(signing_key):
            raise WeakKey("the sealing key and the signing key are the same", hint="make two keys")
        prints = {
            "sealing": _fingerprint(b"gw sealing key", sealing_key),
            "signing": _signing_print(signing_key),
        }
        if known is None:
            if established and installation is None:
                raise _missing(folder / "installation")
            known = {"installation": installation or secrets.token_hex(8), **prints}
            write_private(folder / "installation", json.dumps(known).encode() + b"\n")
            created.append(folder / "installation")
        former = _signing_print(previous_key) if previous_key is not None else ""
        if known.get("signing") == former != prints["signing"]:
            # The old key is here to introduce the new one, which is the installation's from now on.
            known = {**known, "signing": prints["signing"]}
            write_private(folder / "installation", json.dumps(known).encode() + b"\n")
        for name, fingerprint in prints.items():
            if known.get(name) != fingerprint:
                raise WrongKey(
                    f"the {name} key is not the one that `{data}` was made with",
                    hint="put the old key back; what it sealed or signed cannot be used without it",
                )
        if installation is not None and known["installation"] != installation:
            raise WrongKey(f"`{data}` belongs to the installation `{known['installation']}`")
    return Keys(known["installation"], sealing_key, signing_key, previous_key, tuple(created))


def _new_sealing() -> bytes:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n"


def _new_signing() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _sealing_key(text: bytes, where: str) -> bytes:
    key = _decode(text)
    if key is None or len(key) != KEY_BYTES:
        raise WeakKey(f"{where} is not 32 bytes in base64 or hex", hint=_MAKE_ONE)
    _refuse_weak(key, where)
    return key


def _signing_key(text: bytes, where: str) -> Ed25519PrivateKey:
    if text.lstrip().startswith(b"-----BEGIN"):
        try:
            loaded = load_pem_private_key(text, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise WeakKey(f"{where} is not a readable PEM key", hint=_MAKE_PEM) from error
        if not isinstance(loaded, Ed25519PrivateKey):
            raise WeakKey(f"{where} is not an Ed25519 key", hint=_MAKE_PEM)
        _refuse_weak(_raw(loaded), where)
        return loaded
    return Ed25519PrivateKey.from_private_bytes(_sealing_key(text, where))


_MAKE_ONE = "make one with: openssl rand -base64 32"
_MAKE_PEM = "make one with: openssl genpkey -algorithm ed25519"


def _decode(text: bytes) -> bytes | None:
    text = text.strip()
    try:
        if re.fullmatch(rb"[0-9A-Fa-f]{64}", text):
            return bytes.fromhex(text.decode())
        plain = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _refuse_weak(key: bytes, where: str) -> None:
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    if len(set(key)) < _MIN_DISTINCT or len(steps) == 1:
        raise WeakKey(f"{where} repeats itself: it is not random", hint=_MAKE_ONE)
    if all(0x20 <= byte < 0x7F for byte in key):
        raise WeakKey(f"{where} is text, not random bytes", hint=_MAKE_ONE)
    if key in _KNOWN:
        raise WeakKey(f"{where} is a published key", hint=_MAKE_ONE)


def _raw(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def _fingerprint(purpose: bytes, key: bytes) -> str:
    return hashlib.blake2b(key, digest_size=16, person=purpose).hexdigest()


def _signing_print(key: Ed25519PrivateKey) -> str:
    return _fingerprint(b"gw signing key", _raw(key))


def _where(folder: Path, name: str, given: str | None) -> str:
    kind = name.removesuffix(".key")
    return f"the {kind} key of the settings" if given is not None else f"`{folder / name}`"


def _missing(path: Path) -> MissingKey:
    return MissingKey(
        f"`{path}` is missing, but there is data that was made with it",
        hint="restore it from the backup, or move the database and the journal away to start anew",
    )


def _read_installation(path: Path) -> dict[str, str] | None:
    content = read_private(path)
    if content is None:
        return None
    try:
        known = json.loads(content)
        if isinstance(known, dict) and _INSTALLATION.match(known["installation"]):
            return {str(name): str(value) for name, value in known.items()}
    except (ValueError, KeyError, TypeError):
        pass
    raise WeakKey(f"`{path}` is damaged", hint="restore it from the backup")
