"""Kills a journal again and again: `python journal_writer.py FOLDER ROUNDS SEED`.

A process of its own with one thread, so that forking is safe. In each round a child opens the journal
in FOLDER, where the child before was killed, lets some callers wait for records, and tells each durable
id; then it is killed. Prints one JSON line: rounds, promises, what is missing, faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.checkpoint import public_bytes
from authz.recording import request_record
from store.journal import Journal, Limits
from store.verify import verify
from tests.faults import harness
from tests.store.journal_kit import decision

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


async def write(folder: Path, pipe: int, callers: int, patience: float) -> None:
    """Appends for ever; each caller waits for its record, tells it, and notes a request record."""
    limits = Limits(segment_bytes=200_000, checkpoint_records=37)
    journal = Journal.open(folder, signing_key=KEY, limits=limits, copy_to=folder.parent / "second")

    async def caller(number: int) -> None:
        while True:
            ticket = journal.append(decision("allow" if number % 3 else "deny", number))
            if number % 5 == 4:  # some callers hang up
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        await ticket.durable()
                        os.write(pipe, ticket.id.encode() + b"\n")
                continue
            await ticket.durable()
            os.write(pipe, ticket.id.encode() + b"\n")
            journal.note(
                request_record(
                    request_id="r",
                    decision_id=ticket.id,
                    principal="user:u-1",
                    credential="c",
                    status=200,
                    claimed={"customer": "x" * (number % 50)},
                )
            )

    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(caller(number))


def main(folder: Path, rounds: int, seed: int) -> int:
    rng = random.Random(seed)
    promised: list[str] = []
    problems: list[str] = []
    public = public_bytes(KEY)
    for number in range(rounds):
        callers = rng.choice((1, 1, 4, 32))
        patience = rng.random() * 0.001

        def victim(pipe: int, callers: int = callers, patience: float = patience) -> None:
            asyncio.run(write(folder, pipe, callers, patience))

        told = [line.decode() for line in harness.trial(victim, rng)]
        promised += told
        problems += [f"round {number}: {name}" for name in harness.missing(folder, told, 40)]
        if (
            number % 20 == 0 and promised
        ):  # else the first child may have died before there was a journal
            report = verify(folder, public, second=folder.parent / "second")
            problems += [f"round {number}: {fault}" for fault in report.faults]
    asyncio.run(_reopen(folder))
    report = verify(folder, public, second=folder.parent / "second")
    problems += [str(fault) for fault in report.faults]
    print(
        json.dumps(
            {
                "rounds": rounds,
                "promised": len(promised),
                "missing": harness.missing(folder, promised),
                "problems": problems[:20],
                "records": report.records,
                "unsigned": sum(writer.unsigned for writer in report.writers),
                "recovered": sum(writer.recovered for writer in report.writers),
                "slots": len(report.writers),
            }
        )
    )
    return 1 if problems else 0


async def _reopen(folder: Path) -> None:
    await Journal.open(folder, signing_key=KEY, copy_to=folder.parent / "second").close()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
