"""`requests export` and `log export-decisions`: all records that the token may read, as one file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from proxy import printing
from proxy.commands import client, reports
from proxy.export_files import Page, export
from proxy.export_forms import DECISIONS, REQUESTS, Form
from proxy.parquet import Kind

_PAGE: Final = 1000
_time = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"])


def _command(
    name: str, path: str, columns: Mapping[str, Kind], narrow: tuple[str, ...], said: str
) -> click.Command:
    @click.option("--since", type=_time, required=True, help="From this time on (UTC).")
    @click.option("--until", type=_time, required=True, help="Before this time (UTC).")
    @click.option(
        "--format",
        "form",
        default="csv",
        show_default=True,
        type=click.Choice([one.value for one in Form]),
    )
    @click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
    @reports
    def run(since: datetime, until: datetime, form: str, output: Path, **asked: str | None) -> None:
        query = {name: value for name, value in asked.items() if value is not None}
        query |= {"since": _utc(since), "until": _utc(until)}
        caller = client()

        def fetch(cursor: str) -> Page:
            more = {"cursor": cursor} if cursor else {}
            return caller.call("GET", path, query={**query, "limit": str(_PAGE), **more}).body

        def tell(rows: int, at: str) -> None:
            click.echo(f"\r{rows:,} {at[:19]}", nl=False, err=True)

        rows = export(output, Form(form), columns, query, fetch, _on_terminal(tell))
        printing.say(f"{rows} records in {output}")

    command = click.command(name=name, help=said)(run)
    command.params += [click.Option([f"--{one}"], help="As for the list.") for one in narrow]
    return command


def _on_terminal(tell: Callable[[int, str], None]) -> Callable[[int, str], None]:
    """Progress is for people who look on."""
    return tell if sys.stderr.isatty() else lambda rows, at: None


def _utc(when: datetime) -> str:
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).isoformat()


export_requests = _command(
    "export",
    "/requests",
    REQUESTS,
    ("model", "user", "virtual-account", "team", "server", "tool", "status"),
    "Requests that you may read as CSV, JSON lines or Parquet. Broken off, the same command goes on.",
)
export_decisions = _command(
    "export-decisions",
    "/decisions",
    DECISIONS,
    ("subject", "action", "resource", "effect", "reason", "rule"),
    "Decisions that you may read as CSV, JSON lines or Parquet. Broken off, the same command goes on.",
)
