"""`wait=applied`: who made a change hears when every live process decides by it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from conf.settings import MODEL_PATH
from policies.loader import shipped
from proxy.api.site import ROUTES
from store.changes import ChangeLog
from store.errors import StoreUnavailable
from store.replicas import Replicas
from store.sealed import Sealer
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState
from tests.proxy.api.stack import SEALING, Stack

TEAM = {"type": "team", "name": "ml", "members": []}


def replica(stack: Stack, name: str, epoch: int) -> Replicas:
    return Replicas(SqliteState(stack.store), name, lambda: epoch)


@pytest.fixture
def own(stack: Stack) -> Replicas:
    """The replica that answers."""
    changes = stack.runtime.changes
    made = Replicas(SqliteState(stack.store), "here@0", lambda: changes.head)
    stack.runtime.replicas = made
    return made


@pytest.mark.usefixtures("own")
async def test_a_process_alone_is_done_at_once(stack: Stack) -> None:
    got = await stack.call("PUT", "/teams/ml?wait=applied", TEAM)
    assert got.status == 201 and got.headers["x-policy-applied"] == "1/1"
    assert "x-policy-waiting" not in got.headers


@pytest.mark.usefixtures("own")
async def test_it_waits_until_another_process_follows(stack: Stack, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "gatewarden.db")
    other = ChangeLog(
        store,
        model_text=MODEL_PATH.read_text("utf-8"),
        shipped=shipped(),
        sealer=Sealer(SEALING),
        clock=stack.runtime.clock.now,
    )
    await other.start()
    told = Replicas(SqliteState(store), "other@0", lambda: other.head)
    await told.tell(stack.now[0])

    async def follow() -> None:
        while not await other.poll():
            await asyncio.sleep(0.01)
        await told.tell(stack.now[0])

    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        got = await stack.call("DELETE", "/teams/hidden?wait=applied")
    assert got.headers["x-policy-applied"] == "2/2"
    assert str(other.head) == got.headers["x-policy-epoch"]
    await other.close()


@pytest.mark.usefixtures("own")
async def test_who_does_not_follow_is_named_and_the_change_is_made(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Replicas.wait, "__defaults__", (0.0,))
    head = stack.runtime.changes.head
    await replica(stack, "host-b@0", head).tell(stack.now[0])
    await replica(stack, "host-a@1", head).tell(stack.now[0])
    got = await stack.call("PUT", "/teams/ml?wait=applied", TEAM)
    assert got.status == 201
    assert got.headers["x-policy-applied"] == "1/3"
    assert got.headers["x-policy-waiting"] == "host-a@1, host-b@0"
    assert (await stack.call("GET", "/teams/ml")).status == 200
    # Who has said nothing for 15 seconds is not waited for.
    stack.now[0] += timedelta(seconds=15)
    got = await stack.call("DELETE", "/teams/ml?wait=applied")
    assert got.headers["x-policy-applied"] == "1/1"


@pytest.mark.usefixtures("own")
async def test_a_dry_run_has_nothing_to_wait_for(stack: Stack) -> None:
    got = await stack.call("PUT", "/teams/ml?wait=applied&dry_run=true", TEAM)
    assert got.status == 200 and "x-policy-applied" not in got.headers


@pytest.mark.usefixtures("own")
async def test_a_change_that_is_made_is_told_so_although_the_others_cannot_be_seen(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(SqliteState, "all", fails)
    got = await stack.call("PUT", "/teams/ml?wait=applied", TEAM)
    assert got.status == 201 and got.headers["x-policy-waiting"] == "unknown"
    assert "x-policy-applied" not in got.headers


async def test_without_the_parameter_nobody_waits(stack: Stack, own: Replicas) -> None:
    got = await stack.call("PUT", "/teams/ml", TEAM)
    assert "x-policy-applied" not in got.headers and own.seen == ()


@pytest.mark.parametrize("query", ["wait=yes", "wait=", "wait=applied&wait=applied"])
async def test_another_value_is_refused_before_anything_happens(stack: Stack, query: str) -> None:
    got = await stack.call("PUT", f"/teams/ml?{query}", TEAM)
    assert got.status == 400 and "wait" in got.json["detail"]
    assert (await stack.call("GET", "/teams/ml")).status == 404


async def test_only_routes_that_change_something_take_it(stack: Stack) -> None:
    assert (await stack.call("GET", "/teams?wait=applied")).status == 400
    for route in ROUTES:
        if route.mutates:
            assert "wait" not in route.query.model_fields, route.name
