"""Questions to a client, and answers that come to this process or to another one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.mcp import jsonrpc, questions
from proxy.mcp.questions import Questions, Unanswered
from tests.proxy.mcp.house import state

NOW = datetime(2026, 5, 6, 7, tzinfo=UTC)


def _then(act: Callable[[], Awaitable[None]]) -> Callable[[float], Awaitable[None]]:
    """A pause in which something happens once."""
    left = [act]

    async def pause(_: float) -> None:
        if left:
            await left.pop()()
        await asyncio.sleep(0)

    return pause


@pytest.mark.parametrize("same", [True, False])
async def test_an_answer_finds_the_one_that_waits_wherever_it_arrives(
    tmp_path: Path, same: bool
) -> None:
    async with state(tmp_path) as kept:
        id = Questions.id()
        message = jsonrpc.parse(jsonrpc.result(id, {"action": "accept"}))
        other = Questions(kept, lambda: NOW)

        async def arrives() -> None:
            await (one if same else other).answered("session", message)

        one = Questions(kept, lambda: NOW, _then(arrives))
        answer = await one.answer("session", id)
        assert answer.result == {"action": "accept"}


async def test_an_answer_of_another_session_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "PATIENCE", 1.0)
    async with state(tmp_path) as kept:
        id = Questions.id()
        message = jsonrpc.parse(jsonrpc.result(id, {}))

        async def arrives() -> None:
            await one.answered("another", message)

        one = Questions(kept, lambda: NOW, _then(arrives))
        with pytest.raises(Unanswered):
            await one.answer("session", id)


async def test_what_nobody_asked_leaves_nothing_behind(tmp_path: Path) -> None:
    async with state(tmp_path) as kept:
        asked = Questions(kept, lambda: NOW)
        for id in (1, "some-id"):
            await asked.answered("session", jsonrpc.parse(jsonrpc.result(id, {})))
        assert await kept.all(questions.SPACE, NOW) == {}
