"""Lists as a principal sees them: the upstream's pages are walked, filtered, and filled up again.

Most clients read one page. A page that is filtered where it stands may be empty although the next is not, so a page
here is as long as the server's own first page if enough is left to show; where several servers are one, it is as
long as everything together, within reason. The order is the server's. Where a list goes on is a cursor of ours, which only this principal can use here, and only while its view is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from authz.errors import GatewardenError
from proxy.mcp.cleaning import clean_definition
from proxy.mcp.jsonrpc import Message
from proxy.mcp.legacy import answer_to
from proxy.mcp.link import Link, UpstreamSaid
from proxy.mcp.primitive import Primitive
from proxy.mcp.scope import Thing
from proxy.mcp.servers import Server
from proxy.mcp.tickets import Purpose, Tickets, TicketTooLong, UnknownTicket
from proxy.mcp.view import View
from proxy.providers.base import UpstreamInvalid

MAX_PAGES = 200  # of an upstream, walked for one page here
MAX_ITEMS = 10_000  # of one page of an upstream
PATIENCE = 5.0  # seconds for one server of several: the others are not hidden by one that hangs
COMPOSED = 1000  # items of a page where several servers are one: how one of them cuts its list says nothing


class UnknownCursor(GatewardenError):
    """No cursor of this principal here, or one of a list that has changed since."""

    code = "unknown_cursor"


@dataclass(slots=True)
class Page:
    """`items` are definitions as the client is shown them, `things` what each of them is.

    `rest` is what else a single server's result said, `streams` whether it answers as events.
    """

    items: list[Mapping[str, Any]]
    things: list[Thing]
    cursor: str | None = None
    rest: Mapping[str, Any] = field(default_factory=dict)
    streams: bool = False


class Watches(Protocol):
    """`proxy.mcp.discovery.Discovery`."""

    async def saw(
        self, server: Server, primitive: Primitive, items: Sequence[Mapping[str, Any]]
    ) -> bool:
        """Takes note of definitions as a server says them now; whether the catalogue moved by it."""
        ...

    def digest(self, item: Mapping[str, Any]) -> str: ...


class Changed(Exception):
    """The catalogue moved while the list was made; it is made again."""


Connect = Callable[[Server], Awaitable[Link]]
Asks = Callable[[str, Mapping[str, Any]], Message]  # method and params -> a request of ours


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a list goes on: the member, its cursor, how many items of that page are done, a page's length."""

    member: int = 0
    cursor: str | None = None
    offset: int = 0
    length: int = 0


class Lists:
    """Makes pages of lists."""

    def __init__(self, tickets: Tickets, watch: Watches) -> None:
        self._tickets = tickets
        self._watch = watch

    async def page(
        self,
        view: View,
        method: str,
        primitive: Primitive,
        cursor: object,
        connect: Connect,
        ask: Asks,
        epoch: int,
    ) -> Page:
        """One page.

        Raises:
            UnknownCursor. Changed: make a new view, and ask again. UpstreamError, UpstreamSaid: of the server, if
            it is the only one; one of several that fails or hangs is left out.
        """
        single, members = view.scope.single, view.scope.members
        place = _Place() if cursor is None else self._place(cursor, view, method, primitive)
        page = Page([], [])
        for _ in range(MAX_PAGES):
            place = _next(place, view)
            if place.member >= len(members):
                return page
            server = members[place.member]
            try:
                async with asyncio.timeout(None if single else PATIENCE):
                    result, streams = await self._fetch(server, method, place.cursor, connect, ask)
            except (GatewardenError, TimeoutError):
                if single:
                    raise
                place = _Place(place.member + 1, length=place.length)
                continue
            raw, following = _read(result, primitive)
            if await self._watch.saw(server, primitive, raw) and cursor is None:
                raise Changed
            if single:
                page.streams = page.streams or streams
                page.rest = page.rest or _meta(result)
            place = self._take(page, place, view, primitive, raw, following)
            if 0 < place.length <= len(page.items):
                break
        place = _next(place, view)
        if place.member < len(members):
            page.cursor = self._seal(place, view, method, primitive, epoch)
        return page

    def _take(
        self,
        page: Page,
        place: _Place,
        view: View,
        primitive: Primitive,
        raw: Sequence[Mapping[str, Any]],
        following: str | None,
    ) -> _Place:
        """Puts what may be seen of an upstream's page on ours, until that is full; where the list goes on."""
        server = view.scope.members[place.member]
        # 0 as long as the server's pages are empty: the first that is not sets the length.
        length = place.length or (len(raw) if view.scope.single else COMPOSED)
        for index in range(place.offset, len(raw)):
            if 0 < length <= len(page.items):
                return _Place(place.member, place.cursor, index, length)
            for thing in self._shown(view, server, primitive, raw[index]):
                page.items.append(_renamed(raw[index], thing))
                page.things.append(thing)
        if following is None or following == place.cursor:  # where it is: it would never end
            return _Place(place.member + 1, length=length)
        return _Place(place.member, following, 0, length)

    async def _fetch(
        self, server: Server, method: str, cursor: str | None, connect: Connect, ask: Asks
    ) -> tuple[Mapping[str, Any], bool]:
        link = await connect(server)
        message = ask(method, {} if cursor is None else {"cursor": cursor})
        assert message.id is not None
        async with link.exchange(message) as stream:
            answer, streams = await answer_to(message.id, stream), stream.streams
        if answer.error is not None:
            raise UpstreamSaid(answer.error)
        if not isinstance(answer.result, dict):
            raise UpstreamInvalid(f"the MCP server `{server.name}` answered a list with no object")
        return answer.result, streams

    def _shown(
        self, view: View, server: Server, primitive: Primitive, item: Mapping[str, Any]
    ) -> list[Thing]:
        """What of the endpoint stands for this definition, and may be seen."""
        own = item.get(primitive.member)
        if not isinstance(own, str):
            return []
        found = [t for t in view.scope.offered(server, primitive, own) if view.sees(t)]
        if not found:
            return []
        # INVARIANT: shown is what was accepted. A server that says something else now shows nothing.
        digest = self._watch.digest(item)
        return [thing for thing in found if thing.entry.accepted == digest]

    # --- cursors ------------------------------------------------------------------------------------

    def _seal(
        self, place: _Place, view: View, method: str, primitive: Primitive, epoch: int
    ) -> str:
        payload = {
            "l": method,
            "m": view.scope.members[place.member].stored if view.scope.members else "",
            "c": place.cursor,
            "o": place.offset,
            "n": place.length,
            "v": view.print(primitive),
            "e": epoch,
        }
        try:
            return self._tickets.seal(
                Purpose.CURSOR, view.principal.id, view.scope.endpoint, payload
            )
        except TicketTooLong as error:
            raise UpstreamInvalid("an MCP server's cursor is too long to be kept") from error

    def _place(self, cursor: object, view: View, method: str, primitive: Primitive) -> _Place:
        unknown = UnknownCursor("the cursor is unknown or the list has changed", hint="start again")
        if not isinstance(cursor, str):
            raise unknown
        try:
            held = self._tickets.open(
                Purpose.CURSOR, cursor, view.principal.id, view.scope.endpoint
            )
        except UnknownTicket:
            raise unknown from None
        stored = [member.stored for member in view.scope.members]
        if held["l"] != method or held["v"] != view.print(primitive) or held["m"] not in stored:
            raise unknown
        return _Place(stored.index(held["m"]), held["c"], held["o"], held["n"])


def _next(place: _Place, view: View) -> _Place:
    """`place`, or the next member's beginning: nobody is introduced to a server that is none of theirs."""
    members = view.scope.members
    while not view.scope.single and place.member < len(members):
        if view.touches(members[place.member]):
            break
        place = _Place(place.member + 1, length=place.length)
    return place


def _meta(result: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = result.get("_meta")
    return {"_meta": meta} if isinstance(meta, dict) else {}


def _read(
    result: Mapping[str, Any], primitive: Primitive
) -> tuple[list[Mapping[str, Any]], str | None]:
    """The definitions of an upstream's page, each name once, and its next cursor."""
    listed = result.get(primitive.listed)
    if not isinstance(listed, list) or len(listed) > MAX_ITEMS:
        raise UpstreamInvalid(f"an MCP server answered a list without `{primitive.listed}`")
    found: dict[str, Mapping[str, Any]] = {}
    for item in listed:
        if isinstance(item, dict) and isinstance(name := item.get(primitive.member), str):
            found.setdefault(name, item)  # which of two is meant cannot be known: the first is
    following = result.get("nextCursor")
    return list(found.values()), following if isinstance(following, str) else None


def _renamed(item: Mapping[str, Any], thing: Thing) -> Mapping[str, Any]:
    shown = clean_definition(dict(item))
    said = thing.entry.description
    if said is not None:
        shown = {**shown, "description": said}
    if thing.name != thing.own:
        shown = {**shown, thing.primitive.member: thing.name}
    return shown
