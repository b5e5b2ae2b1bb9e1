"""Verifying the decision log with the public key only: `verify(folder, public_key)`.

Finds every edit, removal, reordering, swapped or missing file, broken signature, and a chain that ends
before a checkpoint that is known from elsewhere (the copies beside it, the second place, the other
writers). What follows the last checkpoint is chained but not yet signed: the report says how much that
is. Reads only; a running server may go on writing. How lines are made stands in `authz/chain.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from authz.chain import GENESIS, BrokenLine, Line, Link, follows, read_line
from authz.checkpoint import BadStatement, check, statement_of, trusted
from authz.records import KeyRotation, Prune
from store.checkpoints import rotations
from store.segments import CHECKPOINTS, segments, whole_lines, writers


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where: the file, the line in it from 1 (0: the file itself)."""

    writer: str
    file: str
    line: int
    seq: int
    message: str

    def __str__(self) -> str:
        place = f"{self.writer}/{self.file}" + (f":{self.line}" if self.line else "")
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class WriterReport:
    """What was found of one writer. `signed` is the last record that a checkpoint vouches for."""

    writer: str
    first: int
    last: int
    signed: int
    checkpoints: int
    records: int
    erased: int  # records whose aside was erased
    gaps: int
    recovered: int
    change: tuple[int, str]  # head of the change log at the last checkpoint: epoch and hash

    @property
    def unsigned(self) -> int:
        """Records after the last checkpoint: chained, but whoever holds the disk could change them."""
        return self.last - self.signed


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Whether the log is whole; every fault; what was looked at. Truthy when whole."""

    faults: tuple[Fault, ...]
    writers: tuple[WriterReport, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.faults

    @property
    def records(self) -> int:
        return sum(report.records for report in self.writers)

    def __bool__(self) -> bool:
        return self.ok


@dataclass(slots=True)
class Chain:
    """One writer while it is read (also used for the pieces of a bundle: `bundle_check.py`)."""

    folder: Path
    keys: dict[str, bytes]
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hashes: dict[int, str] = field(default_factory=dict)  # of checkpoint records and of their heads
    prunes: list[Prune] = field(default_factory=list)
    peers: list[tuple[str, int, str, Fault]] = field(default_factory=list)
    wanted: dict[int, str] = field(default_factory=dict)  # seq -> hash that a copy speaks of
    link: Link = field(default_factory=Link)
    first: Link | None = None  # what the first record found continues
    since: int = 0  # records since the last checkpoint
    every: int = 0
    signed: int = 0
    checkpoints: int = 0
    records: int = 0
    erased: int = 0
    gaps: int = 0
    recovered: int = 0
    change: tuple[int, str] = (0, GENESIS)

    def fault(self, file: str, line: int, seq: int, message: str) -> Fault:
        found = Fault(self.folder.name, file, line, seq, message)
        self.faults.append(found)
        return found

    def read(self) -> None:
        found = segments(self.folder)
        for number, segment in enumerate(found):
            raw = segment.path.read_bytes()
            name, count = segment.path.name, 0
            for count, (_, piece) in enumerate(whole_lines(raw), 1):
                try:
                    line = read_line(piece)
                except BrokenLine as error:
                    self.fault(name, count, self.link.seq + 1, error.message)
                    continue
                if count == 1 and line.seq != segment.first:
                    self.fault(name, 1, line.seq, f"the file begins with record {line.seq}")
                self.take(name, count, line)
            if not raw.endswith(b"\n") and raw:
                if number == len(found) - 1:
                    self.notes.append(f"{self.folder.name}/{name}: the last line is not whole")
                else:
                    self.fault(name, count + 1, self.link.seq + 1, "the last line is not whole")
        self._ends()

    def take(self, name: str, number: int, line: Line) -> None:
        """One sound line: its place in the chain, and what it states."""
        if self.first is None:
            self.first = Link(line.seq - 1, line.prev)
            self.link = self.first
        problem = follows(line, self.link)
        if problem:
            self.fault(name, number, line.seq, problem)
        if line.writer != self.folder.name:
            self.fault(name, number, line.seq, f"a record of the writer `{line.writer}`")
        self.records += 1
        self.since += 1
        if "aside_digest" in line.body and line.aside is None:
            self.erased += 1
        self.gaps += line.type == "gap"
        self.recovered += line.type == "recovered"
        if line.body.get("kept"):
            self.notes.append(f"{self.folder.name}/{name}:{number}: a restart found broken lines")
        try:
            self._state(name, number, line)
        except BadStatement as error:
            self.fault(name, number, line.seq, error.message)
        if line.seq in self.wanted:
            self.hashes[line.seq] = line.hash
        self.link = Link(line.seq, line.hash)

    def _state(self, name: str, number: int, line: Line) -> None:
        statement = statement_of(line.body)
        if statement is None:
            if self.every and self.since > self.every:
                self.every = 0  # said once
                self.fault(name, number, line.seq, "a checkpoint is missing before this record")
            return
        check(statement, self.keys)
        if isinstance(statement, KeyRotation):
            self.keys |= trusted(self.keys[statement.key], [statement])
            return
        if statement.writer != self.folder.name:
            raise BadStatement(f"signed for the writer `{statement.writer}`")
        if isinstance(statement, Prune):
            self.prunes.append(statement)
            return
        if (statement.count, statement.head) != (line.seq - 1, line.prev):
            raise BadStatement(
                f"the checkpoint is for record {statement.count}, not for this place"
            )
        self.hashes[line.seq] = line.hash
        self.checkpoints += 1
        self.change = (statement.change_epoch, statement.change_head)
        self.signed, self.since, self.every = line.seq, 0, statement.every
        for writer, (seq, digest) in statement.peers.items():
            claim = Fault(self.folder.name, name, number, line.seq, "")
            self.peers.append((writer, seq, digest, claim))

    def _ends(self) -> None:
        if self.first is None:
            return
        if self.first != Link() and not any(
            (self.first.seq, self.first.hash) in prune.cuts for prune in self.prunes
        ):
            what = "the records before the first one are missing and were not pruned"
            if self.first.seq == 0:
                what = "the first record does not begin a chain"
            self.fault(segments(self.folder)[0].path.name, 1, self.first.seq + 1, what)
        if not self.checkpoints:
            self.fault("", 0, self.link.seq, "no checkpoint is signed with a trusted key")

    def pruned(self) -> int:
        """The last record that a signed record says was pruned."""
        return max((cut[0] for prune in self.prunes for cut in prune.cuts), default=0)

    def report(self) -> WriterReport:
        first = self.first.seq + 1 if self.first is not None else 0
        return WriterReport(
            writer=self.folder.name,
            first=first,
            last=self.link.seq,
            signed=self.signed,
            checkpoints=self.checkpoints,
            records=self.records,
            erased=self.erased,
            gaps=self.gaps,
            recovered=self.recovered,
            change=self.change,
        )


def verify(folder: Path, public_key: bytes, *, second: Path | None = None) -> VerifyReport:
    """Whether the journal in `folder` is what was written, by the 32 bytes of the public key.

    `second` is the folder that the checkpoints are copied to; without it, a chain that was cut
    together with its copies looks like one that ended there.
    """
    # Copies are read before the chains, so that a server that writes meanwhile is no fault.
    claims = [*_copies(folder, None), *(_copies(folder, second) if second else ())]
    keys = trusted(public_key, rotations(folder))
    chains = {place.name: _read(place, keys, claims) for place in writers(folder)}
    for chain in list(chains.values()):
        for writer, seq, digest, at in chain.peers:
            found = chains.get(writer)
            if found is not None and seq > found.link.seq:  # it was written meanwhile
                found = chains[writer] = _read(found.folder, keys, claims)
            message = _claim(found, seq, digest)
            if message:
                text = f"speaks of record {seq} of `{writer}`: {message}"
                chain.faults.append(Fault(at.writer, at.file, at.line, at.seq, text))
    faults = [fault for chain in chains.values() for fault in chain.faults]
    if not chains:
        faults.append(Fault("", str(folder), 0, 0, "there is no journal in this folder"))
    for line, file in claims:
        message = _claim(chains.get(line.writer), line.seq, line.hash)
        try:
            statement = statement_of(line.body)
            if statement is not None:
                check(statement, keys)
        except BadStatement as error:
            message = message or error.message
        if message:
            faults.append(
                Fault(line.writer, file, 0, line.seq, f"checkpoint {line.seq}: {message}")
            )
    return VerifyReport(
        faults=tuple(sorted(set(faults), key=lambda f: (f.writer, f.seq, f.file, f.line))),
        writers=tuple(chain.report() for chain in chains.values()),
        notes=tuple(note for chain in chains.values() for note in chain.notes),
    )


def _read(place: Path, keys: dict[str, bytes], claims: list[tuple[Line, str]]) -> Chain:
    chain = Chain(place, keys)
    chain.wanted = {line.seq: line.hash for line, _ in claims if line.writer == place.name}
    chain.read()
    return chain


def _claim(chain: Chain | None, seq: int, digest: str) -> str:
    """What is wrong with the claim that record `seq` has this hash (empty: nothing)."""
    if chain is None:
        return "all records of this writer are missing"
    if seq <= chain.pruned():
        return ""
    if seq > chain.link.seq:
        return f"the chain ends at record {chain.link.seq}, before it"
    found = chain.hashes.get(seq)
    if found is None:
        return "there is no such record"
    return "" if found == digest else "the record is another one"


def _copies(journal: Path, second: Path | None) -> list[tuple[Line, str]]:
    """The checkpoint lines that are kept beside the chains, or in the second place."""
    if second is None:
        files = [(place / CHECKPOINTS) for place in writers(journal)]
    else:
        files = sorted(second.glob(f"*.{CHECKPOINTS}"))
    found = []
    for file in files:
        for _, piece in whole_lines(file.read_bytes() if file.exists() else b""):
            try:
                found.append((read_line(piece), file.name))
            except BrokenLine:
                continue  # a copy proves nothing by being broken; the chain itself is what counts
    return found
