"""All records of a window as one file: what the list would show on all its pages, streamed.

Each piece is by the policy and the token of its moment, and its decision record is durable before it leaves. A file
that is whole ends as HTTP says; whatever goes wrong once it has begun breaks the connection, so that half a
file is not taken for one. CSV and JSON lines go on behind a row that arrived: its id is the cursor, which
carries no right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import msgspec
from aiohttp import web
from pydantic import BaseModel, Field

from authz.errors import GatewardenError
from authz.scopes import DataType
from proxy import logs
from proxy.api.problem import BadQuery, Unready
from proxy.api.progress import NDJSON
from proxy.api.records_queries import Spanned
from proxy.api.records_reading import (
    SHELF_OF,
    Line,
    Lines,
    Look,
    Reader,
    read_page,
    records_of,
    write_down,
)
from proxy.api.routes import Answer, Call
from proxy.export_forms import Form, Writing
from proxy.headers import credential_of
from proxy.middleware.access import fresh
from proxy.parquet import Kind
from proxy.tails import Tails

log = logs.get("records")
MEDIA: Final[Mapping[Form, str]] = {
    Form.CSV: "text/csv",
    Form.JSONL: NDJSON,
    Form.PARQUET: "application/vnd.apache.parquet",
}
_PAGE: Final = 1000
_PIECE: Final = 10_000  # rows that are written down, and leave, together


class Exporting(Spanned):
    """What every export takes. A window that is left out would move between two attempts."""

    since: Annotated[str, Field(min_length=1, max_length=40, description="Not before.")]
    until: Annotated[
        str, Field(min_length=1, max_length=40, description="Before; at most a year after `since`.")
    ]
    format: Literal["csv", "jsonl", "parquet"] = "csv"
    cursor: Annotated[
        str,
        Field(
            pattern="^([0-9a-f]{26})?$",
            description="The id of the last row that arrived whole: goes on behind it, without the names "
            "of columns. Not for Parquet.",
        ),
    ] = ""


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported: records of a type, as their list shows them."""

    type: DataType
    name: str  # of the file
    columns: Mapping[str, Kind]
    shown: Callable[[Line], BaseModel]


async def exported(call: Call, export: Export, look: Look, asked: Exporting) -> Answer:
    """The answer that streams, once its first piece is written down.

    Raises:
        BadQuery: a cursor that leads nowhere. Unavailable: too many streams. FilterTooWide. Unready.
        StoreUnavailable. JournalUnavailable.
    """
    form = Form(asked.format)
    if asked.cursor and form is Form.PARQUET:
        raise BadQuery("a Parquet file cannot be gone on with", hint="use `csv` or `jsonl`")
    tails = call.runtime.tails
    tails.room(call.principal.id)
    with tails.one(call.principal.id):
        place = await _place(call, export.type, asked.cursor) if asked.cursor else None
        pieces = _Pieces(call, export.type, look, place)
        first = await pieces.next()
    writing = Writing(form, export.columns, headed=not asked.cursor)

    def rendered(found: Lines) -> bytes:
        items = [export.shown(line).model_dump(mode="json") for _, line in found.lines]
        return writing.add(items)

    async def stream(request: web.Request) -> web.StreamResponse:
        with tails.one(call.principal.id):
            response = web.StreamResponse(headers=_headers(call, export, form))
            await response.prepare(request)
            try:
                await response.write(await asyncio.to_thread(rendered, first))
                while not pieces.done:
                    found = await pieces.next(tails)
                    await response.write(await asyncio.to_thread(rendered, found))
                await response.write(writing.end())
                await response.write_eof()
            except ConnectionError:
                pass  # the reader hung up
            except Exception as error:  # the answer has begun: that it broke off must show
                if not isinstance(error, GatewardenError):
                    log.exception("an export failed", request_id=call.request_id)
                if request.transport is not None:
                    request.transport.abort()
            return response

    return Answer(None, stream=stream)


class _Pieces:
    """Pieces of what the caller may read, the newest first, each written down."""

    def __init__(self, call: Call, data_type: DataType, look: Look, before: int | None) -> None:
        self.done = False
        self._call = call
        self._type = data_type
        self._look = look
        self._before = before
        self._begun = False

    async def next(self, tails: Tails | None = None) -> Lines:
        """The next one; it may be empty.

        Raises:
            GatewardenError: the token has ended, the process does, or nothing can be decided or read.
        """
        if tails is not None and tails.ended.is_set():
            raise Unready("the gateway ends")
        lines: list[tuple[int, Line]] = []
        reader = self._reader()
        while not self.done and len(lines) < _PIECE:
            page = await read_page(
                self._call, reader, self._type, self._look, before=self._before, limit=_PAGE
            )
            lines += page.lines
            if page.truncated and page.next == self._before:
                raise Unready("the records cannot be looked through in time")
            self._before, self.done = page.next, page.next is None
            if page.truncated:
                break  # what there is leaves now: readers do not wait for ever
        found = Lines(tuple(lines), self._before, truncated=False)
        if lines or not self._begun:
            await write_down(self._call, self._type, found)
        self._begun = True
        return found

    def _reader(self) -> Reader:
        """The caller as he is now."""
        call, runtime = self._call, self._call.runtime
        if not self._begun:
            return Reader(call, self._type)
        now = runtime.clock.now()
        fresh(runtime, now)
        call.principal = runtime.directory.authenticate(credential_of(call.request.headers), now)
        return Reader(call, self._type, replace(call.context, values={"time.now": now}))


async def _place(call: Call, data_type: DataType, record_id: str) -> int:
    """Where a row lies. Raises: BadQuery: there is none, or he may not read it."""
    row = await (await records_of(call)).get(SHELF_OF[data_type], record_id)
    line: Line | None = msgspec.json.decode(row.body) if row is not None else None
    if row is None or line is None or not Reader(call, data_type).may(line):
        raise BadQuery(
            "the parameter `cursor` is not the id of a row of this export",
            hint="pass the `id` of the last whole row, with the same parameters",
        )
    return row.seq


def _headers(call: Call, export: Export, form: Form) -> dict[str, Any]:
    """Those of an answer that has begun cannot be set later."""
    return {
        "Content-Type": f"{MEDIA[form]}{'; charset=utf-8' if form is Form.CSV else ''}",
        "Content-Disposition": f'attachment; filename="{export.name}.{form}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Accel-Buffering": "no",
        "x-request-id": call.request_id,
        "x-decision-id": call.decision_id,
        "x-policy-epoch": str(call.runtime.changes.engine.epoch),
    }
