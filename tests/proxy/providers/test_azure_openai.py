"""Azure OpenAI requests, the current API and the dated one."""

from __future__ import annotations

import pytest

from proxy.providers.base import Operation, UpstreamMisconfigured
from tests.peers.calls import call
from tests.peers.estate import KEY, account, upstream_of
from tests.peers.providers import AzurePeer, serving

DATED = "2024-10-21"


@pytest.mark.parametrize("path", ["", "/openai", "/openai/v1/"])
@pytest.mark.parametrize("version", [None, "v1", "preview", DATED])
@pytest.mark.parametrize("operation", [Operation.CHAT_COMPLETIONS, Operation.RESPONSES])
async def test_each_api_gets_its_path_its_version_and_the_api_key(
    path: str, version: str | None, operation: Operation
) -> None:
    async with serving(AzurePeer()) as peer:
        upstream = upstream_of(
            "azure-openai", base_url=peer.url + path, auth_data=KEY, api_version=version
        )
        got = await call(upstream, operation)
    assert (got.status, peer.refusals) == (200, [])


def test_a_dated_version_puts_the_deployment_in_the_path() -> None:
    upstream = upstream_of(
        "azure-openai", base_url="https://acme.openai.azure.com", api_version=DATED
    )
    assert str(upstream.routes[Operation.CHAT_COMPLETIONS]) == (
        "https://acme.openai.azure.com/openai/deployments/peer-model/chat/completions"
        "?api-version=2024-10-21"
    )
    assert str(upstream.routes[Operation.RESPONSES]) == (
        "https://acme.openai.azure.com/openai/responses?api-version=2024-10-21"
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "base_url"),
        ({"base_url": "https://a.example", "api_version": "2024-10-21&x=1"}, "api_version"),
        ({"base_url": "https://a.example", "api_version": "#"}, "api_version"),
    ],
)
def test_a_wrong_document_gives_a_problem_that_names_the_field(
    fields: dict[str, str], named: str
) -> None:
    problem = upstream_of("azure-openai", **fields).problem
    assert isinstance(problem, UpstreamMisconfigured)
    assert named in problem.message


@pytest.mark.parametrize("deployment", ["../admin", "a#b", "a?b", "a%2Fb", "a@b", "a\\b", ".."])
def test_a_deployment_cannot_leave_its_place_in_the_path(deployment: str) -> None:
    # docs/attacks.md B2
    integration = {"type": "x", "name": "mini", "model_id": deployment}
    upstream = upstream_of(
        "azure-openai",
        base_url="https://acme.openai.azure.com",
        api_version=DATED,
        integrations=[integration],
    )
    assert isinstance(upstream.problem, UpstreamMisconfigured)
    assert upstream.routes == {}


def test_the_document_parses() -> None:
    assert account("azure-openai", api_version="v1").api_version == "v1"
