"""Killing a process at a random moment and asking what it had promised.

A victim writes one line to a pipe for each promise (the id of a record that it called durable). `trial`
forks it, reads promises, kills it with SIGKILL, and hands back every promise that reached us.
`missing` then asks the disk. Reusable: the victim may be a bare journal or a whole server whose
answers carry `x-decision-id`.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from authz.chain import BrokenLine, read_line
from store.segments import segments, whole_lines, writers


def seed() -> int:
    """The seed of this run: `GATEWARDEN_SEED`, or a fresh one. Print it."""
    return int(os.environ.get("GATEWARDEN_SEED") or random.SystemRandom().randrange(1 << 32))


def trial(victim: Callable[[int], None], rng: random.Random, most: int = 400) -> list[bytes]:
    """Forks `victim(pipe)`, kills it after a random number of promises and a random moment more.

    To be called from a process with one thread. Returns the promises that came through the pipe.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            victim(writing)
        finally:
            os._exit(1)
    os.close(writing)
    told = b""
    wanted = int(rng.random() ** 2 * most)  # often early: the start is a moment too
    patience = time.monotonic() + 10
    while told.count(b"\n") < wanted and time.monotonic() < patience:
        ready, _, _ = select.select([reading], [], [], 1.0)
        if ready:
            more = os.read(reading, 1 << 16)
            if not more:
                break
            told += more
    select.select([], [], [], rng.random() * 0.004)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(reading, 1 << 16):
        told += more
    os.close(reading)
    return [line for line in told[: told.rfind(b"\n") + 1].split(b"\n") if line]


def on_disk(journal: Path, newest: int = 0, types: Collection[str] = ()) -> set[str]:
    """The ids of all sound lines of a journal, or of the newest segments of each writer, or of some types only."""
    found = set()
    for place in writers(journal):
        for segment in segments(place)[-newest:]:
            for _, raw in whole_lines(segment.path.read_bytes()):
                with contextlib.suppress(BrokenLine):
                    line = read_line(raw)
                    if not types or line.type in types:
                        found.add(line.id)
    return found


def missing(journal: Path, promised: Iterable[str], newest: int = 0) -> list[str]:
    """The promised ids that are not on the disk."""
    found = on_disk(journal, newest)
    return [name for name in promised if name not in found]
