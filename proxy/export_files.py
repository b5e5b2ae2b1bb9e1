"""Exports of records: pages of a list are kept as lines until all are there, then become one file.

What was fetched lies beside the file to be, with the cursor of the next page: an export that was broken off
goes on there when it is asked for again with the same parameters. The file itself appears when it is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from authz.errors import GatewardenError
from proxy.export_forms import Form, Writing
from proxy.parquet import Kind

_GROUP: Final = 50_000  # rows that are written together

Page = Mapping[str, Any]  # of a list: `data`, `next`, `since`, `until`
Fetch = Callable[[str], Page]  # the page of a cursor; "" is the first


class ExportError(GatewardenError):
    """An export cannot be made or gone on with."""

    code = "export_failed"


def export(
    output: Path,
    form: Form,
    columns: Mapping[str, Kind],
    asked: Mapping[str, str],
    fetch: Fetch,
    tell: Callable[[int, str], None],
) -> int:
    """Writes all pages to a file; how many rows. `tell` hears how many are fetched, and the time reached.

    Raises:
        ExportError: other parameters than those of the export that is to go on, or the disk.
        What `fetch` raises: asked again, the export goes on.
    """
    try:
        kept = _Kept(output, {"form": form.value, **asked})
        while not kept.done:
            page = fetch(kept.cursor)
            kept.add(page)
            tell(kept.rows, str(page["data"][-1]["at"]) if page["data"] else "")
        fresh = output.with_name(f".{output.name}.fresh")
        with fresh.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            _write(form, columns, kept.lines(), file)
        fresh.replace(output)
        kept.forget()
    except OSError as error:
        raise ExportError(f"`{output}` cannot be written: {error.strerror}") from error
    return kept.rows


class _Kept:
    """What was fetched so far: lines in one file, the place in another."""

    def __init__(self, output: Path, asked: Mapping[str, str]) -> None:
        self._lines = output.with_name(f".{output.name}.lines")
        self._place = output.with_name(f".{output.name}.place")
        self._asked = dict(asked)
        self.cursor, self.rows, self.done, self._size = "", 0, False, 0
        if self._place.exists():
            self._go_on()
        else:
            self._lines.write_bytes(b"")
            self._lines.chmod(0o600)

    def _go_on(self) -> None:
        said = json.loads(self._place.read_bytes())
        if said["asked"] != self._asked:
            raise ExportError(
                "an export with other parameters was broken off there",
                hint=f"give the same ones, another file, or remove `{self._place}`",
            )
        self.cursor, self.rows, self.done = said["cursor"], said["rows"], said["done"]
        self._size = said["size"]
        with self._lines.open("r+b") as file:
            file.truncate(self._size)  # a page that was written without its place comes again

    def add(self, page: Page) -> None:
        """Keeps a page, and then the place of the next."""
        raw = b"".join(json.dumps(one).encode() + b"\n" for one in page["data"])
        with self._lines.open("ab") as file:
            file.write(raw)
            file.flush()
            os.fdatasync(file.fileno())
        self._size += len(raw)
        self.rows += len(page["data"])
        self.cursor = page["next"] or ""
        self.done = not self.cursor
        fresh = self._place.with_name(f"{self._place.name}.fresh")
        said = {"asked": self._asked, "cursor": self.cursor, "rows": self.rows}
        fresh.write_text(json.dumps({**said, "done": self.done, "size": self._size}))
        fresh.replace(self._place)

    def lines(self) -> Iterator[dict[str, Any]]:
        """What was fetched."""
        with self._lines.open("rb") as file:
            for line in file:
                yield json.loads(line)

    def forget(self) -> None:
        """Once the file is there."""
        self._place.unlink()
        self._lines.unlink()


def _write(
    form: Form, columns: Mapping[str, Kind], items: Iterator[dict[str, Any]], file: IO[bytes]
) -> None:
    writing = Writing(form, columns)
    while rows := list(islice(items, _GROUP)):
        file.write(writing.add(rows))
    file.write(writing.end())
