"""Bodies as they are kept: whole, streamed, cut off, or only named."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policies.logging_config import RedactWith
from policies.redaction import Counted, Redactor
from proxy.payload_text import Body, kept

EMAIL = Redactor([RedactWith(presets=("email", "openai-key"))])


def keep(raw: bytes, content_type: str = "application/json", length: int | None = None) -> Any:
    return kept(Body(raw, content_type, len(raw) if length is None else length), EMAIL, Counted())


def stream(*events: object) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in events)


def test_json_stays_json() -> None:
    raw = b'{"messages":[{"role":"user","content":"I am ann@example.com"}],"n":1}'
    assert keep(raw) == {"messages": [{"role": "user", "content": "I am [email]"}], "n": 1}
    assert keep(b"") is None


def test_an_address_over_many_events_is_put_together_and_found() -> None:
    pieces = ["I am an", "n@exam", "ple.com", "."]
    raw = stream(*({"choices": [{"index": 0, "delta": {"content": one}}]} for one in pieces))
    found = keep(raw + b"data: [DONE]\n\n", "text/event-stream; charset=utf-8")
    assert found == {
        "events": 4,
        "said": {"choices[0].delta.content": "I am [email]."},
        "finish_reasons": [],
    }


def test_answers_and_calls_that_come_in_turns_are_told_apart() -> None:
    def piece(choice: int, call: int, text: str) -> object:
        calls = [{"index": call, "function": {"arguments": text}}]
        return {"choices": [{"index": choice, "delta": {"tool_calls": calls}}]}

    raw = stream(piece(0, 0, '{"a"'), piece(0, 1, '{"b"'), piece(1, 0, "x"), piece(0, 0, ":1}"))
    assert set(keep(raw, "text/event-stream")["said"].values()) == {'{"a":1}', '{"b"', "x"}


def test_anthropic_and_responses_streams_are_read_too() -> None:
    raw = stream(
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "ann@ex"},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "ample.com"},
        },
        {"type": "response.output_text.delta", "output_index": 0, "delta": "sk-abcdefghij"},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "klmnopqrstuv"},
    )
    said = keep(raw, "text/event-stream")["said"]
    assert set(said.values()) == {"[email]", "[openai-key]"}


def test_of_a_body_that_was_cut_off_no_half_key_is_left() -> None:
    raw = b'{"content":"ann\\u0040example.com ' + b"x " * 400 + b"sk-abcdefgh"
    found = keep(raw, length=10_000)
    assert isinstance(found, str) and found.startswith('{"content":"[email] x ')
    assert "sk-" not in found


def test_what_is_not_json_is_kept_as_text_and_sound_is_only_named() -> None:
    assert keep(b'{"content": "ann\\u0040example.com') == '{"content": "[email]'
    assert keep(b"ann@example.com", "text/plain") == "[email]"
    assert keep(b"\x00\x01", "audio/mpeg") == {"omitted": "audio/mpeg", "bytes": 2}
    assert keep(b"--x", "multipart/form-data; boundary=x")["omitted"] == "multipart/form-data"


def test_an_event_that_is_no_json_hides_nothing() -> None:
    found = keep(b"data: ann\\u0040example.com\r\n\r\n", "text/event-stream")
    assert found["said"] == {"text": "[email]"}


@given(
    st.binary(max_size=300),
    st.sampled_from(["application/json", "text/event-stream", ""]),
    st.booleans(),
)
def test_whatever_was_sent_can_be_kept(raw: bytes, kind: str, cut: bool) -> None:
    found = keep(raw, kind, len(raw) + 10 * cut)
    json.dumps(found, ensure_ascii=False).encode("utf-8", "backslashreplace")


@given(st.lists(st.integers(1, 5), max_size=8))
def test_however_a_stream_is_split_the_address_is_found(sizes: list[int]) -> None:
    text, pieces = "to ann@example.com now", []
    for size in sizes:
        pieces.append(text[:size])
        text = text[size:]
    pieces.append(text)
    raw = stream(*({"choices": [{"index": 0, "delta": {"content": one}}]} for one in pieces))
    assert keep(raw, "text/event-stream")["said"] == {"choices[0].delta.content": "to [email] now"}
