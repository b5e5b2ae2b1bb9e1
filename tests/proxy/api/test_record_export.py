"""A window of records as a file: what is in it, going on after a break, and what breaks it off."""

from __future__ import annotations

import csv
import json
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from proxy.api import records_export
from proxy.api.records_reading import Lines
from proxy.export_forms import DECISIONS, REQUESTS
from tests.proxy.api.records_kit import READERS, Archive, asked
from tests.proxy.test_parquet import read as read_parquet

EXPORT = "/requests/export"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pages and pieces, however few records there are."""
    monkeypatch.setattr(records_export, "_PAGE", 2)
    monkeypatch.setattr(records_export, "_PIECE", 4)


async def written(archive: Archive) -> list[str]:
    make = archive.request
    return await archive.write(
        [
            *(make("member", n, input_tokens=n, error="=1+1") for n in range(6)),
            *(make("other", n, pinned={"region": "emea"}, status=500) for n in range(6, 11)),
        ]
    )


def rows(raw: bytes, form: str) -> list[dict[str, Any]]:
    """What is in a file."""
    if form == "jsonl":
        return [json.loads(line) for line in raw.decode().splitlines()]
    if form == "csv":
        return list(csv.DictReader(raw.decode().splitlines()))
    columns = read_parquet(raw)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


async def exported(archive: Archive, who: str, path: str = EXPORT, **query: str) -> bytes:
    got = await archive.stack.call("GET", asked(path, **query), who=who)
    assert got.status == 200, got.raw
    return got.raw


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
async def test_a_file_holds_what_the_list_would_show(archive: Archive, form: str) -> None:
    await written(archive)
    for who in READERS:
        listed = await archive.listed(who)
        found = rows(await exported(archive, who, format=form), form)
        assert [str(one["id"]) for one in found] == listed[::-1], who
    failed = rows(await exported(archive, "root", format=form, status="5xx"), form)
    assert [str(one["id"]) for one in failed] == (await archive.listed("root"))[:-6:-1]


async def test_each_form_says_what_it_is(embedded: Archive) -> None:
    await written(embedded)
    for form, media in records_export.MEDIA.items():
        got = await embedded.stack.call("GET", asked(EXPORT, format=form))
        assert got.headers["content-type"].partition(";")[0] == media
        assert got.headers["content-disposition"] == f'attachment; filename="requests.{form}"'
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["x-decision-id"] and got.headers["x-policy-epoch"]
    head, first = (await exported(embedded, "member")).decode().splitlines()[:2]
    assert head.split(",") == list(REQUESTS)
    assert "'=1+1" in first  # no formula
    (line, *_) = rows(await exported(embedded, "member", format="jsonl"), "jsonl")
    (shown,) = (await embedded.get("member", limit=1))["data"]
    assert line == shown


async def test_decisions_are_exported_without_what_callers_sent(embedded: Archive) -> None:
    await written(embedded)
    found = rows(await exported(embedded, "auditor", "/decisions/export", format="csv"), "csv")
    assert found and list(found[0]) == list(DECISIONS)
    own = rows(await exported(embedded, "member", "/decisions/export", format="jsonl"), "jsonl")
    assert {one["principal"] for one in own} == {embedded.ids["member"]}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_it_goes_on_behind_any_row_that_arrived(embedded: Archive, form: str) -> None:
    await written(embedded)
    whole = await exported(embedded, "root", format=form)
    await embedded.write([embedded.request("root", 20)])  # arrives meanwhile: not in the way
    lines = whole.splitlines(keepends=True)
    for place, row in enumerate(rows(whole, form)):
        kept = b"".join(lines[: place + 1 + (form == "csv")])
        rest = await exported(embedded, "root", format=form, cursor=row["id"])
        assert kept + rest == whole


async def test_a_cursor_opens_nothing(embedded: Archive) -> None:
    ids = await written(embedded)
    for who, cursor in (("member", ids[-1]), ("root", "0" * 26), ("checkout", ids[0])):
        got = await embedded.stack.call("GET", asked(EXPORT, cursor=cursor), who=who)
        assert (got.status, got.code) == (400, "invalid_query"), who
    # A cursor of what he may read leads to what he may read.
    got = rows(await exported(embedded, "member", cursor=ids[3], format="jsonl"), "jsonl")
    assert [one["id"] for one in got] == ids[2::-1]


@pytest.mark.parametrize(
    "query",
    [
        {"format": "xml"},
        {"cursor": "x"},
        {"limit": "1"},
        {"since": ""},
        {"until": "2030-01-01"},
        {"model": "$ne"},
        {"format": "parquet", "cursor": "0" * 26},
    ],
)
async def test_what_it_does_not_take_is_refused(embedded: Archive, query: dict[str, str]) -> None:
    got = await embedded.stack.call("GET", asked(EXPORT, **query))
    assert (got.status, got.code) == (400, "invalid_query")


async def test_without_a_window_it_is_refused(embedded: Archive) -> None:
    got = await embedded.stack.call(
        "GET", f"{EXPORT}?{urlencode({'since': '2030-01-01T00:00:00Z'})}"
    )
    assert got.status == 400


async def test_every_piece_is_written_down_before_it_leaves(embedded: Archive) -> None:
    await written(embedded)
    got = await embedded.stack.call("GET", asked(EXPORT, format="jsonl"), who="root")
    found = [
        one["body"]
        for one in embedded.stack.records()
        if one["body"].get("route") == f"GET /api/v1{EXPORT}"
    ]
    assert [one["count"] for one in found] == [4, 4, 3]
    assert len({one["result_digest"] for one in found}) == 3
    assert {(one["action"], one["resource"]) for one in found} == {("data:read", "data:traces")}
    assert embedded.stack.record(got.headers["x-decision-id"])["body"]["count"] == 4


async def test_an_empty_file_is_a_look_too(embedded: Archive) -> None:
    await written(embedded)
    assert (await exported(embedded, "checkout")).decode().splitlines() == [",".join(REQUESTS)]
    (look,) = (
        one["body"]
        for one in embedded.stack.records()
        if one["body"].get("route") == f"GET /api/v1{EXPORT}"
    )
    assert look.get("count", 0) == 0


async def _interrupted(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, who: str, change: Any
) -> tuple[list[str], bool]:
    """The ids that arrive when `change` happens after the first piece; whether the file is whole."""
    pieces = records_export._Pieces
    real = pieces.next

    async def next_piece(self: Any, *given: Any) -> Lines:
        if self._begun:
            monkeypatch.setattr(pieces, "next", real)
            await change()
        return await real(self, *given)

    monkeypatch.setattr(pieces, "next", next_piece)
    raw = b""
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{archive.stack.url}/api/v1{asked(EXPORT, format='jsonl')}",
            headers={"Authorization": f"Bearer {archive.stack.tokens[who]}"},
        ) as response,
    ):
        assert response.status == 200
        try:
            async for chunk in response.content.iter_any():
                raw += chunk
        except aiohttp.ClientPayloadError:
            return [one["id"] for one in rows(raw, "jsonl")], False
    return [one["id"] for one in rows(raw, "jsonl")], True


async def test_it_breaks_off_with_the_token(
    embedded: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await written(embedded)

    async def revoke() -> None:
        token = embedded.stack.token_ids["member"]
        done = await embedded.stack.call("DELETE", f"/personal-access-tokens/{token}", who="member")
        assert done.status == 200

    found, whole = await _interrupted(embedded, monkeypatch, "member", revoke)
    assert (found, whole) == (ids[5:1:-1], False)
    assert embedded.stack.runtime.tails.open == 0


async def test_it_breaks_off_when_the_gateway_ends(
    embedded: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(embedded)

    async def end() -> None:
        embedded.stack.runtime.tails.end()

    found, whole = await _interrupted(embedded, monkeypatch, "root", end)
    assert (len(found), whole) == (4, False)


async def test_a_change_of_policy_holds_from_the_next_piece_on(
    embedded: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await written(embedded)

    async def leave() -> None:
        await embedded.stack.commit({"type": "team", "name": "support", "members": []})

    found, whole = await _interrupted(embedded, monkeypatch, "helper", leave)
    assert (found, whole) == (ids[:-5:-1], True)


async def test_what_goes_wrong_on_our_side_breaks_it_off_too(
    embedded: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(embedded)

    async def fail() -> None:
        raise RuntimeError

    found, whole = await _interrupted(embedded, monkeypatch, "root", fail)
    assert (len(found), whole) == (4, False)


async def test_too_many_at_once_are_told_to_wait(
    embedded: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.tails.MOST_OF_ONE", 0)
    got = await embedded.stack.call("GET", asked(EXPORT))
    assert (got.status, got.code) == (503, "busy")
