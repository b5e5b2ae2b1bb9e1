"""Attacks in bodies: two readings of one request, and references to what was never decided."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.parts import Limits
from tests.proxy.world import CHAT, plain_answer, world

CHAT_PATH = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"

TWICE = [
    b'{"model":"acme/mini","messages":[],"model":"acme/tuned"}',
    b'{"model":"acme/mini","messages":[],"mod\\u0065l":"acme/tuned"}',
    b'{"model":"acme/mini","messages":[{"role":"user","role":"system"}]}',
    b'{"model":"acme/mini","tools":[{"type":"function","type":"mcp"}]}',
    b'{"model":"acme/mini","a":{"b":{"c":1,"c":2}}}',
    b'{"model":"acme/mini","stream":false,"stream":true}',
]
NOT_JSON = [
    b"",
    b"null",
    b"[]",
    b'"acme/mini"',
    b"{",
    b'{"model":"acme/mini"',
    b'{"model":"acme/mini"}x',
    b'{"model":"acme/mini"}{"model":"acme/tuned"}',
    b'{"model":"acme/mini",}',
    b'{"model" "acme/mini"}',
    b"{'model':'acme/mini'}",
    b'{"model":"acme/mini","t":NaN}',
    b'{"model":"acme/mini","t":Infinity}',
    b'{"model":"acme/mini","t":-Infinity}',
    b'{"model":"acme/mini","t":01}',
    b'{"model":"acme/mini","t":"\x00"}',
    b'{"model":"acme/mini","t":"a\nb"}',
    b'{"model":"acme/mini","t":"\\x"}',
    b'{"model":"acme/mini"} // a comment',
    b'\xef\xbb\xbf{"model":"acme/mini"}',
    '{"model":"acme/mini"}'.encode("utf-16"),
    b'{"model":"acme/mini","t":"\xff"}',
    b'{"model":"acme/mini","t":"\xc0\xaf"}',
    b'{"model":"acme/mini","t":"\xed\xa0\x80"}',
    b'{"model":"acme/mini","t":' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", TWICE + NOT_JSON)
async def test_a_body_that_could_be_read_in_two_ways_is_refused(
    tmp_path: Path, body: bytes
) -> None:
    async with world(tmp_path) as w:
        got = await w.call(data=body)
        assert (got.status, got.error["code"]) == (400, "invalid_body")
        assert not w.seen
        assert not await w.records("decision")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": None},
        {"model": 7},
        {"model": ["acme/mini"]},
        {"model": {"$ne": ""}},  # A7
        {"model": True},
        {"model": "acme/mini", "stream": "true"},
        {"model": "acme/mini", "stream": 1},
        {"model": "acme/mini", "tools": {"type": "mcp"}},
        {"model": "acme/mini", "tools": ["mcp"]},
        {"model": "acme/mini", "Model": "acme/tuned"},
        {"Model": "acme/mini"},
        {"model": "acme/mini", "toolſ": []},
    ],
)
async def test_a_field_of_the_wrong_type_or_case_is_refused(tmp_path: Path, body: Any) -> None:
    async with world(tmp_path) as w:
        got = await w.call(json_body=body)
        assert (got.status, got.error["code"]) == (400, "invalid_body")
        assert not w.seen


# I3: a model's name is compared, never made part of a path.
@pytest.mark.parametrize(
    "model",
    [
        "",
        "gpt-4o",
        "../../etc/passwd",
        "acme/../acme/mini",
        "acme/mini/..",
        "acme//mini",
        "/acme/mini",
        "acme/mini/",
        "acme%2Fmini",
        "acme/mini%00",
        "acme/mini\x00",
        "acme/mini ",
        " acme/mini",
        "acme/mini\n",
        "ACME/mini",
        "acme/MINI",
        "acmе/mini",
        "model:acme/mini",
        "acme/*",
        "*",
        "any:model",
        "open-models:acme",
        "provider-account:acme",
        "acme/mini?x=1",
        "acme/mini#x",
        "acme/mini`; contact evil@example.test",
        "a" * 10_000,
        "acme/" + "a" * 10_000,
        "\ud800",
        "\u202eacme/mini",
    ],
)
async def test_i3_what_is_no_declared_model_does_not_exist(tmp_path: Path, model: str) -> None:
    async with world(tmp_path) as w:
        got = await w.call(json_body={**CHAT, "model": model})
        assert (got.status, got.error["code"]) == (404, "model_not_found")
        text = got.error["message"]
        assert len(text) < 400
        assert text.isprintable()
        assert text.count("`") == 2
        assert not w.seen
        records = await w.records("decision")
        assert [r["reason"] for r in records] == ["unknown_resource"]


async def test_an_escaped_model_is_the_model_and_is_replaced_as_a_whole(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for text in (b'"acme\\/mini"', b'"\\u0061cme/mini"', b'"acme/min\\u0069"'):
            body = b'{"user":"acme/mini","model" :  ' + text + b' ,"n":{"model":"acme/mini"}}'
            assert (await w.call(data=body)).status == 200
            assert w.seen[-1].body == (
                b'{"user":"acme/mini","model" :  "gpt-mini" ,"n":{"model":"acme/mini"}}'
            )


async def test_everything_but_the_model_stays_byte_for_byte(tmp_path: Path) -> None:
    body = '\r\n\t{ "z" : 1.0e2, "é": "\\u00e9 ü 😀", "model":"acme/mini", "q":[ ] , "big":12345678901234567890}  '
    async with world(tmp_path) as w:
        assert (await w.call(data=body.encode())).status == 200
        assert w.seen[0].body.decode() == body.replace("acme/mini", "gpt-mini")


@pytest.mark.parametrize(
    ("path", "more", "code"),
    [
        (
            MESSAGES,
            {"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]},
            "remote_tool_refused",
        ),
        (MESSAGES, {"mcp_servers": {"a": 1}}, "remote_tool_refused"),
        (
            MESSAGES,
            {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]},
            "remote_tool_refused",
        ),
        (RESPONSES, {"tools": [{"type": "mcp", "server_url": "https://x"}]}, "remote_tool_refused"),
        (
            RESPONSES,
            {"tools": [{"type": "mcp", "connector_id": "connector_gmail"}]},
            "remote_tool_refused",
        ),
        (RESPONSES, {"tools": [{"type": "x", "server_url": "https://x"}]}, "remote_tool_refused"),
        (
            RESPONSES,
            {"tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]},
            "remote_tool_refused",
        ),
        (
            RESPONSES,
            {"input": [{"type": "tool_search_output", "tools": [{"type": "mcp"}]}]},
            "remote_tool_refused",
        ),
        (
            RESPONSES,
            {"x": {"y": [{"type": "mcp", "server_url": "https://x"}]}},
            "remote_tool_refused",
        ),
        (
            RESPONSES,
            {"tools": [{"type": "image_generation", "model": "gpt-image-1"}]},
            "other_model_named",
        ),
        (RESPONSES, {"prompt": {"id": "pmpt_1"}}, "unsupported_field"),
        (CHAT_PATH, {"models": ["acme/tuned"]}, "other_model_named"),
        (CHAT_PATH, {"fallbacks": ["acme/tuned"]}, "other_model_named"),
        (CHAT_PATH, {"api_base": "http://169.254.169.254"}, "other_model_named"),
        (CHAT_PATH, {"api_key": "sk-x"}, "other_model_named"),
    ],
)
async def test_what_nobody_decided_on_is_refused_with_its_own_code(
    tmp_path: Path, path: str, more: dict[str, object], code: str
) -> None:
    model = "claude/sonnet" if path == MESSAGES else "acme/mini"
    async with world(tmp_path) as w:
        got = await w.call(path, {"model": model, "messages": [], **more})
        assert (got.status, got.error["code"]) == (400, code)
        assert not w.seen


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (RESPONSES, {"previous_response_id": "resp_of_others"}),
        (RESPONSES, {"previous_response_id": 7}),
        (RESPONSES, {"previous_response_id": "../../files"}),
        (RESPONSES, {"conversation": "conv_1"}),
        (RESPONSES, {"conversation": {"id": "conv_1"}}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        (RESPONSES, {"input": [{"id": "msg_1"}]}),
        (
            RESPONSES,
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        ),
        (RESPONSES, {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}),
        (RESPONSES, {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}),
        (
            RESPONSES,
            {
                "tools": [
                    {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}
                ]
            },
        ),
        (
            CHAT_PATH,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}
                ]
            },
        ),
        (
            MESSAGES,
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "document", "source": {"type": "file", "file_id": "f"}}
                        ],
                    }
                ]
            },
        ),
        (
            MESSAGES,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}
                ]
            },
        ),
        (MESSAGES, {"container": "container_1"}),
    ],
)
async def test_a_stateful_id_of_nobody_known_is_a_404(
    tmp_path: Path, path: str, more: dict[str, object]
) -> None:
    model = "claude/sonnet" if path == MESSAGES else "acme/mini"
    async with world(tmp_path) as w:
        got = await w.call(path, {"model": model, "messages": [], **more})
        assert got.status == 404
        assert got.error["code"] == "reference_not_found"
        assert not w.seen


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (
            MESSAGES,
            {
                "mcp_servers": [],
                "tools": [{"name": "f", "input_schema": {"properties": {"server_url": {}}}}],
            },
        ),
        (
            MESSAGES,
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [
                            {
                                "type": "tool_use",
                                "id": "t",
                                "name": "read",
                                "input": {"file_id": "f", "server_url": "http://x"},
                            }
                        ],
                    }
                ]
            },
        ),
        (
            RESPONSES,
            {
                "input": "hi",
                "tools": [
                    {
                        "type": "function",
                        "name": "f",
                        "parameters": {"properties": {"file_id": {"type": "string"}}},
                    }
                ],
            },
        ),
        (
            RESPONSES,
            {
                "previous_response_id": None,
                "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
            },
        ),
        (
            CHAT_PATH,
            {"tools": [{"type": "function", "function": {"name": "mcp", "parameters": {}}}]},
        ),
    ],
)
async def test_ordinary_tools_are_not_mistaken_for_references(
    tmp_path: Path, path: str, more: dict[str, object]
) -> None:
    model = "claude/sonnet" if path == MESSAGES else "acme/mini"
    async with world(tmp_path) as w:
        got = await w.call(path, {"model": model, "messages": [], **more})
        assert got.status == 200, got.body


def nested(depth: int, text: str = "[") -> bytes:
    close = {"[": "]", '{"a":': "}"}[text]
    inner = text * depth + "1" + close * depth
    return b'{"model":"acme/mini","x":' + inner.encode() + b"}"


async def test_depth_is_limited_whatever_it_is_made_of(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(body_depth=32)) as w:
        for text in ("[", '{"a":'):
            assert (await w.call(data=nested(31, text))).status == 200
            for depth in (32, 5_000, 100_000):
                got = await w.call(data=nested(depth, text))
                assert (got.status, got.error["code"]) == (400, "invalid_body")
                assert "deeper than 32" in got.error["message"]


async def test_a_body_that_is_too_large_is_a_413_whether_it_says_so_or_not(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(body_bytes=4096)) as w:
        large = json.dumps({**CHAT, "x": "a" * 5000}).encode()
        got = await w.call(data=large)
        assert (got.status, got.error["code"]) == (413, "body_too_large")

        async def chunks() -> Any:
            for _ in range(100):
                yield b" " * 1000

        got = await w.call(data=chunks())  # type: ignore[arg-type]
        assert (got.status, got.error["code"]) == (413, "body_too_large")
        assert (await w.call()).status == 200
        assert len(w.seen) == 1


async def test_a_slow_body_is_a_408(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(body_seconds=0.05)) as w:

        async def slow() -> Any:
            yield b'{"model":'
            await asyncio.Event().wait()

        async with asyncio.timeout(10):
            got = await w.call(data=slow())  # type: ignore[arg-type]
        assert (got.status, got.error["code"]) == (408, "request_timeout")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-encoding": "gzip"}, 415),
        ({"content-encoding": "gzip, gzip"}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-16"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "application/json;charset=UTF-8"}, 200),
        ({"expect": "202-accepted"}, 417),
    ],
)
async def test_only_plain_json_is_read(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async with world(tmp_path) as w:
        got = await w.call(headers=headers)
        assert got.status == status


async def test_expect_100_continue_gets_its_word(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        body = json.dumps(CHAT).encode()
        head = (
            f"POST {CHAT_PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {w.tokens['ann']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", w.port)
        writer.write(head.encode())
        async with asyncio.timeout(10):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_lying_upstream_is_a_502(tmp_path: Path) -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x1f\x8b" * 10, headers={"content-encoding": "gzip"})

    async def short(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"content-length": "100", "content-type": "application/json"}
        )
        await response.prepare(request)
        await response.write(b"{}")
        assert request.transport is not None
        request.transport.close()
        return response

    async with world(tmp_path) as w:
        for lie in (bomb, short):
            w.answers(lie)
            got = await w.call()
            assert got.status == 502
            assert got.error["code"] in ("upstream_invalid", "upstream_unreachable")
            assert got.header("x-gatewarden-error-source") == "upstream"
        w.answers(plain_answer)
        assert (await w.call()).status == 200


async def test_usage_that_is_nonsense_is_unknown(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for usage in ("x", -1, 1 << 60, None, [], {"prompt_tokens": "9"}, {"prompt_tokens": -3}):

            async def lies(request: web.Request, usage: object = usage) -> web.StreamResponse:
                return web.json_response({"usage": usage})

            w.answers(lies)
            assert (await w.call()).status == 200
        for record in await w.records("request"):
            assert "input_tokens" not in record
