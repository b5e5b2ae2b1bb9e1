from __future__ import annotations

import asyncio
import os
import signal
import socket
import uuid
from pathlib import Path

import pytest

from proxy.metrics import Metrics, merge
from proxy.workers import Supervisor, offer_snapshot, reserve_port, sibling_snapshots, socket_name


async def test_siblings_see_each_others_counts() -> None:
    installation = uuid.uuid4().hex
    servers = []
    for slot in (1, 2):
        metrics = Metrics()
        metrics.count("gatewarden_alarms", "x", by=slot)
        servers.append(await offer_snapshot(socket_name(installation, slot), metrics.snapshot))
    found = await sibling_snapshots(installation, workers=4, own_slot=0)
    assert merge(found)["gatewarden_alarms"][("x",)] == 3
    for server in servers:
        server.close()
        await server.wait_closed()


def test_a_reserved_port_is_held_and_one_that_somebody_listens_on_is_refused() -> None:
    held, port = reserve_port("127.0.0.1", 0)
    with socket.socket() as stranger, pytest.raises(OSError):
        stranger.bind(("127.0.0.1", port))
    child = socket.socket()
    child.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    child.bind(("127.0.0.1", port))
    child.listen()
    with pytest.raises(OSError):
        reserve_port("127.0.0.1", port)
    child.close()
    held.close()


async def _started(mark: Path, count: int) -> None:
    async with asyncio.timeout(20):
        while not mark.exists() or len(mark.read_text().split()) < count:
            await asyncio.sleep(0.01)


async def test_a_worker_that_dies_is_started_again_and_sigterm_ends_all(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "starts"
    code = (
        "import os, signal, sys\n"
        "with open(os.environ['MARK'], 'a') as fh: fh.write(f'{os.getpid()} ')\n"
        "signal.pause()\n"
    )
    supervisor = Supervisor(["-c", code], [{"MARK": str(mark)}], drain_seconds=5)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(supervisor.run())
        await _started(mark, 1)
        os.kill(int(mark.read_text().split()[0]), signal.SIGKILL)
        await _started(mark, 2)
        os.kill(os.getpid(), signal.SIGTERM)
    assert running.result() == 0


async def test_a_worker_that_cannot_start_ends_the_supervisor_with_a_failure() -> None:
    supervisor = Supervisor(["-c", "import sys; sys.exit(3)"], [dict(os.environ)], drain_seconds=1)
    async with asyncio.timeout(30):
        assert await supervisor.run() == 1
