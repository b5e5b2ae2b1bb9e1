"""Whether somebody active could still administer once a change is made.

Asked of an excerpt of the policy after the change (`authz.excerpt`), never of a live engine that was changed
and taken back. Whoever could the last time is asked first; only without him is the list of users gone through, in
parts, between which the loop turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from functools import partial
from itertools import islice
from typing import Final

from authz.conditions import Context
from authz.engine import Engine
from authz.excerpt import ChangedRows, Excerpt
from policies.change import Plan
from policies.guards import administers, administrator

_LARGE: Final = 1_000  # rows of a change that is sorted in a thread
_PART: Final = (
    200  # users asked about in one turn of the loop: some ms where each has a team of his own
)
_USERS, _USER = "any:user", "user:"


class AdministratorGuard:
    """Looks at the changes of one process, one after the other."""

    def __init__(self, model_text: str, executor: Executor) -> None:
        self._model_text = model_text
        self._executor = executor
        self._administrator: str | None = None  # somebody who can, when it was last asked
        self._nobody_at = -1  # the epoch at which nobody was found who can

    async def holds(self, engine: Engine, plan: Plan, asker: str, context: Context) -> bool:
        """Whether somebody is left who can, or nobody could before: then nothing is lost.

        The engine may move meanwhile; the answer is then worth nothing, and the caller sees it by the epoch.
        """
        changed = await self._sorted(plan)
        if not changed.removes and not changed.denies:
            return True
        epoch = engine.epoch
        known = self._administrator
        if known is None or not administers(engine, known, context):
            if self._nobody_at == epoch:
                return True
            known = await self._found(engine, asker, _users(engine), context)
            if engine.epoch != epoch:
                return True
            self._administrator = known
            if known is None:
                self._nobody_at = epoch
                return True
        after = Excerpt(engine, changed, self._model_text)
        if administers(after, known, context):
            return True
        new = (name for name in changed.places("g2") if name.startswith(_USER))
        left = await self._found(after, asker, (*_users(engine), *new), context)
        if left is not None and engine.epoch == epoch:
            self._administrator = left
        return left is not None

    def committed(self, epoch: int, *, only_revokes: bool) -> None:
        """Takes note of an entry: what only takes makes nobody an administrator."""
        if only_revokes and self._nobody_at == epoch - 1:
            self._nobody_at += 1

    async def _sorted(self, plan: Plan) -> ChangedRows:
        work = partial(ChangedRows, plan.added, plan.removed)
        if len(plan.added) + len(plan.removed) <= _LARGE:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _found(
        self, engine: Engine, asker: str, users: Iterable[str], context: Context
    ) -> str | None:
        """Somebody who can: whoever asks, if he can, since then nobody need be looked for."""
        if asker and administers(engine, asker, context):
            return asker
        waiting = iter(users)
        while part := list(islice(waiting, _PART)):
            found = administrator(engine, part, context)
            if found is not None:
                return found
            await asyncio.sleep(0)
        return None


def _users(engine: Engine) -> list[str]:
    """Every user, as a list of its own: the rows may move while it is gone through."""
    return list(engine.enforcer.objects.children(_USERS))
