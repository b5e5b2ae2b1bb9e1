"""A message is read as every strict reader reads it, or not at all; and ids come back as they were sent."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mcp import jsonrpc
from proxy.mcp.jsonrpc import InvalidMessage, Kind, parse


def refused(raw: bytes, **kwargs: bool) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        parse(raw, **kwargs)
    return caught.value


def test_a_request_is_read_and_its_bytes_are_kept() -> None:
    raw = b' {"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": {"name": "add", "_meta": {"a": 1}}} '
    message = parse(raw)
    assert message.kind is Kind.REQUEST
    assert message.id == 0
    assert (message.method, message.params["name"], message.meta) == ("tools/call", "add", {"a": 1})
    assert message.raw == raw


def test_without_an_id_it_is_a_notification() -> None:
    message = parse(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    assert (message.kind, message.id, message.params) == (Kind.NOTIFICATION, None, {})


def test_responses_carry_a_result_or_an_error() -> None:
    good = parse(b'{"jsonrpc":"2.0","id":"a","result":null}')
    assert (good.kind, good.id, good.result, good.error) == (Kind.RESPONSE, "a", None, None)
    bad = parse(b'{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no"}}')
    assert bad.error == {"code": -32602, "message": "no"}


def test_an_error_about_what_could_not_be_read_is_for_servers_only() -> None:
    raw = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Missing session ID"}}'
    assert parse(raw, anonymous_error=True).id is None
    assert refused(raw).rpc_code == jsonrpc.INVALID_REQUEST
    assert refused(b'{"jsonrpc":"2.0","id":null,"result":{}}', anonymous_error=True)
    assert refused(b'{"jsonrpc":"2.0","id":null,"method":"ping"}', anonymous_error=True)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"jsonrpc":"2.0"} x',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"\xff"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":-Infinity}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":1e999}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"\\ud800"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"\\uDC00":1}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + b"1" * 5000 + b"}}",
    ],
)
def test_what_is_not_json_is_a_parse_error(raw: bytes) -> None:
    error = refused(raw)
    assert error.rpc_code == jsonrpc.PARSE_ERROR
    assert error.id is None or error.id == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
        b"1",
        b"{}",
        b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
        b'{"jsonrpc":2.0,"id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":[1],"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":1}',
        b'{"jsonrpc":"2.0","id":1,"method":""}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":null}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"params":{}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":1,"error":"no"}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":true,"message":""}}',
    ],
)
def test_what_is_no_message_is_an_invalid_request(raw: bytes) -> None:
    assert refused(raw).rpc_code == jsonrpc.INVALID_REQUEST


@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","\\u006eame":"b"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":[{"y":1,"y":2}]}}}',
    ],
)
def test_a_key_that_occurs_twice_is_refused_at_any_depth_with_the_id(raw: bytes) -> None:
    error = refused(raw)
    assert (error.rpc_code, error.id) == (jsonrpc.INVALID_REQUEST, 1)
    assert "twice" in error.message


def test_an_id_that_occurs_twice_is_not_echoed() -> None:
    assert refused(b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}').id is None


@pytest.mark.parametrize(
    "body",
    [
        '"method":"tools/list","Method":"tools/call"',
        '"method":"tools/call","Params":{"name":"b"}',
        '"method":"tools/call","params":{"name":"a","Name":"b"}',
        '"method":"resources/read","params":{"uri":"a:","URI":"b:"}',
        '"method":"tasks/get","params":{"taskId":"a","taſkid":"b"}',
        '"method":"completion/complete","params":{"ref":{"type":"ref/prompt","Type":"x"}}',
    ],
)
def test_a_key_that_another_reader_takes_for_one_we_judge_is_refused(body: str) -> None:
    error = refused(f'{{"jsonrpc":"2.0","id":"x",{body}}}'.encode())
    assert error.id == "x"
    assert "could be read as" in error.message


def test_the_arguments_of_a_tool_may_have_any_keys() -> None:
    raw = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"Name":1,"name":2}}}'
    assert parse(raw).params["arguments"] == {"Name": 1, "name": 2}


def test_depth_is_limited_whatever_the_reader_could_take() -> None:
    def nested(depth: int) -> bytes:
        inner = b"[" * depth + b"]" * depth
        return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + inner + b"}}"

    assert parse(nested(62)).method == "ping"
    assert refused(nested(63)).message == "the message is nested deeper than 64 levels"
    assert refused(nested(200_000)).message == "the message is nested deeper than 64 levels"
    wide = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":[' + b",".join([b"[]"] * 500)
    assert parse(wide + b"]}}").method == "ping"


def test_a_pair_of_surrogates_is_a_character() -> None:
    raw = b'{"jsonrpc":"2.0","id":"\\ud83d\\ude00","method":"ping"}'
    assert parse(raw).id == "😀"
    assert parse(b'{"jsonrpc":"2.0","id":"\\\\ud800","method":"ping"}').id == "\\ud800"


def test_an_id_is_bounded() -> None:
    assert refused(b'{"jsonrpc":"2.0","id":"' + b"x" * 1025 + b'","method":"ping"}').id is None


def test_content_is_in_no_text_of_a_message() -> None:
    sent = jsonrpc.request(1, "tools/call", {"arguments": {"key": "canary"}})
    for raw in (sent, jsonrpc.result(1, "canary"), jsonrpc.error(1, 1, "canary")):
        assert "canary" not in repr(parse(raw))


IDS = st.one_of(st.integers(), st.text(max_size=40))


@given(IDS)
def test_an_id_comes_back_as_it_was_sent(id: int | str) -> None:
    message = parse(jsonrpc.request(id, "ping", {}))
    assert message.id == id
    assert type(message.id) is type(id)
    assert message.id is not None
    assert json.loads(jsonrpc.result(message.id, {}))["id"] == id
    assert json.loads(jsonrpc.error(message.id, -1, "no"))["id"] == id


def test_what_is_built_is_compact_utf8() -> None:
    assert (
        jsonrpc.result(1, {"ü": [1, 2]}) == '{"jsonrpc":"2.0","id":1,"result":{"ü":[1,2]}}'.encode()
    )
    assert jsonrpc.request("a", "ping") == b'{"jsonrpc":"2.0","id":"a","method":"ping"}'
    assert jsonrpc.notification("n", {"a": 1}) == b'{"jsonrpc":"2.0","method":"n","params":{"a":1}}'
    assert (
        jsonrpc.error(None, -32700, "no", {"a": 1})
        == b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no","data":{"a":1}}}'
    )
    with pytest.raises(ValueError):
        jsonrpc.result(1, float("nan"))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(IDS, JSON)
def test_what_is_built_is_read_back(id: int | str, value: object) -> None:
    assert parse(jsonrpc.result(id, value)).result == value


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with contextlib.suppress(InvalidMessage):
        parse(raw)


def test_an_answer_that_is_written_anew_is_read_as_what_is_written() -> None:
    raw = b'{"jsonrpc":"2.0","id":"a","result":{"tools":[{"name":"x","name":"y"}]}}'
    read = jsonrpc.parse_answer(raw)
    assert read.result == {"tools": [{"name": "y"}]}
    with pytest.raises(jsonrpc.InvalidMessage):
        jsonrpc.parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"nothing",
        b"[" * 100_000,
        b'{"jsonrpc":"2.0","id":"a","result":{},"error":{"code":1,"message":"x"}}',
        b'{"jsonrpc":"2.0","id":"a","result":{},"method":"tools/call"}',
        b'{"jsonrpc":"1.0","id":"a","result":{}}',
        b'{"jsonrpc":"2.0","id":true,"result":{}}',
        b'[{"jsonrpc":"2.0","id":"a","result":{}}]',
    ],
)
def test_what_is_no_answer_is_refused_by_the_fast_reader_too(raw: bytes) -> None:
    with pytest.raises(jsonrpc.InvalidMessage):
        jsonrpc.parse_answer(raw)


def test_the_fast_reader_reads_errors_and_numbers_as_ids_like_the_strict_one() -> None:
    for raw in (
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":"a","error":{"code":-1,"message":"no"}}',
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}',
    ):
        assert jsonrpc.parse_answer(raw) == jsonrpc.parse(raw)
