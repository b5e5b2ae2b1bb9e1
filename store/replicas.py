"""Which processes follow the log, and how far each has applied it.

Each process says so in the shared state: at its start, when it has applied more, and at least every
`BEAT_SECONDS`. One that has said nothing for `LIVE_SECONDS` is not counted any more. Whoever made a change
may wait here until all that live have it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from store.errors import StoreError
from store.state import State

SPACE = "replicas"
LIVE_SECONDS = 15.0
BEAT_SECONDS = 5.0
STEP_SECONDS = 0.2  # between two looks at whether more is applied
WAIT_SECONDS = 5.0  # for the others, at most
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, order=True)
class Replica:
    """One process: where it runs (`host@slot`), which one (random), what it has applied, when it said so."""

    name: str
    id: str
    epoch: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Applied:
    """How many of the live processes have applied an epoch, and the names of those that have not."""

    reached: int
    total: int
    waiting: tuple[str, ...] = ()


def live(replicas: Iterable[Replica], now: datetime) -> tuple[Replica, ...]:
    """Those that are alive at `now`, by name: who said something less than `LIVE_SECONDS` ago.

    What was said in the future (a clock that is ahead, or ours that was set back) counts as said now.
    """
    longest = timedelta(seconds=LIVE_SECONDS)
    return tuple(sorted(one for one in replicas if now - one.at < longest))


def applied(replicas: Iterable[Replica], epoch: int) -> Applied:
    """How far `replicas` are with `epoch`."""
    listed = tuple(replicas)
    behind = tuple(one.name for one in listed if one.epoch < epoch)
    return Applied(len(listed) - len(behind), len(listed), behind)


class Replicas:
    """The processes of one installation, as one of them sees them."""

    def __init__(
        self,
        state: State,
        name: str,
        epoch: Callable[[], int],
        *,
        id: str | None = None,
    ) -> None:
        """`name` is `host@slot`; `epoch` reads what this process has applied."""
        self._state = state
        self._name = name
        self._id = id or secrets.token_hex(6)
        self._epoch = epoch
        self._said: tuple[int, datetime] | None = None
        self._looked: datetime | None = None
        self.seen: tuple[Replica, ...] = ()  # at the last beat, for metrics

    @property
    def lowest(self) -> int:
        """The lowest epoch of those that were seen last; this process's own when there was none."""
        return min((one.epoch for one in self.seen), default=self._epoch())

    async def tell(self, now: datetime) -> bool:
        """Says how far this process is, if it moved or a beat is due; whether it did.

        Raises:
            StoreUnavailable.
        """
        epoch = self._epoch()
        if self._said is not None:
            before, at = self._said
            # A clock that was set back must not keep it silent.
            if before == epoch and 0 <= (now - at).total_seconds() < BEAT_SECONDS:
                return False
        until = now + timedelta(seconds=LIVE_SECONDS)
        body = json.dumps({"name": self._name, "epoch": epoch, "at": now.isoformat()})
        await self._state.put(SPACE, self._id, body.encode(), until)
        self._said = (epoch, now)
        return True

    async def beat(self, now: datetime) -> None:
        """`tell`, and a look at the others when it is time for one. Raises: StoreUnavailable."""
        await self.tell(now)
        looked = self._looked
        if looked is None or not 0 <= (now - looked).total_seconds() < BEAT_SECONDS:
            self.seen = await self.alive(now)
            self._looked = now

    async def alive(self, now: datetime) -> tuple[Replica, ...]:
        """The live processes, this one included. Raises: StoreUnavailable."""
        found = read(await self._state.all(SPACE, now))
        others = [one for one in found if one.id != self._id]
        return live([*others, Replica(self._name, self._id, self._epoch(), now)], now)

    async def wait(
        self, epoch: int, clock: Callable[[], datetime], seconds: float = WAIT_SECONDS
    ) -> Applied:
        """How far the live processes are with `epoch`, after waiting for them at most `seconds`.

        Raises:
            StoreUnavailable: the others cannot be seen.
        """
        found = applied(await self.alive(clock()), epoch)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while found.waiting:
                    await asyncio.sleep(_LOOK_SECONDS)
                    found = applied(await self.alive(clock()), epoch)
        return found

    async def leave(self) -> None:
        """This process ends: nobody waits for it any more."""
        with contextlib.suppress(StoreError):  # then it expires
            await self._state.drop(SPACE, self._id)


def read(found: Mapping[str, bytes]) -> list[Replica]:
    """The processes in the state; what another version wrote and cannot be read is left out."""
    read = []
    for key, raw in found.items():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            body = json.loads(raw)
            at = datetime.fromisoformat(body["at"])
            read.append(Replica(str(body["name"]), key, int(body["epoch"]), at))
    return read
