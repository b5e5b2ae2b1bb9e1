"""Readers of different scopes ask the same questions, on both stores: what they find, and what they cannot do."""

from __future__ import annotations

import base64
import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

from authz.conditions import Context
from authz.keys import stamp_of
from authz.scopes import DataType, may_read
from identity.principal import CredentialKind, Principal
from proxy.api.paging import decode_cursor, encode_cursor
from proxy.record_access import Opened
from store.request_records import Payload
from store.sealed import Sealer
from tests.proxy.api.records_kit import READERS, SINCE, UNTIL, Archive, archive_on, asked
from tests.proxy.api.stack import SEALING


def principal(archive: Archive, who: str) -> Principal:
    return Principal(archive.ids[who], "c", CredentialKind.PAT)


async def written(archive: Archive) -> list[str]:
    """One request each of some, and one of nobody's team that says where it comes from."""
    make = archive.request
    return await archive.write(
        [
            make("member", 0),
            make("manager", 1, status=404, model=""),
            make("crawler", 2, model="acme/large"),
            make("other", 3),
            make("other", 4, pinned={"region": "emea"}, status=500),
            make("other", 5, pinned={"region": "apac"}, claimed={"region": "emea"}),
            make("root", 6, server="files", tool="files/read", method="tools/call", model=""),
        ]
    )


FINDS = {
    "member": [0, 1, 2],  # of the team and of its account
    "manager": [0, 1, 2],
    "other": [3, 4, 5],  # own
    "helper": [4],  # pinned EMEA, and not what merely claims to be
    "auditor": [0, 1, 2, 3, 4, 5, 6],
    "root": [0, 1, 2, 3, 4, 5, 6],
    "checkout": [],
    "crawler": [],
}


async def test_each_reader_finds_what_the_rules_say_and_nothing_else(archive: Archive) -> None:
    ids = await written(archive)
    for who, places in FINDS.items():
        expected = [ids[place] for place in places]
        assert await archive.listed(who) == expected, who
        assert await archive.listed(who, limit=2) == expected, who
        for record_id in ids:
            got = await archive.stack.call("GET", f"/requests/{record_id}", who=who)
            assert got.status == (200 if record_id in expected else 404), (who, record_id)


async def test_the_same_narrow_question_of_everybody(archive: Archive) -> None:
    ids = await written(archive)
    questions: list[tuple[dict[str, str], set[int]]] = [
        ({"model": "acme/mini"}, {0, 3, 4, 5}),
        ({"account": "acme"}, {0, 1, 2, 3, 4, 5, 6}),
        ({"user": "other@example.com"}, {3, 4, 5}),
        ({"user": archive.ids["member"].partition(":")[2]}, {0}),
        ({"virtual_account": "crawler"}, {2}),
        ({"team": "search"}, {0, 1, 2}),
        ({"team": "nobody"}, set()),
        ({"server": "files"}, {6}),
        ({"tool": "files/read", "method": "tools/call"}, {6}),
        ({"status": "404"}, {1}),
        ({"status": "5xx"}, {4}),
        ({"metadata_key": "region"}, {4, 5}),
        ({"metadata_key": "region", "metadata_value": "apac"}, {5}),
        ({"request": "req-member-0"}, {0}),
        ({"model": "acme/mini", "user": "member@example.com"}, {0}),
        ({"model": "acme/mini", "status": "404"}, set()),
    ]
    for query, found in questions:
        for who, places in FINDS.items():
            expected = [ids[place] for place in places if place in found]
            assert await archive.listed(who, **query) == expected, (who, query)


async def test_what_is_listed_is_what_may_be_read_under_random_rules(archive: Archive) -> None:
    dice = random.Random(20261127)
    metadata: list[dict[str, str]] = [{}, {"region": "emea"}, {"region": "apac"}, {"env": "live"}]
    records = [
        archive.request(
            dice.choice(READERS),
            number,
            pinned=dice.choice(metadata),
            claimed=dice.choice(metadata),
        )
        for number in range(60)
    ]
    ids = await archive.write(records)
    stored = await archive.get("root", limit=1000)
    assert [one["id"] for one in stored["data"]] == ids[::-1]
    lines = {
        line["id"]: line for line in archive.stack.records() if line["body"]["type"] == "request"
    }
    for round_ in range(8):
        rules = [_random_rule(dice, number) for number in range(dice.randint(0, 5))]
        await archive.stack.commit(
            {"type": "gateway-data-access-config", "name": "data-access", "rules": rules}
        )
        engine = archive.stack.runtime.changes.engine
        for who in READERS:
            context = Context({"time.now": archive.stack.now[0], "client.ip": "127.0.0.1"})
            reader = principal(archive, who)
            expected = [
                record_id
                for record_id in ids
                if may_read(
                    engine,
                    reader,
                    stamp_of(lines[record_id]["body"], lines[record_id].get("aside")),
                    DataType.TRACES,
                    context,
                )
            ]
            assert await archive.listed(who, limit=25) == expected, (round_, who, rules)


def _random_rule(dice: random.Random, number: int) -> dict[str, Any]:
    scope = dice.choice(["own_data", "team_data", "team_virtual_account_data", "all_data"])
    filters: list[dict[str, Any]] = []
    if scope == "all_data":
        for _ in range(dice.randint(0, 2)):
            operator = dice.choice(["IN", "NOT_IN"])
            if dice.random() < 0.5:
                value = dice.sample(["emea", "apac"], dice.randint(1, 2))
                filters.append(
                    {"field": "metadata", "key": "region", "operator": operator, "value": value}
                )
            else:
                value = [
                    dice.choice(["user:other@example.com", "team:search", "virtualaccount:crawler"])
                ]
                filters.append({"field": "created_by", "operator": operator, "value": value})
    subject = dice.choice(["team:everyone", "team:search", "team:support", "role:auditor"])
    return {
        "id": f"r{number}",
        "subjects": [subject],
        "data_types": ["traces"],
        "scope": scope,
        **({"filters": filters} if filters else {}),
    }


# --- one record, and that it was read --------------------------------------------------------------


async def test_reading_is_a_decision_that_names_the_record(embedded: Archive) -> None:
    ids = await written(embedded)
    got = await embedded.stack.call("GET", f"/requests/{ids[0]}", who="manager")
    kept = embedded.stack.record(got.headers["x-decision-id"])["body"]
    assert (kept["action"], kept["resource"]) == ("data:read", "data:traces/team")
    assert kept["context"]["record.id"] == ids[0]
    assert kept["context"]["record.created_by"] == embedded.ids["member"]
    assert kept["teams"] == ["team:search"] and kept["rules"]
    for path in (f"/requests/{ids[0]}", f"/requests/{'0' * 26}"):
        refused = await embedded.stack.call("GET", path, who="other")
        assert refused.code == "not_found"
        kept = embedded.stack.record(refused.json["decision_id"])["body"]
        assert (kept["effect"], kept["reason"]) == ("deny", "no_grant")


async def test_a_list_is_one_record_with_count_and_digest(embedded: Archive) -> None:
    await written(embedded)
    got = await embedded.stack.call("GET", asked("/requests"), who="helper")
    kept = embedded.stack.record(got.headers["x-decision-id"])["body"]
    assert (kept["resource"], kept["count"]) == ("data:traces", 1)
    assert len(kept["result_digest"]) == 64
    nothing = await embedded.stack.call("GET", asked("/requests"), who="checkout")
    assert nothing.json["data"] == [] and nothing.json["next"] is None
    assert embedded.stack.record(nothing.headers["x-decision-id"])["body"]["result_digest"]


class Opens:
    """Opens payloads that say what they say."""

    def opened(self, record_id: str, sealed: bytes) -> object:
        return {"of": record_id, "said": sealed.decode()}


async def test_what_was_said_takes_a_right_of_its_own(archive: Archive) -> None:
    ids = await written(archive)
    archive.stack.runtime.payloads = Opens()
    records = await archive.access.open()
    await records.work(lambda store: store.take([], {}, [Payload(ids[0], 1, b"hello")]))
    got = await archive.stack.call("GET", f"/requests/{ids[0]}?payload=true", who="member")
    assert got.json["payload"] == {"of": ids[0], "said": "hello"}
    kept = archive.stack.record(got.headers["x-decision-id"])["body"]
    assert kept["resource"].startswith("data:payloads/") and kept["context"]["record.id"] == ids[0]
    got = await archive.stack.call("GET", f"/requests/{ids[3]}?payload=true", who="other")
    assert got.status == 200 and got.json["payload"] is None  # none is kept
    refused = await archive.stack.call("GET", f"/requests/{ids[0]}?payload=true", who="auditor")
    assert refused.status == 403 and b"hello" not in refused.raw
    kept = archive.stack.record(refused.json["decision_id"])["body"]
    assert (kept["effect"], kept["context"]["record.id"]) == ("deny", ids[0])
    hidden = await archive.stack.call("GET", f"/requests/{ids[0]}?payload=true", who="other")
    assert hidden.code == "not_found"


async def test_a_payload_that_does_not_open_is_our_own_fault(embedded: Archive) -> None:
    ids = await written(embedded)
    embedded.stack.runtime.payloads = Opened(Sealer(SEALING))
    records = await embedded.access.open()
    await records.work(lambda store: store.take([], {}, [Payload(ids[0], 1, b"hello")]))
    got = await embedded.stack.call("GET", f"/requests/{ids[0]}?payload=true", who="member")
    assert (got.status, got.code) == (503, "seal_broken") and b"hello" not in got.raw


async def test_rules_that_come_to_too_wide_a_query_are_said(embedded: Archive) -> None:
    rules = [
        {
            "id": f"r{number}",
            "subjects": ["team:support"],
            "data_types": ["traces"],
            "scope": "all_data",
            "filters": [
                {"field": "metadata", "key": "a", "operator": "IN", "value": [f"v{number}"]},
                {"field": "metadata", "key": "b", "operator": "IN", "value": [f"v{number}"]},
            ],
        }
        for number in range(257)
    ]
    await embedded.stack.commit(
        {"type": "gateway-data-access-config", "name": "data-access", "rules": rules}
    )
    got = await embedded.stack.call("GET", "/requests", who="helper")
    assert (got.status, got.code) == (422, "filter_too_wide")
    assert (await embedded.stack.call("GET", "/requests", who="other")).json["data"] == []


async def test_somebody_who_tries_one_record_after_the_other_is_stopped(tmp_path: Path) -> None:
    async with archive_on(tmp_path) as archive:
        limit = archive.stack.runtime.settings.limits.refusals_per_minute
        for _ in range(limit):
            got = await archive.stack.call("GET", f"/requests/{'1' * 26}", who="other")
            assert got.status == 404
        got = await archive.stack.call("GET", f"/requests/{'1' * 26}", who="other")
        assert got.status == 429


async def test_a_right_that_is_taken_away_is_gone_at_once(embedded: Archive) -> None:
    ids = await written(embedded)
    assert await embedded.listed("helper") == [ids[4]]
    await embedded.stack.commit({"type": "team", "name": "support", "members": []})
    assert await embedded.listed("helper") == []
    # Old stamps stay: whoever leaves a team loses sight of it, and its records stay the team's.
    await embedded.stack.commit(
        {
            "type": "team",
            "name": "search",
            "members": ["manager@example.com"],
            "managers": ["manager@example.com"],
        }
    )
    assert await embedded.listed("member") == [ids[0]]
    assert await embedded.listed("manager") == ids[:3]


# --- decisions -------------------------------------------------------------------------------------


async def test_decisions_are_for_auditors_and_own_ones_for_everybody(archive: Archive) -> None:
    await archive.stack.call("GET", "/users/nobody@example.com", who="other")  # refused: 404
    await archive.stack.call("GET", "/teams/search", who="manager")
    await archive.ship()
    own = await archive.get("other", "/decisions")
    assert {one["principal"] for one in own["data"]} == {archive.ids["other"]}
    (refused,) = (
        await archive.get("auditor", "/decisions", effect="deny", subject="user:other@example.com")
    )["data"]
    assert (refused["action"], refused["reason"]) == ("user:read", "unknown_resource")
    assert refused["id"] in await archive.listed("other", "/decisions")
    assert await archive.listed("manager", "/decisions", subject="user:other@example.com") == []
    questions = [
        {"action": "team:read", "resource": "team:search"},
        {"reason": "allowed", "action": "team:read"},
        {"team": "search", "action": "team:read"},
        {"epoch": str(refused["epoch"]), "action": "team:read"},
    ]
    for query in questions:
        found = (await archive.get("auditor", "/decisions", **query))["data"]
        assert [one["resource"] for one in found] == ["team:search"], query
    rule = found[0]["rules"][0]
    assert found[0]["id"] in await archive.listed("auditor", "/decisions", rule=rule)
    assert await archive.listed("auditor", "/decisions", epoch="1") == []
    by_request = await archive.listed("auditor", "/decisions", request=found[0]["request"])
    assert by_request == [found[0]["id"]]
    one = await archive.stack.call("GET", f"/decisions/{found[0]['id']}", who="auditor")
    assert one.json["data"]["questions"][0]["resource"] == "team:search"
    hidden = await archive.stack.call("GET", f"/decisions/{found[0]['id']}", who="other")
    assert hidden.code == "not_found"


async def test_a_request_is_found_by_its_decision(embedded: Archive) -> None:
    looked = await embedded.stack.call("GET", "/whoami", who="member")
    decision = looked.headers["x-decision-id"]
    asked_by = embedded.stack.record(decision)["body"]["request"]
    make = embedded.request
    ids = await embedded.write(
        [
            make("member", 0, request_id=asked_by, decision_id=decision),
            make("member", 1, request_id=asked_by),  # the same id again, of the caller's choice
        ]
    )
    assert await embedded.listed("member", decision=decision) == [ids[0]]
    assert await embedded.listed("other", decision=decision) == []
    assert await embedded.listed("root", decision="f" * 26) == []


# --- hostile questions -----------------------------------------------------------------------------

HOSTILE = [
    *(f"model={value}" for value in ("%7B%22%24ne%22%3A%22%22%7D", "%24ne", "a%5B%5D", "", "a%20b", "%00", "a%0Ab")),
    "model=" + "a" * 6_000,
    "model=" + "a" * 10_240,
    "metadata_key=" + "a" * 6_000,
    "metadata_key=" + "a" * 10_240,
    "metadata_value=x",
    "model[$ne]=x",
    "model.$ne=x",
    "model[]=x",
    "body.principal=x",
    "$where=1",
    "filter=%7B%7D",
    "user=",
    "user=a&user=b",
    "limit=0",
    "limit=1001",
    "limit=1e3",
    "status=4x",
    "status=%24gt",
    "outcome=any",
    "decision=1",
    "since=yesterday",
    "since=2030-01-01",
    "since=2030-01-01T00:00:00",
    "since=0001-01-01T00:00:00Z",
    "since=9999-12-31T23:59:59-23:59",
    "since=2026-11-02T00:00:00Z&until=2026-11-01T00:00:00Z",
    "since=2026-11-01T00:00:00Z&until=2026-11-01T00:00:00Z",
    "since=2000-01-01T00:00:00Z&until=3000-01-01T00:00:00Z",
    "since=2030-01-01T00:00:00Z",
    "cursor=x",
    "cursor=%24",
    "cursor=" + "a" * 600,
]  # fmt: skip


HOSTILE_DECISIONS = [
    *("action=model:us", "action=*", "reason=because", "effect=any", "epoch=-1", "epoch=x"),
    *("epoch=1&epoch=2", "resource=nothing", "subject=%7B%7D", "subject=bob", "rule="),
]


async def test_a_hostile_parameter_is_refused(embedded: Archive) -> None:
    paths = {f"/requests?{query}" for query in HOSTILE}
    paths |= {f"/decisions?{query}" for query in HOSTILE_DECISIONS}
    of_lists = ("since=", "limit=", "cursor=")
    paths |= {f"/requests/tail?{query}" for query in HOSTILE if not query.startswith(of_lists)}
    wrong = []
    for path in sorted(paths):
        got = await embedded.stack.call("GET", path, who="root")
        if b"bytes when reading" in got.raw and got.status == 400:
            continue  # a line too long for the parser; `proxy/server.py` words that
        if got.status != 400 or got.code != "invalid_query":
            wrong.append((path[:80], got.status, got.raw[:200]))
    assert not wrong


async def test_a_cursor_is_the_readers_and_the_questions_own(embedded: Archive) -> None:
    ids = await written(embedded)
    first = await embedded.get("root", limit=2)
    cursor = first["next"]
    assert [one["id"] for one in first["data"]] == ids[:-3:-1]
    more = await embedded.write([embedded.request("root", 7)])  # arrives meanwhile: not in the way
    second = await embedded.get("root", limit=2, cursor=cursor)
    assert [one["id"] for one in second["data"]] == ids[-3:-5:-1]
    assert more[0] not in [one["id"] for one in second["data"]]

    async def code(who: str, text: str, **query: str) -> str:
        got = await embedded.stack.call("GET", asked("/requests", cursor=text, **query), who=who)
        return "" if got.status == 200 else got.code

    assert await code("root", cursor) == ""
    assert await code("auditor", cursor) == "invalid_query"
    assert await code("ops", cursor) == "invalid_query"
    assert await code("root", cursor, model="acme/mini") == "invalid_query"
    assert await code("root", cursor[:-4]) == "invalid_query"
    assert await code("root", cursor + "AAAA") == "invalid_query"
    assert await code("root", cursor, until=UNTIL[:-1] + "1") == "invalid_query"
    other_list = await embedded.stack.call("GET", asked("/decisions", cursor=cursor), who="root")
    assert other_list.code == "invalid_query"
    for place in ("-1 0 1", "1 5 2", "1 2", "x 1 2", f"{10**30} 1 2", "1 1 2 3"):
        listing = json.loads(_plain(cursor))[0]
        assert decode_cursor(listing, cursor)
        assert await code("root", encode_cursor(listing, place)) == "invalid_query", place


def _plain(cursor: str) -> str:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()


async def test_dropping_a_parameter_does_not_widen_what_may_be_seen(embedded: Archive) -> None:
    ids = await written(embedded)
    all_of_other = [ids[place] for place in FINDS["other"]]
    assert await embedded.listed("other", user="member@example.com") == []
    assert await embedded.listed("other") == all_of_other


async def test_without_a_window_the_last_day_is_meant(embedded: Archive) -> None:
    got = await embedded.stack.call("GET", "/requests", who="root")
    assert got.json["until"] == embedded.stack.now[0].isoformat().replace("+00:00", "Z")
    since = embedded.stack.now[0] - timedelta(days=1)
    assert got.json["since"] == since.isoformat().replace("+00:00", "Z")


async def test_a_process_without_records_says_so(embedded: Archive) -> None:
    embedded.stack.runtime.records = None
    got = await embedded.stack.call("GET", "/requests", who="root")
    assert got.status == 503


async def test_values_that_a_caller_sent_are_named_and_not_shown(embedded: Archive) -> None:
    await embedded.stack.call(
        "GET", "/whoami", who="member", headers={"x-canary": "canary-0123456789"}
    )
    await embedded.ship()
    got = await embedded.stack.call("GET", asked("/decisions"), who="root")
    assert b"canary-0123456789" not in got.raw and b"aside" not in got.raw


# --- TrueFoundry's body ----------------------------------------------------------------------------


async def spans(archive: Archive, who: str = "root", **body: object) -> Any:
    whole = {"startTime": SINCE, "endTime": UNTIL, "dataRoutingDestination": "default", **body}
    return await archive.stack.call("POST", "/spans/query", whole, who=who)


async def test_spans_are_the_same_requests(archive: Archive) -> None:
    ids = await written(archive)
    for who, places in FINDS.items():
        got = await spans(archive, who)
        assert [one["spanId"] for one in got.json["data"]] == [ids[place] for place in places][::-1]
    slug = {"spanFieldName": "createdBySubjectSlug"}
    region = {"gatewayRequestMetadataKey": "region"}
    model = {"spanAttributeKey": "tfy.request.model_name"}
    teams = {"spanAttributeKey": "tfy.request.created_by_subject_teams"}
    questions: list[tuple[dict[str, Any], set[int]]] = [
        ({"traceIds": ["req-member-0", "req-root-6"]}, {0, 6}),
        ({"spanIds": [ids[3]]}, {3}),
        ({"parentSpanIds": [""]}, set(range(7))),
        ({"createdBySubjectSlugs": ["other@example.com", "crawler"]}, {2, 3, 4, 5}),
        ({"createdBySubjectTypes": ["virtualaccount"]}, {2}),
        ({"filters": [{**slug, "operator": "NOT_EQUAL", "value": "other@example.com"}]}, {0, 1, 2, 6}),
        ({"filters": [{**model, "operator": "IN", "value": ["acme/large"]}]}, {2}),
        ({"filters": [{**teams, "operator": "ARRAY_HAS_ANY", "value": ["search"]}]}, {0, 1, 2}),
        ({"filters": [{**teams, "operator": "ARRAY_HAS_NONE", "value": ["team:search"]}]}, {3, 4, 5, 6}),
        ({"filters": [{**region, "operator": "PRESENT"}]}, {4, 5}),
        ({"filters": [{**region, "operator": "IS_NULL"}]}, {0, 1, 2, 3, 6}),
        ({"filters": [{**region, "operator": "NOT_IN", "value": ["apac"]}]}, {4}),
        ({"filters": [{"spanFieldName": "createdBySubjectType", "operator": "NOT_EQUAL", "value": "user"}]}, {2}),
    ]  # fmt: skip
    for body, found in questions:
        got = await spans(archive, **body)
        assert got.status == 200, (body, got.raw)
        assert {ids.index(one["spanId"]) for one in got.json["data"]} == found, body
        assert (await spans(archive, "checkout", **body)).json["data"] == []
    page = (await spans(archive, limit=3)).json
    rest = (await spans(archive, limit=10, pageToken=page["pagination"]["nextPageToken"])).json
    both = [*page["data"], *rest["data"]]
    assert [one["spanId"] for one in both] == ids[::-1] and len(page["data"]) == 3
    (one,) = (await spans(archive, spanIds=[ids[0]])).json["data"]
    assert one["createdBySubject"]["subjectSlug"] == "member@example.com"
    assert one["statusCode"] == "Ok" and one["httpStatusCode"] == 200


FOREIGN: list[dict[str, Any]] = [
    {"sortDirection": "asc"},
    {"tracingProjectFqn": "x"},
    {"parentSpanIds": ["a"]},
    {"includeFeedbacks": True},
    {"dataRoutingDestination": "eu"},
    {"applicationNames": ["a"]},
    {"filters": [{"spanFieldName": "durationInMs", "operator": "GREATER_THAN", "value": "1"}]},
    {"filters": [{"spanFieldName": "spanName", "operator": "EQUAL", "value": "x"}]},
    {"filters": [{"spanFieldName": "traceId", "operator": "STRING_CONTAINS", "value": "x"}]},
    {"filters": [{"spanFieldName": "traceId", "operator": "IN", "value": "x"}]},
    {"filters": [{"spanFieldName": "traceId", "operator": "IN", "value": []}]},
    {"filters": [{"spanFieldName": "traceId", "operator": "EQUAL", "value": {"$ne": ""}}]},
    {"filters": [{"spanFieldName": "traceId", "operator": "EQUAL", "value": ["x"]}]},
    {"filters": [{"operator": "PRESENT"}]},
    {"filters": {"$or": []}},
    {"traceIds": [{"$ne": 1}]},
    {"startTime": "now"},
    {"startTime": UNTIL, "endTime": SINCE},
    {"startTime": "1999-01-01T00:00:00Z"},
    {"pageToken": "AAAA"},
]


async def test_what_has_no_counterpart_is_refused_by_name(embedded: Archive) -> None:
    wrong = []
    for body in FOREIGN:
        got = await spans(embedded, **body)
        if got.status != 400:
            wrong.append((body, got.status, got.raw[:200]))
    assert not wrong
