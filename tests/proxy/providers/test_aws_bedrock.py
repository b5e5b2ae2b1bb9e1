"""Bedrock's OpenAI and Anthropic routes, with an API key and with a signature."""

from __future__ import annotations

import pytest

from proxy.providers.base import CredentialMissing, Operation, UpstreamMisconfigured
from tests.peers.calls import call
from tests.peers.estate import KEY, KEYS, upstream_of
from tests.peers.providers import BedrockPeer, serving

OPERATIONS = [
    Operation.CHAT_COMPLETIONS,
    Operation.RESPONSES,
    Operation.MESSAGES,
    Operation.COUNT_TOKENS,
]
REGION = "eu-west-1"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_api_key_goes_out_as_bearer(operation: Operation) -> None:
    async with serving(BedrockPeer()) as peer:
        upstream = upstream_of("aws-bedrock", base_url=peer.url, region=REGION, auth_data=KEY)
        got = await call(upstream, operation)
    assert (got.status, peer.refusals) == (200, [])


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_access_keys_sign_what_arrives(operation: Operation) -> None:
    async with serving(BedrockPeer()) as peer:
        peer.signed = True
        upstream = upstream_of("aws-bedrock", base_url=peer.url, region=REGION, auth_data=KEYS)
        got = await call(upstream, operation)
        streamed = await call(upstream, operation, stream=True)
    assert peer.refusals == []
    assert (got.status, streamed.status) == (200, 200)


async def test_the_peer_notices_a_wrong_signature() -> None:
    async with serving(BedrockPeer()) as peer:
        peer.signed = True
        upstream = upstream_of("aws-bedrock", base_url=peer.url, region="us-east-1", auth_data=KEYS)
        got = await call(upstream, Operation.MESSAGES)
    assert got.status == 400
    assert peer.refusals == ["the scope is us-east-1/bedrock-mantle"]


def test_the_default_addresses_are_the_regions_own() -> None:
    routes = upstream_of("aws-bedrock", region=REGION).routes
    assert {op: str(url) for op, url in routes.items()} == {
        Operation.CHAT_COMPLETIONS: "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1/chat/completions",
        Operation.RESPONSES: "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1/responses",
        Operation.MESSAGES: "https://bedrock-mantle.eu-west-1.api.aws/anthropic/v1/messages",
        Operation.COUNT_TOKENS: "https://bedrock-mantle.eu-west-1.api.aws/anthropic/v1/messages/count_tokens",
    }


@pytest.mark.parametrize(
    ("base", "chat", "messages"),
    [
        (
            "https://bedrock-mantle.us-east-1.api.aws",
            "https://bedrock-mantle.us-east-1.api.aws/v1/chat/completions",
            "https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages",
        ),
        (
            "https://bedrock-mantle.us-east-1.api.aws/openai/v1",
            "https://bedrock-mantle.us-east-1.api.aws/openai/v1/chat/completions",
            "https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages",
        ),
        (
            "https://bedrock-runtime.us-east-1.amazonaws.com",
            "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1/chat/completions",
            "https://bedrock-runtime.us-east-1.amazonaws.com/anthropic/v1/messages",
        ),
    ],
)
def test_a_base_url_takes_both_dialects_to_one_host(base: str, chat: str, messages: str) -> None:
    routes = upstream_of("aws-bedrock", region="us-east-1", base_url=base).routes
    assert str(routes[Operation.CHAT_COMPLETIONS]) == chat
    assert str(routes[Operation.MESSAGES]) == messages


@pytest.mark.parametrize("region", [None, "us-east-1.evil.example", "x#", "a/b", "a@b", "a%2e"])
def test_a_region_cannot_move_the_host(region: str | None) -> None:
    # docs/attacks.md B2
    problem = upstream_of("aws-bedrock", region=region).problem
    assert isinstance(problem, UpstreamMisconfigured) and "region" in problem.message


async def test_a_models_own_region_wins() -> None:
    upstream = upstream_of(
        "aws-bedrock",
        region=REGION,
        integrations=[{"type": "x", "name": "mini", "region": "us-west-2"}],
    )
    assert upstream.region == "us-west-2"
    assert "us-west-2" in str(upstream.routes[Operation.MESSAGES])


async def test_without_a_credential_nothing_is_sent() -> None:
    with pytest.raises(CredentialMissing):
        await call(upstream_of("aws-bedrock", region=REGION), Operation.MESSAGES)
