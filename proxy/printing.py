"""How the command line shows things: tables and colours on a terminal, JSON with `--json`.

Everything that came from outside is printed with its control characters escaped, so that a hostile name
or log line cannot steer the terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from authz.errors import GatewardenError
from policies.errors import Problem

_USER_ID = re.compile(r"u-[0-9a-f]{20}\b")
# In a pipe nothing is folded: whatever reads it wants whole lines.
_WIDTH = None if sys.stdout.isatty() else 4096
out = Console(highlight=False, soft_wrap=True, width=_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def plain(value: object) -> str:
    """`value` as text of one line without control characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def as_json(value: object) -> None:
    """Print `value` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def say(text: str, style: str = "") -> None:
    """Print one line on standard output."""
    out.print(Text(plain(text), style=style))


def warn(text: str) -> None:
    """Print one line on standard error."""
    err.print(Text(plain(text), style="yellow"))


def failed(error: GatewardenError, found: Sequence[Problem] = ()) -> None:
    """Print an error and its hint on standard error; of an error whose findings were printed, the sum."""
    errors = sum(problem.severity == "error" for problem in found)
    if errors:
        count = "1 problem" if errors == 1 else f"{errors} problems"
        err.print(Text(f"error {error.code}: {count}, nothing was changed", style="red"))
        return
    err.print(Text(f"error {error.code}: {plain(error.message)}", style="red"))
    if error.hint:
        err.print(Text(f"  hint: {plain(error.hint)}"))
    for name in ("decision_id", "request_id"):
        if value := getattr(error, name, ""):
            err.print(Text(f"  {name.removesuffix('_id')}: {plain(value)}"))
            break


def failed_json(error: GatewardenError, found: Iterable[Problem] = ()) -> None:
    """Print an error as one JSON object on standard error."""
    told: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    for name in ("request_id", "decision_id"):
        if value := getattr(error, name, ""):
            told[name] = value
    told["problems"] = [problem.to_json() for problem in found]
    sys.stderr.write(json.dumps({"error": told}, ensure_ascii=False, indent=2) + "\n")


def problems(found: Iterable[Problem]) -> None:
    """Print findings, one a line, `file:line:column: …`."""
    for problem in found:
        style = "red" if problem.severity == "error" else "yellow"
        err.print(Text(plain(problem.text()), style=style))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(plain("" if cell is None else cell)) for cell in row))
    out.print(drawn)


def fields(values: Mapping[str, Any]) -> None:
    """Print a mapping as `name  value` lines; empty values are left out."""
    drawn = Table(box=None, pad_edge=False, show_header=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in values.items():
        if value not in (None, "", [], {}, ()):
            drawn.add_row(name, Text(plain(value)))
    out.print(drawn)


def naming(found: Mapping[str, Any]) -> Callable[[object], str]:
    """Writes the user ids in a text as the e-mails that an answer brings along in `people`."""
    people: Mapping[str, str] = found.get("people") or {}

    def named(text: object) -> str:
        return _USER_ID.sub(lambda match: people.get(match[0], match[0]), str(text))

    return named


def explanation(found: Mapping[str, Any]) -> None:
    """Print an answer of `POST /api/v1/explain` for a person: people by their e-mails."""
    named = naming(found)
    told = found.get("explanation") or {}
    effect = str(found.get("effect", ""))
    say(f"{effect}: {found.get('reason', '')}", "green" if effect == "allow" else "red")
    fields({name: found.get(name) for name in ("message", "epoch", "at")})
    for part in told.get("parts", ()):
        _part(part, str(told.get("action", "")), named)


def _part(part: Mapping[str, Any], action: str, named: Callable[[object], str]) -> None:
    resource = part["resource"]
    decisive = " (decisive)" if part.get("decisive") else ""
    asked = f"{part['part']} {named(part['subject'])} on {resource}"
    say(f"{asked}: {part['effect']}, {part['reason']}{decisive}")
    for rule in part.get("rules", ()):
        note = f", ignored: {rule['ignored']}" if rule.get("ignored") else ""
        shadow = " in shadow" if rule.get("shadow") else ""
        say(f"  {rule['effect']}{shadow} by {named(rule['rule'])}{note}")
        if rule.get("path"):
            say(f"    {named(rule['path'])}")
        if rule.get("written_by"):
            say(f"    {named(_writer(rule['written_by']))}")
        for item in rule.get("items", ()):
            met = {True: "met", False: "not met"}.get(item.get("met"), "unknown")
            say(f"    {item['field']} {item['operator']} {named(plain(item['value']))}: {met}")
    nothing = {
        "resource": f"there is no {resource}",
        "subject": f"nothing is granted to {named(part['subject'])}, and it is in no group",
        "action": f"no role holds {action}",
    }
    for unknown in part.get("unknown", ()):
        say(f"  {nothing.get(unknown, unknown)}")
    for link in part.get("missing", ()):
        say(f"  would match {named(link['rule'])} if {named(link['name'])} were in {link['group']}")
    if part.get("holders"):
        say(f"  held by {named(', '.join(part['holders']))}")


def _writer(written: Mapping[str, Any]) -> str:
    """Who wrote a rule, and why: the entry of the change log that added it."""
    revision = f", revision {written['revision']}" if written.get("revision") else ""
    comment = f": {written['comment']}" if written.get("comment") else ""
    return (
        f"written by {written['actor']} ({written['source']}) in epoch {written['epoch']},"
        f" {written['at']}{revision}{comment}"
    )
