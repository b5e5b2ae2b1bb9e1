"""Commands about records: `requests` and `log tail` ask a gateway, `log query` reads the store on the host.

What a gateway shows is what the token's data access rules let it see; on the host all of it is there. CSV is
written so that no spreadsheet takes a text of the log for a formula.
"""

from __future__ import annotations

import asyncio
import csv
import io
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from authz import keys
from authz.filters import EVERYTHING, Clause, has
from proxy import host, printing
from proxy.commands import Commands, as_json, client, reports
from store.request_records import Shelf, Window
from store.shelving import Place

_PAGE: Final = 1000
_SECONDS: Final = 30.0  # that a look on the host may take
_time = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"])
_since = click.option("--since", type=_time, help="From this time on (UTC).")
_until = click.option("--until", type=_time, help="Before this time (UTC).")
_config = click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_SHELVES: Final = {"decision": Shelf.DECISIONS, "request": Shelf.REQUESTS}
_PATHS: Final = {"decision": "/decisions", "request": "/requests"}
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "request": (
        *("at", "status", "principal", "model", "server", "tool"),
        *("input_tokens", "output_tokens", "total_ms", "id"),
    ),
    "decision": ("at", "effect", "reason", "principal", "action", "resource", "rules", "id"),
}
_CSV: Final = (
    *("id", "at", "principal", "token_id", "teams", "owner_team", "request", "decision"),
    *("route", "status", "model", "account", "server", "method", "tool", "outcome", "dialect"),
    *("stream", "upstream_status", "upstream_ms", "input_tokens", "output_tokens"),
    *("first_byte_ms", "total_ms", "error", "metadata", "claimed"),
)

# --- through a gateway -----------------------------------------------------------------------------


@click.group(name="requests", cls=Commands, invoke_without_command=True)
@_since
@_until
@click.option("--model", help="As `acme/mini`.")
@click.option("--account", help="A provider account.")
@click.option("--user", help="Who made them: an e-mail.")
@click.option("--virtual-account", help="The same, of a virtual account.")
@click.option("--team", help="A team that they were stamped with.")
@click.option("--server", help="An MCP server.")
@click.option("--tool", help="As `github/search`.")
@click.option("--method", help="Of an MCP request.")
@click.option("--outcome", type=click.Choice(["result", "tool_error", "error"]))
@click.option("--status", help="As `404`, or `4xx`.")
@click.option("--metadata", metavar="KEY[=VALUE]", help="Metadata has this key, and says this.")
@click.option("--request", help="The id of the request.")
@click.option("--decision", help="The id of its decision.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@click.option("--csv", "csv_", is_flag=True, help="Print CSV.")
@as_json
@click.pass_context
@reports
def requests(
    context: click.Context,
    /,
    since: datetime | None,
    until: datetime | None,
    metadata: str | None,
    limit: int,
    csv_: bool,
    json_: bool,
    **narrow: str | None,
) -> None:
    """Requests that you may read, the last first."""
    if context.invoked_subcommand is not None:
        return
    if csv_ and json_:
        raise click.UsageError("give --csv or --json, not both")
    asked = {name: value for name, value in narrow.items() if value is not None}
    asked |= _window(since, until)
    if metadata is not None:
        key, equals, value = metadata.partition("=")
        asked["metadata_key"] = key
        if equals:
            asked["metadata_value"] = value
    found = _listed("/requests", asked, limit)
    if json_:
        printing.as_json(found)
    elif csv_:
        sys.stdout.write(csv_text(_CSV, found["data"]))
    else:
        _table("request", found)


@requests.command(name="show")
@click.argument("record")
@click.option("--payload", is_flag=True, help="With what was said; that you read it is recorded.")
@as_json
@reports
def show_request(record: str, payload: bool, json_: bool) -> None:
    """One request, by the id of its record."""
    query = {"payload": "true"} if payload else None
    body = client().call("GET", f"/requests/{record}", query=query).body
    if json_:
        printing.as_json(body)
        return
    printing.fields(body["data"])
    if payload:
        printing.as_json(body["payload"])


@click.command(name="tail")
@click.option("--kind", default="decision", type=click.Choice(sorted(_PATHS)))
@click.option("--seconds", type=click.IntRange(1, 3600), help="How long; an hour if not given.")
@as_json
@reports
def log_tail(kind: str, seconds: int | None, json_: bool) -> None:
    """Records that you may read, as they arrive at a gateway. With --json one a line."""
    query = {"seconds": str(seconds)} if seconds else {}
    for name, data in client().events(f"{_PATHS[kind]}/tail", query):
        if name == "record":
            if json_:
                printing.say(msgspec.json.encode(data).decode())
            else:
                printing.say(" ".join(_cell(data.get(column)) for column in _COLUMNS[kind]))
        elif name == "gap":
            printing.warn(str(data.get("detail")))
        elif name == "end" and data.get("code") not in ("over", "ended"):
            raise host.HostError(str(data.get("detail")), code=str(data.get("code")))


def _listed(path: str, asked: Mapping[str, str], limit: int) -> dict[str, Any]:
    """At most `limit` items of all pages, and what the last page said beside them."""
    found: list[Any] = []
    people: dict[str, str] = {}
    cursor = ""
    while True:
        query = {**asked, "limit": str(min(_PAGE, limit - len(found)))}
        body = client().call("GET", path, query={**query, **({"cursor": cursor} if cursor else {})})
        page = body.body
        found += page["data"]
        people |= page["people"]
        cursor = page["next"] or ""
        if not cursor or len(found) >= limit or (page["truncated"] and not page["data"]):
            return {**page, "data": found, "people": people}


def _table(kind: str, found: Mapping[str, Any]) -> None:
    named = printing.naming(found)
    columns = _COLUMNS[kind]
    printing.table(
        columns, ([named(_cell(item.get(name))) for name in columns] for item in found["data"])
    )
    if found["truncated"]:
        printing.warn("the time for a page ran out: there is more; ask for a shorter window")
    elif found["next"]:
        printing.warn("there are more: give a larger --limit")


def csv_text(columns: tuple[str, ...], items: Iterable[Mapping[str, Any]]) -> str:
    """Items as CSV with a head line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for item in items:
        writer.writerow([_safe(_cell(item.get(name))) for name in columns])
    return out.getvalue()


def _safe(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _cell(value: object) -> str:
    if value is None or value == {}:
        return ""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)


def _window(since: datetime | None, until: datetime | None) -> dict[str, str]:
    given = {"since": since, "until": until}
    return {
        name: (when if when.tzinfo else when.replace(tzinfo=UTC)).isoformat()
        for name, when in given.items()
        if when is not None
    }


# --- on the host -----------------------------------------------------------------------------------


def query_command(
    place_of: Callable[[Path | None], Place],
    subject_of: Callable[[Path | None, str], Coroutine[Any, Any, str]],
) -> click.Command:
    """`log query`. The first finds the records by a file of settings, the second an id by an e-mail."""

    @click.command(name="query")
    @click.option("--kind", default="decision", type=click.Choice(sorted(_SHELVES)))
    @click.option("--id", "id_")
    @_since
    @_until
    @click.option("--subject", help="An id, or an e-mail as `user:alice@example.com`.")
    @click.option("--action")
    @click.option("--resource", help="Of a request: its model.")
    @click.option("--effect", type=click.Choice(["allow", "deny"]))
    @click.option("--reason")
    @click.option("--request", "request_id")
    @click.option("--limit", default=50, type=click.IntRange(1, 10_000))
    @_config
    @as_json
    @reports
    def query(
        kind: str,
        id_: str | None,
        since: datetime | None,
        until: datetime | None,
        subject: str | None,
        resource: str | None,
        request_id: str | None,
        limit: int,
        config: Path | None,
        json_: bool,
        **plain: str | None,
    ) -> None:
        """Records, newest first."""
        place = place_of(config)
        narrow = [has(keys.plain(name, value)) for name, value in plain.items() if value]
        if kind == "request" and narrow:
            raise click.UsageError("a request has no action, effect or reason")
        if subject is not None:
            found = asyncio.run(subject_of(config, host.subject_of(subject)))
            narrow.append(has(keys.creator(found)))
        if resource is not None:
            field = "resource" if kind == "decision" else "model"
            text = resource if kind == "decision" else resource.removeprefix("model:")
            narrow.append(has(keys.plain(field, text)))
        if request_id is not None:
            narrow.append(has(keys.plain("request", request_id)))
        window = Window(host.micros(since) or 0, host.micros(until) or 1 << 61)
        told = _read(place, _SHELVES[kind], id_, narrow, window, limit)
        if json_:
            printing.as_json(told)
            return
        columns = host.LOG_COLUMNS[kind]
        printing.table(
            [name for name, _ in columns],
            ([read(item) for _, read in columns] for item in told["data"]),
        )
        if told["truncated"]:
            printing.warn("the deadline struck: there may be more")

    return query


def _read(
    place: Place,
    shelf: Shelf,
    id_: str | None,
    narrow: list[Clause],
    window: Window,
    limit: int,
) -> dict[str, Any]:
    """Records as they stand in the journal. Raises: StoreUnavailable, StoreTooNew."""
    store = place.open(read_only=True)
    try:
        wanted = EVERYTHING.narrowed(narrow)
        if id_ is not None:  # by its own index; the window is at least as wide as the record
            row = store.get(shelf, id_)
            lines = [] if row is None else [msgspec.json.decode(row.body)]
            shown = [
                line
                for line in lines
                if window.since <= line["at"] < window.until
                and wanted.matches(keys.keys_of(keys.stamp_of(line["body"], line.get("aside"))))
            ]
            return {"data": shown, "next": None, "truncated": False}
        found = store.scan(shelf, wanted, window, None, limit + 1, _SECONDS)
    finally:
        store.close()
    lines = [msgspec.json.decode(row.body) for row in islice(found.rows, limit)]
    more = len(found.rows) > limit
    return {
        "data": lines,
        "next": lines[-1]["id"] if lines and (more or found.struck) else None,
        "truncated": found.struck,
    }
