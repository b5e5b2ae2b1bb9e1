"""A process that commits until it is killed; it prints each epoch that it was told is durable."""

from __future__ import annotations

import asyncio
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


def change_log(path: Path) -> ChangeLog:
    return ChangeLog(
        SqliteStore(path / "gatewarden.db"),
        model_text=MODEL,
        shipped=shipped(),
        sealer=Sealer(bytes(range(32))),
    )


async def main(path: Path, name: str) -> None:
    log = change_log(path)
    await log.start()

    async def commit(number: int) -> None:
        team = {
            "type": "team",
            "name": f"{name}{number % 7}",
            "members": [f"{name}{number}@acme.com"],
        }
        change = Change("host", Source.HOST, f"{name}{number}", (parse(team),))
        entry = await log.commit(change, None, datetime.now(UTC))
        print(entry.epoch, entry.hash, f"{name}{number}@acme.com", flush=True)

    for start in range(0, 100_000, 3):
        await asyncio.gather(*(commit(number) for number in range(start, start + 3)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
