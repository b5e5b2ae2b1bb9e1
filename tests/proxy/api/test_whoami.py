"""Who the credential is: names for people, ids for machines, and what narrows it."""

from __future__ import annotations

from tests.proxy.api.stack import RESTRICTED, Stack


async def test_a_user_sees_teams_and_roles_by_name(stack: Stack) -> None:
    me = (await stack.call("GET", "/whoami", who="root")).json
    assert (me["kind"], me["name"], me["roles"]) == ("user", "root@example.com", ["tenant-admin"])
    assert me["id"].startswith("user:u-") and me["teams"] == ["everyone"]
    assert me["credential"] == {
        "id": stack.token_ids["root"],
        "kind": "pat",
        "expires_at": None,
        "restrictions": None,
    }
    member = (await stack.call("GET", "/whoami", who="member")).json
    assert (member["teams"], member["roles"]) == (["everyone", "search"], [])


async def test_a_virtual_account_sees_itself(stack: Stack) -> None:
    me = (await stack.call("GET", "/whoami", who="ops")).json
    assert (me["id"], me["kind"], me["name"]) == ("virtualaccount:ops", "virtualaccount", "ops")
    assert (me["bound"], me["owner_team"], me["teams"]) == (None, None, [])


async def test_a_restricted_token_shows_its_restrictions(stack: Stack) -> None:
    me = (await stack.call("GET", "/whoami", who="restricted")).json
    assert me["credential"]["restrictions"] == [
        {"actions": list(item.actions), "resources": list(item.resources)} for item in RESTRICTED
    ]


async def test_the_answer_carries_its_record_and_its_epoch(stack: Stack) -> None:
    got = await stack.call("GET", "/whoami", headers={"x-request-id": "mine-1"})
    assert got.headers["x-request-id"] == "mine-1"
    assert got.headers["x-policy-epoch"] == str(got.json["epoch"])
    assert got.headers["cache-control"] == "no-store"
    assert "total;dur=" in got.headers["server-timing"]
    record = str(stack.record(got.headers["x-decision-id"]))
    assert "self:read" in record and "mine-1" in record and "GET /api/v1/whoami" in record


async def test_the_first_administrator_is_made_once(stack: Stack) -> None:
    body = {"token": "gw_otp_none", "email": "boss@example.com"}
    got = await stack.call("POST", "/first-admin", body, who=None)
    assert (got.status, got.code) == (400, "invalid_offer")  # somebody administers already
