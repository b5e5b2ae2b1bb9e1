"""Records as rows of a file: CSV, JSON lines or Parquet, piece by piece.

The columns are those of the lists, flat: lists and metadata become JSON texts, but in JSON lines everything stays
as it is. No cell of the CSV is taken for a formula by a spreadsheet.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from proxy.parquet import Kind, ParquetFile
from proxy.review_text import cell

REQUESTS: Final[Mapping[str, Kind]] = {
    "id": Kind.TEXT,
    "at": Kind.TIME,
    "principal": Kind.TEXT,
    "token_id": Kind.TEXT,
    "teams": Kind.TEXT,
    "owner_team": Kind.TEXT,
    "request": Kind.TEXT,
    "decision": Kind.TEXT,
    "route": Kind.TEXT,
    "status": Kind.WHOLE,
    "model": Kind.TEXT,
    "account": Kind.TEXT,
    "server": Kind.TEXT,
    "method": Kind.TEXT,
    "tool": Kind.TEXT,
    "outcome": Kind.TEXT,
    "dialect": Kind.TEXT,
    "stream": Kind.TRUTH,
    "upstream_status": Kind.WHOLE,
    "upstream_ms": Kind.WHOLE,
    "input_tokens": Kind.WHOLE,
    "output_tokens": Kind.WHOLE,
    "cost": Kind.WHOLE,
    "price": Kind.TEXT,
    "first_byte_ms": Kind.WHOLE,
    "total_ms": Kind.WHOLE,
    "error": Kind.TEXT,
    "metadata": Kind.TEXT,
    "claimed": Kind.TEXT,
}
DECISIONS: Final[Mapping[str, Kind]] = {
    "id": Kind.TEXT,
    "at": Kind.TIME,
    "principal": Kind.TEXT,
    "token_id": Kind.TEXT,
    "teams": Kind.TEXT,
    "owner_team": Kind.TEXT,
    "on_behalf_of": Kind.TEXT,
    "effect": Kind.TEXT,
    "reason": Kind.TEXT,
    "action": Kind.TEXT,
    "resource": Kind.TEXT,
    "rules": Kind.TEXT,
    "path": Kind.TEXT,
    "epoch": Kind.WHOLE,
    "request": Kind.TEXT,
    "trace": Kind.TEXT,
    "client": Kind.TEXT,
    "route": Kind.TEXT,
    "us": Kind.WHOLE,
    "count": Kind.WHOLE,
    "metadata": Kind.TEXT,
    "context": Kind.TEXT,
    "masked": Kind.TEXT,
}


class Form(StrEnum):
    """How the file is written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class Writing:
    """The bytes of a file, in pieces. Items of one piece are in memory together; for one thread at a time."""

    def __init__(self, form: Form, columns: Mapping[str, Kind], *, headed: bool = True) -> None:
        """`headed`: with the names of columns, where the form has them in a line of their own."""
        self._form = form
        self._columns = columns
        self._out = io.BytesIO()
        self._parquet = ParquetFile(self._out, columns) if form is Form.PARQUET else None
        if form is Form.CSV and headed:
            self._out.write(_csv([[*columns]]))

    def add(self, items: Sequence[Mapping[str, Any]]) -> bytes:
        """The next piece, with these items."""
        if self._parquet is not None:
            self._parquet.write([_row(self._columns, one) for one in items])
        elif self._form is Form.JSONL:
            lines = (json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in items)
            self._out.write(b"".join(lines))
        else:
            rows = [[cell(_plain(one.get(name))) for name in self._columns] for one in items]
            self._out.write(_csv(rows))
        return self._taken()

    def end(self) -> bytes:
        """What comes last."""
        if self._parquet is not None:
            self._parquet.close()
        return self._taken()

    def _taken(self) -> bytes:
        made = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return made


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _row(columns: Mapping[str, Kind], item: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, kind in columns.items():
        value = item.get(name)
        if kind is Kind.TEXT and value is not None:
            value = _plain(value)
        elif kind is Kind.TIME and value is not None:
            at = datetime.fromisoformat(str(value))
            value = int(at.timestamp()) * 1_000_000 + at.microsecond
        made[name] = value
    return made


def _plain(value: Any) -> str | None:
    """A value as a text; what is no single value as JSON."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
