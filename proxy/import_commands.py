"""`gatewarden import litellm CONFIG -o DIR`: another gateway's installation as policy files.

Works on files alone. The folder holds the documents and `report.md`; it is checked as `gatewarden check` does
before the command ends, and nothing is sent anywhere.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from policies.check import Report, check
from policies.errors import PolicyError
from policies.litellm import Migration, migrate, read_config
from policies.loader import read_text
from proxy import exporting, printing
from proxy.client import ClientError
from proxy.commands import Commands, as_json, reports

REPORT = "report.md"
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(name="import", cls=Commands)
def import_() -> None:
    """Turn another gateway's configuration into policy files."""


@import_.command(name="litellm")
@click.argument("config", type=_file)
@click.option("--teams", type=_file, help="The answer of `/team/list`, as JSON.")
@click.option(
    "--keys", type=_file, help="The answer of `/key/list?return_full_object=true`, as JSON."
)
@click.option(
    "-o", "--output", "folder", required=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--replace", is_flag=True, help="Write anew what an earlier import wrote.")
@as_json
@reports
def litellm(
    config: Path, teams: Path | None, keys: Path | None, folder: Path, replace: bool, json_: bool
) -> None:
    """Write the models, teams, people and service keys of a LiteLLM installation as policy files.

    Keys are not carried over. DIR/report.md says what was carried over, what was not, and why.
    """
    made = migrate(
        read_config(_text(config), str(config)),
        teams=_json(teams) if teams else None,
        keys=_json(keys) if keys else None,
        now=datetime.now(UTC),
    )
    try:
        exporting.write(folder, exporting.files(made.documents), replace=replace)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT).write_text(made.report(), "utf-8", newline="\n")
    except OSError as error:
        raise ClientError(
            f"`{error.filename or folder}` cannot be written: {str(error.strerror).lower()}",
            code="not_written",
        ) from error
    report = check([folder])
    _show(made, report, folder, json_=json_)
    sys.exit(report.exit_code)


def _show(made: Migration, report: Report, folder: Path, *, json_: bool) -> None:
    if json_:
        printing.as_json({**made.to_json(), "check": report.to_json()})
        return
    for line in report.lines():
        printing.say(line)
    fates = [note.fate.value for note in made.notes]
    counts = ", ".join(f"{fates.count(fate)} {fate}" for fate in ("carried", "changed", "left"))
    printing.say(f"{counts}: see {folder / REPORT}")


def _text(path: Path) -> str:
    problems: list[Any] = []
    text = read_text(path, problems)
    if text is None:
        raise PolicyError(f"`{path}`: {problems[0].message}", hint=problems[0].hint)
    return text


def _json(path: Path) -> object:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise PolicyError(
            f"`{path}` is not JSON", hint="save the answer of LiteLLM as it is"
        ) from error
