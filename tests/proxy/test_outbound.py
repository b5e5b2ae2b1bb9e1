"""The one client: what an answer looks like, and what each failure becomes."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from proxy.outbound import Client
from proxy.providers.base import (
    Operation,
    Upstream,
    UpstreamInvalid,
    UpstreamMisconfigured,
    UpstreamRefusedByGuard,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.wire import Limits
from tests.peers.estate import KEY, client, upstream_of
from tests.peers.providers import OpenAIPeer, serving
from tests.peers.raw import raw_server, read_request, saying

CHAT = Operation.CHAT_COMPLETIONS
JSON = [("content-type", "application/json")]
BODY = b'{"model":"peer-model"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def at(port: int, host: str = "127.0.0.1") -> Upstream:
    return upstream_of("openai", base_url=f"http://{host}:{port}/v1", auth_data=KEY)


async def fetch(outbound: Client, upstream: Upstream, deadline: float | None = None) -> bytes:
    async with outbound.call(upstream, CHAT, JSON, BODY, deadline=deadline) as answer:
        return await answer.read()


async def test_an_answer_says_what_it_is() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        b"x-request-id: req-1\r\nServer: secret/1.0\r\nSet-Cookie: a=1\r\n\r\n{}"
    )
    async with (
        raw_server(saying(head)) as port,
        client() as outbound,
        outbound.call(at(port), CHAT, JSON, BODY) as answer,
    ):
        assert (answer.status, answer.stream, answer.length) == (200, False, 2)
        assert answer.upstream_request_id == "req-1"
        assert answer.headers == [("Content-Type", "application/json")]
        assert await answer.read() == b"{}"


@pytest.mark.parametrize(
    ("status", "media", "streams"),
    [
        (b"200 OK", b"text/event-stream", True),
        (b"200 OK", b"audio/mpeg", True),
        (b"200 OK", b"application/json; charset=utf-8", False),
        (b"429 Too Many", b"text/event-stream", False),
    ],
)
async def test_it_says_whether_the_body_is_to_be_streamed(
    status: bytes, media: bytes, streams: bool
) -> None:
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: 2\r\n\r\n{}" % (status, media)
    async with (
        raw_server(saying(head)) as port,
        client() as outbound,
        outbound.call(at(port), CHAT, JSON, BODY) as answer,
    ):
        assert answer.stream is streams


async def test_an_upstreams_own_error_passes_as_an_answer() -> None:
    head = (
        b"HTTP/1.1 429 Too Many\r\nContent-Type: application/json\r\nRetry-After: 7\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    async with (
        raw_server(saying(head)) as port,
        client() as outbound,
        outbound.call(at(port), CHAT, JSON, BODY) as answer,
    ):
        assert answer.status == 429 and ("Retry-After", "7") in answer.headers


async def test_connections_are_reused() -> None:
    connections = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(OK)

    async with raw_server(play) as port, client() as outbound:
        for _ in range(3):
            assert await fetch(outbound, at(port)) == b"{}"
    assert connections == 1


async def test_more_than_a_hundred_calls_run_at_once() -> None:
    together = asyncio.Event()
    waiting = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        await read_request(reader)
        waiting += 1
        if waiting == 120:
            together.set()
        await together.wait()
        writer.write(OK)

    async with (
        raw_server(play) as port,
        client() as outbound,
        asyncio.timeout(20),
        asyncio.TaskGroup() as group,
    ):
        for _ in range(120):
            group.create_task(fetch(outbound, at(port)))


async def test_leaving_early_ends_the_upstreams_work() -> None:
    gone = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()  # until the other side closes
        gone.set()

    async with raw_server(play) as port, client() as outbound, asyncio.timeout(5):
        async with outbound.call(at(port), CHAT, JSON, BODY) as answer:
            async for chunk in answer.chunks():
                assert chunk == b"data: 1\n\n"
                break
        await gone.wait()


async def test_cancelling_before_the_answer_ends_the_upstreams_work() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await reader.read()
        gone.set()

    async with raw_server(play) as port, client() as outbound, asyncio.timeout(5):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(fetch(outbound, at(port)))
            await asked.wait()
            task.cancel()
        await gone.wait()


# --- failures -----------------------------------------------------------------------------------------


async def test_nobody_listening_is_unreachable() -> None:
    async with raw_server(saying(b"")) as port:
        pass
    async with client() as outbound:
        with pytest.raises(UpstreamUnreachable) as caught:
            await fetch(outbound, at(port))
    assert (
        caught.value.message == "the upstream of `acme` cannot be reached, or broke the connection"
    )
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    class Nowhere(aiohttp.abc.AbstractResolver):
        async def resolve(self, host, port=0, family=0):  # type: ignore[no-untyped-def]
            raise OSError("no such name")

        async def close(self) -> None:
            pass

    async with client(resolver=Nowhere()) as outbound:
        with pytest.raises(UpstreamUnreachable):
            await fetch(outbound, at(80, "nowhere.example"))


async def test_plain_http_behind_https_is_unreachable() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await reader.read()

    async with raw_server(play) as port, client() as outbound:
        upstream = upstream_of("openai", base_url=f"https://127.0.0.1:{port}/v1", auth_data=KEY)
        with pytest.raises(UpstreamUnreachable):
            await fetch(outbound, upstream)


@pytest.mark.parametrize("when", ["before", "in the head", "in the body"])
async def test_a_broken_connection_is_an_error_wherever_it_breaks(when: str) -> None:
    said = {
        "before": b"",
        "in the head": b"HTTP/1.1 200 OK\r\nContent-Ty",
        "in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
    }[when]
    async with raw_server(saying(said)) as port, client() as outbound:
        with pytest.raises((UpstreamUnreachable, UpstreamInvalid)):
            await fetch(outbound, at(port))


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_no_first_byte_in_time_is_a_timeout() -> None:
    async with raw_server(silent) as port, client(limits=Limits(answer=0.02)) as outbound:
        with pytest.raises(UpstreamTimeout):
            await fetch(outbound, at(port))


async def test_the_callers_deadline_is_a_timeout() -> None:
    async with raw_server(silent) as port, client() as outbound:
        with pytest.raises(UpstreamTimeout):
            await fetch(outbound, at(port), deadline=0.02)


async def test_silence_inside_a_stream_is_a_timeout_of_its_own() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()

    limits = Limits(answer=60, idle=0.02)
    async with (
        raw_server(play) as port,
        client(limits=limits) as outbound,
        asyncio.timeout(5),
        outbound.call(at(port), CHAT, JSON, BODY) as answer,
    ):
        with pytest.raises(UpstreamTimeout):
            async for _ in answer.chunks():
                pass


async def test_a_long_wait_for_the_first_byte_does_not_count_as_silence() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(0.05)
        writer.write(OK)
        await reader.read()

    async with raw_server(play) as port, client(limits=Limits(idle=0.02)) as outbound:
        assert await fetch(outbound, at(port)) == b"{}"


async def test_a_misconfigured_account_is_told_to_its_callers_only() -> None:
    upstream = upstream_of("openai", base_url="ftp://a.example")
    async with client() as outbound:
        for _ in range(2):
            with pytest.raises(UpstreamMisconfigured) as caught:
                await fetch(outbound, upstream)
            assert caught.value is not upstream.problem


async def test_an_error_never_holds_the_secret_or_the_address() -> None:
    async with client(allow=()) as outbound:
        with pytest.raises(UpstreamRefusedByGuard) as caught:
            await fetch(outbound, at(1, "127.0.0.1"))
    assert "sk-peer" not in str(caught.value) and "127.0.0.1" not in str(caught.value)


async def test_a_client_can_be_closed_twice_and_before_use() -> None:
    async with client() as outbound:
        await outbound.close()
        async with serving(OpenAIPeer()) as peer:
            upstream = upstream_of("openai", base_url=f"{peer.url}/v1", auth_data=KEY)
            assert await fetch(outbound, upstream)
        await outbound.close()
        await outbound.close()
