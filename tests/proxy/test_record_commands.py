"""Commands about records: what a token may see of them through a gateway, and all of it on the host."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.api import records_tail
from proxy.cli import main
from proxy.record_commands import csv_text
from tests.proxy.api.records_kit import SINCE, UNTIL, Archive, archive_on

WINDOW = ("--since", SINCE[:10], "--until", UNTIL[:10])


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive_on(tmp_path) as made:
        yield made


async def run(archive: Archive, who: str, *arguments: str) -> Result:
    """The command with a reader's token."""
    stack = archive.stack
    runner = CliRunner(
        env={
            "GATEWARDEN_URL": stack.url,
            "GATEWARDEN_TOKEN": stack.tokens[who],
            "GATEWARDEN_DATA": str(stack.folder),
        }
    )
    return await asyncio.to_thread(runner.invoke, main, arguments)


async def as_json(archive: Archive, who: str, *arguments: str) -> Any:
    done = await run(archive, who, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


async def written(archive: Archive) -> list[str]:
    make = archive.request
    return await archive.write(
        [
            make("member", 0, claimed={"note": "=HYPERLINK(1)", "x\x1b[2J": "y"}),
            make("crawler", 1, status=404, model=""),
            make("other", 2, pinned={"region": "emea"}),
        ]
    )


async def test_requests_are_those_that_the_token_may_read(archive: Archive) -> None:
    ids = await written(archive)
    for who, places in (("member", [1, 0]), ("other", [2]), ("root", [2, 1, 0]), ("checkout", [])):
        found = await as_json(archive, who, "requests", *WINDOW)
        assert [one["id"] for one in found["data"]] == [ids[place] for place in places]
    narrow: list[tuple[tuple[str, ...], list[int]]] = [
        (("--user", "other@example.com"), [2]),
        (("--virtual-account", "crawler"), [1]),
        (("--status", "4xx"), [1]),
        (("--metadata", "region=emea"), [2]),
        (("--metadata", "note"), [0]),
        (("--team", "search", "--model", "acme/mini"), [0]),
        (("--limit", "2"), [2, 1]),
    ]
    for options, places in narrow:
        found = await as_json(archive, "root", "requests", *WINDOW, *options)
        assert [one["id"] for one in found["data"]] == [ids[place] for place in places], options


async def test_pages_are_put_together(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.record_commands._PAGE", 2)
    ids = await archive.write([archive.request("member", number) for number in range(5)])
    found = await as_json(archive, "root", "requests", *WINDOW, "--limit", "4")
    assert [one["id"] for one in found["data"]] == ids[:0:-1] and found["next"]
    table = await run(archive, "root", "requests", *WINDOW, "--limit", "4")
    assert table.output.count("user:") == 4 and "larger --limit" in table.output


async def test_csv_is_no_program_and_a_table_steers_no_terminal(archive: Archive) -> None:
    ids = await written(archive)
    done = await run(archive, "root", "requests", *WINDOW, "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["id"] for row in rows] == ids[::-1]
    assert rows[0]["metadata"] == '{"region":"emea"}' and rows[1]["status"] == "404"
    text = csv_text(("a", "b"), [{"a": "=1+1", "b": "@x"}, {"a": "-1", "b": ["+", "x"]}])
    assert text == "a,b\n'=1+1,'@x\n'-1,'+ x\n"
    shown = await run(archive, "root", "requests", "show", ids[0])
    assert shown.exit_code == 0 and "\x1b[2J" not in shown.output
    assert "member@example.com" in (await run(archive, "root", "requests", *WINDOW)).output


async def test_one_request_and_what_was_said_in_it(archive: Archive) -> None:
    ids = await written(archive)
    found = await as_json(archive, "member", "requests", "show", ids[0], "--payload")
    assert found["data"]["id"] == ids[0] and found["payload"] is None
    refused = await run(archive, "auditor", "requests", "show", ids[0], "--payload")
    assert refused.exit_code == 1 and "what was said" in refused.output
    refused = await run(archive, "other", "requests", "show", ids[0])
    assert refused.exit_code == 1 and "not_found" in refused.output


async def test_wrong_options_are_said(archive: Archive) -> None:
    for options in (
        ("requests", "--csv", "--json"),
        ("requests", "--status", "4x"),
        ("requests", "--model", '{"$ne": ""}'),
        ("log", "query", "--kind", "request", "--effect", "deny"),
    ):
        done = await run(archive, "root", *options)
        assert done.exit_code == 1, options


async def test_the_tail_prints_what_arrives(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_tail, "POLL_SECONDS", 0.01)
    for extra in ((), ("--json",)):
        arguments = ("log", "tail", "--kind", "request", "--seconds", "2", *extra)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            running = group.create_task(run(archive, "root", *arguments))
            while not archive.stack.runtime.tails.open:
                await asyncio.sleep(0.01)
            ids = await archive.write([archive.request("member", 1), archive.request("other", 2)])
        done = running.result()
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()
        assert len(lines) == 2
        assert all(record_id in line for record_id, line in zip(ids, lines, strict=True))
        if extra:
            assert [json.loads(line)["id"] for line in lines] == ids


async def test_the_host_reads_all_records_as_they_were_written(archive: Archive) -> None:
    ids = await written(archive)
    await archive.stack.call("GET", "/teams/hidden", who="checkout")
    await archive.ship()

    async def found(*options: str) -> list[str]:
        told = await as_json(archive, "checkout", "log", "query", *options)
        assert not told["truncated"]
        return [one["id"] for one in told["data"]]

    requests = ("--kind", "request")
    assert await found(*requests) == ids[::-1]
    assert await found(*requests, "--id", ids[0]) == [ids[0]]
    assert await found(*requests, "--subject", archive.ids["other"]) == [ids[2]]
    assert await found(*requests, "--resource", "model:acme/mini") == [ids[2], ids[0]]
    assert await found(*requests, "--request", "req-member-0") == [ids[0]]
    assert await found(*requests, "--until", "2020-01-01") == []
    assert await found(*requests, "--id", ids[0], "--until", "2020-01-01") == []
    (denied,) = await found("--effect", "deny")
    one = ("--reason", "no_grant", "--action", "team:read", "--resource", "team:hidden")
    assert await found(*one) == [denied] == await found("--id", denied, *one)
    assert await found("--id", denied, "--effect", "allow") == []
    told = await as_json(archive, "root", "log", "query", *requests, "--limit", "2")
    assert told["next"] == ids[1] and told["data"][0]["body"]["pinned"] == {"region": "emea"}
    table = await run(archive, "root", "log", "query", "--effect", "deny")
    assert "no_grant" in table.output and denied in table.output
