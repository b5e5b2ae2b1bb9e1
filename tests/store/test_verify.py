from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.chain import Link, read_line, seal
from authz.checkpoint import key_id, public_bytes, sign, statement_of
from authz.recording import request_record
from authz.records import Checkpoint, DecisionRecord, Prune, Record, canonical
from store.segments import segments
from store.verify import verify
from store.writer import Limits
from tests.store.journal_kit import KEY, OTHER_KEY, PUBLIC, decision, open_journal, raw_lines

Lines = list[bytes]
KINDS = {kind.__struct_config__.tag: kind for kind in Record.__subclasses__()}


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """A journal of a clean run: five segments, a checkpoint each eight records, a second place."""
    folder = tmp_path / "journal"
    opened = open_journal(
        folder,
        limits=Limits(segment_bytes=4500, checkpoint_records=8),
        copy_to=tmp_path / "second",
    )
    for n in range(30):
        await opened.append(decision(number=n)).durable()
    await opened.close()
    assert len(segments(opened.folder)) >= 5
    assert verify(folder, PUBLIC, second=tmp_path / "second").ok
    return folder


def place(journal: Path) -> Path:
    return next(path for path in journal.iterdir() if path.is_dir())


def files(journal: Path) -> list[Path]:
    return [segment.path for segment in segments(place(journal))]


def located(journal: Path, where: str) -> tuple[Path, int]:
    """A segment and the number of a decision line in it, near the head, the middle or the tail."""
    found = [
        (path, number)
        for path in files(journal)
        for number, raw in enumerate(path.read_bytes().splitlines(keepends=True))
        if b'"type":"decision"' in raw
    ]
    return found[{"head": 0, "middle": len(found) // 2, "tail": -1}[where]]


def change(path: Path, edit: Callable[[Lines], Lines]) -> None:
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))


def replaced(number: int, by: Callable[[bytes], Lines]) -> Callable[[Lines], Lines]:
    return lambda found: [*found[:number], *by(found[number]), *found[number + 1 :]]


EDITS: dict[str, Callable[[bytes], Lines]] = {
    "effect": lambda raw: [raw.replace(b'"effect":"allow"', b'"effect":"deny"')],
    "time": lambda raw: [raw.replace(b'"at":1', b'"at":2', 1)],
    "one digit of the hash": lambda raw: [raw.replace(b'"hash":"', b'"hash":"0')],
    "removed": lambda raw: [],
    "twice": lambda raw: [raw, raw],
    "torn": lambda raw: [raw[: len(raw) // 2]],
    "a blank line": lambda raw: [b"\n", raw],
    "spaces": lambda raw: [raw.replace(b":", b": ", 1)],
    "a key twice": lambda raw: [raw.replace(b'"reason"', b'"reason":"x","reason"', 1)],
    "zeros": lambda raw: [b"\0" * (len(raw) - 1) + b"\n"],
    "a foreign aside": lambda raw: [b'{"aside":{"a":1},' + raw[1:]],
}


@pytest.mark.parametrize("where", ["head", "middle", "tail"])
@pytest.mark.parametrize("edit", EDITS, ids=str)
async def test_an_edit_is_found_where_it_is(journal: Path, edit: str, where: str) -> None:
    path, number = located(journal, where)
    change(path, replaced(number, EDITS[edit]))
    report = verify(journal, PUBLIC)
    assert not report.ok
    places = [fault for fault in report.faults if fault.file == path.name]
    last = number == 0 or places[0].line in (number + 1, number + 2)
    assert last and f"{path.name}:" in str(places[0])


@pytest.mark.parametrize("where", ["head", "middle", "tail"])
async def test_an_edit_whose_hash_was_made_to_fit_breaks_the_chain(
    journal: Path, where: str
) -> None:
    path, number = located(journal, where)
    line = read_line(path.read_bytes().splitlines()[number])
    record = msgspec.convert({**line.body, "effect": "deny"}, type=DecisionRecord)
    forged, _ = seal(
        record,
        Link(line.seq - 1, line.prev),
        writer=line.writer,
        at=line.at,
        record_id=line.id,
    )
    change(path, replaced(number, lambda _: [forged]))
    assert any("does not continue" in fault.message for fault in verify(journal, PUBLIC).faults)


@pytest.mark.parametrize("where", ["head", "middle", "tail"])
async def test_two_lines_that_changed_places_are_found(journal: Path, where: str) -> None:
    path, number = located(journal, where)
    other = number - 1 if where == "tail" and number else number + 1

    def swap(found: Lines) -> Lines:
        found[number], found[other] = found[other], found[number]
        return found

    change(path, swap)
    assert not verify(journal, PUBLIC).ok


@pytest.mark.parametrize("which", [0, 2, -1])
async def test_a_missing_segment_is_found(journal: Path, which: int) -> None:
    files(journal)[which].unlink()
    assert not verify(journal, PUBLIC).ok


@pytest.mark.parametrize("which", [0, 2, -1])
async def test_an_emptied_segment_is_found(journal: Path, which: int) -> None:
    files(journal)[which].write_bytes(b"")
    assert not verify(journal, PUBLIC).ok


@pytest.mark.parametrize(("one", "two"), [(0, 1), (1, 2), (0, -1), (-2, -1)])
async def test_two_files_that_changed_places_are_found(journal: Path, one: int, two: int) -> None:
    first, second = files(journal)[one], files(journal)[two]
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    assert any("begins with record" in f.message for f in verify(journal, PUBLIC).faults)


async def test_a_segment_of_another_journal_is_found(journal: Path, tmp_path: Path) -> None:
    other = open_journal(
        tmp_path / "other", limits=Limits(segment_bytes=4500, checkpoint_records=8)
    )
    for n in range(30):
        await other.append(decision("deny", n)).durable()
    await other.close()
    for number in (0, 2, -1):
        for path, foreign in zip(files(journal), segments(other.folder), strict=False):
            kept = path.read_bytes()
            if path == files(journal)[number]:
                path.write_bytes(foreign.path.read_bytes())
                assert not verify(journal, PUBLIC).ok
                path.write_bytes(kept)
    assert verify(journal, PUBLIC).ok


@pytest.mark.parametrize("bytes_off", [1, 200, 3000])
async def test_a_chain_that_was_cut_before_a_known_checkpoint_is_found(
    journal: Path, bytes_off: int
) -> None:
    last = files(journal)[-1]
    raw = last.read_bytes()
    last.write_bytes(raw[:-bytes_off])
    assert any("before it" in fault.message for fault in verify(journal, PUBLIC).faults)


async def test_a_chain_cut_together_with_its_copies_needs_the_second_place(
    journal: Path, tmp_path: Path
) -> None:
    """The limit of the proof, stated: without the second place this looks like an earlier end."""
    raws = raw_lines(journal)
    at = [n for n, raw in enumerate(raws) if b'"type":"checkpoint"' in raw][2] + 1
    kept = b"".join(raws[:at])
    for path in files(journal):
        size = len(path.read_bytes())
        path.write_bytes(kept[:size])
        kept = kept[size:]
        if not path.stat().st_size:
            path.unlink()
    copies = place(journal) / "checkpoints.jsonl"
    change(copies, lambda found: found[:3])
    assert verify(journal, PUBLIC).ok
    report = verify(journal, PUBLIC, second=tmp_path / "second")
    assert any("the chain ends at record" in fault.message for fault in report.faults)


async def test_a_chain_rewritten_by_somebody_without_the_key_is_found(
    journal: Path, tmp_path: Path
) -> None:
    """Every hash fits; only the signatures cannot be made."""
    for resign in (False, True):
        forged = tmp_path / f"forged-{resign}" / place(journal).name
        forged.mkdir(parents=True)
        link = Link()
        for path in files(journal):
            out = []
            for raw in path.read_bytes().splitlines():
                line = read_line(raw)
                body = dict(line.body)
                if body["type"] == "decision":
                    body["effect"] = "deny"
                statement = statement_of(body)
                if statement is None:
                    record: Record = msgspec.convert(body, type=KINDS[body["type"]])
                else:
                    assert isinstance(statement, Checkpoint)
                    record = msgspec.structs.replace(statement, head=link.hash)
                    if resign:
                        record = sign(
                            msgspec.structs.replace(
                                record, key=key_id(public_bytes(OTHER_KEY)), signature=""
                            ),
                            OTHER_KEY,
                        )
                made, link = seal(record, link, writer=line.writer, at=line.at, record_id=line.id)
                out.append(made)
            (forged / path.name).write_bytes(b"".join(out))
        report = verify(forged.parent, PUBLIC)
        text = "unknown key" if resign else "signature"
        assert any(text in fault.message for fault in report.faults)
        # the first checkpoint stands before the first decision; none after it is believed
        assert (report.writers[0].checkpoints, report.writers[0].signed) == (
            (0, 0) if resign else (1, 2)
        )


async def test_checkpoints_left_out_of_a_forged_tail_are_missed(
    journal: Path, tmp_path: Path
) -> None:
    """After the last honest checkpoint somebody adds more records than `every` allows."""
    last = files(journal)[-1]
    line = read_line(last.read_bytes().splitlines()[-1])
    link, out = Link(line.seq, line.hash), []
    for n in range(10):
        made, link = seal(
            decision("deny", n), link, writer=line.writer, at=line.at, record_id=f"{n:026x}"
        )
        out.append(made)
    raw = last.read_bytes()
    last.write_bytes(raw + b"".join(out[:8]))
    report = verify(journal, PUBLIC)
    assert report.ok and report.writers[0].unsigned == 8  # chained, not signed: the report says so
    last.write_bytes(raw + b"".join(out))
    assert any("checkpoint is missing" in f.message for f in verify(journal, PUBLIC).faults)


async def test_the_wrong_public_key_finds_nothing_signed(journal: Path) -> None:
    report = verify(journal, public_bytes(OTHER_KEY))
    assert any("no checkpoint is signed" in fault.message for fault in report.faults)


@pytest.mark.parametrize("which", [0, 3, -1])
async def test_a_signature_that_was_changed_is_found(journal: Path, which: int) -> None:
    at = [raw for raw in raw_lines(journal) if b'"type":"checkpoint"' in raw][which]
    line = read_line(at)
    body = {**line.body, "signature": "00" * 64}
    statement = statement_of(body)
    assert statement is not None
    forged, _ = seal(
        statement, Link(line.seq - 1, line.prev), writer=line.writer, at=line.at, record_id=line.id
    )
    for path in files(journal):
        path.write_bytes(path.read_bytes().replace(at, forged))
    assert any("signature" in fault.message for fault in verify(journal, PUBLIC).faults)


async def test_a_checkpoint_moved_to_another_place_is_found(journal: Path) -> None:
    marks = [raw for raw in raw_lines(journal) if b'"type":"checkpoint"' in raw]
    path = next(path for path in files(journal) if marks[1] in path.read_bytes())
    path.write_bytes(path.read_bytes().replace(marks[1], marks[2]))
    assert not verify(journal, PUBLIC).ok


async def test_a_writer_that_vanished_whole_is_known_from_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    one, two = open_journal(folder), open_journal(folder)
    await one.append(decision()).durable()
    await one.close()
    await two.close()
    assert verify(folder, PUBLIC).ok
    shutil.rmtree(one.folder)
    report = verify(folder, PUBLIC)
    assert any("all records of this writer are missing" in f.message for f in report.faults)


async def test_a_forged_prune_does_not_excuse_missing_records(
    journal: Path, tmp_path: Path
) -> None:
    first = files(journal)[0]
    end = read_line(first.read_bytes().splitlines()[-1])
    last = files(journal)[-1]
    tail = read_line(last.read_bytes().splitlines()[-1])
    stranger = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
    claim = Prune(
        writer=tail.writer, cuts=((end.seq, end.hash),), at=1, key=key_id(public_bytes(KEY))
    )
    forged, _ = seal(
        sign(claim, stranger),
        Link(tail.seq, tail.hash),
        writer=tail.writer,
        at=tail.at,
        record_id="f" * 26,
    )
    last.write_bytes(last.read_bytes() + forged)
    first.unlink()
    messages = [fault.message for fault in verify(journal, PUBLIC).faults]
    assert any("signature" in m for m in messages)
    assert any("missing and were not pruned" in m for m in messages)


async def test_a_running_journal_is_whole_at_any_moment(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await journal.append(decision()).durable()
    report = verify(tmp_path, PUBLIC)
    assert report.ok and report.writers[0].unsigned == 1
    path = segments(journal.folder)[0].path
    path.write_bytes(path.read_bytes() + b'{"half":')  # a write in flight
    report = verify(tmp_path, PUBLIC)
    assert report.ok and "not whole" in report.notes[0]
    await journal.close()
    assert verify(tmp_path, PUBLIC).ok


async def test_an_erased_aside_is_counted_and_is_no_fault(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    record = request_record(
        request_id="r",
        decision_id="d",
        principal="p",
        credential="c",
        status=200,
        claimed={"customer": "Ada"},
    )
    await journal.append(record).durable()
    await journal.close()
    path = segments(journal.folder)[0].path

    def erase(found: Lines) -> Lines:
        out = []
        for raw in found:
            value = msgspec.json.decode(raw)
            value.pop("aside", None)
            out.append(canonical(value) + b"\n")
        return out

    change(path, erase)
    report = verify(tmp_path, PUBLIC)
    assert report.ok and report.writers[0].erased == 1 and b"Ada" not in path.read_bytes()


def test_an_empty_folder_is_not_a_whole_journal(tmp_path: Path) -> None:
    assert not verify(tmp_path / "none", PUBLIC)
    assert "no journal" in verify(tmp_path, PUBLIC).faults[0].message
