"""What callers may look for in records: parameters, each of which only narrows, and the cursor of a list.

Every value is a plain text that is compared with a key of the record: there is no operator, pattern or list,
and what looks like one is refused. A name (`acme/mini`, `team:search`) means what is called so now; a
generation (`search~1`) names an earlier one. Without a window the last 24 hours are meant. A cursor holds the
place and the window; it is bound to the reader and to the other parameters, and carries no right.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from authz import keys
from authz.conditions import instant
from authz.decision import Reason
from authz.filters import Clause, has
from authz.vocabulary import Kind, split_id
from proxy.api.asking import action_of, thing
from proxy.api.body import nearest
from proxy.api.models import Flag
from proxy.api.paging import PageQuery, decode_cursor, encode_cursor
from proxy.api.problem import BadQuery
from proxy.api.records_reading import Line, Look, records_of
from proxy.api.routes import Call, NoQuery
from store.request_records import Shelf, Window

_SPAN: Final = timedelta(days=366)
_DAY: Final = timedelta(days=1)
_PLACE: Final = re.compile(r"([0-9]{1,18}) ([0-9]{1,18}) ([0-9]{1,18})\Z")
_EARLY: Final = timedelta(seconds=5)  # by which two hosts' clocks may differ

# No space, quote, bracket, `$` or backslash: nothing that another system would read as more than a text.
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\s\"'$<>\\^`{|}\[\]]+$")
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=128)]
When = Annotated[
    str,
    Field(
        max_length=40,
        description="A time with its offset, as `2030-01-31T12:00:00Z`.",
    ),
]


class Spanned(NoQuery):
    """A span of time."""

    since: When = Field(default="", description="Not before; 24 hours before `until` if empty.")
    until: When = Field(default="", description="Before; now if empty. At most a year after.")


class WindowQuery(Spanned, PageQuery):
    """What every list of records takes."""


class RequestNarrow(NoQuery):
    """What a request is looked for by."""

    model: Name | None = Field(default=None, description="`<account>/<model>`.")
    account: Name | None = Field(default=None, description="A provider account.")
    user: Name | None = Field(default=None, description="Who made it: an e-mail or an id.")
    virtual_account: Name | None = Field(default=None, description="The same, by its name.")
    team: Name | None = Field(default=None, description="A team that it was stamped with.")
    server: Name | None = Field(default=None, description="An MCP server.")
    tool: Name | None = Field(
        default=None, description="`<server>/<tool>`; also a prompt or a resource."
    )
    method: Name | None = Field(default=None, description="Of an MCP request.")
    outcome: Literal["result", "tool_error", "error"] | None = None
    status: Annotated[str, StringConstraints(pattern="^[1-5]([0-9]{2}|xx)$")] | None = Field(
        default=None, description="`404`, or `4xx`."
    )
    metadata_key: Text | None = Field(
        default=None, description="Pinned or claimed metadata has this key."
    )
    metadata_value: Text | None = Field(default=None, description="And says this there.")
    request: Name | None = Field(default=None, description="The id of the request.")
    decision: Annotated[str, StringConstraints(pattern="^[0-9a-f]{26}$")] | None = Field(
        default=None, description="The id of its decision."
    )


class DecisionNarrow(NoQuery):
    """What a decision is looked for by."""

    subject: Name | None = Field(default=None, description="`user:<e-mail>`, or an e-mail alone.")
    team: Name | None = Field(default=None, description="A team that it was stamped with.")
    action: Name | None = Field(default=None, description="As `model:use`.")
    resource: Name | None = Field(default=None, description="As `model:acme/mini`.")
    effect: Literal["allow", "deny"] | None = None
    reason: Name | None = None
    rule: Name | None = Field(default=None, description="The id of a rule that decided.")
    epoch: Annotated[int, Field(ge=0, le=10**15)] | None = Field(
        default=None, description="The entry of the change log that it was decided at."
    )
    request: Name | None = Field(default=None, description="The id of the request.")


class RequestQuery(WindowQuery, RequestNarrow):
    """The parameters of the list of requests."""


class DecisionQuery(WindowQuery, DecisionNarrow):
    """The parameters of the list of decisions."""


class RecordQuery(NoQuery):
    """Of one request."""

    payload: Flag = Field(default=False, description="With what was said in it.")


# --- the window and the cursor ---------------------------------------------------------------------


def window_of(query: Spanned, now: datetime) -> Window:
    """The window that is asked for.

    Raises:
        BadQuery: no time, backwards, or longer than a year.
    """
    until = _time("until", query.until) or now
    since = _time("since", query.since) or until - _DAY
    if since >= until:
        raise BadQuery("`since` is not before `until`", hint="`until` is now if it is empty")
    if until - since > _SPAN:
        raise BadQuery("the window is longer than 366 days", hint="ask for a year at a time")
    return Window(micros(since), micros(until))


def micros(when: datetime) -> int:
    """UTC microseconds."""
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def instant_of(at: int) -> datetime:
    """The time of UTC microseconds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)


def _time(name: str, text: str) -> datetime | None:
    if not text:
        return None
    found = instant(text)
    hint = "write it as `2030-01-31T12:00:00Z`; a `+` in an address is `%2B`"
    if found is None:
        raise BadQuery(f"the parameter `{name}` is no time with its offset", hint=hint)
    try:
        found = found.astimezone(UTC)
    except OverflowError as error:
        raise BadQuery(f"the parameter `{name}` is out of range", hint=hint) from error
    if not 1970 < found.year < 9000:
        raise BadQuery(f"the parameter `{name}` is out of range", hint=hint)
    return found


def listing_of(call: Call, name: str, said: Mapping[str, object]) -> str:
    """What the cursors of a list are bound to: the reader, and what he asks."""
    bound = [name, call.principal.id, call.principal.token, said]
    text = json.dumps(bound, sort_keys=True, default=str)
    return f"{name} {hashlib.sha256(text.encode()).hexdigest()[:24]}"


def asked_of(query: WindowQuery) -> dict[str, object]:
    """What a cursor is bound to of a list's parameters."""
    return query.model_dump(exclude={"cursor", "limit"}, exclude_none=True)


def place_of(listing: str, cursor: str) -> tuple[int, Window] | None:
    """Where the page begins, and the window of the first; None for the first.

    Raises:
        BadQuery: not a cursor of this list.
    """
    text = decode_cursor(listing, cursor)
    if not text:
        return None
    found = _PLACE.match(text)
    if found is None or int(found[2]) >= int(found[3]):
        raise BadQuery(
            "the parameter `cursor` is not a cursor of this list",
            hint="pass `next` of the page before, unchanged, with the same parameters",
        )
    return int(found[1]), Window(int(found[2]), int(found[3]))


def cursor_of(listing: str, window: Window, place: int | None) -> str | None:
    """`next` of a page."""
    return (
        None if place is None else encode_cursor(listing, f"{place} {window.since} {window.until}")
    )


# --- what each parameter comes to ------------------------------------------------------------------


async def requests_look(call: Call, query: RequestNarrow, window: Window) -> Look:
    """What the parameters of requests come to.

    Raises:
        BadQuery: one of them names nothing that could be. StoreUnavailable.
    """
    narrow: list[Clause] = []
    for field, kind in _REQUEST_NAMES.items():
        said = getattr(query, field)
        if said is not None:
            narrow.append(has(await _key(call, field, kind, said)))
    for field in ("method", "outcome", "status", "request"):
        said = getattr(query, field)
        if said is not None:
            narrow.append(has(keys.plain(field, said)))
    if query.metadata_value is not None and query.metadata_key is None:
        raise BadQuery("`metadata_value` needs `metadata_key`")
    if query.metadata_key is not None:
        pair = query.metadata_key, query.metadata_value
        narrow.append(has(keys.pinned(*pair), keys.claimed(*pair)))
    also: list[Callable[[Line], bool]] = []
    if query.decision is not None:
        narrow.append(has(await _request_of(call, query.decision)))
        also.append(lambda line: line["body"].get("decision") == query.decision)
    return Look(window, tuple(narrow), tuple(also))


async def decisions_look(call: Call, query: DecisionNarrow, window: Window) -> Look:
    """What the parameters of decisions come to. Raises: as `requests_look`."""
    narrow: list[Clause] = []
    if query.subject is not None:
        subject = await thing(call, query.subject, BadQuery)
        narrow.append(has(keys.creator(subject)))
    if query.team is not None:
        narrow.append(has(await _key(call, "team", Kind.TEAM, query.team)))
    if query.action is not None:
        narrow.append(has(keys.plain("action", action_of(query.action, BadQuery))))
    if query.resource is not None:
        resource = await thing(call, query.resource, BadQuery)
        # As it is called today, or as it was written in the log.
        narrow.append(has(keys.plain("resource", resource), keys.plain("resource", query.resource)))
    if query.reason is not None and query.reason not in set(Reason):
        raise BadQuery(
            f"`{query.reason[:80]}` is not a reason", hint=nearest(query.reason, list(Reason))
        )
    for field in ("effect", "reason", "rule", "request"):
        said = getattr(query, field)
        if said is not None:
            narrow.append(has(keys.plain(field, said)))
    also: list[Callable[[Line], bool]] = []
    if query.epoch is not None:
        also.append(lambda line: line["body"].get("epoch") == query.epoch)
        window = await _of_epoch(call, query.epoch, window)
    return Look(window, tuple(narrow), tuple(also))


_REQUEST_NAMES: Final[Mapping[str, Kind]] = {
    "model": Kind.MODEL,
    "account": Kind.PROVIDER_ACCOUNT,
    "user": Kind.USER,
    "virtual_account": Kind.VIRTUAL_ACCOUNT,
    "team": Kind.TEAM,
    "server": Kind.MCP_SERVER,
    "tool": Kind.MCP_TOOL,
}
_SUBJECTS: Final = (Kind.USER, Kind.VIRTUAL_ACCOUNT)


async def _key(call: Call, field: str, kind: Kind, said: str) -> str:
    """The key of a named thing."""
    name = said.removeprefix(f"{kind}:")
    if name.endswith("~1") and kind is not Kind.USER:
        found = (
            f"{kind}:{name.removesuffix('~1')}"  # the first generation is stored without a number
        )
    else:
        found = await thing(call, f"{kind}:{name}", BadQuery)
    if kind in _SUBJECTS:
        return keys.creator(found)
    if kind is Kind.TEAM:
        return keys.team(found)
    return keys.plain(field, split_id(found)[1])


async def _request_of(call: Call, decision: str) -> str:
    """The key of the request that a decision was taken for; what is not known has none."""
    row = await (await records_of(call)).get(Shelf.DECISIONS, decision)
    asked = json.loads(row.body)["body"].get("request", "") if row is not None else ""
    return keys.plain("request", asked or decision)


async def _of_epoch(call: Call, epoch: int, window: Window) -> Window:
    """The part of the window in which processes may have decided by this epoch."""
    begun: datetime | None = None
    ended: datetime | None = None
    for entry in await call.runtime.changes.entries(max(0, epoch - 1), 2):
        if entry.epoch == epoch:
            begun = entry.at
        elif entry.epoch == epoch + 1:
            ended = entry.at
    since, until = window.since, window.until
    if begun is not None:
        since = max(since, micros(begun - _EARLY))
    if ended is not None:
        late = timedelta(seconds=call.runtime.settings.policy.max_stale) + _EARLY
        until = min(until, micros(ended + late))
    return Window(since, until) if since < until else Window(window.since, window.since + 1)
