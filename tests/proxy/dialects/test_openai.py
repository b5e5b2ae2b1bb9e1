from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from proxy.dialects import Fault
from proxy.dialects.openai import OpenAI, OpenAIResponses
from tests.proxy.world import CHAT, World, world


def client(w: World, who: str = "ann") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=w.url + "/v1", api_key=w.tokens[who], max_retries=0)


def test_an_error_has_openais_form_and_the_ids() -> None:
    body = json.loads(OpenAI().error(Fault(403, "access_denied", "no", "r1", "model", "d1")))
    assert body == {
        "error": {
            "message": "no",
            "type": "permission_error",
            "param": "model",
            "code": "access_denied",
            "request_id": "r1",
            "decision_id": "d1",
        }
    }
    assert b"decision_id" not in OpenAI().error(Fault(400, "x", "no", "r1"))


def test_an_error_event_is_one_event_of_each_kind_of_stream() -> None:
    for voice in (OpenAI(), OpenAIResponses()):
        event = voice.error_event(Fault(502, "upstream_invalid", "broken", "r1"))
        assert event.endswith(b"\n\n")
        assert event.count(b"\n\n") == 1
    assert b'"type":"error"' in OpenAIResponses().error_event(Fault(502, "x", "y", "r"))


async def test_the_real_client_reads_answers_lists_and_errors(tmp_path: Path) -> None:
    messages: Any = CHAT["messages"]
    async with world(tmp_path) as w, client(w) as sdk:
        assert [m.id async for m in sdk.models.list()] == [
            "acme/mini",
            "acme/streams",
            "acme/tuned",
            "virt/best",
        ]
        assert (await sdk.models.retrieve("acme/mini")).owned_by == "acme"
        answer = await sdk.chat.completions.create(model="acme/mini", messages=messages)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == 3
        with pytest.raises(openai.NotFoundError) as missing:
            await sdk.chat.completions.create(model="acme/none", messages=messages)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await sdk.chat.completions.create(model="acme/banned", messages=messages)
        assert denied.value.code == "access_denied"
        with pytest.raises(openai.AuthenticationError):
            await sdk.with_options(api_key="sk-wrong").models.list()


async def test_the_real_client_raises_when_a_stream_breaks(tmp_path: Path) -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"id":"c","choices":[],"object":"chat.completion.chunk"}\n\n')
        await response.write(b'data: {"id":"ha')
        assert request.transport is not None
        request.transport.close()
        return response

    messages: Any = CHAT["messages"]
    async with world(tmp_path) as w, client(w) as sdk:
        w.answers(breaks)
        stream = await sdk.chat.completions.create(
            model="acme/mini", messages=messages, stream=True
        )
        got = 0
        with pytest.raises(openai.APIError, match=r"ended its answer early|broke the connection"):
            async for _ in stream:
                got += 1
        assert got == 1
