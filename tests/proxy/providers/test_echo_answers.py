"""What echo answers is what the official clients parse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from openai.types import (
    Completion,
    CreateEmbeddingResponse,
    ImagesResponse,
    ModerationCreateResponse,
)
from openai.types.audio import Transcription, Translation
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from proxy.providers.base import Operation
from proxy.providers.echo_answers import answer, pieces, said, stream

TYPES: dict[Operation, Any] = {
    Operation.AUDIO_TRANSCRIPTIONS: Transcription,
    Operation.AUDIO_TRANSLATIONS: Translation,
    Operation.CHAT_COMPLETIONS: ChatCompletion,
    Operation.COMPLETIONS: Completion,
    Operation.COUNT_TOKENS: MessageTokensCount,
    Operation.EMBEDDINGS: CreateEmbeddingResponse,
    Operation.IMAGES_EDITS: ImagesResponse,
    Operation.IMAGES_GENERATIONS: ImagesResponse,
    Operation.IMAGES_VARIATIONS: ImagesResponse,
    Operation.MESSAGES: Message,
    Operation.MODERATIONS: ModerationCreateResponse,
    Operation.RESPONSES: Response,
}
EVENTS: dict[Operation, Any] = {
    Operation.CHAT_COMPLETIONS: ChatCompletionChunk,
    Operation.COMPLETIONS: Completion,
    Operation.MESSAGES: RawMessageStreamEvent,
    Operation.RESPONSES: ResponseStreamEvent,
}
CHAT = {
    "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two"}]
}


@pytest.mark.parametrize("operation", sorted(TYPES))
def test_each_answer_is_of_its_clients_type(operation: Operation) -> None:
    heard = said(operation, {"input": "one two", **CHAT}, "m", 1)
    media, body = answer(operation, heard)
    assert media == "application/json"
    TypeAdapter(TYPES[operation]).validate_json(body, strict=True)


@pytest.mark.parametrize("operation", sorted(EVENTS))
def test_each_event_is_of_its_clients_type(operation: Operation) -> None:
    body = {"input": "one two", "stream_options": {"include_usage": True}, **CHAT}
    heard = said(operation, body, "m", 1)
    adapter = TypeAdapter(EVENTS[operation])
    for event in stream(operation, heard, pieces(heard.text, 0)):
        name, data = _event(event)
        if data == "[DONE]":
            continue
        found = json.loads(data)
        assert not name or found["type"] == name
        if found.get("type") == "ping":
            continue  # the client's union leaves pings out
        if operation is Operation.COMPLETIONS and found["choices"]:
            # On the wire it is null until the end; the client's type is stricter than its server.
            found["choices"][0]["finish_reason"] = "stop"
        adapter.validate_python(found)


def _event(raw: bytes) -> tuple[str, str]:
    assert raw.endswith(b"\n\n") and raw.count(b"\n\n") == 1
    lines = dict(line.split(": ", 1) for line in raw.decode().strip().split("\n"))
    return lines.get("event", ""), lines["data"]


def test_the_pieces_make_the_text() -> None:
    for count in (0, 1, 3, 50):
        assert "".join(pieces("one two  three", count)) == "one two  three"
        assert not count or len(pieces("one two  three", count)) == count
    assert pieces("", 0) == [""]


def test_usage_comes_in_a_stream_only_when_asked_for() -> None:
    heard = said(Operation.CHAT_COMPLETIONS, dict(CHAT), "m", 1)
    assert not any(b"usage" in event for event in stream(Operation.CHAT_COMPLETIONS, heard, ["x"]))


def test_the_last_user_text_is_heard_in_every_form() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert (
        said(Operation.MESSAGES, {"messages": [{"role": "user", "content": parts}]}, "m", 1).text
        == "a b"
    )
    assert said(Operation.COMPLETIONS, {"prompt": ["x", "y"]}, "m", 1).text == "y"
    assert said(Operation.RESPONSES, {"input": "hello"}, "m", 1).text == "hello"
    assert said(Operation.CHAT_COMPLETIONS, {"messages": "nonsense"}, "m", 1).text == "nonsense"
    assert said(Operation.CHAT_COMPLETIONS, {}, "m", 1).text == ""


def test_an_embedding_has_as_many_numbers_as_asked_for_in_either_format() -> None:
    body = {"input": ["a", "b"], "dimensions": 5}
    _, plain = answer(Operation.EMBEDDINGS, said(Operation.EMBEDDINGS, dict(body), "m", 1))
    found = json.loads(plain)["data"]
    assert [len(item["embedding"]) for item in found] == [5, 5]
    assert found[0]["embedding"] != found[1]["embedding"]
    body["encoding_format"] = "base64"
    _, coded = answer(Operation.EMBEDDINGS, said(Operation.EMBEDDINGS, body, "m", 1))
    assert isinstance(json.loads(coded)["data"][0]["embedding"], str)
