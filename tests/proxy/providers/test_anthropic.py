"""Anthropic requests as its API reference describes them."""

from __future__ import annotations

import pytest

from proxy.providers.base import Operation
from tests.peers.calls import call
from tests.peers.estate import KEY, upstream_of
from tests.peers.providers import MESSAGE, AnthropicPeer, serving


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_messages_go_out_with_x_api_key_whatever_form_the_base_url_has(path: str) -> None:
    async with serving(AnthropicPeer()) as peer:
        upstream = upstream_of("anthropic", base_url=peer.url + path, auth_data=KEY)
        got = await call(upstream, Operation.MESSAGES)
        counted = await call(upstream, Operation.COUNT_TOKENS)
    assert peer.refusals == []
    assert got.json() == MESSAGE
    assert counted.json() == {"input_tokens": 3}


async def test_version_and_beta_are_the_callers_own() -> None:
    async with serving(AnthropicPeer()) as peer:
        upstream = upstream_of("anthropic", base_url=peer.url, auth_data=KEY)
        await call(upstream, Operation.MESSAGES)
    assert peer.seen[0].get("anthropic-version") == "2023-06-01"
    assert peer.seen[0].get("anthropic-beta") == "a-1,b-2"
    assert peer.seen[0].get("user-agent") == "SDK/1.0"


def test_the_default_address_is_anthropics() -> None:
    routes = upstream_of("anthropic").routes
    assert {op: str(url) for op, url in routes.items()} == {
        Operation.MESSAGES: "https://api.anthropic.com/v1/messages",
        Operation.COUNT_TOKENS: "https://api.anthropic.com/v1/messages/count_tokens",
    }
