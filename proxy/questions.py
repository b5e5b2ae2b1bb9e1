"""Long questions, answered on a store: who may, what may somebody, why, and what a change would come to.

Each is asked at one moment of the log (`store/past.py`), so that the pages of a list belong together
whatever is committed in between. Runs in the process of `inquirer.py`; `inquiry.py` asks it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from authz.conditions import Context
from authz.decision import Somebody
from authz.engine import Engine
from authz.explain import Explanation
from authz.explain import explain as explain_all
from authz.search import Ability, Holder
from authz.search import can as search_can
from authz.search import who as search_who
from policies.change import Plan
from policies.difference import Difference, difference
from policies.replay import RecordedQuestion, Replay, replay
from proxy.access_review import AccessReview, ReviewLine
from proxy.casbin_rows import CasbinPiece, CasbinRows
from proxy.log_replay import PastQuestion, Replayed, replay_past
from store.past import ACCOUNTS, Held, Moment, Past, account_id, bound_of
from store.port import Store
from store.provenance import Written, written_by

T = TypeVar("T")
TURN_SECONDS = 15.0  # after which a page that holds something is given as it is
_GENERATION = re.compile(r"([a-z-]+:[^/~]+)~([0-9]{1,9})(/.*)?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks about whom: a subject, the token it uses, and its bound of now (None: as it was then)."""

    id: str
    bound: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, true at `epoch` for requests made at `now`; `known`: the thing was there."""

    epoch: int
    at: datetime | None  # when that epoch's entry was written
    now: datetime
    items: tuple[T, ...]
    more: bool
    known: bool = True


class Questions:
    """The questions on one store. `moment` first, which may take long; then one question about it."""

    def __init__(self, store: Store, model_text: str) -> None:
        """`store` is open."""
        self._store = store
        self._past = Past(store, model_text)
        self._casbin = CasbinRows(store, model_text)
        self._review = AccessReview(store)

    async def place(self, at: int | datetime | None) -> Moment:
        """The place in the log, and nothing else. Raises: NoSuchMoment, StoreError."""
        return await self._past.moment(at)

    async def moment(self, at: int | datetime | None) -> Moment:
        """The place in the log, with policy as it was there at hand. Raises: NoSuchMoment, StoreError."""
        found = await self._past.moment(at)
        await self._past.held(found)
        return found

    async def who(
        self,
        moment: Moment,
        *,
        action: str,
        resource: str,
        now: datetime | None,
        after: str,
        limit: int,
    ) -> Page[Holder]:
        """The users and virtual accounts that may, ascending, after `after`."""
        held = await self._past.held(moment)
        instant = _instant(moment, now)
        thing = of_then(held.engine, resource)
        found = search_who(
            held.engine,
            action,
            thing,
            Context({"time.now": instant}),
            bound_of=held.bounds.get,
            after=after,
            limit=limit + 1,
        )
        items, more = _page(found, limit)
        known = held.engine.knows(thing)
        return Page(moment.epoch, moment.at, instant, items, more, known)

    async def can(
        self,
        moment: Moment,
        *,
        asked: Asked,
        actions: tuple[str, ...] | None,
        now: datetime | None,
        after: tuple[str, str],
        limit: int,
    ) -> Page[Ability]:
        """What the subject may do, ascending by action and thing, after `after`."""
        held = await self._past.held(moment)
        instant = _instant(moment, now)
        found = search_can(
            held.engine,
            _asker(held, asked),
            Context({"time.now": instant}),
            actions=actions,
            after=after,
            limit=limit + 1,
        )
        items, more = _page(found, limit)
        return Page(moment.epoch, moment.at, instant, items, more)

    async def explain(
        self,
        moment: Moment,
        *,
        asked: Asked,
        action: str,
        resource: str,
        now: datetime | None,
        values: Mapping[str, object],
    ) -> dict[str, Any]:
        """The decision and why: that of `decide` as it was then, with who wrote each rule."""
        held = await self._past.held(moment)
        context = Context({"time.now": _instant(moment, now), **values})
        thing = of_then(held.engine, resource)
        told = explain_all(held.engine, _asker(held, asked), action, thing, context)
        decision = held.engine.decide(_asker(held, asked), action, thing, context)
        texts = [row.text() for row in told.rows()]
        written = await written_by(self._store, texts, moment.epoch)
        return {
            "effect": decision.effect.value,
            "reason": decision.reason.value,
            "rules": list(decision.rules),
            "message": decision.message,
            "epoch": moment.epoch,
            "at": moment.at,
            "explanation": with_writers(told, written),
        }

    async def difference(self, moment: Moment, *, plan: Plan, now: datetime) -> Difference:
        """Who gains and loses what by a plan."""
        held = await self._past.held(moment)
        return self._moving(
            held,
            lambda: difference(
                held.engine,
                plan.added,
                plan.removed,
                Context({"time.now": now}),
                bound_of=held.bounds.get,
                bound_after=_bounds_after(held, plan).get,
            ),
        )

    async def replay(
        self, moment: Moment, *, plan: Plan, questions: Sequence[RecordedQuestion]
    ) -> Replay:
        """Which recorded questions a plan would turn."""
        held = await self._past.held(moment)
        return self._moving(
            held,
            lambda: replay(
                held.engine,
                plan.added,
                plan.removed,
                questions,
                bound_of=held.bounds.get,
                bound_after=_bounds_after(held, plan).get,
            ),
        )

    async def casbin(
        self, moment: Moment, *, people: bool, start: int, stamp: str
    ) -> tuple[Moment, CasbinPiece]:
        """One page of the policy of `moment` for a stock Casbin. It needs no engine."""
        piece = await self._casbin.piece(moment, people=people, start=start, stamp=stamp)
        return moment, piece

    async def review(
        self, moment: Moment, *, after: tuple[str, int], limit: int
    ) -> tuple[Moment, tuple[ReviewLine, ...], tuple[str, int] | None]:
        """One page of who has what, through what, since when, granted by whom."""
        held = await self._past.held(moment)
        lines, following = await self._review.page(held, after=after, limit=limit)
        return moment, lines, following

    async def replayed(self, moment: Moment, *, questions: Sequence[PastQuestion]) -> Replayed:
        """Recorded decisions, each asked again at the epoch of its record, whatever the moment."""
        return await replay_past(self._past, questions)

    def close(self) -> None:
        """Lets go of what is kept between pages."""
        self._casbin.close()

    def _moving(self, held: Held, work: Callable[[], T]) -> T:
        """What `work` gives, which moves the engine and moves it back."""
        try:
            return work()
        except BaseException:
            self._past.drop(held)  # it may have been left on the way
            raise


def with_writers(told: Explanation, written: Mapping[str, Written]) -> dict[str, Any]:
    """The explanation as JSON types; each rule says in `written_by` which change wrote it."""
    made: dict[str, Any] = told.as_json()
    for part, seen in zip(made["parts"], told.parts, strict=True):
        for rule, one in zip(part["rules"], seen.rules, strict=True):
            writer = written.get(one.row().text())
            rule["written_by"] = _writer_json(writer) if writer is not None else None
    return made


def _writer_json(writer: Written) -> dict[str, Any]:
    return {**asdict(writer), "at": writer.at.astimezone(UTC).isoformat().replace("+00:00", "Z")}


def of_then(engine: Engine, thing: str) -> str:
    """The id that the name behind an id of today had then: an earlier generation, if today's was not there."""
    found = _GENERATION.match(thing)
    if found is None or engine.knows(thing) or thing in engine.enforcer.subjects:
        return thing
    base, number, rest = found[1], int(found[2]), found[3] or ""
    for generation in range(number - 1, 0, -1):
        older = f"{base}~{generation}{rest}" if generation > 1 else f"{base}{rest}"
        if engine.knows(older) or older in engine.enforcer.subjects:
            return older
    return thing


def _instant(moment: Moment, now: datetime | None) -> datetime:
    """When the question is thought to be asked: `now`, else when the entry was written."""
    return now or moment.at or datetime.fromtimestamp(0, UTC)


def _asker(held: Held, asked: Asked) -> Somebody:
    subject = of_then(held.engine, asked.id)
    return Somebody(subject, held.bounds.get(subject, asked.bound), asked.token)


def _bounds_after(held: Held, plan: Plan) -> dict[str, str]:
    after = dict(held.bounds)
    for change in plan.documents:
        if change.key[0] == ACCOUNTS:
            bound = bound_of(change.after)
            after.pop(account_id(change.key[1]), None)
            if bound is not None:
                after[account_id(change.key[1])] = bound
    return after


def _page(found: Iterator[T | None], limit: int) -> tuple[tuple[T, ...], bool]:
    """Up to `limit` items and whether there may be more; fewer where the search takes long."""
    items: list[T] = []
    late = time.monotonic() + TURN_SECONDS
    for item in found:
        if item is not None:
            if len(items) == limit:
                return tuple(items), True
            items.append(item)
        elif items and time.monotonic() > late:
            return tuple(items), True
    return tuple(items), False
