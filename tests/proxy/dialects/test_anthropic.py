from __future__ import annotations

import json
from pathlib import Path

import anthropic
import pytest
from aiohttp import web

from proxy.dialects import Fault
from proxy.dialects.anthropic import Anthropic
from proxy.errors import GatewayError
from proxy.providers.base import Dialect, Upstream
from proxy.providers.echo import Echo
from tests.proxy.world import World, world

MODELS = [Upstream(f"model:a/{n}", f"a/{n}", "a", Echo(), n, frozenset(Dialect)) for n in "bcdef"]


def client(w: World) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=w.url, api_key=w.tokens["ann"], max_retries=0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "api_error"),
    ],
)
def test_the_type_of_an_error_follows_its_status(status: int, kind: str) -> None:
    body = json.loads(Anthropic().error(Fault(status, "code", "text", "r1", None, "d1")))
    assert body["type"] == "error"
    assert (body["error"]["type"], body["error"]["message"]) == (kind, "text")
    assert (body["request_id"], body["error"]["decision_id"]) == ("r1", "d1")


def page(**query: str) -> tuple[str, bool]:
    body = json.loads(Anthropic().listing(MODELS, query))
    names = [entry["id"] for entry in body["data"]]
    assert body["first_id"] == (names[0] if names else None)
    assert body["last_id"] == (names[-1] if names else None)
    return "".join(name[-1] for name in names), body["has_more"]


def test_pages_follow_the_cursor_both_ways() -> None:
    assert page() == ("bcdef", False)
    assert page(limit="2") == ("bc", True)
    assert page(limit="2", after_id="a/c") == ("de", True)
    assert page(limit="2", after_id="a/e") == ("f", False)
    assert page(limit="2", before_id="a/e") == ("cd", True)
    assert page(limit="2", before_id="a/c") == ("b", False)
    assert page(after_id="a/f") == ("", False)


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "1001"}, {"limit": "²"}, {"after_id": "x"}]
)
def test_a_page_that_cannot_be_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(GatewayError):
        page(**query)


async def test_the_real_client_reads_messages_counts_lists_and_errors(tmp_path: Path) -> None:
    async def answers(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("count_tokens"):
            return web.json_response({"input_tokens": 12})
        return web.json_response(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude-s",
                "content": [{"type": "text", "text": "hi"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 4, "output_tokens": 6},
            }
        )

    async with world(tmp_path) as w, client(w) as sdk:
        w.answers(answers)
        made = await sdk.messages.create(
            model="claude/sonnet", max_tokens=5, messages=[{"role": "user", "content": "x"}]
        )
        assert made.usage.output_tokens == 6
        counted = await sdk.messages.count_tokens(
            model="claude/sonnet", messages=[{"role": "user", "content": "x"}]
        )
        assert counted.input_tokens == 12
        assert "claude/sonnet" in [m.id async for m in sdk.models.list(limit=1)]
        with pytest.raises(anthropic.NotFoundError):
            await sdk.messages.create(model="claude/x", max_tokens=5, messages=[])
        with pytest.raises(anthropic.AuthenticationError):
            await sdk.with_options(api_key="sk-ant-wrong").models.list()
