"""Exports through a real gateway: every format, whole, safe to open, and going on after a break."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.client import Client, ClientError
from proxy.export_commands import export_decisions, export_requests
from proxy.export_files import ExportError, Page, export
from proxy.export_forms import REQUESTS, Form
from tests.proxy.api.records_kit import SINCE, UNTIL, Archive, archive_on
from tests.proxy.test_parquet import read

ASKED = {"since": SINCE, "until": UNTIL}


def silent(rows: int, at: str) -> None:
    """Nobody looks on."""


def fetching(archive: Archive, who: str, limit: int = 3) -> Callable[[str], Page]:
    client = Client(archive.stack.url, archive.stack.tokens[who])

    def fetch(cursor: str) -> Page:
        more = {"cursor": cursor} if cursor else {}
        return client.call("GET", "/requests", query={**ASKED, "limit": str(limit), **more}).body

    return fetch


async def fill(archive: Archive, count: int = 8) -> list[str]:
    ids = await archive.write(
        archive.request("member", n, input_tokens=n, pinned={"note": "=cmd|' /C calc'!A0"}, error="=1+1")
        for n in range(count)
    )  # fmt: skip
    return ids[::-1]


@pytest.mark.parametrize("form", [*Form])
async def test_every_format_holds_every_record_once(tmp_path: Path, form: Form) -> None:
    async with archive_on(tmp_path) as archive:
        ids = await fill(archive)
        file = tmp_path / f"out.{form}"
        rows = await asyncio.to_thread(
            export, file, form, REQUESTS, ASKED, fetching(archive, "root"), silent
        )
    assert rows == 8
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in tmp_path.glob(".out*")) == []
    found: list[Any]
    if form is Form.JSONL:
        found = [json.loads(line) for line in file.read_text().splitlines()]
    elif form is Form.CSV:
        found = list(csv.DictReader(file.read_text().splitlines()))
        assert all(value[:1] not in ("=", "+", "-", "@") for one in found for value in one.values())
    else:
        columns = read(file.read_bytes())
        found = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        assert found[0]["at"] > 1_700_000_000_000_000
    assert [one["id"] for one in found] == ids
    assert [int(one["input_tokens"] or 0) for one in found] == list(range(7, -1, -1))


async def test_who_may_read_less_exports_less(tmp_path: Path) -> None:
    async with archive_on(tmp_path) as archive:
        await fill(archive)
        await archive.write([archive.request("other")])
        fetch = fetching(archive, "other")
        file = tmp_path / "out.jsonl"
        assert (
            await asyncio.to_thread(export, file, Form.JSONL, REQUESTS, ASKED, fetch, silent) == 1
        )


async def test_a_broken_off_export_goes_on_where_it_was(tmp_path: Path) -> None:
    async with archive_on(tmp_path) as archive:
        ids = await fill(archive)
        fetch = fetching(archive, "root")
        asked: list[str] = []

        def breaking(cursor: str) -> Page:
            asked.append(cursor)
            if len(asked) == 3:
                raise ClientError("the connection broke")
            return fetch(cursor)

        file = tmp_path / "out.jsonl"

        def run(fetch: Callable[[str], Page], more: dict[str, str]) -> int:
            return export(file, Form.JSONL, REQUESTS, {**ASKED, **more}, fetch, silent)

        with pytest.raises(ClientError):
            await asyncio.to_thread(run, breaking, {})
        assert not file.exists()
        with (tmp_path / ".out.jsonl.lines").open("ab") as lines:
            lines.write(b'{"id": "half a page that has no pl')
        with pytest.raises(ExportError, match="other parameters"):
            await asyncio.to_thread(run, breaking, {"model": "acme/mini"})
        assert await asyncio.to_thread(run, breaking, {}) == 8
        assert asked.count("") == 1
        assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == ids


async def test_the_commands_write_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with archive_on(tmp_path) as archive:
        await fill(archive)
        monkeypatch.setenv("GATEWARDEN_URL", archive.stack.url)
        monkeypatch.setenv("GATEWARDEN_TOKEN", archive.stack.tokens["root"])
        window = ["--since", SINCE[:10], "--until", UNTIL[:10]]

        def run(command: Any, *more: str) -> Result:
            return CliRunner().invoke(command, [*window, *more])

        file = tmp_path / "r.csv"
        got = await asyncio.to_thread(run, export_requests, "-o", str(file), "--model", "acme/mini")
        assert got.exit_code == 0, got.output
        assert len(file.read_text().splitlines()) == 9
        other = tmp_path / "d.parquet"
        got = await asyncio.to_thread(
            run, export_decisions, "-o", str(other), "--format", "parquet", "--effect", "allow"
        )
        assert got.exit_code == 0, got.output
        assert set(read(other.read_bytes())["effect"]) == {"allow"}
