"""What the headers repeat is what the body says; and what goes upstream is made from the body."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.mcp import jsonrpc
from proxy.mcp.era import META_CAPABILITIES, META_VERSION, classify
from proxy.mcp.jsonrpc import Message
from proxy.mcp.mirrors import (
    Mirror,
    Refused,
    check_arguments,
    check_mirrors,
    decoded,
    encoded_value,
    mirrored,
    mirrors,
)

SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "dry": {"type": "boolean", "x-mcp-header": "Dry-Run"},
        "options": {
            "type": "object",
            "properties": {"limit": {"type": ["integer", "null"], "x-mcp-header": "Limit"}},
        },
        "q": {"type": "string"},
    },
}


def call(**arguments: Any) -> Message:
    return jsonrpc.parse(jsonrpc.request(1, "tools/call", {"name": "t", "arguments": arguments}))


def agrees(message: Message, *headers: tuple[str, str]) -> bool:
    try:
        check_arguments(CIMultiDict(headers), message, SCHEMA)
    except Refused as error:
        assert (error.status, error.rpc_code) == (400, -32020)
        return False
    return True


def named(message: Message, *headers: tuple[str, str]) -> int | None:
    try:
        check_mirrors(CIMultiDict(headers), message)
    except Refused as error:
        assert error.status == 400
        return error.rpc_code
    return None


# mcp-method and mcp-name


@pytest.mark.parametrize(
    ("method", "field"),
    [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")],
)
def test_the_name_is_repeated(method: str, field: str) -> None:
    message = jsonrpc.parse(jsonrpc.request(1, method, {field: "Zürich", "x": 1}))
    m = ("Mcp-Method", method)
    assert named(message, m, ("mcp-name", "=?base64?WsO8cmljaA==?=")) is None
    assert named(message, m) == -32020
    assert named(message, m, ("mcp-name", "other")) == -32020
    assert named(message, m, ("mcp-name", "Zürich")) == -32020  # no header holds such bytes
    assert named(message, ("mcp-name", "=?base64?WsO8cmljaA==?=")) == -32020
    twice = [("mcp-name", "=?base64?WsO8cmljaA==?=")] * 2
    assert named(message, m, *twice) == -32020
    for bad in (None, 1, {}):
        unnamed = jsonrpc.parse(jsonrpc.request(1, method, {field: bad}))
        assert named(unnamed, m, ("mcp-name", "x")) == -32602


def test_the_method_is_compared_exactly() -> None:
    message = jsonrpc.parse(jsonrpc.request(1, "tools/list"))
    assert named(message, ("mcp-method", "tools/list")) is None
    assert named(message, ("mcp-method", "Tools/List")) == -32020
    assert named(message, ("mcp-method", "")) == -32020


@pytest.mark.parametrize(
    "value", ["=?base64?%%%?=", "=?base64?/w==?=", "=?base64?YQ?=", "a\x00", "ü", "\udcff"]
)
def test_a_value_that_cannot_be_decoded_is_refused(value: str) -> None:
    with pytest.raises(Refused):
        decoded(value, "mcp-name")


def test_only_the_exact_wrapper_wraps() -> None:
    assert decoded("=?BASE64?YQ==?=", "x") == "=?BASE64?YQ==?="
    assert decoded("=?base64?YQ==", "x") == "=?base64?YQ=="
    assert decoded("=?base64??=", "x") == ""


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_value_comes_back_and_survives_a_header(text: str) -> None:
    value = encoded_value(text)
    assert decoded(value, "x") == text
    assert value.isascii()
    assert value == value.strip()
    assert "\n" not in value


# x-mcp-header


def test_declared_is_what_properties_alone_lead_to() -> None:
    assert mirrors(SCHEMA) == (
        Mirror("Mcp-Param-Region", ("region",)),
        Mirror("Mcp-Param-Dry-Run", ("dry",)),
        Mirror("Mcp-Param-Limit", ("options", "limit")),
    )


@pytest.mark.parametrize(
    "property_",
    [
        {"type": "number", "x-mcp-header": "A"},
        {"type": "object", "x-mcp-header": "A"},
        {"x-mcp-header": "A"},
        {"type": "string", "x-mcp-header": ""},
        {"type": "string", "x-mcp-header": "A b"},
        {"type": "string", "x-mcp-header": "A\r\nB: c"},
        {"type": "string", "x-mcp-header": 1},
        {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}},
        {"anyOf": [{"type": "string", "x-mcp-header": "A"}]},
        True,
    ],
)
def test_a_declaration_that_is_none_counts_for_nothing(property_: Any) -> None:
    assert mirrors({"properties": {"a": property_}}) == ()


def test_a_name_that_is_declared_twice_counts_for_nothing() -> None:
    one = {"type": "string", "x-mcp-header": "A"}
    assert mirrors({"properties": {"a": one, "b": one | {"x-mcp-header": "a"}}}) == ()
    for odd in (None, [], {"properties": []}, {"properties": {"a": 1}}, "x"):
        assert mirrors(odd) == ()


def test_an_argument_and_its_header_agree() -> None:
    assert agrees(call(region="eu", q="x"), ("Mcp-Param-Region", "eu"))
    assert agrees(call(region="Zürich"), ("mcp-param-region", "=?base64?WsO8cmljaA==?="))
    assert agrees(call(dry=True), ("mcp-param-dry-run", "true"))
    assert agrees(call(options={"limit": 42}), ("mcp-param-limit", "42.0"))
    assert agrees(call(options={"limit": 42.0}), ("mcp-param-limit", "42"))
    assert agrees(call(region=""), ("mcp-param-region", ""))
    assert agrees(call(q="x"), ("mcp-param-other", "anything"))


def test_they_may_not_disagree() -> None:
    assert not agrees(call(region="eu"), ("mcp-param-region", "us"))
    assert not agrees(call(region="eu"))
    assert not agrees(call(region="eu"), *[("mcp-param-region", "eu")] * 2)
    assert not agrees(call(dry=True), ("mcp-param-dry-run", "1"))
    assert not agrees(call(dry=False), ("mcp-param-dry-run", "True"))
    assert not agrees(call(options={"limit": 1}), ("mcp-param-limit", "true"))
    assert not agrees(call(options={"limit": 42}), ("mcp-param-limit", "042x"))
    assert not agrees(call(region=["eu"]), ("mcp-param-region", "eu"))


def test_no_argument_no_header() -> None:
    for message in (call(), call(region=None), call(options=None, region=None)):
        assert agrees(message)
        assert not agrees(message, ("mcp-param-region", ""))
    assert agrees(call(region={"a": 1}))  # the server will say what is wrong with it


def test_the_schema_may_be_given_with_the_request() -> None:
    meta = {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}
    params = {"name": "t", "arguments": {"region": "eu"}, "_meta": meta}
    message = jsonrpc.parse(jsonrpc.request(1, "tools/call", params))
    headers = CIMultiDict(
        {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "t"}
    )
    classify(headers, message)
    with pytest.raises(Refused):
        classify(headers, message, schema=SCHEMA)


ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "region": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        "dry": st.booleans(),
        "options": st.fixed_dictionaries(
            {}, optional={"limit": st.none() | st.integers(-(2**53), 2**53)}
        ),
        "q": st.text(max_size=5),
    },
)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), ARGUMENTS)
def test_what_we_send_is_what_we_accept(name: str, arguments: dict[str, Any]) -> None:
    params = {"name": name, "arguments": arguments}
    message = jsonrpc.parse(jsonrpc.request(1, "tools/call", params))
    headers = CIMultiDict(mirrored("tools/call", params, SCHEMA))
    check_mirrors(headers, message)
    check_arguments(headers, message, SCHEMA)


def test_methods_without_a_name_repeat_themselves_only() -> None:
    assert mirrored("tools/list", {"name": "x"}) == (("mcp-method", "tools/list"),)
    assert mirrored("resources/read", {"uri": "a:b"})[1] == ("mcp-name", "a:b")
