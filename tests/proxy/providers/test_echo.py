"""The built-in provider, through the same client as every other."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.outbound import Limits
from proxy.providers.base import (
    Operation,
    Upstream,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.providers.echo import Script
from tests.peers.calls import call
from tests.peers.estate import client, upstream_of

CHAT = Operation.CHAT_COMPLETIONS


def body(text: str = "hello you", **fields: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}], **fields}).encode()


def echo(model_id: str | None = None) -> Upstream:
    return upstream_of(
        "echo",
        integrations=[{"type": "integration/model/echo", "name": "mini", "model_id": model_id}],
    )


@pytest.mark.parametrize("operation", sorted(Operation))
async def test_it_serves_every_operation(operation: Operation) -> None:
    got = await call(echo(), operation, body())
    assert got.status == 200
    assert got.stream == (operation is Operation.AUDIO_SPEECH)


async def test_it_says_back_the_last_user_text_with_usage() -> None:
    got = await call(echo("echo-1"), CHAT, body("hello you"))
    found = got.json()
    assert found["choices"][0]["message"]["content"] == "hello you"
    assert found["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert found["model"] == "echo-1"


async def test_a_form_and_nonsense_are_answered_too() -> None:
    for content in (b"--b\r\n\r\n--b--", b"[1]", b"", b"\xff"):
        assert (await call(echo(), CHAT, content)).status == 200


async def test_it_streams_event_by_event() -> None:
    async with (
        client() as outbound,
        outbound.call(echo(), CHAT, [], body("a b c", stream=True)) as answer,
    ):
        assert answer.stream
        chunks = [chunk async for chunk in answer.chunks()]
    assert len(chunks) == 6  # role, three words, stop, [DONE]
    assert chunks[-1] == b"data: [DONE]\n\n"


async def test_text_overrules_body_and_body_overrules_model() -> None:
    fields = {"x_echo": {"text": "from-body", "status": 500}}
    assert (await call(echo("m?text=from-model"), CHAT, body())).json()["choices"][0]["message"][
        "content"
    ] == "from-model"
    assert (await call(echo("m?status=503"), CHAT, body())).status == 503
    assert (await call(echo("m?status=503"), CHAT, body(**fields))).status == 500
    got = await call(echo(), CHAT, body("[[echo status=429]]", **fields))
    assert got.status == 429 and got.json()["error"]["code"] == "rate_limit_exceeded"
    assert ("retry-after", "1") in got.headers


async def test_an_error_is_worded_in_the_callers_dialect() -> None:
    got = await call(echo("m?status=529"), Operation.MESSAGES, body())
    assert got.json()["error"]["type"] == "overloaded_error" and got.json()["type"] == "error"


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ("fail=refuse", UpstreamUnreachable),
        ("fail=reset", UpstreamUnreachable),
        ("lie=length", UpstreamInvalid),
        ("lie=truncate", UpstreamInvalid),
        ("lie=redirect", UpstreamInvalid),
        ("lie=encoding", UpstreamInvalid),
    ],
)
async def test_it_misbehaves_on_request_and_is_caught(
    request_: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await call(echo(), CHAT, body(f"[[echo {request_}]]"))


async def test_a_stream_breaks_in_the_middle_on_request() -> None:
    async with (
        client() as outbound,
        outbound.call(echo(), CHAT, [], body("[[echo fail=reset]]", stream=True)) as answer,
    ):
        seen = []
        with pytest.raises(UpstreamUnreachable):
            async for chunk in answer.chunks():
                seen.append(chunk)
    assert seen and b"[DONE]" not in b"".join(seen)


async def test_a_stream_ends_early_and_a_body_is_no_json_on_request() -> None:
    got = await call(echo(), CHAT, body("[[echo lie=truncate]]", stream=True))
    assert b"[DONE]" not in got.body
    got = await call(echo(), CHAT, body("[[echo lie=json]]"))
    with pytest.raises(json.JSONDecodeError):
        got.json()


async def test_hanging_strikes_the_deadline() -> None:
    async with client(limits=Limits(total=0.01)) as outbound:
        with pytest.raises(UpstreamTimeout):
            async with outbound.call(echo(), CHAT, [], body("[[echo fail=hang]]")):
                pass
        with pytest.raises(UpstreamTimeout):
            slow = body("[[echo gap_ms=5000]] a b", stream=True)
            async with outbound.call(echo(), CHAT, [], slow) as answer:
                async for _ in answer.chunks():
                    pass


async def test_a_delay_is_kept() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await call(echo(), CHAT, body("[[echo delay_ms=20]]"))
    assert loop.time() - start >= 0.02


async def test_size_and_usage_can_be_asked_for() -> None:
    got = await call(
        echo(), CHAT, body(x_echo={"size": 1000, "input_tokens": 7, "output_tokens": 9})
    )
    assert len(got.json()["choices"][0]["message"]["content"]) == 1000
    assert got.json()["usage"]["total_tokens"] == 16


def test_malformed_requests_are_ignored_and_numbers_bounded() -> None:
    script = Script().with_requests(
        {"status": "abc", "size": -5, "delay_ms": 10**9, "unknown": 1, "text": 5, "chunks": True}
    )
    assert script == Script(size=0, delay_ms=600_000)
