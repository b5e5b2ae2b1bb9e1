"""Addresses are built from parsed parts; no part can move the host or climb (docs/attacks.md B2, I3)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from proxy.providers.base import (
    ApiKey,
    Dialect,
    Operation,
    OperationNotSupported,
    UpstreamMisconfigured,
    component,
    host_label,
    join,
    route,
)
from tests.peers.estate import upstream_of

HOSTILE = [
    "a#b",
    "a?b",
    "a@b",
    "a/b",
    "a\\b",
    "a%2fb",
    "a b",
    "a\nb",
    "a\x00b",
    "..",
    ".",
    "",
    None,
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_component_with_a_character_that_moves_the_host_is_refused(value: str | None) -> None:
    with pytest.raises(UpstreamMisconfigured):
        component(value, "region", "acme")


@pytest.mark.parametrize("value", [*HOSTILE, "evil.example", "a:80", "-a", "a-", "a_b", "x" * 64])
def test_a_host_label_is_one_label(value: str | None) -> None:
    with pytest.raises(UpstreamMisconfigured):
        host_label(value, "region", "acme")


def test_a_region_is_a_host_label() -> None:
    assert host_label("eu-west-1", "region", "acme") == "eu-west-1"


@given(segment=st.text(min_size=1, max_size=40).filter(lambda s: s not in (".", "..")))
@settings(max_examples=200)
def test_a_joined_segment_stays_one_segment_of_the_same_host(segment: str) -> None:
    base = URL("https://host.example:8443/openai/deployments")
    try:
        url = join(base, segment, "chat")
    except UnicodeEncodeError:  # a lone surrogate is no text that could be sent
        return
    assert url.origin() == base.origin()
    assert url.raw_query_string == "" and url.raw_fragment == ""
    assert url.raw_path.split("/")[:3] == ["", "openai", "deployments"]
    assert len(url.raw_path.split("/")) == 5
    assert url.raw_parts[-2] not in (".", "..")


@pytest.mark.parametrize("segment", ["", ".", ".."])
def test_a_dot_segment_is_refused(segment: str) -> None:
    with pytest.raises(UpstreamMisconfigured):
        join(URL("https://host.example/v1"), segment)


def test_messages_belong_to_anthropic_and_all_else_to_openai() -> None:
    assert {op for op in Operation if op.dialect is Dialect.ANTHROPIC} == {
        Operation.MESSAGES,
        Operation.COUNT_TOKENS,
    }


def test_an_operation_that_the_provider_does_not_have_is_a_clear_error() -> None:
    upstream = upstream_of("anthropic")
    with pytest.raises(OperationNotSupported) as caught:
        route(upstream, Operation.CHAT_COMPLETIONS)
    assert caught.value.code == "operation_not_supported"
    assert caught.value.message == "the model `acme/mini` does not serve `/v1/chat/completions`"


def test_a_dialect_that_the_document_leaves_out_is_not_served() -> None:
    upstream = upstream_of("echo", dialects=["anthropic"])
    assert route(upstream, Operation.MESSAGES)
    with pytest.raises(OperationNotSupported):
        route(upstream, Operation.CHAT_COMPLETIONS)


def test_a_secret_does_not_show_itself() -> None:
    assert "sk-very" not in repr(ApiKey("sk-very-secret"))
    upstream = upstream_of("openai", auth_data={"type": "api-key", "api_key": "env:X"})
    assert "env:X" not in repr(upstream)
