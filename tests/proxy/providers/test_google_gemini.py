"""Gemini through its OpenAI-compatible endpoint."""

from __future__ import annotations

import pytest

from proxy.providers.base import Operation, OperationNotSupported
from tests.peers.calls import call
from tests.peers.estate import KEY, upstream_of
from tests.peers.providers import GeminiPeer, serving

SERVED = [Operation.CHAT_COMPLETIONS, Operation.EMBEDDINGS, Operation.IMAGES_GENERATIONS]


@pytest.mark.parametrize("operation", SERVED)
async def test_what_google_documents_is_served(operation: Operation) -> None:
    async with serving(GeminiPeer()) as peer:
        upstream = upstream_of(
            "google-gemini", base_url=f"{peer.url}/v1beta/openai/", auth_data=KEY
        )
        got = await call(upstream, operation)
    assert (got.status, peer.refusals) == (200, [])


@pytest.mark.parametrize("operation", sorted(set(Operation) - set(SERVED)))
async def test_what_google_does_not_document_is_refused_here(operation: Operation) -> None:
    with pytest.raises(OperationNotSupported):
        await call(upstream_of("google-gemini", auth_data=KEY), operation)


def test_the_default_address_is_googles() -> None:
    url = upstream_of("google-gemini").routes[Operation.CHAT_COMPLETIONS]
    assert str(url) == ("https://generativelanguage.googleapis.com/v1beta/openai/chat/completions")
