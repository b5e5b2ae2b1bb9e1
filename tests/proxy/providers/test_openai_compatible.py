"""Servers of one's own that speak OpenAI's API."""

from __future__ import annotations

import pytest

from proxy.providers.base import OPENAI_OPERATIONS, Operation
from tests.peers.calls import call
from tests.peers.estate import KEY, upstream_of
from tests.peers.providers import KeylessPeer, OpenAIPeer, serving


@pytest.mark.parametrize("operation", sorted(OPENAI_OPERATIONS))
async def test_every_operation_is_passed_on(operation: Operation) -> None:
    async with serving(OpenAIPeer()) as peer:
        upstream = upstream_of("openai-compatible", base_url=f"{peer.url}/v1", auth_data=KEY)
        got = await call(upstream, operation)
    assert (got.status, peer.refusals) == (200, [])


async def test_a_server_without_a_key_gets_no_credential_at_all() -> None:
    async with serving(KeylessPeer()) as peer:
        got = await call(upstream_of("openai-compatible", base_url=peer.url), Operation.RERANK)
    assert (got.status, peer.refusals) == (200, [])
    assert peer.seen[0].path == "/rerank"


def test_it_needs_an_address() -> None:
    problem = upstream_of("openai-compatible").problem
    assert problem is not None and "base_url" in problem.message
