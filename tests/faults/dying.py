"""A process that kills itself at one step of a commit: as abrupt as a crash, and at a known place."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from policies.change import Change, Source
from policies.documents import parse
from policies.loader import shipped
from store.changes import ChangeLog
from store.sealed import Sealer
from store.sqlite import SqliteStore

MODEL = (Path(__file__).parents[2] / "conf" / "model.conf").read_text()


async def main(path: Path, step: str) -> None:
    armed = False

    def fault(reached: str) -> None:
        if armed and reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    log = ChangeLog(
        SqliteStore(path / "gatewarden.db", fault=fault),
        model_text=MODEL,
        shipped=shipped(),
        sealer=Sealer(bytes(range(32))),
    )
    await log.start()
    armed = True
    team = {"type": "team", "name": "victim", "members": ["victim@acme.com"]}
    change = Change("host", Source.HOST, "victim", (parse(team),))
    await log.commit(change, None, datetime.now(UTC))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
