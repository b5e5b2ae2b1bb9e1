"""Erasing a person: what was said, what was typed, and who it was. The proof of what was decided stays.

Gone are the payloads of the person's requests, those on their way too; the text that requests claimed or
named, in the records and in the journal (`store/erasing.py`); name and address. What stands is the opaque
id with codes and counts, and a record in the chain of what was erased and by whom. What cannot go at once, since
it is being written or shipped, goes later: the process remembers, and tries again until nothing is left.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import msgspec

from authz.filters import all_of, has
from authz.keys import creator, keys_of, stamp_of
from authz.records import Erasure, canonical
from proxy import logs
from proxy.record_access import RecordAccess
from store import payload_spool
from store.erasing import Stripped, strip
from store.errors import StoreError, StoreUnavailable
from store.journal import Journal
from store.request_records import Lean, Row, Shelf, Shelves, Window
from store.state import State

AGAIN_SECONDS: Final = 60.0
REMEMBERED: Final = timedelta(days=400)
SURE: Final = timedelta(minutes=15)  # in which whatever was on its way has arrived
_SPACE: Final = "erasures"
_ROWS: Final = 200
_EVER: Final = Window(0, (1 << 62) - 1)
_SECONDS: Final = 30.0

log = logs.get("erasing")


class Forgets(Protocol):
    """`store.changes.ChangeLog`, as far as it is needed."""

    async def erase_person(self, user_id: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Erased:
    """What went now. `left`: lines of the journal whose text goes once they can be written anew."""

    payloads: int = 0
    asides: int = 0
    person: bool = False
    left: int = 0


class _Mark(msgspec.Struct):
    by: str
    since: float


class Erasing:
    """Belongs to one event loop."""

    def __init__(
        self,
        people: Forgets,
        records: RecordAccess,
        journal: Journal,
        folder: Path,
        spool: Path,
        state: State,
    ) -> None:
        """`folder` is that of all writers of this host."""
        self._people = people
        self._records = records
        self._journal = journal
        self._folder = folder
        self._spool = spool
        self._state = state

    async def erase(self, subject: str, by: str, now: datetime) -> Erased:
        """Erases what there is of `user:u-…`, and sees to the rest.

        Raises:
            StoreUnavailable: the store cannot be reached; what is left goes later.
            JournalUnavailable: that something was erased cannot be written down.
        """
        mark = msgspec.json.encode(_Mark(by, now.timestamp()))
        await self._state.put(_SPACE, subject, mark, now + REMEMBERED)
        person = await self._people.erase_person(subject)
        return await self._round(subject, by, person, always=True)

    async def again(self, now: datetime) -> None:
        """Tries once more what was not whole; for the chores of every process."""
        for subject, raw in (await self._state.all(_SPACE, now)).items():
            mark = msgspec.json.decode(raw, type=_Mark)
            try:
                found = await self._round(subject, mark.by, person=False, always=False)
            except StoreError as error:
                log.warning("an erasure is not whole yet", cause=str(error))
                continue
            old = now.timestamp() - mark.since > SURE.total_seconds()
            if old and found == Erased():
                await self._state.drop(_SPACE, subject)

    async def _round(self, subject: str, by: str, person: bool, always: bool) -> Erased:
        payloads = await asyncio.to_thread(payload_spool.forget, self._spool, subject)
        records = await self._records.open()
        asides = 0
        for shelf in Shelf:
            before: int | None = None
            while before != 0:
                below = before
                said, lost, before = await records.work(
                    lambda store, shelf=shelf, below=below: _some(  # type: ignore[misc]
                        store, shelf, subject, below
                    )
                )
                payloads += said
                asides += lost
        names = [path.name for path in self._folder.glob("*@*@*")]
        settled = await records.work(lambda store: {name: store.settled(name) for name in names})
        stripped: Stripped = await asyncio.to_thread(
            strip, self._folder, subject, lambda name: settled.get(name, 0)
        )
        found = Erased(payloads, asides + stripped.lines, person, stripped.left)
        if always or found.payloads or found.asides:
            record = Erasure(
                subject=subject,
                by=by,
                payloads=found.payloads,
                asides=found.asides,
                person=person,
            )
            await self._journal.append(record).durable()
        return found


def _some(store: Shelves, shelf: Shelf, subject: str, before: int | None) -> tuple[int, int, int]:
    """Erases in some records, the newest first: payloads, records that lost text, where to go on (0: done)."""
    found = store.scan(shelf, all_of(has(creator(subject))), _EVER, before, _ROWS, _SECONDS)
    if found.struck and not found.rows:
        raise StoreUnavailable("the records of the person are not found in time")
    mine = [
        (row, line)
        for row in found.rows
        if (line := _line(row))["body"].get("principal") == subject
    ]
    payloads = 0
    if shelf is Shelf.REQUESTS and mine:
        payloads = store.erase_payloads([row.id for row, _ in mine])
    lean = [
        Lean(row.id, keys_of(stamp_of(line["body"])), _without_aside(line))
        for row, line in mine
        if line.get("aside")
    ]
    if lean:
        store.erase(shelf, lean)
    return payloads, len(lean), 0 if found.done else found.reached


def _line(row: Row) -> dict[str, dict[str, object]]:
    line: dict[str, dict[str, object]] = msgspec.json.decode(row.body)
    return line


def _without_aside(line: dict[str, dict[str, object]]) -> bytes:
    return canonical({name: value for name, value in line.items() if name != "aside"})
