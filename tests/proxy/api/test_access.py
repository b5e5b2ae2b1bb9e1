"""Who may, and what somebody may: the same as the decisions, at one epoch, now or then."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from authz.conditions import Context
from authz.decision import Somebody
from tests.proxy.api.stack import NOW, Got, Stack

MINI = {"action": "model:use", "resource": "model:acme/mini"}
OPEN = {
    "type": "team",
    "name": "search",
    "members": ["member@example.com", "manager@example.com"],
    "managers": ["manager@example.com"],
}
# What shuts the member out, and leaves the manager.
SHUT = {**OPEN, "members": ["manager@example.com"]}


async def ask(stack: Stack, what: str, *, who: str = "root", **query: object) -> Got:
    return await stack.call("GET", f"/access/{what}?{urlencode(query)}", who=who)


def people(answer: Any) -> list[str]:
    """The holders of an answer, by e-mail, but for those who administer."""
    found = {
        answer["people"].get(item["subject"].removeprefix("user:"), item["subject"])
        for item in answer["data"]
    }
    return sorted(found - {"root@example.com", "virtualaccount:ops"})


async def pages(stack: Stack, what: str, cursor: str = "", **query: object) -> list[Any]:
    """The pages of a list from `cursor` on."""
    found = []
    while True:
        found.append((await ask(stack, what, cursor=cursor, **query)).json)
        if found[-1]["next"] is None:
            return found
        cursor = found[-1]["next"]


async def shut(stack: Stack) -> int:
    """Takes the member out of the team an hour later; the epoch before."""
    before = stack.runtime.changes.head
    stack.now[0] = NOW + timedelta(hours=1)
    await stack.runtime.changes.poll()
    assert (await stack.call("PUT", "/teams/search", SHUT)).status == 200
    return before


async def test_who_may_is_whom_a_decision_allows(stack: Stack) -> None:
    got = await ask(stack, "who", **MINI)
    assert got.status == 200, got.raw
    assert people(got.json) == ["manager@example.com", "member@example.com"]
    engine = stack.runtime.changes.engine
    assert got.json["epoch"] == engine.epoch and got.json["at"] is not None
    listed = {item["subject"]: item for item in got.json["data"]}
    for subject in engine.enforcer.subjects.names():
        if subject.startswith(("user:", "virtualaccount:")):
            decision = engine.decide(Somebody(subject), *MINI.values(), Context({"time.now": NOW}))
            assert bool(decision) == (subject in listed), subject
            if decision:
                assert listed[subject]["rules"] == list(decision.rules)
                assert listed[subject]["path"] == decision.path


async def test_what_somebody_may_is_what_decisions_allow(stack: Stack) -> None:
    got = await ask(stack, "can", subject="user:member@example.com", limit=1000)
    assert got.status == 200, got.raw
    found = [(item["action"], item["resource"]) for item in got.json["data"]]
    assert ("model:use", "model:acme/mini") in found
    assert ("team:read", "team:hidden") not in found
    assert found == sorted(found) and got.json["next"] is None
    engine = stack.runtime.changes.engine
    for action, resource in found:
        asked = (Somebody(got.json["subject"]), action, resource, Context({"time.now": NOW}))
        assert engine.decide(*asked), (action, resource)


async def test_one_asks_about_oneself_without_a_right_and_sees_no_path(stack: Stack) -> None:
    got = await ask(stack, "can", who="member", action="model:use")
    assert [item["resource"] for item in got.json["data"]] == ["model:acme/mini"]
    assert got.json["data"][0]["path"] == ""
    mine = await ask(stack, "can", who="restricted")
    assert {item["action"] for item in mine.json["data"]} == {
        "self:read",
        "self:manage-tokens",
        "model:use",
    }
    assert (await ask(stack, "can", who="other", action="model:use")).json["data"] == []


async def test_who_may_ask_but_not_read_people_gets_ids(stack: Stack) -> None:
    got = await ask(stack, "who", who="auditor", **MINI)
    assert got.json["people"] == {}
    assert [item["subject"] for item in got.json["data"]][-1] == "virtualaccount:ops"
    assert all(item["subject"].startswith("user:u-") for item in got.json["data"][:-1])
    assert (await ask(stack, "who", who="security", **MINI)).json["people"]


async def test_pages_stay_at_their_epoch_while_changes_are_committed(stack: Stack) -> None:
    first = (await ask(stack, "who", **MINI, limit=1)).json
    await shut(stack)
    fresh = (await ask(stack, "who", **MINI)).json
    rest = await pages(stack, "who", **MINI, limit=1, cursor=first["next"])
    assert people(fresh) == ["manager@example.com"] and fresh["epoch"] > first["epoch"]
    whole = {
        "data": [item for page in (first, *rest) for item in page["data"]],
        "people": {i: email for page in (first, *rest) for i, email in page["people"].items()},
    }
    assert people(whole) == ["manager@example.com", "member@example.com"]
    assert {(page["epoch"], page["at"]) for page in rest} == {(first["epoch"], first["at"])}
    subjects = [item["subject"] for item in whole["data"]]
    assert subjects == sorted(set(subjects)) and len(subjects) == 4


async def test_all_pages_together_are_the_list(stack: Stack) -> None:
    whole = (await ask(stack, "can", subject="user:root@example.com", limit=1000)).json["data"]
    asked = {"subject": "user:root@example.com", "limit": 7}
    parts = [item for page in await pages(stack, "can", **asked) for item in page["data"]]
    assert parts == whole and len(whole) > 20


async def test_what_was_true_before_a_revocation_can_be_asked_afterwards(stack: Stack) -> None:
    before = await shut(stack)
    after = stack.runtime.changes.head
    then = NOW + timedelta(minutes=30)
    for at in (before, then.isoformat().replace("+00:00", "Z")):
        got = await ask(stack, "who", **MINI, at=at)
        assert got.status == 200, got.raw
        assert people(got.json) == ["manager@example.com", "member@example.com"]
        assert (got.json["epoch"], got.json["at"]) == (before, "2026-11-25T12:00:00Z")
        body = {**MINI, "subject": "user:member@example.com", "at": at}
        told = (await stack.call("POST", "/explain", body)).json
        assert (told["effect"], told["epoch"]) == ("allow", before)
        assert told["explanation"]["parts"][0]["rules"][0]["subject"] == "team:search"
        can = await ask(stack, "can", subject="user:member@example.com", action="model:use", at=at)
        assert [item["resource"] for item in can.json["data"]] == ["model:acme/mini"]
    assert people((await ask(stack, "who", **MINI, at=after)).json) == ["manager@example.com"]
    body = {**MINI, "subject": "user:member@example.com", "at": str(after)}
    assert (await stack.call("POST", "/explain", body)).json["effect"] == "deny"
    own = await stack.call("POST", "/explain", {**MINI, "at": before}, who="member")
    assert (own.json["effect"], own.json["explanation"]) == ("allow", None)


async def test_a_validity_is_judged_at_the_time_that_is_asked_about(stack: Stack) -> None:
    rule = {
        "id": "late",
        "effect": "deny",
        "subjects": ["team:search"],
        "actions": ["model:use"],
        "resources": ["model:acme/mini"],
        "when": [{"field": "time.hour", "operator": "GREATER_THAN", "value": 12}],
    }
    await stack.commit({"type": "policy", "name": "late", "rules": [rule]})
    stack.now[0] = NOW + timedelta(hours=3)
    await stack.runtime.changes.poll()
    assert people((await ask(stack, "who", **MINI)).json) == []
    noon = await ask(stack, "who", **MINI, at="2026-11-25T12:30:00Z")
    assert len(people(noon.json)) == 2


async def test_an_account_is_asked_with_the_bound_that_it_had(stack: Stack) -> None:
    grant = {
        "resource_type": "provider-account",
        "resource_fqn": "acme",
        "role_id": "provider-account-access",
    }
    account = {
        "type": "virtual-account",
        "name": "helper",
        "ownedBy": {"team": "search"},
        "permissions": [grant],
    }
    made = await stack.call("PUT", "/virtual-accounts/helper", account, who="manager")
    assert made.status in (200, 201), made.raw
    assert made.json["document"]["bounded_by"] == "search"
    within = stack.runtime.changes.head
    acme = (await stack.call("GET", "/provider-accounts/acme")).json["document"]
    shut_out = await stack.call("PUT", "/provider-accounts/acme", {**acme, "collaborators": []})
    assert shut_out.status == 200, shut_out.raw
    outside = stack.runtime.changes.head
    assert (await stack.call("POST", "/virtual-accounts/helper/unbind")).status == 200

    async def may(**at: object) -> bool:
        listed = "virtualaccount:helper" in people((await ask(stack, "who", **MINI, **at)).json)
        can = await ask(stack, "can", subject="virtualaccount:helper", action="model:use", **at)
        assert listed == bool(can.json["data"])
        return listed

    assert [await may(at=within), await may(at=outside), await may()] == [True, False, True]
    # In the order of the log again, from the other side.
    assert [await may(), await may(at=outside), await may(at=within)] == [True, False, True]


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("soon", "`at` is neither"),
        ("2026-11-25T12:00:00", "`at` is neither"),
        ("2030-01-01T00:00:00Z", "`at` is a time to come"),
        ("2001-01-01T00:00:00Z", "`at`: the log begins after"),
        ("0", "`at`: there is no epoch 0"),
        ("99999", "`at`: there is no epoch 99999"),
        ("-1", "`at` is neither"),
    ],
)
async def test_a_moment_that_is_none_is_named(stack: Stack, at: str, says: str) -> None:
    for got in (
        await ask(stack, "who", **MINI, at=at),
        await ask(stack, "can", who="member", at=at),
        await stack.call("POST", "/explain", {**MINI, "at": at}, who="member"),
    ):
        assert got.status == 400, got.raw
        assert says in got.json["detail"] and got.json["hint"]


async def test_an_impossible_question_says_what_is_wrong(stack: Stack) -> None:
    fly = await ask(stack, "who", action="model:fly", resource="model:acme/mini")
    assert (fly.status, fly.code) == (400, "invalid_query")
    none = await ask(stack, "who", action="model:use", resource="model:acme/none")
    assert (none.status, none.code) == (404, "not_found")
    assert "there is no `model:acme/none` at epoch" in none.json["detail"]
    kind = await ask(stack, "can", subject="model:acme/mini")
    assert (kind.status, kind.code) == (400, "invalid_query")
    cursor = (await ask(stack, "who", **MINI, limit=1)).json["next"]
    other = await ask(stack, "who", action="model:use", resource="model:acme/none", cursor=cursor)
    assert (other.status, other.code) == (400, "invalid_query")


async def test_asking_about_others_takes_the_right(stack: Stack) -> None:
    assert (await ask(stack, "who", who="member", **MINI)).status == 403
    for subject in ("user:other@example.com", "user:nobody@example.com", "virtualaccount:ops"):
        got = await ask(stack, "can", who="member", subject=subject)
        assert (got.status, got.code) == (404, "not_found")


async def test_every_rule_names_the_change_that_wrote_it(stack: Stack) -> None:
    body = {
        "manifests": [{**OPEN, "members": [*OPEN["members"], "other@example.com"]}],
        "comment": "unrelated",
    }
    assert (await stack.call("PUT", "/apply", body)).status == 200
    rule = {
        "id": "stop",
        "effect": "deny",
        "subjects": ["team:search"],
        "actions": ["model:use"],
        "resources": ["model:acme/mini"],
    }
    body = {
        "manifests": [{"type": "policy", "name": "halt", "rules": [rule]}],
        "comment": "stop it",
        "revision": "0123abc",
        "source": "gitops",
    }
    made = await stack.call("PUT", "/apply", body)
    assert made.status == 200, made.raw
    asked = {**MINI, "subject": "user:member@example.com"}
    for at in (None, made.json["epoch"]):
        told = (await stack.call("POST", "/explain", {**asked, "at": at})).json
        rules = {r["effect"]: r["written_by"] for r in told["explanation"]["parts"][0]["rules"]}
        deny, allow = rules["deny"], rules["allow"]
        assert (deny["epoch"], deny["comment"]) == (made.json["epoch"], "stop it")
        assert (deny["revision"], deny["source"]) == ("0123abc", "gitops")
        assert told["people"][deny["actor"].removeprefix("user:")] == "root@example.com"
        assert deny["at"] == "2026-11-25T12:00:00Z"
        assert allow["actor"] == "host" and allow["epoch"] < deny["epoch"]


async def test_many_may_ask_at_once(stack: Stack) -> None:
    found = await asyncio.gather(*(ask(stack, "who", **MINI) for _ in range(5)))
    assert [got.status for got in found] == [200] * 5
    assert len({got.raw for got in found}) == 1


async def test_a_name_of_today_finds_what_had_it_then(stack: Stack) -> None:
    then = stack.runtime.changes.head
    account = (await stack.call("GET", "/provider-accounts/acme")).json["document"]
    assert (await stack.call("DELETE", "/provider-accounts/acme")).status == 200
    again = {**account, "auth_data": {"type": "api-key", "api_key": "sk-canary-again-0123"}}
    again["collaborators"] = []
    made = await stack.call("PUT", "/provider-accounts/acme", again)
    assert made.status in (200, 201), made.raw
    asked = {"action": "model:use", "resource": "model:acme/mini"}
    assert people((await ask(stack, "who", **asked)).json) == []
    assert len(people((await ask(stack, "who", **asked, at=then)).json)) == 2
