"""What the tests of the journal share: a key, clocks that stand still, records, ways to read a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.chain import Line, read_line
from authz.checkpoint import public_bytes
from authz.decision import Decision, Effect, Part, Question, Reason, Verdict
from authz.recording import decision_record
from authz.records import DecisionRecord
from store.journal import Journal
from store.segments import segments, whole_lines, writers

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
PUBLIC = public_bytes(KEY)
NOON = 1_795_564_800_000_000  # a day in November 2026


class Clock:
    """Two clocks that move together unless told otherwise."""

    def __init__(self) -> None:
        self.wall_us = NOON
        self.steady_us = 5_000_000

    def wall(self) -> int:
        return self.wall_us

    def steady(self) -> int:
        return self.steady_us

    def move(self, us: int) -> None:
        self.wall_us += us
        self.steady_us += us


def decision(effect: str = "allow", number: int = 0) -> DecisionRecord:
    """A decision record as the gateway makes it."""
    allowed = effect == "allow"
    question = Question(Part.SUBJECT, f"user:u-{number}", "model:use", "model:acme/mini")
    verdict = Verdict(
        question,
        Effect(effect),
        Reason.ALLOWED if allowed else Reason.NO_GRANT,
        ("provider-account/acme#1",) if allowed else (),
    )
    made = Decision(
        verdict.effect, verdict.reason, 7, "ab" * 32, (verdict,), verdict.rules, verdict.path
    )
    return decision_record(
        made, principal=question.subject, credential="credential:c1", request_id=f"r-{number}", us=9
    )


def open_journal(folder: Path, clock: Clock | None = None, **more: Any) -> Journal:
    clock = clock or Clock()
    more.setdefault("signing_key", KEY)
    return Journal.open(folder, clock=clock.wall, steady=clock.steady, **more)


def raw_lines(folder: Path) -> list[bytes]:
    """All lines of all writers, as they stand on the disk."""
    found = []
    for place in writers(folder):
        for segment in segments(place):
            found += [raw for _, raw in whole_lines(segment.path.read_bytes())]
    return found


def lines(folder: Path) -> list[Line]:
    return [read_line(raw) for raw in raw_lines(folder)]


def types(folder: Path) -> list[str]:
    return [line.type for line in lines(folder)]
