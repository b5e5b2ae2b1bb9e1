"""A fault at any place of a log is found: at every line of every segment of two writers, not only at samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from store.segments import segments, writers
from store.verify import verify
from store.writer import Limits
from tests.store.journal_kit import PUBLIC, decision, open_journal

Lines = list[bytes]


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """Two writers with several segments and checkpoints each, and a second place."""
    folder = tmp_path / "journal"
    limits = Limits(segment_bytes=4500, checkpoint_records=8)
    both = [open_journal(folder, limits=limits, copy_to=tmp_path / "second") for _ in range(2)]
    for n in range(40):
        await both[n % 2].append(decision("deny" if n % 3 else "allow", n)).durable()
    for one in both:
        await one.close()
    assert all(len(segments(place)) > 1 for place in writers(folder))
    return folder


def files(journal: Path) -> list[Path]:
    return [segment.path for place in writers(journal) for segment in segments(place)]


def places(journal: Path) -> Iterator[tuple[Path, int, Lines]]:
    """Each line: its file, its number, and all lines of the file."""
    for path in files(journal):
        lines = path.read_bytes().splitlines(keepends=True)
        for number in range(len(lines)):
            yield path, number, lines


def edited(lines: Lines, at: int) -> Lines:
    # Every record names its writer, so that the same edit fits them all.
    line = lines[at].replace(b'"writer":"gatewarden@', b'"writer":"gatewardem@')
    return [*lines[:at], line, *lines[at + 1 :]]


def bit(lines: Lines, at: int) -> Lines:
    middle = len(lines[at]) // 2
    flipped = bytes([lines[at][middle] ^ 1])
    return [*lines[:at], lines[at][:middle] + flipped + lines[at][middle + 1 :], *lines[at + 1 :]]


FAULTS: dict[str, Callable[[Lines, int], Lines]] = {
    "edited": edited,
    "one bit": bit,
    "removed": lambda lines, at: lines[:at] + lines[at + 1 :],
    "twice": lambda lines, at: [*lines[:at], lines[at], *lines[at:]],
    "moved to the end": lambda lines, at: [*lines[:at], *lines[at + 1 :], lines[at]],
    "moved to the begin": lambda lines, at: [lines[at], *lines[:at], *lines[at + 1 :]],
    "all after it removed": lambda lines, at: lines[:at],
    "all before it removed": lambda lines, at: lines[at:],
}
# What changes nothing at an edge.
_SAME = {("moved to the end", -1), ("moved to the begin", 0), ("all before it removed", 0)}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_a_fault_at_any_line_is_found(journal: Path, fault: str) -> None:
    assert verify(journal, PUBLIC).ok
    count = 0
    for path, number, lines in places(journal):
        edge = number - len(lines) if number == len(lines) - 1 else number
        if (fault, edge) in _SAME or (fault, number) in _SAME:
            continue
        path.write_bytes(b"".join(FAULTS[fault](lines, number)))
        report = verify(journal, PUBLIC)
        assert not report.ok, f"{path.name}:{number + 1}"
        assert any(found.writer == path.parent.name for found in report.faults)
        path.write_bytes(b"".join(lines))
        count += 1
    assert count > 30 and verify(journal, PUBLIC).ok


async def test_a_line_that_changed_places_with_one_of_another_segment_is_found(
    journal: Path,
) -> None:
    found = files(journal)
    for one, two in pairwise(found):
        first, second = (path.read_bytes().splitlines(keepends=True) for path in (one, two))
        one.write_bytes(b"".join([*first[:-1], second[0]]))
        two.write_bytes(b"".join([first[-1], *second[1:]]))
        assert not verify(journal, PUBLIC).ok, one.name
        one.write_bytes(b"".join(first))
        two.write_bytes(b"".join(second))


async def test_any_segment_removed_emptied_or_put_in_anothers_place_is_found(
    journal: Path,
) -> None:
    found = files(journal)
    for path in found:
        raw = path.read_bytes()
        path.unlink()
        assert not verify(journal, PUBLIC).ok, path.name
        path.write_bytes(b"")
        assert not verify(journal, PUBLIC).ok, path.name
        for other in found:
            if other != path:
                path.write_bytes(other.read_bytes())
                assert not verify(journal, PUBLIC).ok, f"{path.name} {other.name}"
        path.write_bytes(raw)
    assert verify(journal, PUBLIC).ok


async def test_a_log_cut_after_any_checkpoint_with_its_copies_is_found_by_the_second_place(
    journal: Path, tmp_path: Path
) -> None:
    place = writers(journal)[0]
    for other in writers(journal)[1:]:  # whose checkpoints would tell
        for path in sorted(other.iterdir()):
            path.unlink()
        other.rmdir()
    raw = {segment.path: segment.path.read_bytes() for segment in segments(place)}
    lines = [line for text in raw.values() for line in text.splitlines(keepends=True)]
    cuts = [n + 1 for n, line in enumerate(lines) if b'"type":"checkpoint"' in line]
    for cut in cuts[:-1]:
        left = cut
        for path, text in raw.items():
            own = text.splitlines(keepends=True)
            path.write_bytes(b"".join(own[:left]))
            left = max(0, left - len(own))
        copies = place / "checkpoints.jsonl"
        whole = copies.read_bytes()
        copies.write_bytes(b"".join(line for line in lines[:cut] if b'"checkpoint"' in line))
        assert not verify(journal, PUBLIC, second=tmp_path / "second").ok, cut
        copies.write_bytes(whole)
        for path, text in raw.items():
            path.write_bytes(text)
