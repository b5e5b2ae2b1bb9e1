"""Whether somebody may make a change: a small one is judged at once, a large one without holding up the loop.

Judging a hundred thousand rows takes seconds, and asks few questions. So the work is done in a thread, and
only the questions are put to the engine, which belongs to the loop. The engine may move meanwhile: whoever
commits looks at the head before and after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final, TypeVar

from authz.conditions import Context
from authz.decision import Asker, Decision
from policies.authorise import Judge, authorise
from policies.change import Plan
from store.preparing import LARGE

T = TypeVar("T")
_ROWS: Final = 1_000  # in a change that is judged at once
_ANSWER_SECONDS: Final = 60.0  # that the loop may take; it may have ended


class _OnLoop:
    """The engine for another thread: the loop answers."""

    def __init__(self, engine: Judge, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop

    def decide(self, asker: Asker, action: str, resource: str, context: Context) -> Decision:
        return self._ask(partial(self._engine.decide, asker, action, resource, context))

    def knows(self, resource: str) -> bool:
        return self._ask(partial(self._engine.knows, resource))

    def subject_closure(self, subject: str) -> frozenset[str]:
        return self._ask(partial(self._engine.subject_closure, subject))

    def _ask(self, question: Callable[[], T]) -> T:
        async def answer() -> T:
            return question()

        asked = asyncio.run_coroutine_threadsafe(answer(), self._loop)
        return asked.result(_ANSWER_SECONDS)


def is_large(plan: Plan) -> bool:
    """Whether a change is judged aside."""
    return len(plan.documents) > LARGE or len(plan.added) + len(plan.removed) > _ROWS


async def authorise_aside(
    engine: Judge, asker: Asker, plan: Plan, context: Context, executor: Executor
) -> None:
    """`authorise`, in the executor's thread; live traffic goes on.

    Raises:
        NotAuthorised.
    """
    loop = asyncio.get_running_loop()
    work = partial(authorise, _OnLoop(engine, loop), asker, plan, context)
    await loop.run_in_executor(executor, work)
