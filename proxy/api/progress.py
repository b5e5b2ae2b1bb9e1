"""How far a long call is, told while it runs: lines of JSON (`application/x-ndjson`).

`{"progress": {"stage", "done", "of"}}` as often as it changes, then one last line: `{"result", "status",
"epoch", "decision_id"}`, or `{"problem"}` with the body that the error would have had. The status line of
HTTP is out by then, so it is 200 whatever comes; the last line is what counts, for metrics as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from aiohttp import web

NDJSON = "application/x-ndjson"
TICK = 0.25  # seconds between two looks
BEAT = 5.0  # seconds after which a line is written although nothing changed, for proxies between


_PROBLEM = b'{"problem":'


class _Lines(web.StreamResponse):
    """An answer in lines. Once it has ended its status is what came of the call: metrics count by it."""

    came_to: int | None = None

    @property
    def status(self) -> int:
        return super().status if self.came_to is None else self.came_to


@dataclass(slots=True)
class Progress:
    """Where the work is. Set from any thread; whoever tells it looks now and then."""

    stage: str = "read"
    done: int = 0
    of: int = 0

    def at(self, stage: str, done: int, of: int) -> None:
        """Take note."""
        self.stage, self.done, self.of = stage, done, of

    def line(self) -> bytes:
        """As it goes out."""
        told = {"stage": self.stage, "done": self.done, "of": self.of}
        return json.dumps({"progress": told}).encode() + b"\n"


def wanted(request: web.Request) -> bool:
    """Whether the caller asks for lines."""
    accepted = request.headers.get("Accept", "").split(",")
    return any(item.partition(";")[0].strip().lower() == NDJSON for item in accepted)


async def told(
    request: web.Request,
    progress: Progress,
    work: Callable[[], Awaitable[bytes]],
    headers: dict[str, str],
) -> web.StreamResponse:
    """Runs `work`, tells how far it is, and ends with the line that it gives.

    A caller who hangs up does not stop the work, as with any other call.
    """
    response = _Lines(headers={"Content-Type": NDJSON, **headers})
    await response.prepare(request)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(_run(work))
        last, silent = b"", 0.0
        while not running.done():
            line = progress.line()
            if line != last or silent >= BEAT:
                with _gone():
                    await response.write(line)
                last, silent = line, 0.0
            await asyncio.wait((running,), timeout=TICK)
            silent += TICK
    told_last = running.result()
    with _gone():
        if (line := progress.line()) != last:
            await response.write(line)
        await response.write(told_last + b"\n")
        await response.write_eof()
    if told_last.startswith(_PROBLEM):
        response.came_to = int(json.loads(told_last)["problem"]["status"])
    return response


async def _run(work: Callable[[], Awaitable[bytes]]) -> bytes:
    return await work()


@contextlib.contextmanager
def _gone() -> Iterator[None]:
    """The caller may hang up at any time."""
    with contextlib.suppress(ConnectionError):
        yield
