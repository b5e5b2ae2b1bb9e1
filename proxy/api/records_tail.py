"""Records as they arrive, as server-sent events, under the same rules as lists.

Each look is by the policy and the credential of its moment: what a change takes away is not sent any more, and
with the token the stream ends. `record` events carry one record each and its place as id; `gap` says that
some were left out, `end` why it is over. A stream is written down when it begins, each minute in which it
showed something, and at its end, so that somebody who follows the decision log does not feed it without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from authz.decision import Decision, Effect, Reason
from authz.errors import GatewardenError
from authz.scopes import DataType
from authz.vocabulary import Action
from proxy import logs
from proxy.api.records_reading import SHELF_OF, Line, Lines, Look, Reader, read_page, records_of
from proxy.api.routes import Answer, Call, Gate, NoQuery
from proxy.headers import credential_of
from proxy.middleware.access import fresh, record
from proxy.tails import Tails
from store.request_records import Window

log = logs.get("records")
POLL_SECONDS: Final = 1.0
BEAT_SECONDS: Final = 15.0  # after which a comment is sent, for proxies between
NOTE_SECONDS: Final = 60.0
_AT_ONCE: Final = 1000  # records of one look
_BACK: Final = 10_000  # places that `Last-Event-ID` may go back
# A writer of the store may fill a place a moment after a later one: so far back each look begins again.
_UNSETTLED: Final = timedelta(seconds=5)
EVER: Final = Window(0, 1 << 61)


class Following(NoQuery):
    """What every tail takes."""

    seconds: Annotated[int, Field(ge=1, le=3600, description="How long it lasts.")] = 3600


async def tailed(
    call: Call,
    data_type: DataType,
    look: Look,
    following: Following,
    shown: Callable[[Line], BaseModel],
) -> Answer:
    """The answer that streams, once that is written down.

    Raises:
        Unready: no records here. Unavailable: too many streams. StoreUnavailable. JournalUnavailable.
    """
    tails = call.runtime.tails
    tails.room(call.principal.id)
    tail = _Tail(call, data_type, look, shown)
    await tail.begin()
    until = asyncio.get_running_loop().time() + following.seconds

    async def stream(request: web.Request) -> web.StreamResponse:
        with tails.one(call.principal.id):
            return await _streamed(request, tail, until, tails)

    return Answer(None, stream=stream)


async def _streamed(
    request: web.Request, tail: _Tail, until: float, tails: Tails
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Accel-Buffering": "no",
            **tail.headers,
        }
    )
    await response.prepare(request)
    clock = asyncio.get_running_loop()
    silent = 0.0
    try:
        await response.write(b": open\n\n")
        while True:
            try:
                events = await tail.look()
            except GatewardenError as error:
                await response.write(_event("end", {"code": error.code, "detail": error.message}))
                break
            except Exception:  # the answer has begun: nobody else could say so any more
                log.exception("a stream of records failed", request_id=tail.call.request_id)
                await response.write(_event("end", {"code": "internal_error", "detail": _WRONG}))
                break
            for event in events:
                await response.write(event)
            silent = 0.0 if events else silent + POLL_SECONDS
            if silent >= BEAT_SECONDS:
                await response.write(b": still here\n\n")
                silent = 0.0
            if tails.ended.is_set() or clock.time() >= until:
                code = "ended" if tails.ended.is_set() else "over"
                await response.write(_event("end", {"code": code, "detail": _WHY[code]}))
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await tails.ended.wait()
        await response.write_eof()
    except ConnectionError:
        pass  # the reader hung up
    finally:
        await tail.note()
    return response


_WRONG: Final = "something went wrong on our side"
_WHY: Final = {"over": "the time that was asked for is over", "ended": "the gateway ends"}


class _Tail:
    """What one stream has seen, and what it has yet to write down."""

    def __init__(
        self, call: Call, data_type: DataType, look: Look, shown: Callable[[Line], BaseModel]
    ) -> None:
        self.call = call
        self._type = data_type
        self._look = look
        self._shown = shown
        self._floor = 0  # all up to here were looked at
        self._heads: list[tuple[datetime, int]] = []
        self._seen: set[int] = set()
        self._count = 0
        self._digest = hashlib.sha256()
        self._noted = call.now

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer that cannot be set once it has begun."""
        call = self.call
        return {
            "x-request-id": call.request_id,
            "x-decision-id": call.decision_id,
            "x-policy-epoch": str(call.runtime.changes.engine.epoch),
        }

    async def begin(self) -> None:
        """Where it starts; written down."""
        head = await (await records_of(self.call)).head(SHELF_OF[self._type])
        asked = self.call.request.headers.get("Last-Event-ID", "")
        self._floor = head
        if asked.isascii() and asked.isdigit() and len(asked) <= 18:
            self._floor = max(0, head - _BACK, min(int(asked), head))
        self._heads = [(self.call.now, self._floor)]
        await self._write_down()

    async def look(self) -> list[bytes]:
        """The events since the last look.

        Raises:
            GatewardenError: the token has ended, or nothing can be decided or read.
        """
        runtime = self.call.runtime
        now = runtime.clock.now()
        fresh(runtime, now)
        credential = credential_of(self.call.request.headers)
        principal = runtime.directory.authenticate(credential, now)
        self.call.principal = principal
        context = replace(self.call.context, values={"time.now": now})
        found = await self._page(Reader(self.call, self._type, context))
        events = [self._record(place, line) for place, line in reversed(found.lines)]
        if found.next is not None or found.truncated:
            events.insert(0, _event("gap", {"detail": "older records were left out"}))
        if self._count and now - self._noted >= timedelta(seconds=NOTE_SECONDS):
            self._noted = now
            await self._write_down()
        return events

    async def note(self) -> None:
        """Writes down what was shown since it was last written."""
        if self._count:
            with contextlib.suppress(GatewardenError):  # it was opened with a record of its own
                await self._write_down()

    async def _page(self, reader: Reader) -> Lines:
        call, now = self.call, self.call.runtime.clock.now()
        head = await (await records_of(call)).head(SHELF_OF[self._type])
        if head < self._floor:  # the store was made anew
            self._floor, self._seen, self._heads = 0, set(), [(now, 0)]
        self._heads.append((now, head))
        found = await read_page(
            call,
            reader,
            self._type,
            self._look,
            after=self._floor,
            limit=_AT_ONCE,
            seen=self._seen,
        )
        if found.next is not None or found.truncated:
            newest = max((head, *(place for place, _ in found.lines)))
            self._floor, self._heads = newest, [(now, newest)]
        while len(self._heads) > 1 and now - self._heads[1][0] >= _UNSETTLED:
            self._heads.pop(0)
        if now - self._heads[0][0] >= _UNSETTLED:
            self._floor = self._heads[0][1]
            self._seen = {place for place in self._seen if place > self._floor}
        return found

    def _record(self, place: int, line: Line) -> bytes:
        self._count += 1
        self._digest.update(f"{line['id']}\n".encode())
        data = self._shown(line).model_dump_json().encode()
        return b"event: record\nid: %d\ndata: %b\n\n" % (place, data)

    async def _write_down(self) -> None:
        """Raises: JournalUnavailable."""
        call, engine = self.call, self.call.runtime.changes.engine
        decision = Decision(Effect.ALLOW, Reason.ALLOWED, engine.epoch, engine.digest)
        count, digest = self._count, self._digest.hexdigest()
        self._count, self._digest = 0, hashlib.sha256()
        gate = Gate(Action.DATA_READ, f"data:{self._type}")
        await record(call, gate, decision, time.perf_counter_ns(), totals=(count, digest))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(data).encode())
