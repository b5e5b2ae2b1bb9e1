"""Sessions of 2025: whose they are, what they survive, and that what stands behind them is nobody else's."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.mcp.sessions import KEEP, RENEW, TRUSTED, Behind, Sessions, UnknownSession
from tests.proxy.mcp.house import House, Scripted, house, state, tool

NOW = datetime(2026, 5, 6, 7, tzinfo=UTC)


# --- over HTTP --------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(gate: House, name: str, **fields: Any) -> AsyncIterator[Scripted]:
    async with Scripted(tools=[tool("a")], **fields) as server:
        await gate.apply(server.manifest(name, ["team:search", "team:support"]))
        server.asked.clear()
        yield server


@pytest.mark.asyncio(loop_scope="module")
async def test_a_session_that_is_not_this_callers_is_unknown_like_any_other(shared: House) -> None:
    async with serving(shared, "mine"), serving(shared, "yours") as other:
        alice, bob = await shared.session("alice", "mine"), await shared.session("bob", "mine")
        ended = await shared.session("bob", "mine")
        await ended.house.send(
            "bob", ended.path, b"", method="DELETE", mcp_session_id=ended.session
        )
        own, answers = bob.session, []
        elsewhere = (await shared.session("bob", "yours")).session
        other.asked.clear()
        for id in (alice.session, ended.session, elsewhere, "never-was", own[:-1], own + "x"):
            bob.session = id
            bob.numbers = itertools.repeat(3)
            answers.append(await bob.ask("tools/list"))
        assert {said.status for said in answers} == {404}
        for said in answers:
            said.message["error"]["data"].pop("request")
        assert [said.message for said in answers] == [answers[0].message] * len(answers)
        assert other.asked == []
        noted = [one.get("error") for one in await shared.records("request")]
        assert noted.count("unknown_session") == len(answers)
        bob.session = own
        assert await bob.names() == ["a"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_without_a_session_is_told_that_it_needs_one(shared: House) -> None:
    async with serving(shared, "needs") as server:
        alice = await shared.session("alice", "needs")
        server.asked.clear()
        alice.session = ""
        said = await alice.ask("tools/list")
        assert said.status == 400
        get = await shared.send("alice", alice.path, b"", method="GET")
        delete = await shared.send("alice", alice.path, b"", method="DELETE")
        assert (get.status, delete.status) == (400, 400)
        assert server.asked == []


@pytest.mark.asyncio(loop_scope="module")
async def test_upstream_sessions_are_never_shared(shared: House) -> None:
    async with serving(shared, "apart") as server:
        people = [await shared.session(who, "apart") for who in ("alice", "bob", "bob")]
        people += [shared.modern(who, "apart") for who in ("alice", "bob")]
        used: list[str] = []
        for client in people:
            server.asked.clear()
            await client.call("a")
            used += {
                one.headers["mcp-session-id"]
                for one in server.asked
                if isinstance(one.body, dict) and one.body.get("method") == "tools/call"
            }
        assert len(set(used)) == len(people)
        again = shared.modern("bob", "apart")
        server.asked.clear()
        await again.call("a")
        assert {one.headers.get("mcp-session-id") for one in server.asked} == {used[-1]}


@pytest.mark.asyncio(loop_scope="module")
async def test_the_client_never_sees_the_session_behind(shared: House) -> None:
    async with serving(shared, "behind") as server:
        alice = await shared.session("alice", "behind")
        (id,) = server.sessions
        assert alice.session != id
        said = await alice.call("a")
        assert said.headers["mcp-session-id"] == alice.session
        assert id not in str(dict(said.headers)) and id.encode() not in said.raw


@pytest.mark.asyncio(loop_scope="module")
async def test_a_session_that_the_server_lost_is_opened_again_silently(shared: House) -> None:
    async with serving(shared, "lost") as server:
        alice = await shared.session("alice", "lost", capabilities={"sampling": {}})
        server.sessions.clear()
        server.asked.clear()
        assert "result" in (await alice.call("a")).message
        (opened,) = server.called("initialize")
        assert opened["params"]["capabilities"] == {"sampling": {}}
        assert opened["params"]["clientInfo"]["name"] == "test"
        assert len(server.called("notifications/initialized")) == 1
        assert await alice.names() == ["a"]
        assert len(server.called("initialize")) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_calls_at_the_same_time_open_one_session_behind(shared: House) -> None:
    async with serving(shared, "rush") as server:
        modern = shared.modern("alice", "rush")
        said = await asyncio.gather(*(modern.call("a") for _ in range(6)))
        assert all("result" in one.message for one in said)
        assert len(server.called("initialize")) == 1
        legacy = await shared.session("alice", "rush")
        server.sessions.clear()
        server.asked.clear()
        said = await asyncio.gather(*(legacy.call("a") for _ in range(6)))
        assert all("result" in one.message for one in said)
        assert len(server.called("initialize")) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_ending_a_session_ends_the_one_behind_it(shared: House) -> None:
    async with serving(shared, "ends") as server:
        alice = await shared.session("alice", "ends")
        assert len(server.sessions) == 1
        headers = {"mcp_session_id": alice.session}
        said = await shared.send("alice", alice.path, b"", method="DELETE", **headers)
        assert said.status == 200
        assert server.sessions == {}
        assert (await alice.ask("tools/list")).status == 404
        again = await shared.send("alice", alice.path, b"", method="DELETE", **headers)
        assert again.status == 404


@pytest.mark.asyncio(loop_scope="module")
async def test_an_initialize_that_fails_leaves_no_session(shared: House) -> None:
    async with serving(shared, "fails") as server:

        async def no(body: Any, request: Any) -> Any:
            return {"protocolVersion": "1999-01-01", "capabilities": {}, "serverInfo": {}}

        server.on["initialize"] = no
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        said = await shared.send("alice", "/mcp/fails", body)
        assert "error" in said.message
        assert "mcp-session-id" not in said.headers


@pytest.mark.asyncio(loop_scope="module")
async def test_the_version_is_the_one_that_the_server_took(shared: House) -> None:
    async with serving(shared, "older") as server:

        async def older(body: Any, request: Any) -> Any:
            server.sessions["one"] = {}
            return {"protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {}}

        server.on["initialize"] = older
        alice = await shared.session("alice", "older")
        assert alice.hello["protocolVersion"] == "2025-03-26"


async def test_a_session_survives_a_restart_of_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Scripted(tools=[tool("a")]) as server:
        async with house(tmp_path, monkeypatch) as gate:
            await gate.apply(server.manifest("kept", ["team:search"]))
            alice = await gate.session("alice", "kept")
            both = await gate.session("alice", "")
            await both.names()
        server.asked.clear()
        async with house(tmp_path, monkeypatch) as gate:
            await gate.known("kept")
            alice.house = both.house = gate
            assert await alice.names() == ["a"]
            assert "kept__a" in await both.names()
            assert "result" in (await alice.call("a")).message
            mine = [body["params"]["clientInfo"]["name"] for body in server.called("initialize")]
            assert "test" not in mine  # not even the session behind was opened again
            bob = await gate.session("bob", "")
            bob.session = alice.session
            assert (await bob.ask("ping")).status == 404


# --- by themselves ----------------------------------------------------------------------------------


async def test_a_session_is_kept_where_all_processes_find_it(tmp_path: Path) -> None:
    async with state(tmp_path) as kept:
        one, other = Sessions(kept), Sessions(kept)
        made = await one.open("user:u-1", "git", "2025-06-18", {"clientInfo": {}}, NOW)
        made.upstream["git"] = Behind("up-1", "2025-06-18", {"capabilities": {}})
        await one.save(made, NOW)
        found = await other.find(made.id, "user:u-1", "git", NOW)
        assert found is not made
        assert (found.version, found.client, found.upstream) == (
            made.version,
            made.client,
            made.upstream,
        )
        for principal, endpoint in (("user:u-2", "git"), ("user:u-1", "git~2"), ("user:u-1", "*")):
            with pytest.raises(UnknownSession):
                await other.find(made.id, principal, endpoint, NOW)


async def test_an_end_is_heard_of_by_other_processes_within_seconds(tmp_path: Path) -> None:
    async with state(tmp_path) as kept:
        one, other = Sessions(kept), Sessions(kept)
        made = await one.open("user:u-1", "git", "2025-06-18", {}, NOW)
        await other.find(made.id, "user:u-1", "git", NOW)
        await one.end(made)
        with pytest.raises(UnknownSession):
            await one.find(made.id, "user:u-1", "git", NOW)
        with pytest.raises(UnknownSession):
            await other.find(made.id, "user:u-1", "git", NOW + TRUSTED)


async def test_what_another_process_opened_behind_a_session_is_seen_here(tmp_path: Path) -> None:
    async with state(tmp_path) as kept:
        one, other = Sessions(kept), Sessions(kept)
        made = await one.open("user:u-1", "git", "2025-06-18", {}, NOW)
        found = await other.find(made.id, "user:u-1", "git", NOW)
        found.upstream["git"] = Behind("up-1", "2025-06-18", {})
        await other.save(found, NOW)
        again = await one.find(made.id, "user:u-1", "git", NOW + TRUSTED)
        assert again is made and again.upstream["git"].id == "up-1"


async def test_a_session_in_use_does_not_expire_and_a_forgotten_one_does(tmp_path: Path) -> None:
    async with state(tmp_path) as kept:
        sessions = Sessions(kept)
        made = await sessions.open("user:u-1", "git", "2025-06-18", {}, NOW)
        later = NOW + RENEW + timedelta(hours=1)
        await sessions.find(made.id, "user:u-1", "git", later)
        after = NOW + KEEP + timedelta(minutes=1)
        await Sessions(kept).find(made.id, "user:u-1", "git", after)
        with pytest.raises(UnknownSession):
            await Sessions(kept).find(made.id, "user:u-1", "git", after + KEEP + RENEW)


async def test_who_reads_the_state_cannot_take_a_session_over_by_its_key(tmp_path: Path) -> None:
    async with state(tmp_path) as kept:
        sessions = Sessions(kept)
        made = await sessions.open("user:u-1", "git", "2025-06-18", {}, NOW)
        keys = list(await kept.all("mcp-session", NOW))
        assert len(keys) == 1 and made.id not in keys[0]
        with pytest.raises(UnknownSession):
            await sessions.find(keys[0], "user:u-1", "git", NOW)


async def test_the_session_between_generations_is_one_for_each_principal_and_server(
    tmp_path: Path,
) -> None:
    async with state(tmp_path) as kept:
        sessions = Sessions(kept)
        one = await sessions.between("user:u-1", "git", NOW)
        assert await sessions.between("user:u-1", "git", NOW) is one
        others = [
            await sessions.between("user:u-2", "git", NOW),
            await sessions.between("user:u-1", "chat", NOW),
        ]
        assert len({one.id, *(other.id for other in others)}) == 3


async def test_calls_at_the_same_time_share_a_session_that_was_not_known_here(
    tmp_path: Path,
) -> None:
    async with state(tmp_path) as kept:
        made = await Sessions(kept).open("user:u-1", "git", "2025-06-18", {}, NOW)
        other = Sessions(kept)
        found = await asyncio.gather(
            *(other.find(made.id, "user:u-1", "git", NOW) for _ in range(5))
        )
        assert len({id(one) for one in found}) == 1
        between = await asyncio.gather(*(other.between("user:u-1", "git", NOW) for _ in range(5)))
        assert len({id(one) for one in between}) == 1


async def test_the_oldest_session_ends_for_one_more_than_a_principal_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.mcp.sessions.EACH", 2)
    async with state(tmp_path) as kept:
        sessions = Sessions(kept)
        made = [await sessions.open("user:u-1", "s", "2025-11-25", {}, NOW) for _ in range(3)]
        other = await sessions.open("user:u-2", "s", "2025-11-25", {}, NOW)
        with pytest.raises(UnknownSession):
            await sessions.find(made[0].id, "user:u-1", "s", NOW)
        for session in made[1:]:
            assert (await sessions.find(session.id, "user:u-1", "s", NOW)).id == session.id
        assert (await sessions.find(other.id, "user:u-2", "s", NOW)).id == other.id
