"""How processes are started and ended: one, or several under a supervisor; what `gatewarden serve` runs.

The port is held first, so that a taken one is named before anything is made. The records are shipped by a
process beside the serving ones (`shipping.py`). What a process consists of: `app.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

from conf.settings import Settings
from identity.first_start import Keys
from proxy import children, doctor, host, logs, shipping
from proxy.app import running
from proxy.chores import TICK_SECONDS
from proxy.host import Places
from proxy.installation import (
    bootstrap_for_workers,
    keys_of,
    own_url,
    published,
    records_place,
)
from proxy.runtime import Clock
from proxy.workers import Supervisor, reserve_port

SLOT = "GATEWARDEN_SLOT"  # which worker of the supervisor this process is

log = logs.get("serving")


def serve(settings: Settings) -> int:
    """Runs the gateway until SIGTERM or SIGINT; the exit code.

    Raises:
        GatewardenError: it cannot start, with what to do about it.
    """
    logs.configure(settings.log_level)
    slot = os.environ.get(SLOT)
    if slot is not None:
        return _run(
            _serve_one(settings, keys_of(settings), slot=int(slot), reuse_port=True), settings
        )
    doctor.require_extensions()
    try:
        held, port = reserve_port(settings.host, settings.port)
    except OSError as error:
        raise host.HostError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            hint="another process has the port: stop it, or set GATEWARDEN_PORT",
        ) from error
    settings = settings.model_copy(update={"port": port})
    try:
        keys = keys_of(settings)
        if settings.workers == 1:
            for line in published(settings, keys):
                _show(line)
            one = _serve_one(settings, keys, slot=0, reuse_port=True, shows=_show)
            return _run(one, settings)
        for line in asyncio.run(bootstrap_for_workers(settings, keys, Clock())):
            _show(line)
        return asyncio.run(_supervise(settings))
    finally:
        held.close()


def _show(line: str) -> None:
    print(line, flush=True)


def _run(work: Any, settings: Settings) -> int:
    """On the loop that the settings name."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if settings.loop != "asyncio":
        try:
            import uvloop
        except ImportError:
            if settings.loop == "uvloop":
                work.close()
                raise host.HostError(
                    "uvloop is not installed", hint="set GATEWARDEN_LOOP=asyncio"
                ) from None
        else:
            factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        code: int = runner.run(work)
    return code


async def _serve_one(
    settings: Settings,
    keys: Keys,
    *,
    slot: int,
    reuse_port: bool,
    shows: Callable[[str], None] | None = None,
) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    supervisor = os.getppid() if SLOT in os.environ else None
    async with contextlib.AsyncExitStack() as stack:
        if supervisor is None:
            await stack.enter_async_context(_shipping(settings))
        process = await stack.enter_async_context(
            running(settings, keys, slot=slot, reuse_port=reuse_port, ships=False, shows=shows)
        )
        log.info("serving", url=own_url(settings), slot=slot, epoch=process.runtime.changes.head)
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await stopping.wait()
            if supervisor is not None and os.getppid() != supervisor:
                log.error("the supervisor is gone", slot=slot)
                break
        log.info("draining", slot=slot)
    return 0


async def _supervise(settings: Settings) -> int:
    environments = [
        {
            **children.variables(private=True),
            SLOT: str(slot),
            "GATEWARDEN_PORT": str(settings.port),
            "GATEWARDEN_HOST": settings.host,
            "GATEWARDEN_WORKERS": str(settings.workers),
            "GATEWARDEN_DEMO": "false",
        }
        for slot in range(settings.workers)
    ]
    arguments = [*children.command("proxy.cli")[1:], "serve"]
    supervisor = Supervisor(arguments, environments, drain_seconds=settings.drain_seconds)
    log.info("supervising", url=own_url(settings), workers=settings.workers, pid=os.getpid())
    async with _shipping(settings):
        return await supervisor.run()


def _shipping(settings: Settings) -> contextlib.AbstractAsyncContextManager[None]:
    """The process that ships records, until the block ends: the last to end, so that it sees all."""
    places = Places(settings.data)
    place = records_place(settings)
    return shipping.kept(places.journal, place.file, settings.log_level, place.uri)
