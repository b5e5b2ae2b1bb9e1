"""Unmodified SDKs through the gateway: one changed base URL, nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest

from tests.e2e.conftest import Demo

HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture
async def openai_sdk(gateway: Demo) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key=gateway.token("alice"), base_url=f"{gateway.url}/v1", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def anthropic_sdk(gateway: Demo) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        api_key=gateway.token("alice"), base_url=gateway.url, max_retries=0
    ) as client:
        yield client


async def test_a_chat_is_answered(openai_sdk: openai.AsyncOpenAI) -> None:
    answer = await openai_sdk.chat.completions.create(model="echo/small", messages=HELLO)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "hello there"
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0


async def test_a_chat_is_streamed(openai_sdk: openai.AsyncOpenAI) -> None:
    stream = await openai_sdk.chat.completions.create(
        model="echo/small",
        messages=HELLO,  # type: ignore[arg-type]
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "hello there"
    assert len(chunks) > 2


async def test_the_list_shows_exactly_what_works(openai_sdk: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in openai_sdk.models.list()]
    assert names == ["echo/large", "echo/small", "openai/mini"]
    assert (await openai_sdk.models.retrieve("echo/small")).id == "echo/small"
    with pytest.raises(openai.NotFoundError):
        await openai_sdk.models.retrieve("echo/secret")


async def test_responses_and_embeddings_are_answered(openai_sdk: openai.AsyncOpenAI) -> None:
    response = await openai_sdk.responses.create(model="echo/small", input="hello there")
    assert response.output_text == "hello there"
    embedding = await openai_sdk.embeddings.create(model="echo/small", input="hello")
    assert embedding.data[0].embedding


async def test_a_refused_model_is_the_sdk_s_not_found(openai_sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        await openai_sdk.chat.completions.create(model="echo/secret", messages=HELLO)  # type: ignore[arg-type]
    assert refused.value.code == "model_not_found"
    assert "does not exist or you have no access" in refused.value.message
    with pytest.raises(openai.NotFoundError) as unknown:
        await openai_sdk.chat.completions.create(model="echo/nothing", messages=HELLO)  # type: ignore[arg-type]
    assert unknown.value.code == refused.value.code


async def test_a_rule_s_message_reaches_the_caller(openai_sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        await openai_sdk.chat.completions.create(
            model="echo/large",
            messages=HELLO,  # type: ignore[arg-type]
            max_tokens=2000,
        )
    assert "at most 1000 tokens" in refused.value.message


async def test_a_wrong_token_is_the_sdk_s_authentication_error(gateway: Demo) -> None:
    wrong = gateway.token("alice")[:-1] + "x"
    async with openai.AsyncOpenAI(api_key=wrong, base_url=f"{gateway.url}/v1") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_a_message_is_answered_and_streamed(
    anthropic_sdk: anthropic.AsyncAnthropic,
) -> None:
    message = await anthropic_sdk.messages.create(
        model="echo/small",
        max_tokens=64,
        messages=HELLO,  # type: ignore[arg-type]
    )
    assert message.content[0].text == "hello there"  # type: ignore[union-attr]
    async with anthropic_sdk.messages.stream(
        model="echo/small",
        max_tokens=64,
        messages=HELLO,  # type: ignore[arg-type]
    ) as stream:
        assert "".join([text async for text in stream.text_stream]) == "hello there"


async def test_anthropic_s_errors_have_anthropic_s_form(
    anthropic_sdk: anthropic.AsyncAnthropic,
) -> None:
    with pytest.raises(anthropic.NotFoundError) as refused:
        await anthropic_sdk.messages.create(
            model="echo/secret",
            max_tokens=64,
            messages=HELLO,  # type: ignore[arg-type]
        )
    assert refused.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    names = [model.id async for model in anthropic_sdk.models.list()]
    assert names == ["anthropic/haiku", "echo/large", "echo/small"]
