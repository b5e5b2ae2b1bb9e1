"""kill -9 while two processes commit: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import signal
import sys
from pathlib import Path

from policies.compile import rows_of
from store.rebuild import rebuild

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("GATEWARDEN_KILLS", "4"))

_spec = importlib.util.spec_from_file_location("committing", HERE / "committing.py")
assert _spec is not None and _spec.loader is not None
committing = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(committing)


async def run_and_kill(path: Path, name: str, lines: int) -> list[list[str]]:
    """What a committing process printed until it was killed, at some moment after so many lines."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "committing.py"),
        str(path),
        name,
        stdout=asyncio.subprocess.PIPE,
        cwd=HERE.parents[1],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    assert process.stdout is not None
    said = []
    while len(said) < lines:
        line = await process.stdout.readline()
        assert line, "the process ended by itself"
        said.append(line.decode().split())
    process.send_signal(signal.SIGKILL)
    rest = await process.stdout.read()
    await process.wait()
    complete = rest.decode().splitlines(keepends=True)
    return said + [line.split() for line in complete if line.endswith("\n")]


async def test_what_was_acknowledged_survives_kill_9_and_nothing_is_half_there(
    tmp_path: Path,
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    pick = random.Random(seed)
    acknowledged: dict[int, tuple[str, str]] = {}
    for number in range(ROUNDS):
        both = await asyncio.gather(
            run_and_kill(tmp_path, f"a{number}x", pick.randrange(1, 40)),
            run_and_kill(tmp_path, f"b{number}x", pick.randrange(1, 40)),
        )
        for epoch, made, address in (line for said in both for line in said):
            assert int(epoch) not in acknowledged
            acknowledged[int(epoch)] = (made, address)
        log = committing.change_log(tmp_path)
        await log.start()
        try:
            store = log._store
            head = await store.head()
            assert log.problem is None
            assert log.head == head.epoch >= max(acknowledged)
            # The whole chain holds, and the rows are what it says.
            texts = await rebuild(store, head)
            async with store.snapshot() as snapshot:
                assert sorted(await snapshot.rows(list)) == texts
            entries = {e.epoch: e.hash for e in await store.entries(0, 100_000)}
            for epoch, (made, address) in acknowledged.items():
                assert entries[epoch] == made
                assert await log.person_by_email(address) is not None
            # And every document comes to rows that are there.
            for family in ("team", "user"):
                for stored in await log.documents(family, "", 10_000):
                    rows = {row.text() for row in rows_of(stored.document, log.names)}
                    assert rows <= set(texts)
        finally:
            await log.close()
