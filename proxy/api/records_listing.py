"""One page of a list of records, from its parameters to its record: the same for every list of them.

A cursor is bound to the reader and to what he asks, and holds the window of the first page, so that a list
does not move under whoever walks it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from authz.scopes import DataType
from proxy.api.people import emails_of
from proxy.api.records_models import people_in
from proxy.api.records_queries import Spanned, cursor_of, listing_of, place_of, window_of
from proxy.api.records_reading import Line, Look, Reader, read_page, write_down
from proxy.api.routes import Call
from store.request_records import Window


@dataclass(frozen=True, slots=True)
class Listed:
    """A page. `next` is the cursor of the one after it, None on the last."""

    lines: tuple[Line, ...]
    next: str | None
    truncated: bool
    window: Window


async def listed(
    call: Call,
    data_type: DataType,
    name: str,
    *,
    said: Mapping[str, object],
    span: Spanned,
    cursor: str,
    limit: int,
    look: Callable[[Window], Awaitable[Look]],
) -> Listed:
    """The page of the list called `name`; `said` is what its cursors are bound to. It is written down.

    Raises:
        BadQuery. FilterTooWide. Unready. StoreUnavailable. JournalUnavailable.
    """
    listing = listing_of(call, name, said)
    place = place_of(listing, cursor)
    before, window = (None, window_of(span, call.now)) if place is None else place
    wanted = await look(window)
    found = await read_page(
        call, Reader(call, data_type), data_type, wanted, before=before, limit=limit
    )
    await write_down(call, data_type, found)
    lines = tuple(line for _, line in found.lines)
    return Listed(lines, cursor_of(listing, window, found.next), found.truncated, window)


async def people_of(call: Call, lines: tuple[Line, ...]) -> dict[str, str]:
    """The e-mails of the people whom lines name, as far as the caller may read them."""
    return dict(await emails_of(call, (one for line in lines for one in people_in(line))))
