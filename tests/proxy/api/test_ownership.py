"""Who owns what, through the API: 409 `managed_by`, taking over, drift, and deleting a team that owns things."""

from __future__ import annotations

from typing import Any

import pytest

from policies.change import Change, Source
from policies.loader import load_mapping
from tests.proxy.api.stack import NOW, Stack

ANN, BOB, CAT = (f"{name}@example.com" for name in ("ann", "bob", "cat"))


def team(*members: str, **fields: Any) -> dict[str, Any]:
    return {"type": "team", "name": "ml", "members": list(members), **fields}


async def files(stack: Stack, *documents: dict[str, Any], **more: Any) -> Any:
    body = {"manifests": list(documents), "source": "gitops", **more}
    got = await stack.call("PUT", "/apply", body)
    assert got.status == 200, got.raw
    return got.json


async def by(stack: Stack, source: Source, *documents: dict[str, Any]) -> None:
    puts = tuple(load_mapping(list(documents)).plain())
    await stack.runtime.changes.commit(Change("host", source, "test", puts), None, NOW)


async def listed(stack: Stack) -> list[str]:
    got = (await stack.call("GET", "/teams/ml")).json
    assert "sources" not in got["document"]
    found: list[str] = got["document"]["members"]
    return found


async def test_a_file_and_the_directory_keep_their_members_apart_and_the_plan_says_so(
    stack: Stack,
) -> None:
    await files(stack, team(ANN, BOB))
    await by(stack, Source.SCIM, team(ANN, BOB, CAT))
    told = await files(stack, team(ANN, BOB), dry_run=True)
    assert told["changed"] is False
    assert told["plan"]["drift"] == [
        {"type": "team", "name": "ml", "field": "members", "element": CAT, "held_by": ["scim"]}
    ]
    await files(stack, team(ANN))
    assert await listed(stack) == [ANN, CAT]
    got = (await stack.call("GET", "/changes")).json
    assert "taken_from" not in str(got) and "'sources'" not in str(got)


async def test_what_files_own_is_changed_there_or_taken_over(stack: Stack) -> None:
    await files(stack, team(ANN, description="from git"))
    edited = team(ANN, description="by hand")
    got = await stack.call("PUT", "/teams/ml", edited)
    assert (got.status, got.code) == (409, "managed_by")
    assert "`gitops`" in got.json["detail"] and "take_over" in got.json["hint"]
    more = await stack.call("PUT", "/teams/ml", team(ANN, BOB, description="from git"))
    assert more.status == 200 and (await stack.call("GET", "/teams/ml")).json["source"] == "gitops"
    plan = await stack.call("PUT", "/teams/ml?take_over=true&dry_run=true", edited)
    assert plan.status == 200 and plan.json["changed"]
    assert (await stack.call("GET", "/teams/ml")).json["source"] == "gitops"
    done = await stack.call("PUT", "/teams/ml?take_over=true", edited)
    assert done.status == 200 and (await stack.call("GET", "/teams/ml")).json["source"] == "manual"
    told = await files(stack, team(ANN, description="from git"))
    assert told["changed"] is False and told["plan"]["drift"][0]["held_by"] == ["manual"]
    told = await files(stack, team(ANN, description="from git"), take_over=True)
    assert told["changed"] and (await stack.call("GET", "/teams/ml")).json["source"] == "gitops"


async def test_what_files_own_is_deleted_there_or_taken_over(stack: Stack) -> None:
    await files(stack, team(ANN))
    got = await stack.call("DELETE", "/teams/ml")
    assert (got.status, got.code) == (409, "managed_by")
    assert (await stack.call("DELETE", "/teams/ml?take_over=true")).status == 200


async def test_a_team_manager_takes_nothing_over(stack: Stack) -> None:
    """Or the next revocation in the files would pass his team by."""
    whole = {"members": ["manager@example.com"], "managers": ["manager@example.com"]}
    await files(stack, {"type": "team", "name": "ml", **whole})
    mine = {"type": "team", "name": "ml", **whole, "description": "mine"}
    got = await stack.call("PUT", "/teams/ml?take_over=true", mine, who="manager")
    assert (got.status, got.code) == (403, "not_authorised")
    whole["members"].append("member@example.com")
    mine = {"type": "team", "name": "ml", **whole}
    got = await stack.call("PUT", "/teams/ml?take_over=true", mine, who="manager")
    assert (got.status, got.code) == (403, "not_authorised")
    got = await stack.call("PUT", "/teams/ml", mine, who="manager")
    assert got.status == 200, got.raw


async def test_a_suspension_by_the_directory_is_not_lifted_by_hand(stack: Stack) -> None:
    document = {"type": "user", "name": "member@example.com"}
    await by(stack, Source.SCIM, {**document, "state": "suspended"})
    got = await stack.call("PUT", "/users/member@example.com", {**document, "state": "active"})
    assert (got.status, got.code) == (409, "managed_by")
    assert (await stack.call("GET", "/whoami", who="member")).status == 401


OWNED = {"type": "virtual-account", "name": "ml-bot", "ownedBy": {"team": "ml"}}


@pytest.fixture
async def owning(stack: Stack) -> Stack:
    for path, document in (("/teams/ml", team(ANN, BOB)), ("/virtual-accounts/ml-bot", OWNED)):
        got = await stack.call("PUT", path, document)
        assert got.status == 201, got.raw
    return stack


async def test_a_team_that_owns_accounts_shows_what_would_end(owning: Stack) -> None:
    for path in ("/teams/ml", "/teams/ml?dry_run=true"):
        got = await owning.call("DELETE", path)
        assert (got.status, got.code) == (409, "guard_refused")
        assert (
            "virtual-account/ml-bot (2 people lose the membership, 1 token ends)"
            in (got.json["detail"])
        )


async def test_what_a_team_owns_ends_with_it_if_that_is_said(owning: Stack) -> None:
    told = await owning.call("DELETE", "/teams/ml?cascade=true&dry_run=true")
    assert told.json["plan"]["endings"] == [
        {
            "team": "ml",
            "accounts": ["virtual-account/ml-bot"],
            "reassigned": [],
            "tokens": 1,
            "people": 2,
        }
    ]
    assert (await owning.call("GET", "/virtual-accounts/ml-bot")).status == 200
    assert (await owning.call("DELETE", "/teams/ml?cascade=true")).status == 200
    assert (await owning.call("GET", "/virtual-accounts/ml-bot")).status == 404


async def test_what_a_team_owns_goes_to_another(owning: Stack) -> None:
    assert (await owning.call("PUT", "/teams/heir", {**team(), "name": "heir"})).status == 201
    got = await owning.call("DELETE", "/teams/ml?reassign_to=heir")
    assert got.status == 200, got.raw
    kept = (await owning.call("GET", "/virtual-accounts/ml-bot")).json["document"]
    assert kept["ownedBy"] == {"team": "heir"}


async def test_only_what_one_may_do_by_name_is_done_with_a_team(owning: Stack) -> None:
    """Deleting teams is not deleting accounts, nor giving them away."""
    role = {
        "type": "role",
        "name": "team-deleter",
        "resourceType": "tenant",
        "permissions": ["team:delete", "team:read"],
    }
    user = {"type": "user", "name": "other@example.com", "roles": ["team-deleter"]}
    await owning.commit(role, user)
    for switch in ("cascade=true", "reassign_to=search"):
        got = await owning.call("DELETE", f"/teams/ml?{switch}", who="other")
        assert (got.status, got.code) == (403, "not_authorised"), got.raw


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/teams/ml?cascade=true&reassign_to=search", "not both"),
        ("/virtual-accounts/ml-bot?cascade=true", "cascade"),
    ],
)
async def test_a_switch_that_makes_no_sense_is_refused(
    owning: Stack, path: str, detail: str
) -> None:
    got = await owning.call("DELETE", path)
    assert (got.status, got.code) == (400, "invalid_query") and detail in got.json["detail"]
    assert (await owning.call("GET", "/teams/ml")).status == 200
