"""What a process does for auditors beside serving: the stream to a security monitor, and copies of checkpoints.

Both read files and talk to places that may be slow or gone, each in a job of its own: neither can hold up the
journal or a request. What they do stands in `siem/stream.py` and `checkpoint_copies.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from proxy import logs
from proxy.checkpoint_copies import Bucket, CheckpointCopies, FarPlace, S3Place, WebhookPlace
from proxy.fetching import Fetch
from proxy.host import Places
from proxy.metrics import Metrics
from proxy.providers.base import AwsKeys
from proxy.siem.building import SiemOf
from proxy.siem.building import build as build_stream
from proxy.siem.stream import Entries, Stream
from store.outbox import settled_in

log = logs.get("auditing")


class JournalOf(Protocol):
    """`conf.settings.JournalSettings`, as far as copies go."""

    @property
    def copy_url(self) -> str: ...
    @property
    def copy_endpoint(self) -> str: ...
    @property
    def copy_region(self) -> str: ...
    @property
    def copy_access_key(self) -> SecretStr | None: ...
    @property
    def copy_secret_key(self) -> SecretStr | None: ...
    @property
    def copy_authorization(self) -> SecretStr | None: ...


class AuditingOf(Protocol):
    """`conf.settings.Settings`."""

    @property
    def data(self) -> Path: ...
    @property
    def siem(self) -> SiemOf: ...
    @property
    def journal(self) -> JournalOf: ...


class Auditing:
    """The jobs that the settings ask for; none of them where they ask for nothing."""

    def __init__(self, stream: Stream | None, copies: CheckpointCopies | None) -> None:
        self.stream = stream
        self.copies = copies
        self.streamed: Callable[[str], int] | None = None

    @classmethod
    def of(
        cls,
        settings: AuditingOf,
        *,
        fetch: Fetch,
        entries: Entries,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> Auditing:
        """Raises: BadSyslogAddress. OSError: the file of authorities cannot be read."""
        journal = Places(settings.data).journal

        def alarm(text: str) -> None:
            metrics.count("gatewarden_alarms", "checkpoint_copy")
            log.error("alarm", text=text)

        cursors = settings.data / "siem.json"
        stream = build_stream(
            settings.siem,
            journal=journal,
            cursors=cursors,
            fetch=fetch,
            entries=entries,
        )
        place = _place(settings.journal, fetch, clock)
        copies = None
        if place is not None:
            marks = settings.data / "checkpoint-copies.json"
            copies = CheckpointCopies(journal, marks, place, alarm)
        made = cls(stream, copies)
        if stream is not None:
            # From the file: the process that streams may be another one.
            made.streamed = partial(settled_in, cursors)
        metrics.gauge("gatewarden_siem_events", lambda: stream.sent if stream else 0)
        metrics.gauge("gatewarden_siem_failures", lambda: stream.failures if stream else 0)
        metrics.gauge("gatewarden_checkpoint_copies", lambda: copies.copied if copies else 0)
        metrics.gauge(
            "gatewarden_checkpoint_copy_failures", lambda: copies.failures if copies else 0
        )
        return made

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        async with asyncio.TaskGroup() as group:
            if self.stream is not None:
                group.create_task(_steps(self.stream.step, stop))
            if self.copies is not None:
                group.create_task(_steps(self.copies.step, stop))

    async def close(self) -> None:
        """Lets go of what is held."""
        if self.stream is not None:
            await self.stream.close()
        if self.copies is not None:
            self.copies.close()


async def _steps(step: Callable[[], Awaitable[float]], stop: asyncio.Event) -> None:
    """Step by step until `stop`; one that fails as nobody expected does not end the process."""
    while not stop.is_set():
        try:
            pause = await step()
        except Exception:
            log.exception("a job for auditors failed")
            pause = 60.0
        if pause:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()


def _place(journal: JournalOf, fetch: Fetch, clock: Callable[[], datetime]) -> FarPlace | None:
    url = journal.copy_url
    if not url:
        return None
    if not url.startswith("s3://"):
        secret = journal.copy_authorization
        return WebhookPlace(fetch, url, authorization=secret.get_secret_value() if secret else "")
    assert journal.copy_access_key is not None and journal.copy_secret_key is not None
    keys = AwsKeys(
        journal.copy_access_key.get_secret_value(), journal.copy_secret_key.get_secret_value()
    )
    region = journal.copy_region
    endpoint = journal.copy_endpoint or f"https://s3.{region}.amazonaws.com"
    base = f"{endpoint.rstrip('/')}/{url.removeprefix('s3://').strip('/')}"
    return S3Place(fetch, Bucket(base, region, keys), clock)
