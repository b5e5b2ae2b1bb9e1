"""Figures through the API: what a reader's rules let him read, and not one record more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from store.aggregating import columns_at
from tests.proxy.api.records_kit import RULES, SINCE, UNTIL, Archive, archive_on

PATH = "/metrics/query"


async def ask(archive: Archive, who: str, path: str = PATH, **body: Any) -> Any:
    window = (
        {"since": SINCE, "until": UNTIL} if path == PATH else {"startTs": SINCE, "endTs": UNTIL}
    )
    got = await archive.stack.call("POST", path, {**window, **body}, who=who)
    assert got.status == 200, got.raw
    return got.json


async def refused(archive: Archive, path: str = PATH, **body: Any) -> str:
    got = await archive.stack.call("POST", path, body, who="root")
    assert got.status in (400, 422), got.raw
    return str(got.json["detail"]) + str(got.json.get("findings", "")) + str(got.json)


async def fill(archive: Archive) -> None:
    await archive.write(
        [
            archive.request("member", 1, input_tokens=10, output_tokens=1, total_ms=100),
            archive.request("member", 2, input_tokens=20, total_ms=300, status=500),
            archive.request("manager", 3, input_tokens=40, model="acme/large", cost=7),
            archive.request("other", 4, input_tokens=80, pinned={"region": "emea"}, cost=5),
            archive.request("crawler", 5, model="", account="", server="files", tool="files/read",
                            outcome="tool_error"),
        ]
    )  # fmt: skip


async def test_everybody_counts_what_he_may_read(archive: Archive) -> None:
    await fill(archive)
    for who, count in {"root": 5, "member": 2, "manager": 1, "other": 1, "helper": 0}.items():
        body = await ask(archive, who)
        assert sum(one["count"] for one in body["data"]) == count, who
        assert not body["truncated"]


async def test_sums_errors_and_durations_by_group(archive: Archive) -> None:
    await fill(archive)
    body = await ask(archive, "root", group_by=["model"], durations=["total_ms"])
    found = {one["by"]["model"]: one for one in body["data"]}
    mini = found["acme/mini"]
    assert mini["count"] == 3
    assert (mini["errors"], mini["error_rate"]) == (1, 0.333333)
    assert mini["sums"] == {"input_tokens": 110, "output_tokens": 1, "cost": 5}
    assert mini["durations"]["total_ms"] == {
        "known": 2, "mean": 200.0, "p50": 100, "p90": 300, "p95": 300, "p99": 300,
    }  # fmt: skip
    assert found[None]["errors"] == 1
    assert found["acme/large"]["durations"] == {}


async def test_parameters_narrow_in_the_words_of_the_list(archive: Archive) -> None:
    await fill(archive)
    for where, count in (
        ({"model": "acme/mini"}, 3),
        ({"user": "member@example.com"}, 2),
        ({"team": "search"}, 4),
        ({"metadata_key": "region", "metadata_value": "emea"}, 1),
        ({"status": "5xx", "model": "acme/mini"}, 1),
        ({"model": "acme/nothing"}, 0),
    ):
        body = await ask(archive, "root", where=where)
        assert sum(one["count"] for one in body["data"]) == count, where


async def test_a_request_of_several_teams_counts_for_each_and_once_in_all(
    embedded: Archive,
) -> None:
    await embedded.write([embedded.request("member", teams=("team:a", "team:b"))])
    body = await ask(embedded, "root", group_by=["team"])
    assert {one["by"]["team"]: one["count"] for one in body["data"]} == {"team:a": 1, "team:b": 1}
    assert (await ask(embedded, "root"))["data"][0]["count"] == 1


async def test_intervals_come_in_order_and_people_are_named(embedded: Archive) -> None:
    await fill(embedded)
    body = await ask(embedded, "root", group_by=["created_by"], interval="1d")
    starts = [one["start"] for one in body["data"]]
    assert starts == sorted(starts) and all(starts)
    assert body["people"][embedded.ids["member"].partition(":")[2]] == "member@example.com"
    few = await ask(embedded, "root", group_by=["created_by"], limit=1)
    assert (len(few["data"]), few["left_out"]) == (1, 3)
    assert few["data"][0]["by"]["created_by"] == embedded.ids["member"]


async def test_columns_say_the_same_as_records(archive: Archive) -> None:
    await archive.write(
        archive.request("member", n, input_tokens=n, model=f"acme/m{n % 3}")
        for n in range(4096 * 3)
    )
    asked: dict[str, Any] = {"group_by": ["model", "status"], "durations": ["total_ms"]}
    before = await ask(archive, "root", **asked)
    columns = columns_at(archive.place)
    try:
        assert columns.seal() > 0
    finally:
        columns.close()
    after = await ask(archive, "root", **asked)
    assert after["data"] == before["data"]
    assert sum(one["count"] for one in after["data"]) == 4096 * 3


async def test_a_rule_that_leaves_out_values_counts_only_who_says_another(tmp_path: Path) -> None:
    prefix = {
        "id": "prefix",
        "subjects": ["team:support"],
        "data_types": ["metrics"],
        "scope": "all_data",
        "filters": [
            {"field": "metadata", "key": "region", "operator": "NOT_IN", "value": ["emea"]}
        ],
    }
    async with archive_on(tmp_path) as made:
        document = {
            "type": "gateway-data-access-config",
            "name": "data-access",
            "rules": [*RULES, prefix],
        }
        got = await made.stack.call("PUT", "/apply", {"manifests": [document]}, who="root")
        assert got.status == 200, got.raw
        await fill(made)
        await made.write([made.request("other", 9, pinned={"region": "apac"})])
        body = await ask(made, "helper", group_by=["metadata.region"])
        assert {one["by"]["metadata.region"]: one["count"] for one in body["data"]} == {"apac": 1}


async def test_records_that_are_checked_one_by_one_come_to_the_same(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(archive)
    await archive.write(archive.request("member", n) for n in range(10, 450))
    asked: dict[str, Any] = {"group_by": ["model", "team"], "durations": ["total_ms"]}
    for who in ("root", "member", "helper"):
        on_columns = await ask(archive, who, **asked)
        with monkeypatch.context() as patch:
            patch.setattr("proxy.api.metrics.runs_on_columns", lambda wanted: False)
            assert await ask(archive, who, **asked) == on_columns


async def test_each_answer_is_written_down(embedded: Archive) -> None:
    await fill(embedded)
    await ask(embedded, "member", group_by=["model"])
    await embedded.ship()
    body = await embedded.get(
        "root", "/decisions", action="data:read", subject="user:member@example.com"
    )
    assert body["data"][0]["resource"] == "data:metrics"
    assert body["data"][0]["count"] == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"group_by": ["request"]}, "group_by"),
        ({"group_by": [{"$ne": ""}]}, "not a field"),
        ({"group_by": ["metadata."]}, "group_by"),
        ({"where": {"model": {"$ne": "x"}}}, "not a field"),
        ({"where": {"model": ["a"]}}, "model"),
        ({"where": {"nothing": "x"}}, "nothing"),
        ({"where": {"request": "r-1"}}, "one request"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "since"),
        ({"since": "1026-01-02T00:00:00Z"}, "since"),
        ({"since": "2026-01-01T00:00:00Z", "until": "2026-12-01T00:00:00Z", "interval": "1m"}, "intervals"),
        ({"sums": ["$sum"]}, "sums"),
        ({"limit": 10**9}, "limit"),
    ],
)  # fmt: skip
async def test_what_is_no_question_is_refused(
    embedded: Archive, body: dict[str, Any], said: str
) -> None:
    assert said in await refused(embedded, **body)


# --- TrueFoundry's words ---------------------------------------------------------------------------

THEIRS = "/llm-gateway/metrics/query"


async def test_their_question_is_answered_in_their_words(archive: Archive) -> None:
    await fill(archive)
    body = await ask(
        archive,
        "root",
        THEIRS,
        datasource="modelMetrics",
        groupBy=["modelName", "userEmail"],
        aggregations=[
            {"type": "sum", "column": "inputTokens"},
            {"type": "sum", "column": "costInUSD"},
            {"type": "p95", "column": "latencyMs"},
        ],
        filters=[{"fieldName": "modelName", "operator": "NOT_IN", "value": ["acme/large"]}],
    )
    assert body["data"]["dataPoints"] == [
        {
            "total": 2, "modelName": "acme/mini", "createdBySubjectSlug": "member@example.com",
            "sumInputTokens": 30, "sumCostInUSD": 0.0, "p95LatencyMs": 300,
        },
        {
            "total": 1, "modelName": "acme/mini", "createdBySubjectSlug": "other@example.com",
            "sumInputTokens": 80, "sumCostInUSD": 5e-9, "p95LatencyMs": None,
        },
    ]  # fmt: skip


async def test_their_sources_are_told_apart_and_their_series_has_ends(embedded: Archive) -> None:
    await fill(embedded)
    asked: dict[str, Any] = {"type": "timeseries", "interval": "1 day"}
    models = await ask(embedded, "root", THEIRS, datasource="modelMetrics", **asked)
    servers = await ask(
        embedded, "root", THEIRS, datasource="mcpMetrics", groupBy=["toolName"], **asked
    )
    assert [one["total"] for one in models["data"]["dataPoints"]] == [4]
    (point,) = servers["data"]["dataPoints"]
    assert point["toolName"] == "files/read"
    assert point["startTimestamp"] < point["endTimestamp"]


@pytest.mark.parametrize(
    "body",
    [
        {"datasource": "configMetrics"},
        {"groupBy": ["virtualModel"]},
        {"groupBy": ["userEmail", "virtualaccount"]},
        {"aggregations": [{"type": "countDistinct", "column": "userEmail"}]},
        {"aggregations": [{"type": "p95", "column": "inputTokens"}]},
        {"filters": [{"fieldName": "virtualModelName", "operator": "IN", "value": ["x"]}]},
        {"filters": [{"fieldName": "team", "operator": "IN", "value": "x"}]},
        {"filters": [{"fieldName": "team", "operator": "$ne", "value": "x"}]},
        {"filters": [{"operator": "EQUAL", "value": "x"}]},
        {"type": "timeseries"},
        {"interval": "1 hour"},
    ],
)
async def test_what_has_no_counterpart_is_refused_by_name(
    embedded: Archive, body: dict[str, Any]
) -> None:
    whole = {"startTs": SINCE, "endTs": UNTIL, "datasource": "modelMetrics", **body}
    await refused(embedded, THEIRS, **whole)
