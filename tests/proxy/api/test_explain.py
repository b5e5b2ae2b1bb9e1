"""Questions: free about oneself, a right about others, and no way to find out what exists."""

from __future__ import annotations

import pytest

from tests.proxy.api.stack import Stack

USE = {"action": "model:use", "resource": "model:acme/mini"}


async def test_an_own_question_is_answered_with_the_rule(stack: Stack) -> None:
    got = await stack.call("POST", "/explain", USE, who="member")
    assert got.status == 200, got.raw
    assert (got.json["effect"], got.json["reason"]) == ("allow", "allowed")
    assert any("collaborator" in rule for rule in got.json["rules"])
    assert got.json["explanation"] is None


async def test_an_own_refusal_does_not_say_whether_the_thing_exists(stack: Stack) -> None:
    there = await stack.call("POST", "/explain", USE, who="other")
    absent = await stack.call(
        "POST", "/explain", {**USE, "resource": "model:acme/none"}, who="other"
    )
    assert there.json == absent.json
    assert (there.json["effect"], there.json["reason"]) == ("deny", "no_grant")


async def test_who_may_ask_sees_every_candidate(stack: Stack) -> None:
    body = {**USE, "subject": "user:member@example.com"}
    got = await stack.call("POST", "/explain", body, who="auditor")
    assert got.status == 200, got.raw
    assert got.json["effect"] == "allow"
    part = got.json["explanation"]["parts"][0]
    assert part["rules"][0]["subject"] == "team:search"


async def test_a_default_deny_names_the_missing_link(stack: Stack) -> None:
    body = {**USE, "subject": "user:other@example.com"}
    got = await stack.call("POST", "/explain", body, who="security")
    assert got.json["reason"] == "no_grant"
    assert any(
        link["group"] == "team:search" for link in got.json["explanation"]["parts"][0]["missing"]
    )


async def test_asking_about_others_takes_the_right(stack: Stack) -> None:
    for subject in (
        "user:other@example.com",
        "user:nobody@example.com",
        "team:hidden",
        "team:none",
    ):
        got = await stack.call("POST", "/explain", {**USE, "subject": subject}, who="member")
        assert (got.status, got.code) == (404, "not_found")


async def test_naming_oneself_is_an_own_question(stack: Stack) -> None:
    body = {**USE, "subject": "user:member@example.com"}
    assert (await stack.call("POST", "/explain", body, who="member")).status == 200


async def test_a_restricted_token_is_asked_as_it_is(stack: Stack) -> None:
    got = await stack.call(
        "POST",
        "/explain",
        {"action": "self:manage-tokens", "resource": "self:caller"},
        who="restricted",
    )
    assert got.json["effect"] == "allow"
    read = {"action": "team:read", "resource": "team:search"}
    assert (await stack.call("POST", "/explain", read, who="restricted")).json["effect"] == "deny"


async def test_a_condition_is_evaluated_with_the_given_context(stack: Stack) -> None:
    rule = {
        "id": "nights",
        "effect": "deny",
        "subjects": ["team:search"],
        "actions": ["model:use"],
        "resources": ["model:acme/mini"],
        "when": [{"field": "time.hour", "operator": "LESS_THAN", "value": 6}],
        "message": "models rest at night",
    }
    await stack.call(
        "PUT", "/policies/nights", {"type": "policy", "name": "nights", "rules": [rule]}
    )
    day = await stack.call("POST", "/explain", USE, who="member")
    assert day.json["effect"] == "allow"
    night = {**USE, "context": {"time.now": "2026-11-25T03:00:00Z"}}
    got = await stack.call("POST", "/explain", night, who="member")
    assert (got.json["effect"], got.json["reason"]) == ("deny", "denied_by_rule")
    assert got.json["message"] == "models rest at night"


@pytest.mark.parametrize(
    "body",
    [
        {**USE, "action": "model:fly"},
        {**USE, "action": "*"},
        {**USE, "resource": "nonsense"},
        {**USE, "subject": "nonsense"},
        {**USE, "subject": "model:acme/mini"},
        {**USE, "subject": "token:abc"},
        {**USE, "context": {"eval": "1"}},
        {**USE, "context": {"time.now": "soon"}},
        {**USE, "context": {"time.now": {"$gt": ""}}},
        {"action": "model:use"},
    ],
)
async def test_an_impossible_question_is_refused(stack: Stack, body: object) -> None:
    got = await stack.call("POST", "/explain", body, who="root")
    assert (got.status, got.code) == (400, "invalid_body"), got.raw
