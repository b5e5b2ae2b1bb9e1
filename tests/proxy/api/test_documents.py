"""Documents over HTTP: upsert, versions, preconditions, lists, and what never leaves."""

from __future__ import annotations

import json

import pytest

from tests.proxy.api.stack import PROVIDER_KEY, Stack

TEAM = {"type": "team", "name": "ml", "members": ["member@example.com"]}


async def test_put_creates_then_replaces_then_changes_nothing(stack: Stack) -> None:
    created = await stack.call("PUT", "/teams/ml", TEAM)
    assert created.status == 201, created.raw
    body = created.json
    assert body["changed"] and body["document"] == TEAM
    assert body["plan"]["created"] == [{"type": "team", "name": "ml"}]
    assert body["plan"]["rows_added"] == len(body["plan"]["added"]) > 0
    assert created.headers["x-policy-epoch"] == str(body["epoch"])
    assert created.headers["etag"] == f'"{body["version"]}"'

    described = {**TEAM, "description": "models"}
    replaced = await stack.call("PUT", "/teams/ml", described)
    assert (replaced.status, replaced.json["version"]) == (200, body["version"] + 1)
    assert replaced.json["epoch"] == body["epoch"] + 1

    same = await stack.call("PUT", "/teams/ml", described)
    assert (same.status, same.json["changed"]) == (200, False)
    assert same.json["epoch"] == replaced.json["epoch"]
    assert same.json["plan"]["unchanged"] == [{"type": "team", "name": "ml"}]
    assert stack.runtime.changes.engine.epoch == replaced.json["epoch"]


async def test_what_was_read_can_be_put_back_and_changes_nothing(stack: Stack) -> None:
    # docs/attacks.md G1: read-back equality
    for path in (
        "/teams/search",
        "/users/root@example.com",
        "/provider-accounts/acme",
        "/roles/auditor",
    ):
        got = await stack.call("GET", path)
        assert got.status == 200, got.raw
        again = await stack.call("PUT", path, got.json["document"])
        assert (again.status, again.json["changed"]) == (200, False), (path, again.raw)


async def test_a_change_through_one_call_is_seen_by_the_next_request(stack: Stack) -> None:
    assert (await stack.call("GET", "/teams/search", who="member")).status == 404
    rule = {
        "type": "policy",
        "name": "see",
        "rules": [
            {
                "id": "team",
                "effect": "allow",
                "subjects": ["user:member@example.com"],
                "actions": ["team:read"],
                "resources": ["team:search"],
            }
        ],
    }
    assert (await stack.call("PUT", "/policies/see", rule)).status == 201
    assert (await stack.call("GET", "/teams/search", who="member")).status == 200
    assert (await stack.call("DELETE", "/policies/see")).status == 200
    assert (await stack.call("GET", "/teams/search", who="member")).status == 404


async def test_a_dry_run_answers_the_plan_and_changes_nothing(stack: Stack) -> None:
    epoch = stack.runtime.changes.engine.epoch
    got = await stack.call("PUT", "/teams/ml?dry_run=true", TEAM)
    assert (got.status, got.json["dry_run"], got.json["changed"]) == (200, True, True)
    assert got.json["document"] is None and got.json["plan"]["rows_added"] > 0
    assert (await stack.call("GET", "/teams/ml")).status == 404
    assert stack.runtime.changes.engine.epoch == epoch


async def test_a_dry_run_shows_nothing_to_who_may_not_make_the_change(stack: Stack) -> None:
    # a manager may change members, but not managers
    mine = {
        "type": "team",
        "name": "search",
        "members": ["member@example.com", "manager@example.com"],
        "managers": ["manager@example.com", "member@example.com"],
    }
    for query in ("", "?dry_run=true"):
        got = await stack.call("PUT", f"/teams/search{query}", mine, who="manager")
        assert (got.status, got.code) == (403, "not_authorised")


async def test_a_manager_changes_the_members_of_the_own_team_only(stack: Stack) -> None:
    mine = {
        "type": "team",
        "name": "search",
        "members": ["manager@example.com"],
        "managers": ["manager@example.com"],
    }
    assert (await stack.call("PUT", "/teams/search", mine, who="manager")).status == 200
    other = {"type": "team", "name": "hidden", "members": ["manager@example.com"]}
    assert (await stack.call("PUT", "/teams/hidden", other, who="manager")).status == 404
    assert (
        await stack.call("PUT", "/teams/fresh", {**other, "name": "fresh"}, who="manager")
    ).status == 404


async def test_delete_ends_the_thing_and_looks_like_it_never_was(stack: Stack) -> None:
    await stack.call("PUT", "/teams/ml", TEAM)
    gone = await stack.call("DELETE", "/teams/ml")
    assert gone.status == 200 and gone.json["plan"]["deleted"] == [{"type": "team", "name": "ml"}]
    assert (await stack.call("GET", "/teams/ml")).status == 404
    assert (await stack.call("DELETE", "/teams/ml")).status == 404


async def test_a_recreated_name_is_another_thing_and_an_old_etag_does_not_match(
    stack: Stack,
) -> None:
    first = await stack.call("PUT", "/teams/ml", TEAM)
    await stack.call("DELETE", "/teams/ml")
    second = await stack.call("PUT", "/teams/ml", TEAM)
    assert second.status == 201 and second.json["document"]["name"] == "ml"
    assert second.headers["etag"] != first.headers["etag"]


# Preconditions


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": '"1"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"7", "1"'}, 200),
        ({"If-Match": '"7"'}, 412),
        ({"If-None-Match": "*"}, 412),
        ({"If-None-Match": '"1"'}, 412),
        ({"If-Match": "nonsense"}, 400),
        ({"If-Match": '"١"'.encode().decode("latin-1")}, 400),
    ],
)
async def test_put_honours_preconditions(
    stack: Stack, headers: dict[str, str], status: int
) -> None:
    assert (await stack.call("PUT", "/teams/ml", TEAM)).headers["etag"] == '"1"'
    changed = {**TEAM, "description": "x"}
    assert (await stack.call("PUT", "/teams/ml", changed, headers=headers)).status == status


async def test_preconditions_of_a_thing_that_does_not_exist(stack: Stack) -> None:
    got = await stack.call("PUT", "/teams/ml", TEAM, headers={"If-Match": "*"})
    assert (got.status, got.code) == (412, "precondition_failed")
    assert (
        await stack.call("PUT", "/teams/ml", TEAM, headers={"If-None-Match": "*"})
    ).status == 201


async def test_get_answers_304_while_the_version_stands(stack: Stack) -> None:
    etag = (await stack.call("GET", "/teams/search")).headers["etag"]
    got = await stack.call("GET", "/teams/search", headers={"If-None-Match": etag})
    assert (got.status, got.raw) == (304, b"")
    assert (
        await stack.call("GET", "/teams/search", headers={"If-None-Match": '"99"'})
    ).status == 200


async def test_delete_honours_if_match(stack: Stack) -> None:
    await stack.call("PUT", "/teams/ml", TEAM)
    assert (await stack.call("DELETE", "/teams/ml", headers={"If-Match": '"2"'})).status == 412
    assert (await stack.call("DELETE", "/teams/ml", headers={"If-Match": '"1"'})).status == 200


# Lists


async def test_a_list_holds_what_the_caller_may_read_and_its_record_the_count(stack: Stack) -> None:
    everything = await stack.call("GET", "/teams")
    assert [item["document"]["name"] for item in everything.json["data"]] == ["hidden", "search"]
    mine = await stack.call("GET", "/teams", who="manager")
    assert [item["document"]["name"] for item in mine.json["data"]] == ["search"]
    none = await stack.call("GET", "/teams", who="checkout")
    assert none.json == {"data": [], "next": None}
    record = stack.record(mine.headers["x-decision-id"])
    text = json.dumps(record)
    assert '"count": 1' in text and "team:read" in text


async def test_a_list_is_paged_and_each_page_decided_anew(stack: Stack) -> None:
    await stack.commit(*({"type": "team", "name": f"t{n:02}", "members": []} for n in range(7)))
    names: list[str] = []
    cursor = ""
    pages = 0
    while True:
        got = await stack.call("GET", f"/teams?limit=3&cursor={cursor}")
        assert len(got.json["data"]) <= 3
        names += [item["document"]["name"] for item in got.json["data"]]
        pages += 1
        cursor = got.json["next"]
        if not cursor:
            break
    assert names == ["hidden", "search", *(f"t{n:02}" for n in range(7))]
    assert pages <= 4
    stolen = (await stack.call("GET", "/teams?limit=1")).json["next"]
    assert (await stack.call("GET", f"/teams?cursor={stolen}", who="checkout")).json["data"] == []


async def test_a_list_can_be_narrowed_by_name(stack: Stack) -> None:
    got = await stack.call("GET", "/users?name=MANAGER")
    assert [item["document"]["name"] for item in got.json["data"]] == ["manager@example.com"]


# Users


async def test_a_user_is_found_by_e_mail_and_by_id(stack: Stack) -> None:
    who = (await stack.call("GET", "/whoami", who="member")).json["id"].removeprefix("user:")
    by_mail = await stack.call("GET", "/users/Member@Example.com")
    by_id = await stack.call("GET", f"/users/{who}")
    assert by_mail.status == by_id.status == 200
    assert by_mail.json == by_id.json
    assert by_id.json["document"]["name"] == "member@example.com"


async def test_a_suspended_user_is_out_on_the_next_request(stack: Stack) -> None:
    document = (await stack.call("GET", "/users/member@example.com")).json["document"]
    suspended = {**document, "state": "suspended", "suspended_by": ["admin"]}
    assert (await stack.call("PUT", "/users/member@example.com", suspended)).status == 200
    got = await stack.call("GET", "/whoami", who="member")
    assert (got.status, got.code) == (401, "invalid_credential")
    assert got.headers["www-authenticate"].startswith("Bearer")


# Virtual accounts


async def test_a_new_virtual_account_shows_its_first_token_once(stack: Stack) -> None:
    document = {"type": "virtual-account", "name": "fresh"}
    created = await stack.call("PUT", "/virtual-accounts/fresh", document)
    assert created.status == 201
    token = created.json["token"]
    assert token.startswith("gw_vat_")
    assert (await stack.call("GET", "/whoami", token=token)).json["id"] == "virtualaccount:fresh"
    again = await stack.call("PUT", "/virtual-accounts/fresh", {**document, "tags": {"a": "b"}})
    assert again.json["token"] is None


async def test_a_manager_makes_an_account_that_the_team_bounds(stack: Stack) -> None:
    document = {
        "type": "virtual-account",
        "name": "bot",
        "ownedBy": {"team": "search"},
        "permissions": [
            {
                "resource_fqn": "acme",
                "resource_type": "provider-account",
                "role_id": "provider-account-access",
            }
        ],
    }
    created = await stack.call("PUT", "/virtual-accounts/bot", document, who="manager")
    assert created.status == 201, created.raw
    assert created.json["document"]["bounded_by"] == "search"
    me = await stack.call("GET", "/whoami", token=created.json["token"])
    assert (me.json["bound"], me.json["owner_team"]) == ("search", "search")
    lifted = await stack.call("POST", "/virtual-accounts/bot/unbind")
    assert lifted.status == 200 and lifted.json["changed"]
    again = await stack.call("GET", "/whoami", token=created.json["token"])
    assert again.json["bound"] is None
    elsewhere = {**document, "name": "spy", "ownedBy": {"team": "hidden"}}
    assert (
        await stack.call("PUT", "/virtual-accounts/spy", elsewhere, who="manager")
    ).status == 404


# Secrets


async def test_a_secret_goes_in_and_never_comes_out(stack: Stack) -> None:
    sinks = [
        (await stack.call("GET", "/provider-accounts/acme")).raw,
        (await stack.call("GET", "/provider-accounts")).raw,
        json.dumps(stack.records()).encode(),
        (stack.folder / "gatewarden.db").read_bytes(),
    ]
    document = (await stack.call("GET", "/provider-accounts/acme")).json["document"]
    assert document["auth_data"]["api_key"].startswith("secret:")
    document["auth_data"]["api_key"] = "sk-second-canary-abcdef"
    put = await stack.call("PUT", "/provider-accounts/acme", document)
    assert put.status == 200 and put.json["changed"]
    wrong = await stack.call("PUT", "/provider-accounts/acme", {**document, "regions": "x"})
    assert wrong.status == 422
    for sink in (*sinks, put.raw, wrong.raw):
        assert PROVIDER_KEY.encode() not in sink
        assert b"sk-second-canary" not in sink


# Bad documents


async def test_every_finding_comes_at_once_with_its_place(stack: Stack) -> None:
    text = b"type: team\nname: ml\nmember: []\nmembers: [1, 2]\n"
    got = await stack.call(
        "PUT", "/teams/ml", data=text, headers={"Content-Type": "application/yaml"}
    )
    assert (got.status, got.code) == (422, "invalid_documents")
    problems = got.json["problems"]
    assert len(problems) >= 2
    assert problems == sorted(
        problems, key=lambda item: (item["file"], item["line"], item["column"])
    )
    unknown = next(item for item in problems if "member" in item["message"])
    assert (unknown["line"], unknown["column"]) == (3, 1) and "members" in unknown["hint"]


async def test_yaml_is_as_good_as_json(stack: Stack) -> None:
    text = b"type: team\nname: ml\nmembers: [member@example.com]\n"
    got = await stack.call(
        "PUT", "/teams/ml", data=text, headers={"Content-Type": "application/yaml"}
    )
    assert got.status == 201 and got.json["document"] == TEAM


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**TEAM, "name": "other"}, 400, "invalid_body"),
        ({"type": "role", "name": "ml", "resourceType": "tenant"}, 400, "invalid_body"),
        ({"type": "team", "name": "ml"}, 422, "invalid_documents"),
        ({**TEAM, "members": {"$gt": ""}}, 400, "invalid_body"),
        ({**TEAM, "members": {"gt": ""}}, 422, "invalid_documents"),
        ({**TEAM, "roles": ["no-such-role"]}, 422, "invalid_documents"),
        ({"type": "credential", "name": "ml"}, 422, "invalid_documents"),
        ([], 400, "invalid_body"),
        ([TEAM, {**TEAM, "name": "b"}], 400, "invalid_body"),
        ("text", 422, "invalid_documents"),
    ],
)
async def test_a_bad_document_has_a_clear_error(
    stack: Stack, body: object, status: int, code: str
) -> None:
    got = await stack.call("PUT", "/teams/ml", body)
    assert got.status in (400, 422)
    assert (got.status, got.code) == (status, code), got.raw
    assert got.json["detail"]


async def test_a_body_without_a_type_or_too_large_is_refused(stack: Stack) -> None:
    plain = await stack.call("PUT", "/teams/ml", data=b"{}", headers={"Content-Type": "text/plain"})
    assert (plain.status, plain.code) == (415, "unsupported_media_type")
    large = await stack.call("PUT", "/teams/ml", data=b" " * (1024 * 1024 + 1))
    assert (large.status, large.code) == (413, "body_too_large")
    packed = await stack.call("PUT", "/teams/ml", data=b"x", headers={"Content-Encoding": "gzip"})
    assert packed.status in (400, 415)


async def test_a_change_after_which_nobody_could_administer_is_refused(stack: Stack) -> None:
    rule = {
        "id": "lock-out",
        "effect": "deny",
        "subjects": ["any:subject"],
        "actions": ["policy:write"],
        "resources": ["any:policy"],
    }
    document = {"type": "policy", "name": "lock", "rules": [rule]}
    got = await stack.call("PUT", "/policies/lock", document)
    assert (got.status, got.code) == (409, "guard_refused")


async def test_a_plan_names_users_by_their_address(stack: Stack) -> None:
    document = {"type": "user", "name": "member@example.com", "roles": ["auditor"]}
    got = await stack.call("PUT", "/users/member@example.com", document)
    assert got.json["plan"]["updated"] == [{"type": "user", "name": "member@example.com"}]
    assert got.json["plan"]["unchanged"] == []
    gone = await stack.call("DELETE", "/users/member@example.com")
    assert {"type": "user", "name": "member@example.com"} in gone.json["plan"]["deleted"]
