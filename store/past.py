"""Policy as it was: an engine at any epoch of the log, for questions that are not about now.

Reads a store and never writes to it. Two engines are kept: one that follows the head, and one for the past
that was asked last; each is moved by the entries between where it is and what is asked, in either
direction, and loaded anew where those are many. INVARIANT: what is handed out has the digest that the log
names for its epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authz import collector
from authz.engine import Engine
from authz.errors import GatewardenError, InvalidCondition, InvalidRow
from authz.vocabulary import Kind, make_id
from policies.change import Entry
from store.entries import decode
from store.errors import LogDamaged, StoreError
from store.port import Head, Store
from store.provenance import header_at

ACCOUNTS = "virtual-account"  # the family whose documents say what bounds an account
MOST_ENTRIES = 500  # that an engine is moved by; a longer way is a new engine
MOST_ROWS = 20_000
_PAGE = 500


class NoSuchMoment(StoreError):
    """The log has no entry at the epoch, or none yet at the time, that somebody asks about."""

    code = "no_such_moment"


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in the log: an epoch, and when its entry was written."""

    epoch: int
    at: datetime | None  # None: the log is empty
    digest: str


@dataclass(slots=True)
class Held:
    """Policy at one moment: the engine, and `bound:<team>` of each virtual account that has one."""

    engine: Engine
    bounds: dict[str, str]
    moment: Moment


class Past:
    """The moments of one store."""

    def __init__(self, store: Store, model_text: str) -> None:
        """`store` is open; whoever opened it closes it."""
        self._store = store
        self._model_text = model_text
        self._held: dict[bool, Held] = {}  # by whether it follows the head

    async def moment(self, at: int | datetime | None) -> Moment:
        """The place in the log that `at` names: an epoch, the last one at or before a time, or the head.

        Raises:
            NoSuchMoment. StoreUnavailable, LogDamaged.
        """
        head = await self._store.head()
        if at is None:
            return await self._of(head.epoch)
        if isinstance(at, int):
            if not 1 <= at <= head.epoch:
                raise NoSuchMoment(
                    f"there is no epoch {at}", hint=f"the log goes from 1 to {head.epoch}"
                )
            return await self._of(at)
        return await self._at_time(at, head.epoch)

    async def _of(self, epoch: int) -> Moment:
        if not epoch:
            return Moment(0, None, Head().digest)
        header, digest = await header_at(self._store, epoch)
        return Moment(epoch, header.at, digest)

    async def _at_time(self, at: datetime, head: int) -> Moment:
        """By halving: entries stand in the order of their times, as far as clocks agree."""
        low, high = 0, head
        while low < high:
            middle = (low + high + 1) // 2
            header, _ = await header_at(self._store, middle)
            low, high = (middle, high) if header.at <= at else (low, middle - 1)
        if not low:
            first = (await self._of(1)).at if head else None
            raise NoSuchMoment(
                f"the log begins after {at.isoformat()}",
                hint=f"its first entry is of {first.isoformat()}" if first else "it is empty",
            )
        return await self._of(low)

    async def held(self, moment: Moment) -> Held:
        """Policy at `moment`. It is the caller's until the next call; `drop` what was left half moved.

        Raises:
            StoreUnavailable. LogDamaged: the rows are not those that the log names.
        """
        for held in self._held.values():
            if held.engine.epoch == moment.epoch:
                return held
        follows = (await self._store.head()).epoch == moment.epoch
        before = self._held.pop(follows, None)
        moved = await self._moved(before, moment) if before is not None else None
        before = None  # let go of before another is loaded
        held = moved or await self._load(moment)
        if held.engine.digest != moment.digest:
            raise LogDamaged(f"the rows at epoch {moment.epoch} are not those of the log")
        self._held[follows] = held
        return held

    def drop(self, held: Held) -> None:
        """Forgets an engine that may be between two epochs."""
        self._held = {place: one for place, one in self._held.items() if one is not held}

    async def _load(self, moment: Moment) -> Held:
        def consume(texts: Iterator[str]) -> Engine:
            try:
                return Engine.load_texts(self._model_text, texts, moment.epoch)
            except (InvalidRow, InvalidCondition) as error:
                raise LogDamaged(f"the rows at epoch {moment.epoch} cannot be read") from error

        with collector.paused():
            engine = await self._store.rows_at(moment.epoch, consume)
        return Held(engine, await self._bounds_at(moment.epoch), moment)

    async def _bounds_at(self, epoch: int) -> dict[str, str]:
        """The documents of now, and where one has changed since, as its first change found it."""
        bounds: dict[str, str] = {}
        after = ""
        while page := await self._store.page(ACCOUNTS, after, _PAGE):
            for raw in page:
                _set(bounds, raw.name, json.loads(raw.body))
            after = page[-1].name
        seen: set[str] = set()
        at = epoch
        # Read after the documents, so that no change falls between.
        while entries := await self._store.entries(at, _PAGE):
            for one in entries:
                for name, before, _ in _accounts(decode(one.epoch, one.hash, one.body)):
                    if name not in seen:
                        seen.add(name)
                        _set(bounds, name, before)
            at = entries[-1].epoch
        return bounds

    async def _moved(self, held: Held, moment: Moment) -> Held | None:
        """`held` at `moment`; None, and `held` is of no use any more, if it is too far or cannot be moved."""
        here, there = held.engine.epoch, moment.epoch
        low, high = min(here, there), max(here, there)
        if high - low > MOST_ENTRIES:
            return None
        raw = await self._store.entries(low, high - low)
        entries = [decode(one.epoch, one.hash, one.body) for one in raw]
        if len(entries) != high - low:
            return None
        if sum(len(one.added) + len(one.removed) for one in entries) > MOST_ROWS:
            return None
        forward = there > here
        try:
            for entry in entries if forward else reversed(entries):
                if forward:
                    held.engine.apply(entry.added, entry.removed, entry.epoch)
                else:
                    held.engine.apply(entry.removed, entry.added, entry.epoch - 1)
                for name, before, after in _accounts(entry):
                    _set(held.bounds, name, after if forward else before)
        except GatewardenError:
            return None
        return Held(held.engine, held.bounds, moment)


def bound_of(document: Mapping[str, Any] | None) -> str | None:
    """`bound:<team>` of a virtual account's document as stored."""
    team = document.get("bounded_by") if document is not None else None
    return make_id(Kind.BOUND, team) if team else None


def account_id(name: str) -> str:
    """The id of the virtual account with this stored name."""
    return make_id(Kind.VIRTUAL_ACCOUNT, name)


def _set(bounds: dict[str, str], name: str, document: Mapping[str, Any] | None) -> None:
    bound = bound_of(document)
    if bound is not None:
        bounds[account_id(name)] = bound
    else:
        bounds.pop(account_id(name), None)


def _accounts(
    entry: Entry,
) -> Iterator[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    for change in entry.documents:
        if change.key[0] == ACCOUNTS:
            yield change.key[1], change.before, change.after
