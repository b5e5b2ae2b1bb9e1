"""Who reads which records, by the policy of now: lists and single ones, each with its own record.

A list is `scope` once and a check of each row; parameters only narrow it. One record is a decision like any
other, and that decision is the record of having read it. What somebody may not read looks like what does not
exist.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from authz.conditions import Context
from authz.decision import Decision, Effect, Reason
from authz.errors import AuthzError
from authz.filters import Clause, Filter, FilterTooWide
from authz.keys import Stamp, stamp_of
from authz.scopes import Check, DataType, scope
from authz.vocabulary import Action
from proxy.api.problem import Refused, Unready
from proxy.api.routes import Call, Gate
from proxy.middleware.access import missing, record, record_list, refuse
from store.request_records import RequestRecords, Row, Shelf, Window

SHELF_OF: Final = {
    DataType.TRACES: Shelf.REQUESTS,
    DataType.PAYLOADS: Shelf.REQUESTS,
    DataType.DECISIONS: Shelf.DECISIONS,
}
_RECORD: Final = re.compile(r"[0-9a-f]{26}\Z")
Line = Mapping[str, Any]  # of the journal


@dataclass(frozen=True, slots=True)
class Look:
    """What a caller looks for. `also` is what no key says; it only leaves out more."""

    window: Window
    narrow: tuple[Clause, ...] = ()
    also: tuple[Callable[[Line], bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Lines:
    """A page: lines, the newest first, with their places; see `store.request_records.Page`."""

    lines: tuple[tuple[int, Line], ...]
    next: int | None
    truncated: bool


class Reader:
    """The caller as a reader of one type of data, by the policy of the moment of each question."""

    def __init__(self, call: Call, data_type: DataType, context: Context | None = None) -> None:
        self._call = call
        self._type = data_type
        self._context = context or call.context
        self._engine = call.runtime.changes.engine
        self._check = Check(self._engine, call.principal, data_type, self._context)

    def scope(self) -> Filter:
        """What may be read.

        Raises:
            FilterTooWide. Unready: the decision failed; half a list is no answer.
        """
        engine = self._call.runtime.changes.engine
        try:
            return scope(engine, self._call.principal, self._type, self._context)
        except FilterTooWide:
            raise
        except AuthzError as error:
            raise _failed() from error

    def may(self, line: Line) -> bool:
        """Whether a line may be read now. Raises: Unready."""
        try:
            return self._current().allows(_stamp(line))
        except AuthzError as error:
            raise _failed() from error

    def decide(self, line: Line) -> Decision:
        """The same with its reasons."""
        return self._current()(_stamp(line))

    def _current(self) -> Check:
        engine = self._call.runtime.changes.engine
        if engine is not self._engine:  # policy was built anew, elsewhere than in place
            self._engine = engine
            self._check = Check(engine, self._call.principal, self._type, self._context)
        return self._check


async def records_of(call: Call) -> RequestRecords:
    """The records store.

    Raises:
        Unready: none can be read here. StoreUnavailable, StoreTooNew.
    """
    access = call.runtime.records
    if access is None:
        raise Unready("the records cannot be read here")
    return await access.open()


async def read_page(
    call: Call,
    reader: Reader,
    data_type: DataType,
    look: Look,
    *,
    before: int | None = None,
    after: int = 0,
    limit: int,
    seen: set[int] | None = None,
) -> Lines:
    """One page of what the caller may read of what he looks for. Whoever shows it writes it down.

    Places in `seen` are left out; each that was looked at is added.

    Raises:
        FilterTooWide. Unready. StoreUnavailable.
    """
    allowed = reader.scope()
    read: dict[int, Line] = {}

    def shown(row: Row) -> bool:
        if seen is not None:
            if row.seq in seen:
                return False
            seen.add(row.seq)
        line: Line = msgspec.json.decode(row.body)
        if not all(test(line) for test in look.also) or not reader.may(line):
            return False
        read[row.seq] = line
        return True

    page = await (await records_of(call)).page(
        SHELF_OF[data_type],
        allowed,
        look.window,
        allowed=shown,
        narrow=look.narrow,
        before=before,
        after=after,
        limit=limit,
    )
    lines = tuple((row.seq, read[row.seq]) for row in page.rows)
    return Lines(lines, page.next, page.truncated)


async def write_down(call: Call, data_type: DataType, found: Lines) -> None:
    """The record of a list: how many, and the digest of their ids. Raises: JournalUnavailable."""
    ids = [str(line["id"]) for _, line in found.lines]
    await record_list(call, Action.DATA_READ, f"data:{data_type}", ids)


async def read_one(call: Call, data_type: DataType, record_id: str) -> Line:
    """One record that the caller may read; that he read it is written down.

    Raises:
        Missing: it does not exist or he may not. Unready. TooManyRefusals. StoreUnavailable.
    """
    records = await records_of(call)
    if not _RECORD.match(record_id):
        record_id = ""  # a text of the caller's own, which must not be written down
    row = await records.get(SHELF_OF[data_type], record_id) if record_id else None
    line: Line | None = msgspec.json.decode(row.body) if row is not None else None
    started = time.perf_counter_ns()
    if line is None:
        engine = call.runtime.changes.engine
        decision = Decision(Effect.DENY, Reason.NO_GRANT, engine.epoch, engine.digest)
    else:
        decision = Reader(call, data_type).decide(line)
    gate, about = _gate(data_type, decision), _about(decision, record_id, line)
    if line is None or not decision:
        await refuse(call, gate, about, started)
        if decision.reason is Reason.ERROR:
            raise _failed()
        raise missing(call)
    await record(call, gate, about, started)
    return line


async def may_see_payload(call: Call, line: Line) -> None:
    """Returns if the caller may read what was said in a request; it is written down.

    Raises:
        Refused: he may read of it, but not what was said. Unready. TooManyRefusals.
    """
    started = time.perf_counter_ns()
    decision = Reader(call, DataType.PAYLOADS).decide(line)
    gate = _gate(DataType.PAYLOADS, decision)
    about = _about(decision, str(line["id"]), line)
    if not decision:
        await refuse(call, gate, about, started)
        if decision.reason is Reason.ERROR:
            raise _failed()
        raise Refused(
            decision.message or "you may read of this request, but not what was said in it",
            hint=f"contact {call.runtime.settings.contact}",
        )
    await record(call, gate, about, started)


def _gate(data_type: DataType, decision: Decision) -> Gate:
    verdicts = decision.verdicts
    thing = verdicts[-1].question.resource if verdicts else f"data:{data_type}"
    return Gate(Action.DATA_READ, thing)


def _about(decision: Decision, record_id: str, line: Line | None) -> Decision:
    """The decision with the record that it is about: who read what is found by it."""
    about = {"record.id": record_id} if record_id else {}
    if line is not None:
        about["record.created_by"] = str(line["body"].get("principal", ""))
    return decision._replace(context={**decision.context, **about})


def _stamp(line: Line) -> Stamp:
    return stamp_of(line["body"], line.get("aside"))


def _failed() -> Unready:
    return Unready("the decision could not be taken", code="decision_failed")
