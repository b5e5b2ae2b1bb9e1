"""What of a header list may pass, outwards and back (docs/attacks.md A3, H3)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.hygiene import AnswerFacts, HeaderFilter, normal
from proxy.providers.base import Headers

OURS: Headers = [
    ("accept", "*/*"),
    ("user-agent", "gatewarden"),
    ("accept-encoding", "identity"),
]


def answer_headers(headers: Headers) -> AnswerFacts:
    return HeaderFilter().incoming(headers)


def out(*headers: tuple[str, str]) -> Headers:
    """What passes, without the headers that are always ours."""
    found = HeaderFilter().outgoing(headers)
    return [item for item in found if item not in OURS]


DROPPED = [
    # credentials
    "Authorization", "X-Api-Key", "x_api_key", "api-key", "API_KEY", "Cookie", "Proxy-Authorization",
    "X-Goog-Api-Key", "Ocp-Apim-Subscription-Key",
    # hop by hop, framing
    "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "transfer_encoding", "Upgrade",  # codespell:ignore te
    "Content-Length", "Content_Length", "Content-Encoding", "Expect", "Host", "HTTP2-Settings",
    # identity, in every spelling a server behind the provider may read as the same
    "X-Forwarded-For", "x_forwarded_for", "X.Forwarded.For", "X-Forwarded_Host", "x-forwarded-user",
    "Forwarded", "X-Real-IP", "True-Client-IP", "X-Original-URL", "X-Rewrite-Url", "Remote-User",
    "REMOTE_USER", "X-Remote-User", "X-Envoy-Original-Path", "x-envoy-internal", "X-Amzn-Oidc-Data",
    "X-Amz-Security-Token", "X-MS-Client-Principal", "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-Goog-Authenticated-User-Email", "X-Goog-IAP-JWT-Assertion", "Cf-Access-Jwt-Assertion",
    "X-Auth-Request-Email", "SSL-Client-Cert", "X-Client-Cert", "X-HTTP-Method-Override", "Via",
    "Origin", "Referer", "Sec-Fetch-Site",
    # ours and our peers'
    "X-Gatewarden-Metadata", "x_gatewarden_metadata", "X-TFY-Metadata", "X-Portkey-Api-Key",
    "x-litellm-api-key", "x-request-id", "x-min-epoch",
    # whose account pays
    "OpenAI-Organization", "openai_project",
]  # fmt: skip


@pytest.mark.parametrize("name", DROPPED)
def test_a_header_that_is_not_for_a_provider_is_dropped(name: str) -> None:
    assert out((name, "x"), ("anthropic-beta", "b")) == [("anthropic-beta", "b")]


PASSED = ["Content-Type", "anthropic-version", "anthropic-beta", "OpenAI-Beta", "Idempotency-Key",
          "X-Stainless-Lang", "User-Agent", "Accept", "traceparent", "X-Custom"]  # fmt: skip


@pytest.mark.parametrize("name", PASSED)
def test_a_header_that_is_for_the_provider_passes(name: str) -> None:
    assert (name, "v") in HeaderFilter().outgoing([(name, "v")])


def test_repeated_lines_stay_apart_and_in_order() -> None:
    lines = [("anthropic-beta", "a"), ("x-custom", "1"), ("anthropic-beta", "b")]
    assert out(*lines) == lines


def test_what_connection_names_is_dropped_with_it() -> None:
    kept = out(
        ("Connection", "close, X-Secret_Thing ,keep-alive"), ("x-secret-thing", "1"), ("x-b", "2")
    )
    assert kept == [("x-b", "2")]


def test_connection_cannot_take_our_own_headers_away() -> None:
    found = HeaderFilter().outgoing([("Connection", "accept-encoding, user-agent")])
    assert ("accept-encoding", "identity") in found and ("user-agent", "gatewarden") in found


def test_identity_encoding_is_always_asked_for_once() -> None:
    found = HeaderFilter().outgoing([("Accept-Encoding", "gzip"), ("accept_encoding", "br")])
    assert [item for item in found if normal(item[0]) == "accept-encoding"] == [
        ("accept-encoding", "identity")
    ]


def test_the_callers_accept_and_agent_are_kept() -> None:
    found = HeaderFilter().outgoing([("Accept", "text/event-stream"), ("USER-AGENT", "SDK")])
    assert found == [
        ("Accept", "text/event-stream"),
        ("USER-AGENT", "SDK"),
        ("accept-encoding", "identity"),
    ]


@pytest.mark.parametrize(
    "value", ["a\r\nx-api-key: b", "a\nb", "a\x00b", "a\rb", "a\x7fb", "\udcff"]
)
def test_a_value_that_is_no_header_line_is_dropped(value: str) -> None:
    assert out(("x-custom", value)) == []


@pytest.mark.parametrize("value", ["tab\there", "übung", "", "日本"])
def test_an_unusual_value_passes(value: str) -> None:
    assert out(("x-custom", value)) == [("x-custom", value)]


def test_the_memory_of_names_is_bounded() -> None:
    memory = HeaderFilter()
    for number in range(5000):
        memory.outgoing([(f"x-{number}", "v")])
        memory.incoming([(f"x-{number}", "v")])
    assert len(memory._out) <= 1024 and len(memory._back) <= 1024
    assert memory.outgoing([("x-99999", "v"), ("Authorization", "v")])[0] == ("x-99999", "v")


@given(
    name=st.sampled_from(DROPPED),
    separators=st.lists(st.sampled_from("-_. "), min_size=8, max_size=8),
    upper=st.booleans(),
)
@settings(max_examples=200)
def test_no_spelling_of_a_dropped_name_passes(
    name: str, separators: list[str], upper: bool
) -> None:
    parts = normal(name).split("-")
    spelled = parts[0] + "".join(
        separator + part for separator, part in zip(separators, parts[1:], strict=False)
    )
    if len(parts) - 1 <= len(separators):
        assert out((spelled.upper() if upper else spelled, "x")) == []


BACK_DROPPED = ["Set-Cookie", "set_cookie", "Connection", "Transfer-Encoding", "Content-Length", "Server",
                "X-Powered-By", "Via", "Alt-Svc", "OpenAI-Organization", "Anthropic-Organization-Id",
                "Location", "Refresh", "WWW-Authenticate", "Access-Control-Allow-Origin",
                "X-Gatewarden-Anything", "X-Decision-Id", "X-Policy-Epoch", "X-Request-Id",
                "Server-Timing", "X-Envoy-Upstream-Service-Time", "Strict-Transport-Security",
                "Clear-Site-Data", "X-Accel-Redirect"]  # fmt: skip


@pytest.mark.parametrize("name", BACK_DROPPED)
def test_an_answers_header_that_is_not_for_the_caller_is_dropped(name: str) -> None:
    assert answer_headers([(name, "1")]).headers == []


@pytest.mark.parametrize(
    "name", ["Content-Type", "Retry-After", "x-ratelimit-remaining-tokens", "openai-processing-ms",
             "anthropic-ratelimit-requests-limit", "request-id", "retry-after-ms"]
)  # fmt: skip
def test_an_answers_header_that_clients_use_passes(name: str) -> None:
    assert answer_headers([(name, "1")]).headers == [(name, "1")]


def test_the_facts_of_an_answer() -> None:
    facts = answer_headers(
        [
            ("Content-Type", "Text/Event-Stream; charset=utf-8"),
            ("Content-Length", "12"),
            ("X-Request-Id", "req-1"),
            ("Connection", "x-hop"),
            ("X-Hop", "1"),
        ]
    )
    assert (facts.media, facts.length, facts.encoded) == ("text/event-stream", 12, False)
    assert facts.request_id == "req-1"
    assert facts.headers == [("Content-Type", "Text/Event-Stream; charset=utf-8")]


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-A ", "b"), ("X A", "b"), ("", "b"), ("x\u00e9", "b"), ("X-A", "b\nc"), ("X-A", "b\udcff")],
)
def test_what_is_no_header_is_not_passed_back_or_on(name: str, value: str) -> None:
    assert answer_headers([(name, value)]).headers == []
    assert out((name, value)) == []


@pytest.mark.parametrize(("value", "encoded"), [("gzip", True), ("Identity", False), ("", False)])
def test_compression_is_noticed(value: str, encoded: bool) -> None:
    assert answer_headers([("Content-Encoding", value)]).encoded is encoded
