from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.usage import NO_USAGE, TAIL, WHOLE, Meter, Usage, of_json, response_id, response_id_in


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, Usage(1, 2)),
        ({"input_tokens": 4, "output_tokens": 5}, Usage(4, 5)),
        ({"prompt_tokens": 7, "total_tokens": 7}, Usage(7, None)),  # embeddings
        (
            {
                "input_tokens": 1,
                "cache_creation_input_tokens": 10,
                "cache_read_input_tokens": 100,
                "output_tokens": 2,
            },
            Usage(111, 2),
        ),
        ({"type": "duration", "seconds": 3}, NO_USAGE),
        ({"prompt_tokens": -1, "completion_tokens": 1 << 60}, NO_USAGE),
        ({"prompt_tokens": True}, NO_USAGE),
        (None, NO_USAGE),
    ],
)
def test_usage_of_a_json_answer(usage: object, expected: Usage) -> None:
    assert of_json(json.dumps({"id": "x", "usage": usage}).encode()) == expected


def test_usage_at_the_end_of_a_very_large_answer() -> None:
    body = json.dumps({"data": [0.5] * (WHOLE // 4), "usage": {"prompt_tokens": 9}}).encode()
    assert len(body) > WHOLE
    assert of_json(body) == Usage(9, None)


@given(st.binary(max_size=100))
def test_any_bytes_have_a_usage_or_none(body: bytes) -> None:
    of_json(body)
    response_id(body)
    meter = Meter()
    meter.feed(body)
    meter.usage()


def feed(*events: bytes) -> Meter:
    meter = Meter()
    for event in events:
        meter.feed(event)
    return meter


def test_the_last_usage_of_an_openai_stream_counts() -> None:
    meter = feed(
        b'data: {"usage":null}\n\n' * 9,
        b'data: {"choices":[],"usage": {"prompt_tokens":1,"completion_tokens":2}}\n\n',
        b'data: {"usage":null}\n\n',
        b"data: [DONE]\n\n",
    )
    assert meter.usage() == Usage(1, 2)


def test_text_of_the_model_cannot_pass_for_usage() -> None:
    text = json.dumps(
        {"delta": '"usage": {"prompt_tokens": 999, "completion_tokens": 999}'}
    ).encode()
    assert feed(b"data: " + text + b"\n\n").usage() == NO_USAGE


def test_an_anthropic_stream_has_its_input_at_the_start_and_its_output_at_the_end() -> None:
    start = b'data: {"message":{"usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":1}}}\n\n'
    delta = b'data: {"type":"message_delta","usage":{"output_tokens":44}}\n\n'
    middle = b'data: {"type":"content_block_delta"}\n\n' * 10_000
    assert len(middle) > 8 * TAIL
    assert feed(start, middle, delta).usage() == Usage(7, 44)


def test_usage_in_the_last_event_of_a_responses_stream() -> None:
    big = json.dumps(
        {"response": {"output": "x" * 3 * TAIL, "usage": {"input_tokens": 3, "output_tokens": 4}}}
    )
    assert feed(b"data: " + big.encode() + b"\n\n").usage() == Usage(3, 4)


def test_the_id_of_a_stored_response() -> None:
    assert response_id(b'{"id":"resp_1","object":"response"}') == "resp_1"
    assert response_id(b'{"id":"chatcmpl-1","object":"chat.completion"}') is None
    assert response_id(b'{"id":7,"object":"response"}') is None
    assert response_id_in(b'data: {"response":{"id": "resp_2"}}') == "resp_2"
    assert response_id_in(b'data: {"x":"\\"id\\": \\"resp_3\\""}') is None
