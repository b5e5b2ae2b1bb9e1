"""Metadata of requests: what is pinned and what is claimed, from the header to the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from authz import keys
from authz.conditions import Operator
from authz.keys import keys_of, stamp_of
from authz.rows import Row, row
from tests.proxy.world import condition, pins_for, world

NAMES = ("x-gatewarden-metadata", "x-tfy-metadata")


def deny_if(field: str, value: str) -> tuple[Row, Row]:
    """A deny on a model, if a field of the request says this."""
    definition, name = condition((field, Operator.EQUAL, value))
    deny = ("any:subject", "model:acme/mini", "model:use", "deny", name, "policy/stop#it")
    return definition, row("p", *deny)


@pytest.mark.parametrize("name", NAMES)
async def test_the_two_stay_apart_in_every_record_and_in_the_keys_that_filters_read(
    tmp_path: Path, name: str
) -> None:
    async with world(tmp_path, documents=[pins_for("team:search", cost="c-1")]) as w:
        await w.call(headers={name: '{"cost": "c-9", "run": "7"}'})
        record = (await w.records("request"))[0]
        decision = (await w.records("decision"))[0]
    assert record["pinned"] == decision["pinned"] == {"cost": "c-1"}
    assert record["aside"]["claimed"] == {"cost": "c-9", "run": "7"}
    found = set(keys_of(stamp_of(record, record["aside"])))
    assert {keys.pinned("cost", "c-1"), keys.claimed("cost", "c-9"), keys.claimed("run")} < found
    assert found.isdisjoint({keys.pinned("cost", "c-9"), keys.claimed("cost", "c-1"), keys.pinned("run")})  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("pinned.cost", "c-1", 403),
        ("pinned.cost", "c-9", 200),
        ("metadata.cost", "c-1", 403),  # what is pinned stands in place of the claim
        ("metadata.cost", "c-9", 200),
        ("metadata.run", "7", 403),
        ("pinned.run", "7", 403),  # nothing is pinned: unknown, and a deny holds
    ],
)
async def test_a_claim_does_not_get_past_what_is_pinned(
    tmp_path: Path, field: str, value: str, status: int
) -> None:
    pins = pins_for("team:search", cost="c-1")
    async with world(tmp_path, documents=[pins], rows=deny_if(field, value)) as w:
        got = await w.call(headers={"x-gatewarden-metadata": '{"cost": "c-9", "run": "7"}'})
        assert got.status == status


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({"note": "x" * 8000}, "`note`"),
        ({**{f"k{n}": "v" * 100 for n in range(60)}, "note": "x" * 129}, "`note`"),
        ({f"k{n}": "v" * 100 for n in range(65)}, "more than 64 keys"),
        ({"note": {"deep": "x"}}, "`note`"),
        ({"a\nb": "x"}, "`a\nb`"),
    ],
)
async def test_what_is_too_much_is_refused_by_the_name_of_its_key(
    tmp_path: Path, sent: dict[str, Any], named: str
) -> None:
    async with world(tmp_path) as w:
        for name in NAMES:
            got = await w.call(headers={name: json.dumps(sent)})
            assert (got.status, got.error["code"]) == (400, "invalid_header")
            assert f"`{name}`" in got.error["message"] and named in got.error["message"]
            assert len(got.error["message"]) < 300
        assert w.seen == []  # nothing went on


async def test_ten_kilobytes_in_one_header_are_not_read(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        got = await w.call(headers={"x-gatewarden-metadata": json.dumps({"note": "x" * 10_000})})
        assert (got.status, got.error["code"]) == (431, "headers_too_large")
        assert w.seen == []
        assert await w.records("request") == await w.records("decision") == []


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ((NAMES[0], '{"a": "b"}'), (NAMES[0], '{"a": "b"}'), 200),
        ((NAMES[0], '{"a": "b"}'), (NAMES[1], '{"a": "b"}'), 200),
        ((NAMES[0], '{"a": "b"}'), (NAMES[0], '{"a": "c"}'), 400),
        ((NAMES[0], '{"a": "b"}'), (NAMES[1], '{"c": "d"}'), 400),
        ((NAMES[0], "{}"), (NAMES[1], '{"c": "d"}'), 400),
    ],
)
async def test_a_header_that_comes_twice_says_the_same_or_is_refused(
    tmp_path: Path, first: tuple[str, str], second: tuple[str, str], status: int
) -> None:
    body = b'{"model":"acme/mini","messages":[]}'
    async with world(tmp_path) as w:
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            "host: localhost",
            f"authorization: Bearer {w.tokens['ann']}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
            *(f"{name}: {value}" for name, value in (first, second)),
            "",
            "",
        ]
        answer = await w.raw("\r\n".join(lines).encode() + body)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
