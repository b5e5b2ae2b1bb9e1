"""A bundle: a time window of the decision log in one signed file, for somebody who has no access to it.

A ZIP file: the lines of each writer from the checkpoint before the window to the one after it, the signed
key rotations and prunings of the log, the public key, a manifest with the SHA-256 of each of these, and its Ed25519 signature. The
checkpoints prove the lines, the manifest proves that nothing was left out of the file. Blocking; reads the
journal only, so that a running gateway may go on writing. What is checked: `bundle_check.py`.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authz.chain import BrokenLine, Line, read_line
from authz.checkpoint import key_id, public_bytes
from authz.records import canonical
from store.segments import KEYS, JournalError, segments, whole_lines, writers

FORMAT: Final = 1
CONTEXT: Final = b"gatewarden bundle 1\n"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
STATEMENTS: Final = "statements.jsonl"
PUBLIC: Final = "public-key.pem"
README: Final = "README.txt"
FOLDER: Final = "writers/"
_DATE: Final = (1980, 1, 1, 0, 0, 0)  # of every member: when it was made stands in the manifest
_TEXT: Final = """\
A time window of a Gatewarden decision log.

Verify it with the public key that you were given by another way than this file:

    gatewarden log verify --bundle FILE --public-key KEY

or by hand: manifest.sig is an Ed25519 signature (hex) over the text "gatewarden bundle 1", a line feed, and
manifest.json; manifest.json has the SHA-256 of every other file. In writers/*.jsonl take "aside" and "hash"
away from a line and write the rest as JSON with sorted keys and no spaces: its SHA-256 is "hash", and "prev"
is the "hash" of the line before. A line of the type "checkpoint" is signed over the text "gatewarden journal
1", a line feed, and its body without "signature", written in the same way.
"""


class BundleError(JournalError):
    """A bundle cannot be made of this journal."""

    code = "bundle_error"


class Piece(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle holds of one writer; `open_end`: its chain went no further when it was made."""

    first: int
    last: int
    head: str
    open_end: bool


class FileSeen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a bundle."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed. `since` and `until` are UTC microseconds; None: from the begin, to the end."""

    format: int
    made_at: int
    since: int | None
    until: int | None
    asides: bool
    key: str
    files: dict[str, FileSeen]
    writers: dict[str, Piece]


@dataclass(frozen=True, slots=True)
class Window:
    """From `since` on and before `until`, in UTC microseconds; None: without an end."""

    since: int | None = None
    until: int | None = None

    def begun(self, at: int) -> bool:
        """Whether a record of this time is not before the window."""
        return self.since is None or at >= self.since

    def ended(self, at: int) -> bool:
        """Whether a record of this time is behind the window."""
        return self.until is not None and at >= self.until


def make_bundle(
    journal: Path,
    target: Path,
    window: Window,
    *,
    key: Ed25519PrivateKey,
    root: bytes,
    now: int,
    asides: bool = True,
) -> Manifest:
    """Writes the bundle; a file that is there is replaced once the new one is whole.

    `key` signs, `root` is the public key that the log began with. Without `asides` the texts of callers
    stay out; their digests, which the chain holds, do not.

    Raises:
        BundleError: there is no journal, or one of its lines is broken. OSError.
    """
    places = writers(journal)
    if not places:
        raise BundleError(f"there is no journal in `{journal}`")
    fresh = target.with_name(f".{target.name}.part")
    try:
        with fresh.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
            os.fchmod(file.fileno(), 0o600)
            manifest = _fill(made, places, window, root=root, now=now, asides=asides, key=key)
            raw = canonical(manifest)
            _put(made, MANIFEST, raw)
            _put(made, SIGNATURE, key.sign(CONTEXT + raw).hex().encode() + b"\n")
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return manifest


def _fill(
    made: zipfile.ZipFile,
    places: list[Path],
    window: Window,
    *,
    root: bytes,
    now: int,
    asides: bool,
    key: Ed25519PrivateKey,
) -> Manifest:
    files: dict[str, FileSeen] = {}
    pieces: dict[str, Piece] = {}
    signed: list[bytes] = []
    for place in places:
        name = f"{FOLDER}{place.name}.jsonl"
        found = _Cut(place, window)
        digest, size = sha256(), 0
        with made.open(_member(name), "w", force_zip64=True) as member:
            for line, raw in found.lines():
                if not asides and line.aside is not None:
                    raw = canonical(msgspec.structs.replace(line, aside=None)) + b"\n"
                member.write(raw)
                digest.update(raw)
                size += len(raw)
        if found.piece is not None:  # else it has not written anything yet
            pieces[place.name] = found.piece
        files[name] = FileSeen(size, digest.hexdigest())
        path = place / KEYS
        signed += [path.read_bytes() if path.exists() else b"", *found.prunes]
    for name, raw in (
        (STATEMENTS, b"".join(signed)),
        (PUBLIC, pem(root)),
        (README, _TEXT.encode()),
    ):
        _put(made, name, raw)
        files[name] = FileSeen(len(raw), sha256(raw).hexdigest())
    signer = key_id(public_bytes(key))
    return Manifest(FORMAT, now, window.since, window.until, asides, signer, files, pieces)


def _put(made: zipfile.ZipFile, name: str, raw: bytes) -> None:
    made.writestr(_member(name), raw)


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    return info


def pem(public: bytes) -> bytes:
    """A public key as PEM."""
    return Ed25519PublicKey.from_public_bytes(public).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )


class _Cut:
    """The lines of one writer that belong to a window: from the checkpoint before to the one after it."""

    def __init__(self, place: Path, window: Window) -> None:
        self._place = place
        self._window = window
        self.piece: Piece | None = None  # once `lines` has ended
        self.prunes: list[bytes] = []  # of the whole chain: they excuse what is not there any more

    def lines(self) -> Iterator[tuple[Line, bytes]]:
        """Each line and its bytes. Raises: BundleError, a line is broken."""
        start, stop = self._bounds()
        first = last = 0
        head, ended = "", True
        for line, raw in self._read():
            if line.seq < start:
                continue
            if line.seq > stop:
                ended = False
                break
            first, last, head = first or line.seq, line.seq, line.hash
            yield line, raw
        if first:
            self.piece = Piece(first, last, head, ended)

    def _bounds(self) -> tuple[int, int]:
        """The first and the last record. A clock may step back, so every record is looked at."""
        window = self._window
        start = stop = mark = 0
        inside = False
        for line, raw in self._read():
            checkpoint = line.type == "checkpoint"
            if line.type == "prune":
                self.prunes.append(raw)
            if not inside and window.begun(line.at):
                inside, start = True, mark
            if checkpoint:
                mark = line.seq
            if not window.ended(line.at):
                stop = 0
            elif checkpoint and not stop:
                stop = line.seq
        if not inside:
            start = (
                mark  # all is before the window: the last checkpoint shows that the chain was there
            )
        return start, stop or (1 << 62)

    def _read(self) -> Iterator[tuple[Line, bytes]]:
        for segment in segments(self._place):
            for number, (_, raw) in enumerate(whole_lines(segment.path.read_bytes()), 1):
                try:
                    yield read_line(raw), raw
                except BrokenLine as error:
                    raise BundleError(
                        f"{self._place.name}/{segment.path.name}:{number}: {error.message}",
                        hint="gatewarden log verify names everything that is wrong",
                    ) from error
