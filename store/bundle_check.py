"""Verifying a bundle (`bundle.py`) with the public key only, and nothing but the file.

The key has to come from elsewhere: the one inside proves nothing. Found are a file that was edited, added,
removed or swapped; a line that was edited, removed, added or moved, also by somebody who made the digests
fit; a piece that does not reach from end to end of the window; a writer that another one's checkpoint knows
and the bundle lacks. The file may be anybody's: no more is read than its signed manifest says.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from authz.chain import GENESIS, BrokenLine, Line, read_line
from authz.checkpoint import BadStatement, check, statement_of, trusted
from authz.records import Checkpoint, KeyRotation, Prune
from store.bundle import CONTEXT, FOLDER, FORMAT, MANIFEST, SIGNATURE, STATEMENTS, Manifest, Piece
from store.segments import whole_lines
from store.verify import Chain, Fault, VerifyReport

MOST_MANIFEST: Final = 16 << 20
MOST_STATEMENTS: Final = 64 << 20
MOST_LINE: Final = 64 << 20
_HEADER: Final = struct.Struct("<4s5H3I2H")  # APPNOTE 4.3.7, without the name
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError, EOFError)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the bundle is checked against."""

    manifest: Manifest
    keys: dict[str, bytes]
    prunes: tuple[Prune, ...]


@dataclass(slots=True)
class _Read:
    """One piece after it was read."""

    chain: Chain
    piece: Piece
    claims: list[tuple[Line, Checkpoint]] = field(default_factory=list)
    first: Line | None = None
    last: Line | None = None


def verify_bundle(path: Path, public_key: bytes) -> tuple[Manifest | None, VerifyReport]:
    """Whether the bundle is what was made, and the log in it what was written; what it says of itself.

    The manifest is None if it cannot be believed: then nothing else was looked at.
    """
    try:
        with zipfile.ZipFile(path) as bundle, path.open("rb") as file:
            for member in bundle.infolist():
                _check_header(file, member)
            known, faults = _opened(bundle, public_key)
            if known is None:
                return None, VerifyReport(tuple(faults), ())
            return known.manifest, _verified(bundle, known, faults)
    except _BROKEN as error:
        fault = _fault(path.name, f"not a whole bundle: {error}")
        return None, VerifyReport((fault,), ())


def _fault(
    file: str, message: str, *, writer: str = "bundle", line: int = 0, seq: int = 0
) -> Fault:
    return Fault(writer, file, line, seq, message)


def _opened(bundle: zipfile.ZipFile, public_key: bytes) -> tuple[_Known | None, list[Fault]]:
    """The manifest, once its signature is right, and what is wrong with the list of files."""
    names = Counter(bundle.namelist())
    if not names[MANIFEST] or not names[SIGNATURE]:
        return None, [_fault("", "there is no signed manifest in this file")]
    raw = _small(bundle, MANIFEST, MOST_MANIFEST)
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, [_fault(MANIFEST, "not a manifest of a bundle")]
    statements = _small(bundle, STATEMENTS, MOST_STATEMENTS) if names[STATEMENTS] else b""
    keys, prunes = _statements(statements, public_key)
    problem = _signed(raw, _small(bundle, SIGNATURE, 1024), manifest.key, keys)
    if not problem and manifest.format != FORMAT:
        problem = f"the format {manifest.format} is not known"
    if problem:
        return None, [_fault(MANIFEST, problem)]
    wanted = {MANIFEST, SIGNATURE, *manifest.files}
    faults = [_fault(name, "the file is missing") for name in sorted(wanted - names.keys())]
    faults += [_fault(name, "the file is foreign") for name in sorted(names.keys() - wanted)]
    faults += [
        _fault(name, "the file is there twice") for name, count in names.items() if count > 1
    ]
    return _Known(manifest, keys, prunes), faults


def _check_header(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    """What stands before a member says the same as the directory at the end: nobody reads it, so it must.

    Raises:
        zipfile.BadZipFile.
    """
    file.seek(member.header_offset)
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise zipfile.BadZipFile(f"{member.filename!a} has no head")
    mark, _, flags, kind, clock, day, crc, packed, size, name, extra = _HEADER.unpack(head)
    sizes = (member.compress_size, member.file_size)
    large = (packed, size) == (0xFFFFFFFF, 0xFFFFFFFF)  # the true ones are in the extra field
    year, month, date, hour, minute, second = member.date_time
    if (
        mark != b"PK\3\4"
        or (flags, kind, crc) != (member.flag_bits, member.compress_type, member.CRC)
        or (clock, day)
        != (hour << 11 | minute << 5 | second >> 1, (year - 1980) << 9 | month << 5 | date)
        or (not large and ((packed, size) != sizes or extra))
        or file.read(name) != member.orig_filename.encode("ascii", "backslashreplace")
    ):
        raise zipfile.BadZipFile(f"the head of {member.filename!a} was changed")


def _small(bundle: zipfile.ZipFile, name: str, most: int) -> bytes:
    with bundle.open(name) as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise zipfile.BadZipFile(f"`{name}` is too long")
    return raw


def _statements(raw: bytes, public_key: bytes) -> tuple[dict[str, bytes], tuple[Prune, ...]]:
    """The keys that the public one leads to, and the prunings that they signed."""
    rotations: list[KeyRotation] = []
    prunes: list[Prune] = []
    for _, piece in whole_lines(raw):
        try:
            statement = statement_of(read_line(piece).body)
        except (BrokenLine, BadStatement):
            continue  # the digest of the file tells; nothing is believed here without a signature
        if isinstance(statement, KeyRotation):
            rotations.append(statement)
        elif isinstance(statement, Prune):
            prunes.append(statement)
    keys = trusted(public_key, rotations)
    return keys, tuple(prune for prune in prunes if _vouched(prune, keys))


def _vouched(prune: Prune, keys: dict[str, bytes]) -> bool:
    try:
        check(prune, keys)
    except BadStatement:
        return False
    return True


def _signed(raw: bytes, signature: bytes, key: str, keys: dict[str, bytes]) -> str:
    """What is wrong with the signature of the manifest (empty: nothing)."""
    public = keys.get(key)
    if public is None:
        return f"signed with the unknown key `{key[:64]}`"
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(
            bytes.fromhex(signature.decode("ascii")), CONTEXT + raw
        )
    except (InvalidSignature, ValueError):
        return "the signature is wrong"
    return ""


def _verified(bundle: zipfile.ZipFile, known: _Known, faults: list[Fault]) -> VerifyReport:
    manifest = known.manifest
    there = set(bundle.namelist())
    read: dict[str, _Read] = {}
    for name, seen in sorted(manifest.files.items()):
        if name not in there:
            continue
        writer = name.removeprefix(FOLDER).removesuffix(".jsonl")
        piece = manifest.writers.get(writer) if name.startswith(FOLDER) else None
        if name.startswith(FOLDER) and piece is None and seen.bytes:
            faults.append(_fault(name, "the manifest says nothing of these records"))
        digest, size = sha256(), 0
        part = _Read(Chain(Path(writer), known.keys), piece) if piece is not None else None
        with bundle.open(name) as file:
            for number, raw in enumerate(_lines(file, seen.bytes), 1):
                digest.update(raw)
                size += len(raw)
                if part is not None:
                    _take(part, name, number, raw)
        if (size, digest.hexdigest()) != (seen.bytes, seen.sha256):
            faults.append(_fault(name, "the file is not what its digest says"))
        if part is not None:
            read[writer] = part
    for writer in manifest.writers:
        if f"{FOLDER}{writer}.jsonl" not in manifest.files:
            faults.append(_fault(MANIFEST, "the records of this writer are missing", writer=writer))
    for writer, part in read.items():
        faults += part.chain.faults
        faults += _ends(writer, part, known)
        faults += _peers(writer, part, read, known)
    return VerifyReport(
        faults=tuple(sorted(set(faults), key=lambda f: (f.writer, f.seq, f.file, f.line))),
        writers=tuple(part.chain.report() for part in read.values()),
        notes=tuple(note for part in read.values() for note in part.chain.notes),
    )


def _lines(file: IO[bytes], size: int) -> Iterator[bytes]:
    """The lines of a file, up to one byte more than it should have."""
    left = size + 1
    while left > 0 and (raw := file.readline(min(left, MOST_LINE))):
        left -= len(raw)
        yield raw


def _take(part: _Read, name: str, number: int, raw: bytes) -> None:
    chain = part.chain
    try:
        line = read_line(raw)
        if not raw.endswith(b"\n"):
            raise BrokenLine("the last line is not whole")
    except BrokenLine as error:
        chain.fault(name, number, chain.link.seq + 1, error.message)
        return
    part.first, part.last = part.first or line, line
    chain.wanted[line.seq] = line.hash  # so that what other chains say of it can be compared
    chain.take(name, number, line)
    if line.type == "checkpoint":
        try:
            statement = statement_of(line.body)
        except BadStatement:
            return  # said by the chain
        if isinstance(statement, Checkpoint):
            part.claims.append((line, statement))


def _ends(writer: str, part: _Read, known: _Known) -> Iterator[Fault]:
    """What is wrong with where a piece begins and ends."""
    piece, first, last, manifest = part.piece, part.first, part.last, known.manifest
    name = f"{FOLDER}{writer}.jsonl"
    if first is None or last is None:
        yield _fault(name, "there is no record in it", writer=writer)
        return
    if (first.seq, last.seq, last.hash) != (piece.first, piece.last, piece.head):
        yield _fault(
            name,
            f"records {piece.first} to {piece.last} expected, {first.seq} to {last.seq} found",
            writer=writer,
        )
    before = (first.seq - 1, first.prev)
    begins = before == (0, GENESIS) or any(
        before in prune.cuts for prune in known.prunes if prune.writer == writer
    )
    since, until = manifest.since, manifest.until
    early = since is not None and first.type == "checkpoint" and first.at < since
    if not begins and not early:
        yield _fault(name, "it does not reach back to the begin of the window", writer=writer)
    late = until is not None and last.type == "checkpoint" and last.at >= until
    if not piece.open_end and not late:
        yield _fault(name, "it does not reach to the end of the window", writer=writer)
    if not part.chain.checkpoints:
        yield _fault(name, "no checkpoint is signed with a trusted key", writer=writer)


def _peers(writer: str, part: _Read, read: dict[str, _Read], known: _Known) -> Iterator[Fault]:
    """What the checkpoints of a writer know of the others, and the bundle says otherwise."""
    for line, statement in part.claims:
        for other, (seq, digest) in statement.peers.items():
            found = read.get(other)
            message = ""
            if found is None:
                message = "all records of this writer are missing"
            elif found.piece.first <= seq <= found.piece.last:
                if found.chain.hashes.get(seq) != digest:
                    message = "the record is another one"
            elif (
                seq > found.piece.last
                and found.piece.open_end
                # One that was written while the bundle was made may know more than the bundle.
                and line.at <= known.manifest.made_at
            ):
                message = f"the chain ends at record {found.piece.last}, before it"
            if message:
                name = f"{FOLDER}{writer}.jsonl"
                text = f"speaks of record {seq} of `{other}`: {message}"
                yield _fault(name, text, writer=writer, seq=line.seq)
