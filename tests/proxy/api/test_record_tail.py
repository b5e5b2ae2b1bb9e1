"""Records as they arrive: who is sent what, and what ends a stream."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy import tails
from proxy.api import records_tail
from tests.proxy.api.records_kit import Archive

Event = tuple[str, Any]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_tail, "POLL_SECONDS", 0.01)


class Stream:
    """One open stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.ids: list[str] = []

    async def next(self) -> Event:
        """The next event; comments are passed over."""
        name = ""
        async with asyncio.timeout(10):
            while True:
                line = (await self.response.content.readline()).decode()
                assert line, "the stream ended without saying so"
                field, _, value = line.rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    self.ids.append(value)
                elif field == "data":
                    return name, json.loads(value)

    async def records(self, count: int) -> list[str]:
        """The ids of the next records."""
        found: list[str] = []
        while len(found) < count:
            name, data = await self.next()
            assert name == "record", (name, data)
            found.append(data["id"])
        return found


@contextlib.asynccontextmanager
async def following(
    archive: Archive, who: str, path: str = "/requests/tail", **headers: str
) -> AsyncIterator[Stream]:
    token = archive.stack.tokens[who]
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{archive.stack.url}/api/v1{path}",
            headers={"Authorization": f"Bearer {token}", **headers},
        ) as response,
    ):
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        assert (await response.content.readline()) == b": open\n"
        yield Stream(response)


async def test_each_is_sent_what_a_list_would_show(archive: Archive) -> None:
    make = archive.request
    await archive.write([make("member", 0)])  # before: not sent
    async with (
        following(archive, "root") as root,
        following(archive, "member") as member,
        following(archive, "helper") as helper,
        following(archive, "root", "/requests/tail?status=5xx") as failed,
    ):
        ids = await archive.write(
            [
                make("member", 1),
                make("other", 2),
                make("other", 3, pinned={"region": "emea"}, status=502),
                make("crawler", 4),
            ]
        )
        assert await root.records(4) == ids
        assert await member.records(2) == [ids[0], ids[3]]
        assert await helper.records(1) == [ids[2]]
        assert await failed.records(1) == [ids[2]]
        more = await archive.write([make("member", 5)])
        assert await root.records(1) == more  # once each
        assert await member.records(1) == more


async def test_a_change_of_policy_holds_from_the_next_record_on(embedded: Archive) -> None:
    make = embedded.request
    async with following(embedded, "helper") as helper, following(embedded, "root") as root:
        seen = await embedded.write([make("other", 0, pinned={"region": "emea"})])
        assert await helper.records(1) == seen
        await embedded.stack.commit({"type": "team", "name": "support", "members": []})
        await embedded.write([make("other", 1, pinned={"region": "emea"})])
        own = await embedded.write([make("helper", 2)])
        assert await helper.records(1) == own
        assert (await root.records(3))[2:] == own


async def test_it_ends_with_the_token(embedded: Archive) -> None:
    async with following(embedded, "member") as member:
        token = embedded.stack.token_ids["member"]
        done = await embedded.stack.call("DELETE", f"/personal-access-tokens/{token}", who="member")
        assert done.status == 200
        await embedded.write([embedded.request("member", 1)])
        name, data = await member.next()
        assert (name, data["code"]) == ("end", "revoked_credential")


async def test_it_ends_when_its_time_is_over_and_with_the_process(embedded: Archive) -> None:
    async with following(embedded, "member", "/requests/tail?seconds=1") as member:
        assert (await member.next())[1]["code"] == "over"
    async with following(embedded, "member") as member:
        embedded.stack.runtime.tails.end()
        assert (await member.next())[1]["code"] == "ended"


async def test_it_goes_on_where_another_one_ended(embedded: Archive) -> None:
    make = embedded.request
    async with following(embedded, "root") as root:
        first = await embedded.write([make("member", 0)])
        assert await root.records(1) == first
        last = root.ids[-1]
    missed = await embedded.write([make("member", 1), make("other", 2)])
    async with following(embedded, "root", **{"Last-Event-ID": last}) as root:
        assert await root.records(2) == missed
    for odd in ("x", "-1", "9" * 30, '{"$gt":0}'):
        async with following(embedded, "root", **{"Last-Event-ID": odd}) as root:
            fresh = await embedded.write([make("member", 3)])
            assert await root.records(1) == fresh


async def test_more_than_one_look_holds_leaves_a_gap(
    embedded: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_tail, "_AT_ONCE", 3)
    async with following(embedded, "root") as root:
        ids = await embedded.write([embedded.request("member", n) for n in range(5)])
        assert (await root.next())[0] == "gap"
        assert await root.records(3) == ids[2:]
        more = await embedded.write([embedded.request("member", 9)])
        assert await root.records(1) == more


async def test_what_was_shown_is_written_down_and_does_not_feed_itself(embedded: Archive) -> None:
    async with following(embedded, "auditor", "/decisions/tail") as auditor:
        await embedded.stack.call("GET", "/whoami", who="member")
        await embedded.ship()
        name, data = await auditor.next()
        while data["principal"] != embedded.ids["member"]:
            name, data = await auditor.next()
        assert (name, data["action"]) == ("record", "self:read")
    async with asyncio.timeout(10):
        while len(looks := _looks(embedded)) < 2:
            await asyncio.sleep(0.01)
    opened, closed = looks
    assert "count" not in opened and closed["count"] >= 1
    assert len(closed["result_digest"]) == 64


def _looks(archive: Archive) -> list[dict[str, Any]]:
    return [
        line["body"]
        for line in archive.stack.records()
        if line["body"].get("route") == "GET /api/v1/decisions/tail"
    ]


async def test_there_is_room_for_so_many(embedded: Archive) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(tails.MOST_OF_ONE):
            await stack.enter_async_context(following(embedded, "member"))
        got = await embedded.stack.call("GET", "/requests/tail", who="member")
        assert (got.status, got.code) == (503, "busy")
        await stack.enter_async_context(following(embedded, "other"))


async def test_a_record_is_one_line_whatever_it_says(embedded: Archive) -> None:
    async with following(embedded, "root") as root:
        await embedded.write(
            [embedded.request("member", 0, claimed={"x": "a\nevent: end\ndata: {}\n\n\x1b[2J"})]
        )
        name, data = await root.next()
        assert name == "record" and data["claimed"]["x"].startswith("a\nevent: end")


async def test_a_fault_of_ours_is_said_and_tells_nothing(
    embedded: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(embedded, "root") as root:

        def broken(*_: object) -> None:
            raise RuntimeError("canary-of-a-cause")

        monkeypatch.setattr(records_tail, "fresh", broken)
        name, data = await root.next()
        assert (name, data["code"]) == ("end", "internal_error")
        assert "canary" not in json.dumps(data)
        assert await root.response.content.read() == b"\n"
    assert embedded.stack.runtime.tails.open == 0
