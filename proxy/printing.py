"""How the command line shows things: tables and colours on a terminal, JSON with `--json`.

Everything that came from outside is printed with its control characters escaped, so that a hostile name
or log line cannot steer the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from authz.errors import GatewardenError
from policies.errors import Problem

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


def failed(error: GatewardenError) -> None:
    """Print an error and its hint on standard error."""
    err.print(Text(f"error {error.code}: {plain(error.message)}", style="red"))
    if error.hint:
        err.print(Text(f"  hint: {plain(error.hint)}"))


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


def explanation(found: Mapping[str, Any]) -> None:
    """Print an answer of `POST /api/v1/explain` for a person."""
    told = found.get("explanation") or {}
    effect = str(found.get("effect", ""))
    say(f"{effect}: {found.get('reason', '')}", "green" if effect == "allow" else "red")
    fields({"message": told.get("message"), "epoch": found.get("epoch")})
    for part in told.get("parts", ()):
        decisive = " (decisive)" if part.get("decisive") else ""
        say(f"{part['part']} {part['subject']} on {part['resource']}: {part['effect']}{decisive}")
        for rule in part.get("rules", ()):
            note = f", ignored: {rule['ignored']}" if rule.get("ignored") else ""
            shadow = " in shadow" if rule.get("shadow") else ""
            say(f"  {rule['effect']}{shadow} by {rule['rule']}{note}")
            if rule.get("path"):
                say(f"    {rule['path']}")
            for item in rule.get("items", ()):
                met = {True: "met", False: "not met"}.get(item.get("met"), "unknown")
                say(f"    {item['field']} {item['operator']} {plain(item['value'])}: {met}")
        for unknown in part.get("unknown", ()):
            say(f"  nothing mentions {unknown}")
        for link in part.get("missing", ()):
            say(f"  would match {link['rule']} if {link['name']} were in {link['group']}")
        if part.get("holders"):
            say(f"  held by {', '.join(part['holders'])}")
