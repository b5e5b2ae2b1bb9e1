"""Checkpoints copied to where the gateway's administrators cannot write: S3-compatible storage, or a webhook.

Follows the checkpoint files that lie beside the chains (`store/checkpoints.py`) of every writer in the data
folder, and puts each new one away. A place that fails stalls nothing: it is tried again with growing pauses,
and a metric and an alarm say so; of those that wait only the newest few go, for a checkpoint stands for all
before it. `gatewarden log verify --second` compares what was put away.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec
from yarl import URL

from authz.chain import BrokenLine, read_line
from authz.errors import GatewardenError
from proxy import logs
from proxy.fetching import Fetch
from proxy.providers.base import AwsKeys, Headers, UpstreamError
from proxy.providers.sigv4 import sign
from store.segments import CHECKPOINTS, whole_lines, writers
from store.shipper import Lease

log = logs.get("checkpoints")
MOST_WAITING: Final = 100  # of one writer
STEP_SECONDS: Final = 5.0
SECONDS: Final = 30.0  # for one request
PAUSES: Final = (5.0, 15.0, 60.0, 300.0)
_MOST_ANSWER: Final = 64 * 1024


class CopyFailed(GatewardenError):
    """A checkpoint could not be put away."""

    code = "checkpoint_copy_failed"


class FarPlace(Protocol):
    """Where copies go."""

    async def put(self, writer: str, seq: int, line: bytes) -> None:
        """Returns once it is there. Raises: CopyFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """S3-compatible storage: `<endpoint>/<bucket>/<prefix>` in path style. The keys are not in the `repr`."""

    base: str
    region: str
    keys: AwsKeys


class S3Place:
    """One object for each checkpoint, `<prefix>/<writer>/<seq>.checkpoints.jsonl`, never overwritten by another.

    Let the key only put objects, and lock them there: who holds this host then cannot take one back.
    """

    def __init__(self, fetch: Fetch, bucket: Bucket, clock: Callable[[], datetime]) -> None:
        self._fetch = fetch
        self._bucket = bucket
        self._clock = clock

    async def put(self, writer: str, seq: int, line: bytes) -> None:
        # A name of letters, digits, `.`, `_`, `-` and `/` is escaped in one way only, whoever signs it.
        name = f"{writer.replace('@', '/')}/{seq:020d}.{CHECKPOINTS}"
        url = URL(f"{self._bucket.base.rstrip('/')}/{name}", encoded=True)
        headers: Headers = [
            ("content-type", "application/x-ndjson"),
            ("x-amz-content-sha256", hashlib.sha256(line).hexdigest()),
        ]
        headers += sign(
            "PUT",
            url,
            headers,
            line,
            keys=self._bucket.keys,
            region=self._bucket.region,
            service="s3",
            now=self._clock(),
        )
        await _send(self._fetch, "PUT", str(url), headers, line)


class WebhookPlace:
    """Posts each checkpoint line to an address."""

    def __init__(self, fetch: Fetch, url: str, *, authorization: str = "") -> None:
        self._fetch = fetch
        self._url = url
        self._authorization = authorization

    async def put(self, writer: str, seq: int, line: bytes) -> None:
        headers: Headers = [
            ("content-type", "application/x-ndjson"),
            ("x-gatewarden-writer", writer),
            ("x-gatewarden-seq", str(seq)),
        ]
        if self._authorization:
            headers.append(("authorization", self._authorization))
        await _send(self._fetch, "POST", self._url, headers, line)


async def _send(fetch: Fetch, method: str, url: str, headers: Headers, body: bytes) -> None:
    try:
        async with fetch(method, url, headers, body, deadline=SECONDS, idle=SECONDS) as answer:
            status = answer.status
            await answer.read(_MOST_ANSWER)
    except UpstreamError as error:
        raise CopyFailed(error.message, hint=error.hint) from error
    if not 200 <= status < 300:
        raise CopyFailed(f"the second place answered with status {status}")


class CheckpointCopies:
    """Puts checkpoints away. Belongs to one event loop; one process of a data folder does it, by a lock."""

    def __init__(
        self, journal: Path, marks: Path, place: FarPlace, alarm: Callable[[str], None]
    ) -> None:
        """`marks` is the file that holds how far each writer's are copied."""
        self._journal = journal
        self._path = marks
        self._place = place
        self._alarm = alarm
        self._lease = Lease(marks.with_suffix(".lock"))
        self._marks: dict[str, int] | None = None
        self.failures = 0  # in a row
        self.copied = 0

    async def step(self) -> float:
        """Copies what is new; how many seconds to wait until the next step."""
        try:
            if not await asyncio.to_thread(self._lease.take):
                return STEP_SECONDS
            for writer, seq, line in await asyncio.to_thread(self._fresh):
                await self._place.put(writer, seq, line)
                await asyncio.to_thread(self._mark, writer, seq)
                self.copied += 1
        except (CopyFailed, OSError) as error:
            if (
                not self.failures
            ):  # said once: without the copy, a log cut at its end goes unnoticed
                self._alarm(f"checkpoints are not copied to the second place: {error}")
            self.failures += 1
            return PAUSES[min(self.failures, len(PAUSES)) - 1]
        if self.failures:
            log.info("checkpoints are copied to the second place again")
            self.failures = 0
        return STEP_SECONDS

    def _fresh(self) -> list[tuple[str, int, bytes]]:
        """The newest checkpoints of each writer that are not copied yet, oldest first."""
        if self._marks is None:
            try:
                self._marks = msgspec.json.decode(self._path.read_bytes(), type=dict[str, int])
            except (FileNotFoundError, msgspec.DecodeError):
                self._marks = {}  # a copy that is made twice is the same copy
        found: list[tuple[str, int, bytes]] = []
        for folder in writers(self._journal):
            path = folder / CHECKPOINTS
            mark = self._marks.get(folder.name, 0)
            mine: list[tuple[str, int, bytes]] = []
            for _, raw in whole_lines(path.read_bytes() if path.exists() else b""):
                try:
                    line = read_line(raw)
                except BrokenLine:
                    continue
                if line.seq > mark:
                    mine.append((folder.name, line.seq, raw))
            found += mine[-MOST_WAITING:]
        return found

    def _mark(self, writer: str, seq: int) -> None:
        assert self._marks is not None
        self._marks[writer] = seq
        beside = self._path.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(self._marks))
        beside.replace(self._path)

    def close(self) -> None:
        """Lets go of the right to copy."""
        self._lease.release()
