"""Streams through real parts: byte for byte, cancelled, broken, cut."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from authz.rows import row
from policies.change import DocumentChange, Entry, Source
from proxy.parts import Limits
from tests.proxy.world import CHAT, NOW, Answering, World, world

STREAM = {**CHAT, "stream": True}
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":22}}\n\n'
EVENTS = [
    b'data: {"choices":[{"delta":{"content":"caf\xc3\xa9 \\"usage\\": {"}}],"usage":null}\n\n',
    b": a comment\n\n",
    USAGE,
    b"data: [DONE]\n\n",
]


def streams(
    chunks: list[bytes],
    *,
    break_: bool = False,
    hold: asyncio.Event | None = None,
    gone: asyncio.Event | None = None,
    media: str = "text/event-stream",
) -> Answering:
    """An upstream that sends chunks, then ends, breaks its connection, or waits."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": media})
        try:
            await response.prepare(request)
            for chunk in chunks:
                await response.write(chunk)
            if hold is not None:
                await hold.wait()
            if break_ and request.transport is not None:
                request.transport.abort()
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            if gone is not None:
                gone.set()
            raise
        return response

    return answer


async def test_a_stream_passes_byte_for_byte_however_it_is_cut_into_chunks(tmp_path: Path) -> None:
    whole = b"".join(EVENTS)
    async with world(tmp_path) as w:
        for size in (1, 7, 64, len(whole)):
            w.answers(streams([whole[i : i + size] for i in range(0, len(whole), size)]))
            got = await w.call(json_body=STREAM)
            assert got.status == 200
            assert got.body == whole
            assert (got.header("content-type") or "").startswith("text/event-stream")
        for record in await w.records("request"):
            assert (record["input_tokens"], record["output_tokens"]) == (11, 22)
            assert record["stream"] is True


async def test_a_whole_event_reaches_the_caller_while_the_upstream_still_thinks(
    tmp_path: Path,
) -> None:
    hold = asyncio.Event()
    async with world(tmp_path) as w:
        w.answers(streams(EVENTS[:1], hold=hold))
        async with opened(w) as response:
            first = await response.content.readuntil(b"\n\n")
            assert first == EVENTS[0]
            # the decision is on the disk before the first byte
            assert len(await w.records("decision")) == 1
            hold.set()
            assert await response.content.read() == b""


def opened(w: World):  # type: ignore[no-untyped-def]
    return w.session.post(
        w.url + "/v1/chat/completions",
        json=STREAM,
        headers={"authorization": f"Bearer {w.tokens['ann']}"},
    )


async def test_a_caller_who_hangs_up_cancels_the_upstream_and_leaves_a_record(
    tmp_path: Path,
) -> None:
    hold, gone = asyncio.Event(), asyncio.Event()
    async with world(tmp_path) as w:
        w.answers(streams([EVENTS[0], USAGE], hold=hold, gone=gone))
        response = await opened(w)
        await response.content.readuntil(b"\n\n")
        response.close()
        async with asyncio.timeout(5):
            await gone.wait()
            while not (records := await w.records("request")):
                await asyncio.sleep(0)
        assert records[0]["error"] == "client_closed"
        assert records[0]["status"] == 200
        assert len(w.gateway.streams) == 0


async def test_a_caller_who_hangs_up_before_the_answer_leaves_a_record_too(tmp_path: Path) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def thinks(request: web.Request) -> web.StreamResponse:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            gone.set()
            raise
        raise AssertionError

    async with world(tmp_path) as w:
        w.answers(thinks)
        async with asyncio.TaskGroup() as group:
            call = group.create_task(w.call())
            await asked.wait()
            call.cancel()
        async with asyncio.timeout(5):
            await gone.wait()
            while not (records := await w.records("request")):
                await asyncio.sleep(0)
        assert (records[0]["error"], records[0]["status"]) == ("client_closed", 0)
        assert len(await w.records("decision")) == 1


@pytest.mark.parametrize("tail", [b"", b'data: {"half'])
async def test_a_stream_that_breaks_ends_with_an_error_event(tmp_path: Path, tail: bytes) -> None:
    hold = asyncio.Event()
    async with world(tmp_path) as w:
        w.answers(streams([EVENTS[0] + tail], break_=True, hold=hold))
        async with opened(w) as response:
            assert await response.content.readuntil(b"\n\n") == EVENTS[0]
            hold.set()
            rest = await response.content.read()
        assert rest.startswith(b"data: {")  # half of an event never reaches the caller
        error = json.loads(rest.removeprefix(b"data: "))["error"]
        assert error["code"] in ("upstream_invalid", "upstream_unreachable")
        assert b"[DONE]" not in rest
        assert (await w.records("request"))[0]["error"] == error["code"]


async def test_a_broken_anthropic_stream_ends_with_anthropics_error_event(tmp_path: Path) -> None:
    start = (
        b"event: message_start\n"
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}\n\n'
    )
    delta = b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":9}}\n\n'
    body = {"model": "claude/sonnet", "max_tokens": 5, "messages": [], "stream": True}
    async with world(tmp_path) as w:
        w.answers(streams([start, delta], break_=True))
        got = await w.call("/v1/messages", body)
        event, _, data = got.body.removeprefix(start + delta).partition(b"\n")
        assert event == b"event: error"
        assert json.loads(data.removeprefix(b"data: "))["error"]["type"] == "api_error"
        record = (await w.records("request"))[0]
        assert (record["input_tokens"], record["output_tokens"]) == (7, 9)


async def test_a_stream_that_fails_before_its_first_byte_has_a_status(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.answers(streams([], break_=True))
        got = await w.call(json_body=STREAM)
        assert got.status == 502
        assert got.error["code"] in ("upstream_invalid", "upstream_unreachable")


async def test_a_broken_binary_answer_is_seen_as_broken(tmp_path: Path) -> None:
    hold = asyncio.Event()
    async with world(tmp_path) as w:
        w.answers(streams([b"RIFF1234"], break_=True, hold=hold, media="audio/wav"))
        async with w.session.post(
            w.url + "/v1/audio/speech",
            json={"model": "acme/mini", "input": "hi", "voice": "x"},
            headers={"authorization": f"Bearer {w.tokens['ann']}"},
        ) as response:
            assert await response.content.readexactly(8) == b"RIFF1234"
            hold.set()
            with pytest.raises(Exception, match=r"payload|closed|reset"):
                await response.content.read()


async def test_a_binary_answer_of_known_length_keeps_its_length(tmp_path: Path) -> None:
    async def speaks(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"RIFF" * 1000, headers={"content-type": "audio/wav"})

    async with world(tmp_path) as w:
        w.answers(speaks)
        got = await w.call("/v1/audio/speech", {"model": "acme/mini", "input": "hi"})
        assert got.body == b"RIFF" * 1000
        assert got.header("content-length") == "4000"
        assert got.header("transfer-encoding") is None


async def test_a_stream_ends_when_its_longest_life_is_over(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(stream_seconds=0.05)) as w:
        w.answers(streams(EVENTS[:1], hold=asyncio.Event()))
        got = await w.call(json_body=STREAM)
        assert got.body.startswith(EVENTS[0])
        assert b"longest life" in got.body


def entry(*documents: DocumentChange) -> Entry:
    return Entry(2, NOW, "host", Source.HOST, "r", "", documents, (), (), "", "", "")


async def test_a_revoked_credential_cuts_its_open_streams_and_no_others(tmp_path: Path) -> None:
    # design 5.9; docs/attacks.md K17
    hold = asyncio.Event()
    async with world(tmp_path, rows=[row("g", "user:u-ben", "team:search")]) as w:
        w.answers(streams(EVENTS[:1], hold=hold))
        async with opened(w) as anns:
            await anns.content.readuntil(b"\n\n")
            async with w.session.post(
                w.url + "/v1/chat/completions",
                json=STREAM,
                headers={"authorization": f"Bearer {w.tokens['ben']}"},
            ) as bens:
                await bens.content.readuntil(b"\n\n")
                token = w.tokens["ann"].split("_")[2]
                change = DocumentChange(("credential", token), {}, None, 2)
                w.directory.apply(entry(change))
                w.gateway.streams.apply(entry(change))
                rest = await anns.content.read()
                assert b"revoked_credential" in rest or b"invalid_api_key" in rest
                assert len(w.gateway.streams) == 1
                hold.set()
                assert await bens.content.read() == b""
        records = {r["principal"]: r for r in await w.records("request")}
        assert records["user:u-ann"]["error"] == "revoked_credential"
        assert "error" not in records["user:u-ben"]


async def test_a_credential_that_expires_cuts_its_stream(tmp_path: Path) -> None:
    async with world(tmp_path, rows=[row("g", "virtualaccount:checkout", "team:search")]) as w:
        w.answers(streams(EVENTS[:1], hold=asyncio.Event()))
        w.now[0] = NOW + timedelta(hours=1) - timedelta(milliseconds=50)
        got = await w.call(json_body=STREAM, who="checkout")
        assert got.body.startswith(EVENTS[0])
        assert b"the credential of this stream has ended" in got.body
        assert (await w.records("request"))[0]["error"] == "expired_credential"


async def test_a_credential_that_ends_before_the_first_byte_gets_no_stream(tmp_path: Path) -> None:
    # docs/attacks.md K4, K17: the upstream is silent for so long that the credential ends meanwhile
    async with world(tmp_path, rows=[row("g", "virtualaccount:checkout", "team:search")]) as w:
        silent = streams(EVENTS[:1], hold=asyncio.Event())

        async def late(request: web.Request) -> web.StreamResponse:
            w.now[0] = NOW + w_passes
            return await silent(request)

        w.answers(late)
        w_passes = timedelta(hours=1)
        got = await w.call(json_body=STREAM, who="checkout")
        assert (got.status, got.error["code"]) == (401, "invalid_api_key")
        w.now[0] = NOW
        w_passes = timedelta(hours=1) - timedelta(milliseconds=50)
        async with asyncio.timeout(10):  # not an hour from then
            got = await w.call(json_body=STREAM, who="checkout")
        assert got.status == 200
        assert b"the credential of this stream has ended" in got.body


async def test_the_id_of_a_streamed_response_is_known_before_its_caller_has_it(
    tmp_path: Path,
) -> None:
    created = b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_s1"}}\n\n'
    body = {"model": "acme/mini", "input": "hi", "stream": True}
    async with world(tmp_path) as w:
        w.answers(streams([created]))
        assert (await w.call("/v1/responses", body)).body == created
        again = await w.call("/v1/responses", {**body, "previous_response_id": "resp_s1"})
        assert again.status == 200
