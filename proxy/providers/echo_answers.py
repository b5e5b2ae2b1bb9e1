"""The bodies that the echo provider answers with, in the forms of both dialects.

Each is what the official client of the dialect parses (tested against those clients' own types). Pure.
It is long because it is a table: one small function for each operation and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.providers.base import Dialect, Operation

_ids = itertools.count(1)

# A PNG of one transparent pixel, and 0.1 s of silence as WAV.
_PIXEL = base64.b64encode(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
    )
).decode()
_SILENCE = (
    b"RIFF"
    + struct.pack("<I", 36 + 1600)
    + b"WAVEfmt "
    + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    + b"data"
    + struct.pack("<I", 1600)
    + bytes(1600)
)
_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What was heard in a request, and what will be counted for the answer."""

    text: str
    model: str
    created: int
    input_tokens: int
    output_tokens: int
    body: dict[str, Any]


def said(operation: Operation, body: dict[str, Any], model: str, created: int) -> Said:
    """The last user text of `body` and an estimate of its tokens (four characters each)."""
    heard: list[str] = []
    for key in ("system", "instructions", "messages", "prompt", "input", "query", "documents"):
        heard.extend(_texts(body.get(key)))
    last = _last(body.get("messages") or body.get("input") or body.get("prompt"))
    named = body.get("model")
    return Said(
        text=last,
        model=named if isinstance(named, str) else model,
        created=created,
        input_tokens=max(1, sum(len(text) for text in heard) // 4),
        output_tokens=1,
        body=body,
    )


def _texts(value: object) -> Iterator[str]:
    """Every text in a message, a list of them, or a list of their parts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts(value.get("text"))
        yield from _texts(value.get("content"))


def _last(value: object) -> str:
    if isinstance(value, list):
        for item in reversed(value):
            if not isinstance(item, dict) or item.get("role", "user") == "user":
                text = " ".join(_texts(item))
                if text:
                    return text
        return ""
    return " ".join(_texts(value))


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def error_body(dialect: Dialect, status: int) -> bytes:
    """An error as the provider itself would word it."""
    message = f"echo was asked to answer with status {status}"
    if dialect is Dialect.ANTHROPIC:
        kind = _ANTHROPIC_ERRORS.get(status, "api_error")
        return _json({"type": "error", "error": {"type": kind, "message": message}})
    kind = "server_error" if status >= 500 else "invalid_request_error"
    code = "rate_limit_exceeded" if status == 429 else None
    return _json({"error": {"message": message, "type": kind, "param": None, "code": code}})


def pieces(text: str, count: int) -> list[str]:
    """`text` in `count` pieces, or one for each word if `count` is 0; never none."""
    if not count:
        words = text.split(" ")
        return [word if index == 0 else " " + word for index, word in enumerate(words)]
    step = max(1, -(-len(text) // count))
    cut = [text[at : at + step] for at in range(0, len(text), step)]
    return cut + [""] * (count - len(cut))


def answer(operation: Operation, heard: Said) -> tuple[str, bytes]:
    """(content type, body) of a whole answer."""
    if operation is Operation.AUDIO_SPEECH:
        return "audio/wav", _SILENCE
    return "application/json", _json(_BODIES[operation](heard, f"echo-{next(_ids)}"))


def stream(operation: Operation, heard: Said, parts: list[str]) -> list[bytes]:
    """The events of a streamed answer, one item each."""
    return list(_STREAMS[operation](heard, f"echo-{next(_ids)}", parts))


# --- OpenAI -------------------------------------------------------------------------------------------


def _usage(heard: Said) -> dict[str, Any]:
    return {
        "prompt_tokens": heard.input_tokens,
        "completion_tokens": heard.output_tokens,
        "total_tokens": heard.input_tokens + heard.output_tokens,
    }


def _chat(heard: Said, mark: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": heard.text, "refusal": None}
    return {
        "id": f"chatcmpl-{mark}",
        "object": "chat.completion",
        "created": heard.created,
        "model": heard.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(heard),
    }


def _completion(heard: Said, mark: str) -> dict[str, Any]:
    choice = {"index": 0, "text": heard.text, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": f"cmpl-{mark}",
        "object": "text_completion",
        "created": heard.created,
        "model": heard.model,
        "choices": [choice],
        "usage": _usage(heard),
    }


def _data(value: object) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _wants_usage(heard: Said) -> bool:
    options = heard.body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _chat_events(heard: Said, mark: str, parts: list[str]) -> Iterator[bytes]:
    def event(delta: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**head, "choices": [choice]})

    head: dict[str, Any] = {
        "id": f"chatcmpl-{mark}",
        "object": "chat.completion.chunk",
        "created": heard.created,
        "model": heard.model,
    }
    if _wants_usage(heard):
        head["usage"] = None
    yield event({"role": "assistant", "content": ""}, None)
    for part in parts:
        yield event({"content": part}, None)
    yield event({}, "stop")
    if _wants_usage(heard):
        yield _data({**head, "choices": [], "usage": _usage(heard)})
    yield b"data: [DONE]\n\n"


def _completion_events(heard: Said, mark: str, parts: list[str]) -> Iterator[bytes]:
    head: dict[str, Any] = {
        "id": f"cmpl-{mark}",
        "object": "text_completion",
        "created": heard.created,
        "model": heard.model,
    }
    for index, part in enumerate(parts):
        finish = "stop" if index == len(parts) - 1 else None
        choice = {"index": 0, "text": part, "logprobs": None, "finish_reason": finish}
        yield _data({**head, "choices": [choice]})
    if _wants_usage(heard):
        yield _data({**head, "choices": [], "usage": _usage(heard)})
    yield b"data: [DONE]\n\n"


def _response(heard: Said, mark: str, *, status: str = "completed") -> dict[str, Any]:
    done = status == "completed"
    text = {"type": "output_text", "text": heard.text, "annotations": [], "logprobs": []}
    message = {
        "id": f"msg_{mark}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    usage = {
        "input_tokens": heard.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": heard.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": heard.input_tokens + heard.output_tokens,
    }
    return {
        "id": f"resp_{mark}",
        "object": "response",
        "created_at": heard.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": heard.model,
        "output": [message] if done else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage if done else None,
    }


def _named(number: int, kind: str, **values: Any) -> bytes:
    data = {"type": kind, "sequence_number": number, **values}
    return f"event: {kind}\n".encode() + _data(data)


def _response_events(heard: Said, mark: str, parts: list[str]) -> Iterator[bytes]:
    count = itertools.count()
    where = {"item_id": f"msg_{mark}", "output_index": 0, "content_index": 0}
    whole = _response(heard, mark)
    begun = _response(heard, mark, status="in_progress")
    item = whole["output"][0]
    text = item["content"][0]
    empty = {**item, "status": "in_progress", "content": []}
    yield _named(next(count), "response.created", response=begun)
    yield _named(next(count), "response.in_progress", response=begun)
    yield _named(next(count), "response.output_item.added", output_index=0, item=empty)
    yield _named(next(count), "response.content_part.added", **where, part={**text, "text": ""})
    for part in parts:
        yield _named(next(count), "response.output_text.delta", **where, delta=part, logprobs=[])
    yield _named(next(count), "response.output_text.done", **where, text=heard.text, logprobs=[])
    yield _named(next(count), "response.content_part.done", **where, part=text)
    yield _named(next(count), "response.output_item.done", output_index=0, item=item)
    yield _named(next(count), "response.completed", response=whole)


def _embeddings(heard: Said, mark: str) -> dict[str, Any]:
    given = heard.body.get("input")
    items: list[Any] = given if isinstance(given, list) else [given]
    if items and isinstance(items[0], int):
        items = [items]
    size = heard.body.get("dimensions")
    size = size if isinstance(size, int) and 0 < size <= 4096 else 8
    data = []
    for index, item in enumerate(items):
        vector: object = _vector(_json(item), size)
        if heard.body.get("encoding_format") == "base64":
            vector = base64.b64encode(
                struct.pack(f"<{size}f", *_vector(_json(item), size))
            ).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": heard.input_tokens, "total_tokens": heard.input_tokens}
    return {"object": "list", "data": data, "model": heard.model, "usage": usage}


def _vector(seed: bytes, size: int) -> list[float]:
    """The same text gives the same numbers."""
    raw = hashlib.shake_256(seed).digest(size)
    return [(byte - 128) / 128 for byte in raw]


def _image(heard: Said, mark: str) -> dict[str, Any]:
    count = heard.body.get("n")
    count = count if isinstance(count, int) and 0 < count <= 10 else 1
    usage = {
        "input_tokens": heard.input_tokens,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": heard.input_tokens},
        "output_tokens": 1,
        "total_tokens": heard.input_tokens + 1,
    }
    return {"created": heard.created, "data": [{"b64_json": _PIXEL}] * count, "usage": usage}


def _transcription(heard: Said, mark: str) -> dict[str, Any]:
    usage = {
        "type": "tokens",
        "input_tokens": heard.input_tokens,
        "output_tokens": heard.output_tokens,
        "total_tokens": heard.input_tokens + heard.output_tokens,
    }
    return {"text": heard.text or "echo", "usage": usage}


def _moderation(heard: Said, mark: str) -> dict[str, Any]:
    given = heard.body.get("input")
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    count = len(given) if isinstance(given, list) and given else 1
    return {"id": f"modr-{mark}", "model": heard.model, "results": [result] * count}


def _rerank(heard: Said, mark: str) -> dict[str, Any]:
    given = heard.body.get("documents")
    documents = given if isinstance(given, list) else []
    results = [
        {"index": index, "relevance_score": round(1 / (index + 1), 4)}
        for index in range(len(documents))
    ]
    usage = {"total_tokens": heard.input_tokens}
    return {"id": f"rerank-{mark}", "model": heard.model, "results": results, "usage": usage}


# --- Anthropic ----------------------------------------------------------------------------------------


def _message(heard: Said, mark: str) -> dict[str, Any]:
    return {
        "id": f"msg_{mark}",
        "type": "message",
        "role": "assistant",
        "model": heard.model,
        "content": [{"type": "text", "text": heard.text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": heard.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": heard.output_tokens,
        },
    }


def _count(heard: Said, mark: str) -> dict[str, Any]:
    return {"input_tokens": heard.input_tokens}


def _message_events(heard: Said, mark: str, parts: list[str]) -> Iterator[bytes]:
    def event(kind: str, **values: Any) -> bytes:
        return f"event: {kind}\n".encode() + _data({"type": kind, **values})

    whole = _message(heard, mark)
    begun = {
        **whole,
        "content": [],
        "stop_reason": None,
        "usage": {**whole["usage"], "output_tokens": 1},
    }
    yield event("message_start", message=begun)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for part in parts:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": part})
    yield event("content_block_stop", index=0)
    yield event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": heard.output_tokens},
    )
    yield event("message_stop")


_BODIES = {
    Operation.AUDIO_TRANSCRIPTIONS: _transcription,
    Operation.AUDIO_TRANSLATIONS: _transcription,
    Operation.CHAT_COMPLETIONS: _chat,
    Operation.COMPLETIONS: _completion,
    Operation.COUNT_TOKENS: _count,
    Operation.EMBEDDINGS: _embeddings,
    Operation.IMAGES_EDITS: _image,
    Operation.IMAGES_GENERATIONS: _image,
    Operation.IMAGES_VARIATIONS: _image,
    Operation.MESSAGES: _message,
    Operation.MODERATIONS: _moderation,
    Operation.RERANK: _rerank,
    Operation.RESPONSES: _response,
}
_STREAMS = {
    Operation.CHAT_COMPLETIONS: _chat_events,
    Operation.COMPLETIONS: _completion_events,
    Operation.MESSAGES: _message_events,
    Operation.RESPONSES: _response_events,
}
