from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from authz.chain import Link, read_line, seal
from authz.checkpoint import key_id, public_bytes
from authz.recording import request_record
from authz.records import DecisionRecord, canonical
from store.bundle import (
    CONTEXT,
    MANIFEST,
    SIGNATURE,
    BundleError,
    FileSeen,
    Manifest,
    Window,
    make_bundle,
)
from store.bundle_check import verify_bundle
from store.segments import segments
from store.writer import Limits
from tests.store.journal_kit import KEY, NOON, OTHER_KEY, PUBLIC, Clock, decision, open_journal

SECOND = 1_000_000
Files = dict[str, bytes]


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """Two writers, a decision each second for 40 seconds, a checkpoint each eight records."""
    folder, clock = tmp_path / "journal", Clock()
    limits = Limits(segment_bytes=4500, checkpoint_records=8)
    one = open_journal(folder, clock, limits=limits)
    two = open_journal(folder, clock, limits=limits)
    for n in range(40):
        clock.move(SECOND)
        await (one if n % 2 else two).append(decision(number=n)).durable()
    await one.close()
    await two.close()
    return folder


WINDOW = Window(NOON + 12 * SECOND, NOON + 20 * SECOND)


def made(journal: Path, target: Path, window: Window = WINDOW) -> Manifest:
    return make_bundle(journal, target, window, key=KEY, root=PUBLIC, now=NOON + 60 * SECOND)


def files(path: Path) -> Files:
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def write(path: Path, found: Files) -> None:
    with zipfile.ZipFile(path, "w") as bundle:
        for name, raw in found.items():
            bundle.writestr(name, raw)


def resigned(found: Files, **changes: object) -> Files:
    """The bundle as the holder of the signing key could make it after the fact: all digests fit."""
    manifest = msgspec.json.decode(found[MANIFEST], type=Manifest)
    seen = {
        name: FileSeen(len(raw), sha256(raw).hexdigest())
        for name, raw in found.items()
        if name not in (MANIFEST, SIGNATURE)
    }
    raw = canonical(msgspec.structs.replace(manifest, files=seen, **changes))
    return {**found, MANIFEST: raw, SIGNATURE: KEY.sign(CONTEXT + raw).hex().encode()}


def writer_files(found: Files) -> list[str]:
    return sorted(name for name in found if name.startswith("writers/"))


async def test_a_bundle_of_a_window_is_whole_and_holds_the_window_to_its_checkpoints(
    journal: Path, tmp_path: Path
) -> None:
    target = tmp_path / "log.zip"
    manifest = made(journal, target)
    told, report = verify_bundle(target, PUBLIC)
    assert report.ok and told == manifest
    assert len(report.writers) == 2
    lines = [
        read_line(raw)
        for name in writer_files(files(target))
        for raw in files(target)[name].splitlines()
    ]
    inside = {line.seq for line in lines if NOON + 12 * SECOND <= line.at < NOON + 20 * SECOND}
    assert len([n for n in lines if n.type == "decision"]) >= 8 and inside
    assert report.records < 56  # and not all of the log
    assert target.stat().st_mode & 0o077 == 0


async def test_no_bit_of_the_directory_can_be_changed_unnoticed_or_stops_the_check(
    journal: Path, tmp_path: Path
) -> None:
    target = tmp_path / "log.zip"
    made(journal, target)
    whole, held = target.read_bytes(), files(target)
    for at in range(whole.index(b"PK\x01\x02"), len(whole)):
        for bit in (1, 16, 128):  # of a length, the largest makes a name that is not ASCII
            target.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            _, report = verify_bundle(target, PUBLIC)
            assert not report.ok or files(target) == held, (at, bit)


@pytest.mark.parametrize(
    "window",
    [
        Window(),
        Window(until=NOON + 5 * SECOND),
        Window(since=NOON + 30 * SECOND),
        Window(NOON + 500 * SECOND, NOON + 600 * SECOND),
        Window(1, 2),
    ],
    ids=["all", "the begin", "the end", "after all", "before all"],
)
async def test_any_window_gives_a_bundle_that_verifies(
    journal: Path, tmp_path: Path, window: Window
) -> None:
    made(journal, tmp_path / "log.zip", window)
    _, report = verify_bundle(tmp_path / "log.zip", PUBLIC)
    assert report.ok, report.faults
    assert len(report.writers) == 2  # nobody can vanish, also where he wrote nothing


def edited(raw: bytes, number: int) -> bytes:
    lines = raw.splitlines(keepends=True)
    lines[number] = lines[number].replace(b'"allow"', b'"deny"').replace(b'"at":1', b'"at":2')
    return b"".join(lines)


def without(raw: bytes, number: int) -> bytes:
    lines = raw.splitlines(keepends=True)
    del lines[number]
    return b"".join(lines)


def swapped(raw: bytes, number: int) -> bytes:
    lines = raw.splitlines(keepends=True)
    other = number - 1 if number else 1
    lines[number], lines[other] = lines[other], lines[number]
    return b"".join(lines)


def cut(raw: bytes, number: int) -> bytes:
    return raw[:-1] if number else raw[: len(raw) // 2]


FAULTS: dict[str, Callable[[bytes, int], bytes]] = {
    "edited": edited,
    "removed": without,
    "moved": swapped,
    "cut": cut,
    "twice": lambda raw, n: raw + raw.splitlines(keepends=True)[n],
}


@pytest.mark.parametrize("signed", [False, True], ids=["as it is", "with digests that fit"])
@pytest.mark.parametrize("where", [0, 3, -1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_a_planted_fault_is_found(
    journal: Path, tmp_path: Path, fault: str, where: int, signed: bool
) -> None:
    target = tmp_path / "log.zip"
    made(journal, target)
    found = files(target)
    name = writer_files(found)[0]
    found[name] = FAULTS[fault](found[name], where)
    write(target, resigned(found) if signed else found)
    _, report = verify_bundle(target, PUBLIC)
    assert any(fault.file == name for fault in report.faults)


async def test_a_line_forged_with_a_hash_that_fits_breaks_the_chain(
    journal: Path, tmp_path: Path
) -> None:
    target = tmp_path / "log.zip"
    made(journal, target)
    found = files(target)
    name = writer_files(found)[0]
    raws = found[name].splitlines(keepends=True)
    number = next(n for n, raw in enumerate(raws) if b'"type":"decision"' in raw)
    line = read_line(raws[number])
    record = msgspec.convert({**line.body, "effect": "deny"}, type=DecisionRecord)
    raws[number], _ = seal(
        record, Link(line.seq - 1, line.prev), writer=line.writer, at=line.at, record_id=line.id
    )
    write(target, resigned({**found, name: b"".join(raws)}))
    _, report = verify_bundle(target, PUBLIC)
    assert any("does not continue" in fault.message for fault in report.faults)


@pytest.mark.parametrize("edge", ["begin", "end"])
async def test_a_piece_that_was_narrowed_by_the_signer_does_not_reach_the_windows_ends(
    journal: Path, tmp_path: Path, edge: str
) -> None:
    target = tmp_path / "log.zip"
    manifest = made(journal, target)
    found = files(target)
    name = writer_files(found)[0]
    writer = name.removeprefix("writers/").removesuffix(".jsonl")
    raws = found[name].splitlines(keepends=True)
    raws = raws[2:] if edge == "begin" else raws[:-2]
    first, last = read_line(raws[0]), read_line(raws[-1])
    piece = msgspec.structs.replace(
        manifest.writers[writer], first=first.seq, last=last.seq, head=last.hash
    )
    pieces = {**manifest.writers, writer: piece}
    write(target, resigned({**found, name: b"".join(raws)}, writers=pieces))
    _, report = verify_bundle(target, PUBLIC)
    assert any("does not reach" in fault.message for fault in report.faults)


async def test_a_writer_left_out_by_the_signer_is_known_from_the_others(
    journal: Path, tmp_path: Path
) -> None:
    target = tmp_path / "log.zip"
    manifest = made(journal, target, Window())
    found = files(target)
    name = writer_files(found)[0]
    writer = name.removeprefix("writers/").removesuffix(".jsonl")
    del found[name]
    pieces = {other: piece for other, piece in manifest.writers.items() if other != writer}
    write(target, resigned(found, writers=pieces))
    _, report = verify_bundle(target, PUBLIC)
    assert any("all records of this writer are missing" in f.message for f in report.faults)


async def test_files_that_were_swapped_added_removed_or_doubled_are_found(
    journal: Path, tmp_path: Path
) -> None:
    target = tmp_path / "log.zip"
    made(journal, target)
    whole = files(target)
    one, two = writer_files(whole)
    for name, changed in {
        "swapped": {**whole, one: whole[two], two: whole[one]},
        "added": {**whole, "writers/a@b@9.jsonl": b""},
        "removed": {name: raw for name, raw in whole.items() if name != one},
    }.items():
        write(target, changed)
        assert not verify_bundle(target, PUBLIC)[1].ok, name
    write(target, whole)
    assert verify_bundle(target, PUBLIC)[1].ok
    with zipfile.ZipFile(target, "a") as bundle, pytest.warns(UserWarning, match="Duplicate"):
        bundle.writestr(one, whole[one])
    assert any("twice" in f.message for f in verify_bundle(target, PUBLIC)[1].faults)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"not json", b'{"format":1}', b"[" * 5000],
    ids=["empty", "no fields", "no JSON", "few fields", "nested"],
)
async def test_a_manifest_that_is_none_is_a_fault_and_no_error(
    journal: Path, tmp_path: Path, raw: bytes
) -> None:
    target = tmp_path / "log.zip"
    made(journal, target)
    found = files(target)
    write(target, {**found, MANIFEST: raw})
    told, report = verify_bundle(target, PUBLIC)
    assert told is None and not report.ok
    target.write_bytes(raw)
    assert not verify_bundle(target, PUBLIC)[1].ok


async def test_a_bundle_signed_by_somebody_else_is_not_believed(
    journal: Path, tmp_path: Path
) -> None:
    """The key inside the file is the forger's own: only the one that the reader brings counts."""
    target = tmp_path / "log.zip"
    make_bundle(journal, target, WINDOW, key=OTHER_KEY, root=public_bytes(OTHER_KEY), now=NOON)
    told, report = verify_bundle(target, PUBLIC)
    assert told is None and "unknown key" in report.faults[0].message
    manifest = made(journal, target)
    found = files(target)
    write(target, {**found, SIGNATURE: b"00" * 64})
    assert "signature" in verify_bundle(target, PUBLIC)[1].faults[0].message
    assert manifest.key == key_id(PUBLIC)


async def test_a_bundle_after_a_key_rotation_is_trusted_through_the_first_key(
    tmp_path: Path,
) -> None:
    journal = open_journal(tmp_path / "journal")
    await journal.append(decision()).durable()
    await journal.rotate_key(OTHER_KEY)
    await journal.append(decision(number=1)).durable()
    await journal.close()
    target = tmp_path / "log.zip"
    make_bundle(tmp_path / "journal", target, Window(), key=OTHER_KEY, root=PUBLIC, now=NOON)
    assert verify_bundle(target, PUBLIC)[1].ok


async def test_a_pruned_begin_is_excused_by_the_signed_record_only(tmp_path: Path) -> None:
    clock = Clock()
    limits = Limits(segment_bytes=4500, checkpoint_records=8)
    journal = open_journal(tmp_path / "journal", clock, limits=limits)
    for n in range(40):
        clock.move(SECOND)
        await journal.append(decision(number=n)).durable()
    assert await journal.prune(journal.seq, clock.wall_us + SECOND)
    await journal.close()
    target = tmp_path / "log.zip"
    made(tmp_path / "journal", target, Window())
    assert verify_bundle(target, PUBLIC)[1].ok
    found = files(target)
    write(target, resigned({**found, "statements.jsonl": b""}))
    assert any("reach back" in f.message for f in verify_bundle(target, PUBLIC)[1].faults)


async def test_texts_of_callers_can_be_left_out(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal")
    await journal.append(
        request_record(
            request_id="r",
            decision_id="d",
            principal="p",
            credential="c",
            status=200,
            claimed={"customer": "Ada"},
        )
    ).durable()
    await journal.close()
    for asides in (True, False):
        target = tmp_path / f"{asides}.zip"
        make_bundle(
            tmp_path / "journal",
            target,
            Window(),
            key=KEY,
            root=PUBLIC,
            now=NOON,
            asides=asides,
        )
        _, report = verify_bundle(target, PUBLIC)
        assert report.ok and report.writers[0].erased == (not asides)
        assert any(b"Ada" in raw for raw in files(target).values()) == asides


async def test_a_running_journal_gives_a_whole_bundle(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal")
    await journal.append(decision()).durable()
    path = segments(journal.folder)[0].path
    path.write_bytes(path.read_bytes() + b'{"half":')
    made(tmp_path / "journal", tmp_path / "log.zip", Window())
    assert verify_bundle(tmp_path / "log.zip", PUBLIC)[1].ok
    await journal.close()


async def test_nothing_is_made_of_a_journal_that_is_broken_or_not_there(
    journal: Path, tmp_path: Path
) -> None:
    target = tmp_path / "log.zip"
    with pytest.raises(BundleError, match="no journal"):
        made(tmp_path / "none", target)
    place = next(path for path in journal.iterdir() if path.is_dir())
    path = segments(place)[1].path
    path.write_bytes(path.read_bytes().replace(b'"allow"', b'"deny"'))
    with pytest.raises(BundleError, match="not what its hash says"):
        made(journal, target)
    assert not target.exists() and not list(tmp_path.glob(".*.part"))
    shutil.rmtree(journal)
