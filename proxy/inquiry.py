"""Long questions, asked of a process of its own, so that no request waits for them.

The process (`inquirer.py`) is started at the first question and ends after some idle minutes, with this
process, or when a question takes too long. One question runs at a time; a few may wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from authz.search import Ability, Holder
from policies.change import Change, Plan
from policies.difference import Difference
from policies.replay import RecordedQuestion, Replay
from proxy import children, logs
from proxy.access_review import ReviewLine
from proxy.casbin_rows import CasbinPiece
from proxy.inquirer import LENGTH, frame
from proxy.log_replay import PastQuestion, Replayed
from proxy.questions import Asked, Page
from store.errors import StoreUnavailable
from store.past import ACCOUNTS, Moment, NoSuchMoment

log = logs.get("inquiry")

SECONDS: Final = 30.0  # that a question may take
LOAD_SECONDS: Final = (
    120.0  # that it may take until policy is at hand: all of it may have to be read
)
IDLE_SECONDS: Final = 300.0
MOST_WAITING: Final = 8


class QuestionTooLong(StoreUnavailable):
    """A question was given up: it took too long."""

    code = "question_too_long"


class QuestionsBusy(StoreUnavailable):
    """Too many questions wait already."""

    code = "busy"


class Inquiries:
    """Asks long questions. Belongs to one event loop; `close` ends what it started.

    Every question raises: NoSuchMoment, there is no such place in the log; QuestionTooLong, QuestionsBusy,
    StoreUnavailable, it could not be answered.
    """

    def __init__(
        self,
        store_url: str,
        model_text: str,
        *,
        seconds: float = SECONDS,
        load_seconds: float = LOAD_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._first = (store_url, model_text)
        self._seconds = seconds
        self._load_seconds = load_seconds
        self._idle_seconds = idle_seconds
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._child: asyncio.subprocess.Process | None = None
        self._ending: list[asyncio.subprocess.Process] = []  # told to end, and not seen to have
        self._idle: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._child is not None and self._child.returncode is None

    # --- questions ------------------------------------------------------------------------------

    async def who(
        self,
        action: str,
        resource: str,
        *,
        at: int | datetime | None,
        now: datetime | None,
        after: str = "",
        limit: int = 100,
    ) -> Page[Holder]:
        """The users and virtual accounts that may do `action` to `resource`: one page, ascending.

        `at` is the epoch, or a time, None the head; `now` is when the requests are thought to be made, None
        the time of the epoch's entry.
        """
        found: Page[Holder] = await self._ask(
            at, "who", action=action, resource=resource, now=now, after=after, limit=limit
        )
        return found

    async def can(
        self,
        asked: Asked,
        *,
        actions: tuple[str, ...] | None,
        at: int | datetime | None,
        now: datetime | None,
        after: tuple[str, str] = ("", ""),
        limit: int = 100,
    ) -> Page[Ability]:
        """What a subject may do: one page, ascending by action and thing."""
        found: Page[Ability] = await self._ask(
            at, "can", asked=asked, actions=actions, now=now, after=after, limit=limit
        )
        return found

    async def explain(
        self,
        asked: Asked,
        action: str,
        resource: str,
        *,
        at: int | datetime | None,
        now: datetime | None,
        values: Mapping[str, object],
    ) -> dict[str, Any]:
        """The decision as it would have been, and why; `values` are what conditions read."""
        found: dict[str, Any] = await self._ask(
            at,
            "explain",
            asked=asked,
            action=action,
            resource=resource,
            now=now,
            values=dict(values),
        )
        return found

    async def difference(
        self, plan: Plan, now: datetime, *, epoch: int | None = None
    ) -> Difference:
        """Who gains and loses what by a plan that was made at `epoch`, None the head."""
        found: Difference = await self._ask(epoch, "difference", plan=_shipped(plan), now=now)
        return found

    async def replay(
        self, plan: Plan, questions: Sequence[RecordedQuestion], *, epoch: int | None = None
    ) -> Replay:
        """Which of the recorded questions the plan would turn."""
        found: Replay = await self._ask(
            epoch, "replay", plan=_shipped(plan), questions=tuple(questions)
        )
        return found

    async def casbin(
        self, *, at: int | datetime | None, people: bool, start: int, stamp: str
    ) -> tuple[Moment, CasbinPiece]:
        """One page of the policy at a moment for a stock Casbin; the first may have to read all of it."""
        found: tuple[Moment, CasbinPiece] = await self._ask(
            at,
            "casbin",
            first="place",
            seconds=self._load_seconds,
            people=people,
            start=start,
            stamp=stamp,
        )
        return found

    async def review(
        self, *, at: int | datetime | None, after: tuple[str, int], limit: int
    ) -> tuple[Moment, tuple[ReviewLine, ...], tuple[str, int] | None]:
        """One page of the access review of a moment, and where the next one begins."""
        found: tuple[Moment, tuple[ReviewLine, ...], tuple[str, int] | None] = await self._ask(
            at, "review", seconds=self._load_seconds, after=after, limit=limit
        )
        return found

    async def replayed(self, questions: Sequence[PastQuestion]) -> Replayed:
        """Recorded decisions, each asked again at the epoch of its record."""
        found: Replayed = await self._ask(
            None,
            "replayed",
            first="place",
            seconds=self._load_seconds,
            questions=tuple(questions),
        )
        return found

    # --- the process ----------------------------------------------------------------------------

    async def _ask(
        self,
        at: int | datetime | None,
        name: str,
        *,
        first: str = "moment",
        seconds: float | None = None,
        **given: Any,
    ) -> Any:
        if self._waiting >= MOST_WAITING:
            raise QuestionsBusy("too many questions wait for their answer", hint="ask again later")
        self._waiting += 1
        try:
            async with self._lock:
                self._rest(False)
                moment: Moment = await self._exchange(self._load_seconds, first, {"at": at})
                asked = {"moment": moment, **given}
                return await self._exchange(seconds or self._seconds, name, asked)
        finally:
            self._waiting -= 1
            self._rest(True)

    async def _exchange(self, seconds: float, name: str, given: dict[str, Any]) -> Any:
        """One question and its answer. What is cut short ends the process: its answer is nobody's."""
        whole = False
        try:
            async with asyncio.timeout(seconds):
                child = await self._started()
                assert child.stdin is not None and child.stdout is not None
                sent = await asyncio.to_thread(frame, (name, given))
                child.stdin.write(sent)
                await child.stdin.drain()
                (length,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
                raw = await child.stdout.readexactly(length)
            whole = True
        except TimeoutError as error:
            raise QuestionTooLong(
                f"the question took longer than {seconds:g} seconds",
                hint="ask for fewer: name an action, or a smaller `limit`",
            ) from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise StoreUnavailable("the process that answers questions ended") from error
        finally:
            if not whole:
                self._kill()
        return _answer(await asyncio.to_thread(pickle.loads, raw))

    async def _started(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        self._ending = [one for one in self._ending if one.returncode is None]
        # No variable of ours: it needs no key and no secret; the store's URL goes through the pipe.
        child = await asyncio.create_subprocess_exec(
            *children.command("proxy.inquirer"),
            env=children.variables(private=False),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._child = child
        assert child.stdin is not None
        child.stdin.write(frame(self._first))
        return child

    def _kill(self) -> None:
        child, self._child = self._child, None  # the next question starts another
        if child is not None:
            self._ending.append(child)
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            log.warning("the process that answers questions was ended")

    def _rest(self, idle: bool) -> None:
        """Winds the clock that ends the process when nobody asks, or stops it."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if idle and self.running and not self._waiting:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._idle_seconds, self.let_go)

    def let_go(self) -> None:
        """Lets the process end, unless a question is under way; the next one starts another."""
        if self._child is not None and not self._waiting:
            if self._child.stdin is not None:
                self._child.stdin.close()
            self._ending.append(self._child)
            self._child = None

    async def close(self) -> None:
        """Ends the process."""
        self._rest(False)
        if self._child is not None:
            self._ending.append(self._child)
            self._child = None
        for child in self._ending:
            if child.stdin is not None:
                child.stdin.close()
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()  # it only reads: nothing is lost
            await child.wait()
        self._ending.clear()


def _shipped(plan: Plan) -> Plan:
    """What the other process needs of a plan: rows, and which accounts are bounded by what."""
    accounts = tuple(change for change in plan.documents if change.key[0] == ACCOUNTS)
    change = plan.change
    bare = Change(change.actor, change.source, change.request_id)
    return Plan(bare, accounts, plan.added, plan.removed)


def _answer(said: tuple[Any, ...]) -> Any:
    if said[0] == "done":
        return said[1]
    if said[0] == "error":
        _, code, message, hint = said
        if code == NoSuchMoment.code:
            raise NoSuchMoment(message, hint=hint)
        raise StoreUnavailable(message, hint=hint)
    raise StoreUnavailable(
        "the question could not be answered", hint="the log of the gateway says why"
    )
