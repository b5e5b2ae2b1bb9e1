"""The access review as a file: CSV that a spreadsheet cannot run, or JSON; written page after page.

INVARIANT: no cell of the CSV begins with what a spreadsheet takes for a formula, and none has a control
character: names and comments are texts of other people.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

COLUMNS: Final = (
    "subject",
    "effect",
    "action",
    "resource",
    "condition",
    "through",
    "within",
    "since",
    "rule",
    "granted_at",
    "granted_by",
    "granted_source",
    "granted_comment",
    "granted_revision",
    "granted_epoch",
    "joined_at",
    "joined_by",
    "joined_source",
    "joined_comment",
    "joined_epoch",
    "at_epoch",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "|", "%")
_CONTROL: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+"
)
Naming = Callable[[Mapping[str, Any]], Callable[[object], str]]


def cell(value: object) -> str:
    """A text as a cell: one line, and never a formula."""
    text = _CONTROL.sub(" ", "" if value is None else str(value))
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def as_csv(pages: Iterable[Mapping[str, Any]], naming: Naming) -> Iterator[str]:
    """The text of the CSV file, a piece for each page; `naming` writes people by what they are called."""
    yield _row(COLUMNS)
    for page in pages:
        named = naming(page)
        yield "".join(_row(_cells(line, page["epoch"], named)) for line in page["data"])


def as_json(pages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The text of one JSON object with all lines in `data`, a piece for each page."""
    people: dict[str, str] = {}
    head: Mapping[str, Any] | None = None
    for page in pages:
        people |= page["people"]
        pieces = [json.dumps(line) for line in page["data"]]
        text = ",\n".join(pieces)
        if head is None:
            head = page
            yield f'{{"epoch": {json.dumps(page["epoch"])}, "at": {json.dumps(page["at"])}, "data": [\n'
            yield text
        elif pieces:
            yield ",\n" + text
    if head is not None:
        yield f'\n], "people": {json.dumps(people)}}}\n'


def _cells(line: Mapping[str, Any], epoch: object, named: Callable[[object], str]) -> list[str]:
    granted, joined = line["granted"] or {}, line["joined"] or {}
    found: dict[str, object] = {
        **{name: line[name] for name in ("effect", "action", "condition", "rule", "since")},
        "subject": named(line["subject"]),
        "resource": named(line["resource"]),
        "through": named(" > ".join(line["path"][1:])),
        "within": line["within"],
        "at_epoch": epoch,
    }
    for name, entry in (("granted", granted), ("joined", joined)):
        found[f"{name}_by"] = named(entry.get("actor", ""))
        for field in ("at", "source", "comment", "revision", "epoch"):
            found[f"{name}_{field}"] = entry.get(field, "")
    return [cell(found[name]) for name in COLUMNS]


def _row(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()
