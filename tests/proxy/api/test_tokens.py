"""Tokens over HTTP: shown once, narrowed only, ended at once; nobody mints for others by a personal one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.proxy.api.stack import NOW, Stack

SELF = {"actions": ["self:read"], "resources": ["self:caller"]}
MINI = {"actions": ["model:use"], "resources": ["model:acme/mini"]}


async def test_a_token_is_shown_once_and_works_at_once(stack: Stack) -> None:
    made = await stack.call("POST", "/personal-access-tokens", {"name": "laptop"}, who="member")
    assert made.status == 201, made.raw
    token = made.json["token"]
    assert token.startswith(f"gw_pat_{made.json['id']}_")
    assert (await stack.call("GET", "/whoami", token=token)).json["name"] == "member@example.com"
    listed = await stack.call("GET", "/personal-access-tokens", who="member")
    assert made.json["id"] in [item["id"] for item in listed.json["data"]]
    assert token not in listed.raw.decode() and "digest" not in listed.raw.decode()


async def test_only_own_tokens_are_listed_page_by_page(stack: Stack) -> None:
    for number in range(3):
        await stack.call("POST", "/personal-access-tokens", {"name": f"tok-{number}"}, who="member")
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        got = await stack.call(
            "GET", f"/personal-access-tokens?limit=2&cursor={cursor}", who="member"
        )
        found += [item["id"] for item in got.json["data"]]
        cursor = got.json["next"]
    assert sorted(found) == found and len(set(found)) == 5
    assert stack.token_ids["root"] not in found


async def test_a_revoked_token_is_refused_on_the_next_request(stack: Stack) -> None:
    made = await stack.call("POST", "/personal-access-tokens", {"name": "laptop"}, who="member")
    gone = await stack.call("DELETE", f"/personal-access-tokens/{made.json['id']}", who="member")
    assert (gone.status, gone.json["revoked"]) == (200, [made.json["id"]])
    assert gone.headers["x-policy-epoch"] == str(gone.json["epoch"])
    refused = await stack.call("GET", "/whoami", token=made.json["token"])
    assert (refused.status, refused.code) == (401, "invalid_credential")
    again = await stack.call("DELETE", f"/personal-access-tokens/{made.json['id']}", who="member")
    assert again.status == 404


async def test_a_token_expires_by_the_time_of_the_request(stack: Stack) -> None:
    body = {"name": "short", "expirationDate": "2026-11-25T13:00:00Z"}
    token = (await stack.call("POST", "/personal-access-tokens", body, who="member")).json["token"]
    assert (await stack.call("GET", "/whoami", token=token)).status == 200
    stack.now[0] = NOW + timedelta(hours=1)
    await stack.runtime.changes.poll()
    assert (await stack.call("GET", "/whoami", token=token)).status == 401


async def test_a_day_ends_at_the_following_midnight(stack: Stack) -> None:
    body = {"name": "day", "expirationDate": "2026-11-25"}
    made = await stack.call("POST", "/personal-access-tokens", body, who="member")
    assert made.json["expirationDate"] == "2026-11-26T00:00:00Z"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x"},
        {"name": "Laptop"},
        {"name": "laptop", "expirationDate": "2020-01-01"},
        {"name": "laptop", "expirationDate": "2026-11-25T12:00:00Z"},
        {"name": "laptop", "expirationDate": "tomorrow"},
        {"name": "laptop", "user": "root@example.com"},
        {"name": "laptop", "subject": "user:root@example.com"},
        {"name": "laptop", "restrictions": [{"actions": ["fly"], "resources": ["self:caller"]}]},
        {"name": "laptop", "restrictions": [{"actions": [], "resources": []}]},
        {"name": "laptop", "teamName": "hidden"},
        {"name": "laptop", "teamName": "everyone"},
        {"name": {"$ne": ""}},
    ],
)
async def test_an_impossible_token_is_refused(stack: Stack, body: object) -> None:
    # docs/attacks.md A8: who a token is for comes from the credential, never from the body
    got = await stack.call("POST", "/personal-access-tokens", body, who="member")
    assert got.status == 400, got.raw


async def test_a_token_counted_for_a_team_names_it(stack: Stack) -> None:
    body = {"name": "search-laptop", "teamName": "search"}
    made = await stack.call("POST", "/personal-access-tokens", body, who="member")
    assert (made.status, made.json["teamName"]) == (201, "search")


# Restrictions only narrow


async def test_an_empty_list_of_restrictions_allows_nothing(stack: Stack) -> None:
    body = {"name": "nothing", "restrictions": []}
    token = (await stack.call("POST", "/personal-access-tokens", body, who="root")).json["token"]
    got = await stack.call("GET", "/whoami", token=token)
    assert (got.status, got.code) == (403, "forbidden")
    assert (await stack.call("GET", "/teams", token=token)).json["data"] == []
    assert (await stack.call("GET", "/teams/search", token=token)).status == 404


async def test_a_restricted_token_has_only_what_it_names(stack: Stack) -> None:
    body = {
        "name": "reader",
        "restrictions": [{"actions": ["team:read"], "resources": ["team:search"]}],
    }
    made = await stack.call("POST", "/personal-access-tokens", body)
    assert made.status == 201, made.raw
    token = made.json["token"]
    assert (await stack.call("GET", "/teams/search", token=token)).status == 200
    assert (await stack.call("GET", "/teams/hidden", token=token)).status == 404
    assert (await stack.call("DELETE", "/teams/search", token=token)).status == 403
    listed = await stack.call("GET", "/teams", token=token)
    assert [item["document"]["name"] for item in listed.json["data"]] == ["search"]
    me = (await stack.call("GET", "/whoami", token=token)).json
    assert {"actions": ["team:read"], "resources": ["team:search"]} in me["credential"][
        "restrictions"
    ]


async def test_a_restricted_token_makes_narrower_tokens_only(stack: Stack) -> None:
    async def make(restrictions: object) -> int:
        body = {"name": "next", "restrictions": restrictions}
        return (await stack.call("POST", "/personal-access-tokens", body, who="restricted")).status

    assert await make([MINI]) == 201
    assert await make([]) == 201
    assert await make(None) == 403
    assert await make([{"actions": ["team:read"], "resources": ["team:search"]}]) == 403
    assert await make([{"actions": ["model:use"], "resources": ["any:model"]}]) == 403


async def test_a_restricted_token_makes_none_that_outlives_it(stack: Stack) -> None:
    own = [SELF, {"actions": ["self:manage-tokens"], "resources": ["self:caller"]}]
    body = {"name": "short", "restrictions": own, "expirationDate": "2026-12-01T00:00:00Z"}
    token = (await stack.call("POST", "/personal-access-tokens", body, who="member")).json["token"]

    async def make(ends: str | None) -> int:
        wanted = {"name": "next", "restrictions": [SELF], "expirationDate": ends}
        return (await stack.call("POST", "/personal-access-tokens", wanted, token=token)).status

    assert await make(None) == 403
    assert await make("2026-12-01T00:00:01Z") == 403
    assert await make("2026-12-01T00:00:00Z") == 201


# For others


async def test_nobody_mints_for_another_user_with_a_personal_token(stack: Stack) -> None:
    body = {"name": "laptop", "email": "member@example.com"}
    got = await stack.call("POST", "/personal-access-tokens/for-user", body, who="root")
    assert (got.status, got.code) == (403, "credential_not_accepted")
    record = stack.record(got.headers["x-decision-id"])
    assert "outside_token" in str(record)  # docs/attacks.md T8: the refused use is logged


async def test_an_operator_account_mints_for_a_user(stack: Stack) -> None:
    body = {"name": "laptop", "email": "Member@Example.com"}
    got = await stack.call("POST", "/personal-access-tokens/for-user", body, who="ops")
    assert got.status == 201, got.raw
    me = await stack.call("GET", "/whoami", token=got.json["token"])
    assert me.json["name"] == "member@example.com"
    assert got.json["createdBy"] == "virtualaccount:ops"


async def test_minting_for_nobody_looks_like_minting_without_the_right(stack: Stack) -> None:
    nobody = {"name": "laptop", "email": "nobody@example.com"}
    somebody = {"name": "laptop", "email": "member@example.com"}
    for who in ("checkout", "manager"):
        for body in (nobody, somebody):
            got = await stack.call("POST", "/personal-access-tokens/for-user", body, who=who)
            assert (got.status, got.code) == (404, "not_found")


async def test_all_tokens_of_a_user_end_at_once(stack: Stack) -> None:
    got = await stack.call("DELETE", "/personal-access-tokens/revoke/all?email=member@example.com")
    assert got.status == 200
    assert set(got.json["revoked"]) == {stack.token_ids["member"], stack.token_ids["restricted"]}
    assert (await stack.call("GET", "/whoami", who="member")).status == 401
    again = await stack.call(
        "DELETE", "/personal-access-tokens/revoke/all?email=member@example.com"
    )
    assert again.json["revoked"] == []


async def test_a_user_ends_all_own_tokens(stack: Stack) -> None:
    path = "/personal-access-tokens/revoke/all?email=member@example.com"
    assert (await stack.call("DELETE", path, who="member")).status == 200
    assert (await stack.call("DELETE", path, who="other")).status == 404


# Virtual accounts


async def test_the_token_of_an_account_can_be_read_again_by_those_who_may(stack: Stack) -> None:
    made = await stack.call(
        "PUT", "/virtual-accounts/fresh", {"type": "virtual-account", "name": "fresh"}
    )
    got = await stack.call("GET", "/virtual-accounts/fresh/token")
    assert (got.status, got.json["token"]) == (200, made.json["token"])
    assert "virtualaccount:read-token" in str(stack.record(got.headers["x-decision-id"]))
    assert (await stack.call("GET", "/virtual-accounts/fresh/token", who="member")).status == 404
    assert (await stack.call("GET", "/virtual-accounts/fresh/token", who="security")).status == 403


async def test_a_token_that_was_never_kept_cannot_be_read(stack: Stack) -> None:
    got = await stack.call("GET", "/virtual-accounts/checkout/token")
    assert (got.status, got.code) == (404, "not_found") and "regenerate" in got.json["hint"]


async def test_rotation_lets_the_old_token_live_for_the_grace_period(stack: Stack) -> None:
    old = stack.tokens["checkout"]
    got = await stack.call(
        "POST", "/virtual-accounts/checkout/regenerate-token", {"gracePeriodInDays": 2}
    )
    assert got.status == 200, got.raw
    new = got.json["token"]
    assert got.json["ending"] == [stack.token_ids["checkout"]]
    assert (await stack.call("GET", "/whoami", token=old)).status == 200
    assert (await stack.call("GET", "/whoami", token=new)).status == 200
    stack.now[0] = NOW + timedelta(days=2)
    await stack.runtime.changes.poll()
    assert (await stack.call("GET", "/whoami", token=old)).status == 401
    assert (await stack.call("GET", "/whoami", token=new)).status == 200


async def test_rotation_without_a_body_ends_the_old_token_at_once(stack: Stack) -> None:
    got = await stack.call("POST", "/virtual-accounts/checkout/regenerate-token")
    assert got.status == 200
    assert (await stack.call("GET", "/whoami", who="checkout")).status == 401


async def test_one_token_of_an_account_ends_and_the_others_live(stack: Stack) -> None:
    await stack.mint("spare", "virtualaccount:checkout", label="spare")
    listed = await stack.call("GET", "/virtual-accounts/checkout/tokens")
    assert {item["id"] for item in listed.json["data"]} == {
        stack.token_ids["checkout"],
        stack.token_ids["spare"],
    }
    assert stack.tokens["spare"] not in listed.raw.decode() and b"digest" not in listed.raw
    path = f"/virtual-accounts/checkout/tokens/{stack.token_ids['spare']}"
    gone = await stack.call("DELETE", path)
    assert (gone.status, gone.json["revoked"]) == (200, [stack.token_ids["spare"]])
    assert (await stack.call("GET", "/whoami", who="spare")).status == 401
    assert (await stack.call("GET", "/whoami", who="checkout")).status == 200
    assert (await stack.call("DELETE", path)).status == 404


async def test_who_may_rotate_one_account_ends_no_token_of_another_or_of_a_person(
    stack: Stack,
) -> None:
    bot = {
        "type": "virtual-account",
        "name": "bot",
        "ownedBy": {"team": "search"},
        "permissions": [  # more than a manager may grant: the account is bound to the team
            {
                "resource_fqn": "acme",
                "resource_type": "provider-account",
                "role_id": "provider-account-access",
            }
        ],
    }
    assert (await stack.call("PUT", "/virtual-accounts/bot", bot, who="manager")).status == 201
    await stack.mint("bot", "virtualaccount:bot")
    listed = await stack.call("GET", "/virtual-accounts/bot/tokens?limit=1", who="manager")
    assert listed.status == 200 and listed.json["next"]
    for other in ("ops", "checkout", "root", "manager"):
        path = f"/virtual-accounts/bot/tokens/{stack.token_ids[other]}"
        assert (await stack.call("DELETE", path, who="manager")).status == 404
        assert (await stack.call("GET", "/whoami", who=other)).status == 200
    path = f"/virtual-accounts/bot/tokens/{stack.token_ids['bot']}"
    assert (await stack.call("DELETE", path, who="manager")).status == 200
    assert (await stack.call("GET", "/virtual-accounts/ops/tokens", who="manager")).status == 404


async def test_a_virtual_account_makes_no_personal_tokens(stack: Stack) -> None:
    got = await stack.call("POST", "/personal-access-tokens", {"name": "laptop"}, who="ops")
    assert got.status == 403
