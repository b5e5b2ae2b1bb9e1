"""OpenAI requests as its API reference describes them."""

from __future__ import annotations

import pytest

from proxy.providers.base import OPENAI_OPERATIONS, CredentialMissing, Operation
from proxy.providers.openai import OpenAI
from tests.peers.calls import call
from tests.peers.estate import KEY, KEYS, upstream_of
from tests.peers.providers import CHAT, EVENTS, OpenAIPeer, serving


@pytest.mark.parametrize("operation", sorted(OpenAI.operations))
async def test_every_operation_reaches_its_path_with_the_accounts_key(operation: Operation) -> None:
    async with serving(OpenAIPeer()) as peer:
        got = await call(upstream_of("openai", base_url=f"{peer.url}/v1", auth_data=KEY), operation)
    assert (got.status, peer.refusals) == (200, [])
    assert got.json() == CHAT
    assert peer.seen[0].path == f"/v1/{operation.value}"


async def test_a_stream_passes_byte_for_byte() -> None:
    async with serving(OpenAIPeer()) as peer:
        upstream = upstream_of("openai", base_url=f"{peer.url}/v1", auth_data=KEY)
        got = await call(upstream, Operation.CHAT_COMPLETIONS, stream=True)
    assert got.stream and got.body == b"".join(EVENTS)


async def test_a_form_passes_byte_for_byte() -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\npeer-model\r\n--b--\r\n'
    headers = [("Content-Type", "multipart/form-data; boundary=b")]
    async with serving(OpenAIPeer()) as peer:
        upstream = upstream_of("openai", base_url=f"{peer.url}/v1/", auth_data=KEY)
        got = await call(upstream, Operation.AUDIO_TRANSCRIPTIONS, form, headers=headers)
    assert got.status == 200
    assert peer.seen[0].body == form
    assert peer.seen[0].get("content-type") == "multipart/form-data; boundary=b"


async def test_a_body_above_a_mebibyte_passes_whole() -> None:
    body = b'{"model":"peer-model","input":"' + b"x" * (3 << 20) + b'"}'
    async with serving(OpenAIPeer()) as peer:
        upstream = upstream_of("openai", base_url=f"{peer.url}/v1", auth_data=KEY)
        got = await call(upstream, Operation.EMBEDDINGS, body)
    assert got.status == 200 and peer.seen[0].body == body


def test_the_default_address_is_openais() -> None:
    upstream = upstream_of("openai")
    url = upstream.routes[Operation.CHAT_COMPLETIONS]
    assert str(url) == "https://api.openai.com/v1/chat/completions"
    assert upstream.origins == {"https://api.openai.com"}
    assert set(upstream.routes) == OPENAI_OPERATIONS - {Operation.RERANK}


@pytest.mark.parametrize("auth", [None, KEYS])
async def test_without_an_api_key_nothing_is_sent(auth: dict[str, str] | None) -> None:
    async with serving(OpenAIPeer()) as peer:
        upstream = upstream_of("openai", base_url=f"{peer.url}/v1", auth_data=auth)
        with pytest.raises(CredentialMissing) as caught:
            await call(upstream, Operation.CHAT_COMPLETIONS)
    assert peer.seen == []
    assert "`acme`" in caught.value.message
