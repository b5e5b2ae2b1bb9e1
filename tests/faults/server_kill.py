"""Kills a whole gateway at random moments under load and asks the disk for every answer that came through.

Run as a program of its own, since it forks: `server_kill.py <data folder> <trials>`. Each trial forks a
serving process, loads it over several connections with allowed, refused and streamed requests, kills it
with SIGKILL, and requires that every decision id which reached a client (in the first bytes of an answer)
is on the disk. Meanwhile the gateway streams its records to a file, as to a security monitor. At the end the
whole log must verify, and the stream, once it has gone on, must have left nothing out. Prints a JSON line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

from conf.settings import Settings, load
from policies.change import Entry
from proxy import app, demo, installation
from proxy.host import Places
from proxy.runtime import Clock
from proxy.siem.sinks import FileSink
from proxy.siem.stream import Stream
from proxy.workers import reserve_port
from store.verify import verify
from tests.faults.harness import missing, on_disk, seed

CONNECTIONS = 6
STREAMED = ("decision", "request")
DECISION = re.compile(rb"\r\nx-decision-id: ([0-9a-f]+)\r\n")
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
BODIES = [
    {"model": "echo/small"},
    {"model": "echo/secret"},
    {"model": "echo/small", "stream": True},
]


def serve(settings: Settings, keys: object) -> None:
    """The victim: serves until it is killed."""

    async def forever() -> None:
        async with app.running(settings, keys, reuse_port=True):  # type: ignore[arg-type]
            await asyncio.Event().wait()

    asyncio.run(forever())


def request(token: str, rng: random.Random) -> bytes:
    """One model request as bytes."""
    body = json.dumps({**rng.choice(BODIES), "messages": [{"role": "user", "content": "hi"}]})
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def caller(port: int, token: str, rng: random.Random, seen: list[str]) -> None:
    """Sends requests over one connection after another; notes each decision id as soon as it arrives."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.005)
            continue
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                writer.write(request(token, rng))
                head = await reader.readuntil(b"\r\n\r\n")
                found = DECISION.search(head)
                assert found is not None, head
                seen.append(found[1].decode())
                length = LENGTH.search(head)
                if length is None:
                    break  # a stream: hang up in the middle of it
                await reader.readexactly(int(length[1]))
        writer.close()


async def load_until(port: int, token: str, rng: random.Random, wanted: int) -> list[str]:
    """The ids that came through until about `wanted` of them have, and a random moment more."""
    seen: list[str] = []
    patience = time.monotonic() + 20
    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(caller(port, token, rng, seen)) for _ in range(CONNECTIONS)]
        while len(seen) < wanted and time.monotonic() < patience:
            await asyncio.sleep(0.001)
        await asyncio.sleep(rng.random() * 0.01)
        KILL[0]()
        await asyncio.sleep(0.02)  # what is still in the sockets has reached the client, too
        for task in callers:
            task.cancel()
    return seen


KILL = [lambda: None]


async def streamed(settings: Settings) -> list[dict[str, object]]:
    """What the file of the stream holds, once a process that nobody kills has gone on to the end."""

    async def no_entries(after: int, limit: int) -> list[Entry]:
        return []

    file, journal = settings.siem.file, Places(settings.data).journal
    assert file is not None
    sink = FileSink(file, most=settings.siem.file_bytes, keep=settings.siem.file_keep)
    cursors = settings.data / "siem.json"
    stream = Stream(journal, cursors, sink, no_entries, records=STREAMED)
    while await stream.step() == 0.0:
        pass
    await stream.close()
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def main(folder: Path, trials: int) -> None:
    os.environ.update(
        GATEWARDEN_DATA=str(folder),
        GATEWARDEN_DEMO="true",
        GATEWARDEN_SIEM__SINK="file",
        GATEWARDEN_SIEM__FILE=str(folder / "siem.jsonl"),
        GATEWARDEN_SIEM__RECORDS=",".join(STREAMED),
    )
    held, port = reserve_port("127.0.0.1", 0)
    settings = load().model_copy(update={"port": port})
    keys = installation.keys_of(settings)
    asyncio.run(installation.bootstrap(settings, keys, Clock()))
    places = Places(settings.data)
    token = demo.read(places.demo)["DEMO_TOKEN_ALICE"]
    number = seed()
    rng = random.Random(number)
    answers, lost = 0, []
    for _ in range(trials):
        child = os.fork()
        if child == 0:
            try:
                serve(settings, keys)
            finally:
                os._exit(1)
        KILL[0] = lambda child=child: os.kill(child, signal.SIGKILL)  # type: ignore[misc]
        seen = asyncio.run(load_until(port, token, rng, int(rng.random() ** 2 * 120) + 1))
        os.waitpid(child, 0)
        answers += len(seen)
        lost += missing(places.journal, seen, newest=1)
    report = verify(places.journal, keys.public_key())
    held.close()
    events = asyncio.run(streamed(settings))
    kept = on_disk(places.journal, types=STREAMED)
    print(
        json.dumps(
            {
                "seed": number,
                "trials": trials,
                "answers": answers,
                "lost": lost,
                "faults": [str(fault) for fault in report.faults],
                "records": report.records,
                "kept": len(kept),
                "not_streamed": sorted(kept - {str(one["id"]) for one in events}),
                "streamed_twice": len(events) - len({str(one["id"]) for one in events}),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
