"""A process that commits to MongoDB and dies by SIGKILL at one step of a commit that it is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from policies.change import Change, Source
from policies.documents import parse
from policies.loader import shipped
from store.changes import ChangeLog
from store.mongo import MongoStore
from store.sealed import Sealer

MODEL = (Path(__file__).parents[2] / "conf" / "model.conf").read_text()


def change_log(uri: str, fault: Callable[[str], None] = lambda step: None) -> ChangeLog:
    return ChangeLog(
        MongoStore(uri, fault=fault),
        model_text=MODEL,
        shipped=shipped(),
        sealer=Sealer(bytes(range(32))),
    )


def joining(number: int) -> Change:
    """A change that brings a person, a team and rows."""
    team = {"type": "team", "name": f"t{number}", "members": [f"p{number}@acme.com"]}
    return Change("host", Source.HOST, f"r{number}", (parse(team),))


async def main(uri: str, step: str) -> None:
    armed = False

    def die(at: str) -> None:
        if armed and at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    log = change_log(uri, die)
    await log.start()
    await log.commit(joining(1), None, datetime.now(UTC))
    print(log.head, flush=True)
    armed = True
    await log.commit(joining(2), None, datetime.now(UTC))
    print("survived", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
