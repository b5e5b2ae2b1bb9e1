"""A journal under a file-size limit: `python journal_full.py FOLDER MODE`. The limit is per process.

Appends until the limit refuses, goes on for a while, lifts the limit, appends again, closes. Prints one
JSON line: what was acknowledged, what was refused, whether it recovered.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

from store.journal import Journal, JournalUnavailable
from tests.store.journal_kit import Clock, decision, open_journal

LIMIT = 100_000


async def fill(journal: Journal, clock: Clock, told: list[str], count: int) -> int:
    """Appends `count` records, half denials; how many were refused."""
    refused = 0
    for number in range(count):
        clock.move(150_000)  # so that each one tries the disk again
        ticket = journal.append(decision("deny" if number % 2 else "allow", number))
        try:
            if await ticket.durable():
                told.append(ticket.id)
        except JournalUnavailable:
            refused += 1
    return refused


async def main(folder: Path, mode: str) -> None:
    clock, told = Clock(), list[str]()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    journal = open_journal(folder, clock, mode=mode, pending_limit=50)
    refused = await fill(journal, clock, told, 300)
    full = not journal.writable
    before = len(told)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await fill(journal, clock, told, 1)
    async with asyncio.timeout(10):
        while not journal.writable:
            await asyncio.sleep(0)
    late = await fill(journal, clock, told, 20)
    writable = journal.writable
    await journal.close()
    print(
        json.dumps(
            {
                "told": told,
                "refused": refused,
                "full": full,
                "before": before,
                "late": late,
                "writable": writable,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
