"""A request belongs to one generation by its headers and its body together, or is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.mcp import jsonrpc
from proxy.mcp.era import (
    META_CAPABILITIES,
    META_CLIENT,
    META_VERSION,
    SUPPORTED,
    Era,
    Generation,
    classify,
)
from proxy.mcp.jsonrpc import Message
from proxy.mcp.mirrors import Refused

NEW = "2026-07-28"
META = {META_VERSION: NEW, META_CAPABILITIES: {"sampling": {}}, META_CLIENT: {"name": "c"}}
LIST = {"mcp-protocol-version": NEW, "mcp-method": "tools/list"}


def request(method: str, meta: dict[str, Any] | None = None, **params: Any) -> Message:
    if meta is not None:
        params["_meta"] = meta
    return jsonrpc.parse(jsonrpc.request(1, method, params))


def era(message: Message | None, *headers: tuple[str, str], **also: str) -> Era:
    return classify(
        CIMultiDict([*headers, *((k.replace("_", "-"), v) for k, v in also.items())]), message
    )


def refusal(message: Message | None, *headers: tuple[str, str], **also: str) -> tuple[int, int]:
    with pytest.raises(Refused) as caught:
        era(message, *headers, **also)
    assert caught.value.message
    return caught.value.status, caught.value.rpc_code


def initialize(version: Any, **params: Any) -> Message:
    return request("initialize", protocolVersion=version, **params)


# the generation of sessions


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
@pytest.mark.parametrize(
    "message", [None, request("tools/list"), request("ping", {"progressToken": 1})]
)
def test_the_header_names_the_version_of_a_session(version: str, message: Message | None) -> None:
    assert era(message, mcp_protocol_version=version) == Era(Generation.SESSIONS, version)
    assert era(message, ("MCP-Protocol-Version", f" {version}\t")).version == version


def test_a_request_that_names_none_is_of_the_oldest() -> None:
    assert era(request("tools/list")).version == "2025-03-26"
    assert era(None).generation is Generation.SESSIONS
    assert era(request("tools/list", {META_VERSION: "2025-06-18"})).version == "2025-06-18"


def test_initialize_is_answered_with_a_version_that_we_have() -> None:
    found = era(initialize("2025-06-18", capabilities={"roots": {}}, clientInfo={"name": "c"}))
    assert found == Era(Generation.SESSIONS, "2025-06-18", {"roots": {}}, {"name": "c"})
    for asked in ("2024-11-05", "2031-01-01", NEW, ""):
        assert era(initialize(asked)).version == "2025-11-25"
    older = classify(
        CIMultiDict(), initialize("2025-11-25"), supported=("2025-03-26", "2025-06-18")
    )
    assert older.version == "2025-06-18"


def test_a_session_has_responses_of_clients() -> None:
    answer = jsonrpc.parse(jsonrpc.result(1, {"action": "accept"}))
    assert era(answer, mcp_protocol_version="2025-11-25").generation is Generation.SESSIONS


# the stateless generation


def test_a_stateless_request_says_everything_of_itself() -> None:
    found = era(request("tools/list", META), *LIST.items())
    assert found == Era(Generation.STATELESS, NEW, {"sampling": {}}, {"name": "c"})


def test_get_and_delete_have_a_header_only() -> None:
    assert era(None, mcp_protocol_version=NEW).generation is Generation.STATELESS


@pytest.mark.parametrize(
    "meta",
    [
        None,
        {},
        {META_VERSION: NEW},
        {META_CAPABILITIES: {}},
        {META_VERSION: NEW, META_CAPABILITIES: []},
    ],
)
def test_without_its_envelope_it_is_refused(meta: dict[str, Any] | None) -> None:
    assert refusal(request("tools/list", meta), *LIST.items()) == (400, -32602)


def test_a_notification_needs_no_envelope_but_may_not_contradict() -> None:
    gone = jsonrpc.parse(jsonrpc.notification("notifications/cancelled", {"requestId": 1}))
    assert era(gone, mcp_protocol_version=NEW).generation is Generation.STATELESS
    assert refusal(gone, mcp_protocol_version=NEW, mcp_method="ping") == (400, -32020)


def test_there_are_no_responses_of_stateless_clients() -> None:
    answer = jsonrpc.parse(jsonrpc.result(1, {}))
    assert refusal(answer, mcp_protocol_version=NEW) == (400, -32600)


# disagreement


def test_header_and_body_must_name_one_version() -> None:
    old = META | {META_VERSION: "2025-11-25"}
    assert refusal(request("tools/list", old), *LIST.items()) == (400, -32020)
    assert refusal(request("tools/list", META), mcp_protocol_version="2025-11-25") == (400, -32020)
    assert refusal(request("tools/list", META)) == (400, -32020)  # the header is missing
    assert refusal(request("tools/list", META), mcp_protocol_version="2031-01-01") == (400, -32020)
    assert refusal(initialize("2025-11-25"), mcp_protocol_version=NEW) == (400, -32020)
    assert refusal(initialize("2025-11-25"), mcp_protocol_version="2025-06-18") == (400, -32600)
    both = request("initialize", META, protocolVersion="2025-11-25")
    assert refusal(both) == (400, -32020)
    assert refusal(both, mcp_protocol_version="2025-11-25") == (400, -32020)
    assert refusal(request("initialize", META, protocolVersion=NEW)) == (400, -32020)


def test_a_version_that_is_no_string_is_refused() -> None:
    assert refusal(initialize(1)) == (400, -32602)
    assert refusal(request("tools/list", {META_VERSION: 1}), *LIST.items()) == (400, -32602)


def test_a_header_that_is_there_twice_is_refused_even_if_both_agree() -> None:
    twice = [("mcp-protocol-version", "2025-11-25")] * 2
    assert refusal(request("ping"), *twice) == (400, -32600)
    assert refusal(request("ping"), twice[0], ("mcp-protocol-version", NEW)) == (400, -32020)
    assert refusal(request("tools/list", META), *LIST.items(), ("Mcp-Method", "tools/list")) == (
        400,
        -32020,
    )


@pytest.mark.parametrize("version", ["2031-01-01", "2024-11-05", "", "2026-07-28, 2026-07-28"])
def test_an_unsupported_version_is_told_what_is_supported(version: str) -> None:
    for message in (None, request("ping"), request("tools/list", META | {META_VERSION: version})):
        with pytest.raises(Refused) as caught:
            era(message, mcp_protocol_version=version)
        assert (caught.value.status, caught.value.rpc_code) == (400, -32022)
        assert caught.value.data == {"supported": list(SUPPORTED), "requested": version}


def test_a_place_may_serve_fewer_versions() -> None:
    with pytest.raises(Refused) as caught:
        classify(CIMultiDict(LIST), request("tools/list", META), supported=("2025-11-25",))
    assert caught.value.data == {"supported": ["2025-11-25"], "requested": NEW}


VERSIONS = st.sampled_from([None, "", "2024-11-05", *SUPPORTED, "2031-01-01"])


@given(
    st.lists(VERSIONS.filter(lambda v: v is not None), max_size=2),
    VERSIONS,
    VERSIONS,
    st.booleans(),
)
def test_whatever_is_let_through_says_one_thing(
    headers: list[str], meta: str | None, asked: str | None, initial: bool
) -> None:
    params: dict[str, Any] = (
        {} if meta is None else {"_meta": {META_VERSION: meta, META_CAPABILITIES: {}}}
    )
    if asked is not None:
        params["protocolVersion"] = asked
    message = jsonrpc.parse(jsonrpc.request(1, "initialize" if initial else "tools/list", params))
    given = [("mcp-protocol-version", v) for v in headers] + [("mcp-method", message.method)]
    try:
        found = classify(CIMultiDict(given), message)
    except Refused as error:
        assert error.status == 400
        assert error.rpc_code in (-32020, -32022, -32600, -32602)
        return
    said = {*headers, *([meta] if meta is not None else ())}
    assert len(said) <= 1
    if said and not (initial and not headers):
        assert said == {found.version}
    if found.generation is Generation.STATELESS:
        assert headers == [NEW]
        assert meta == NEW
    else:
        assert NEW not in said
