"""The change log over HTTP: who changed what, page by page, and to whom what is shown."""

from __future__ import annotations

from typing import Any

from policies.change import Change, Source
from policies.documents import LogWriter
from tests.proxy.api.stack import PROVIDER_KEY, Stack

TEAM = {"type": "team", "name": "ml", "members": ["member@example.com"]}


async def page(stack: Stack, query: str = "", who: str = "root") -> dict[str, Any]:
    got = await stack.call("GET", f"/changes{query}", who=who)
    assert got.status == 200, got.raw
    found: dict[str, Any] = got.json
    return found


async def latest(stack: Stack, who: str = "root") -> dict[str, Any]:
    found: dict[str, Any] = (await page(stack, "?limit=1", who))["data"][0]
    return found


async def test_an_entry_says_who_changed_what_by_which_request(stack: Stack) -> None:
    body = {"manifests": [TEAM], "comment": "the first team"}
    put = await stack.call("PUT", "/apply", body)
    entry = await latest(stack)
    assert entry["epoch"] == put.json["epoch"] == stack.runtime.changes.head
    assert entry["actor"]["name"] == "root@example.com"
    assert entry["actor"]["id"].startswith("user:u-")
    assert (entry["comment"], entry["source"]) == ("the first team", "manual")
    assert entry["request_id"] == put.headers["x-request-id"]
    assert entry["rows_added"] == put.json["plan"]["rows_added"]
    (document,) = entry["documents"]
    assert (document["type"], document["name"], document["change"]) == ("team", "ml", "created")
    assert document["before"] is None and document["after"] == TEAM

    await stack.call("PUT", "/teams/ml", {**TEAM, "members": []})
    (document,) = (await latest(stack))["documents"]
    assert document["change"] == "updated"
    assert document["before"]["members"] == ["member@example.com"]
    assert document["after"]["members"] == []
    await stack.call("DELETE", "/teams/ml")
    (document,) = (await latest(stack))["documents"]
    assert (document["change"], document["after"]) == ("deleted", None)
    assert (
        document["before"]["name"] == "ml"
    )  # whoever may read every team may read one that is gone


async def test_pages_hang_together_in_both_directions(stack: Stack) -> None:
    head = stack.runtime.changes.head
    seen: list[int] = []
    query = "?limit=2"
    while True:
        got = await page(stack, query)
        seen += [entry["epoch"] for entry in got["data"]]
        if got["next"] is None:
            break
        await stack.mint("more", "virtualaccount:checkout")  # later entries move no page
        query = f"?limit=2&cursor={got['next']}"
    assert seen == list(range(head, 0, -1))

    now = stack.runtime.changes.head
    seen = []
    query = "?limit=3&after=2"
    while True:
        got = await page(stack, query)
        seen += [entry["epoch"] for entry in got["data"]]
        if got["next"] is None:
            break
        query = f"?limit=3&after=2&cursor={got['next']}"
    assert seen == list(range(3, now + 1))
    assert (await page(stack, f"?after={now}")) == {"data": [], "next": None}
    chained = (await page(stack, "?after=0"))["data"]
    assert [e["hash"] for e in chained[:-1]] == [e["previous"] for e in chained[1:]]


async def test_a_cursor_of_the_other_direction_or_another_list_is_refused(stack: Stack) -> None:
    cursor = (await page(stack, "?limit=1"))["next"]
    assert (await stack.call("GET", f"/changes?after=1&cursor={cursor}")).code == "invalid_query"
    teams = (await stack.call("GET", "/teams?limit=1")).json["next"]
    assert (await stack.call("GET", f"/changes?cursor={teams}")).code == "invalid_query"
    for wrong in ("after=-1", "after=x", "limit=0", "order=up"):
        assert (await stack.call("GET", f"/changes?{wrong}")).code == "invalid_query"


async def test_no_secret_and_no_digest_is_in_the_log(stack: Stack) -> None:
    account = {
        "type": "provider-account/openai-compatible",
        "name": "fresh",
        "base_url": "https://fresh.example.com/v1",
        "auth_data": {"type": "api-key", "api_key": "sk-fresh-canary-0123456789"},
        "integrations": [],
    }
    assert (await stack.call("PUT", "/provider-accounts/fresh", account)).status == 201
    (document,) = (await latest(stack))["documents"]
    assert document["after"]["auth_data"]["api_key"].startswith("secret:")
    for who in ("root", "auditor", "security"):
        whole = str(await page(stack, "?limit=1000", who))
        assert "canary" not in whole and PROVIDER_KEY not in whole
        assert "'digest'" not in whole
        assert not any(token in whole for token in stack.tokens.values())


async def test_an_auditor_sees_that_but_not_what_he_may_not_read(stack: Stack) -> None:
    rule = {
        "id": "one",
        "effect": "deny",
        "subjects": ["user:member@example.com"],
        "actions": ["model:use"],
        "resources": ["model:acme/mini"],
    }
    account = {"type": "virtual-account", "name": "bot", "tags": {"purpose": "quiet"}}
    policy = {"type": "policy", "name": "stop", "rules": [rule]}
    await stack.call("PUT", "/apply", {"manifests": [policy, account, TEAM]})
    entry = await latest(stack, "auditor")
    assert entry["actor"]["name"] is None  # an auditor may not read users
    assert entry["actor"]["id"].startswith("user:u-")
    documents = {item["type"]: item for item in entry["documents"]}
    assert documents["policy"]["after"]["rules"][0]["subjects"][0].startswith("user:u-")
    assert documents["team"]["shown"] is True
    assert documents["virtual-account"]["shown"] is False
    assert documents["virtual-account"]["after"] is None
    assert documents["virtual-account"]["name"] == "bot"
    assert "@example.com" not in str(await page(stack, "?limit=1000", "auditor"))
    by_security = await latest(stack, "security")
    assert by_security["actor"]["name"] == "root@example.com"
    assert "user:member@example.com" in str(by_security["documents"])


async def test_a_token_is_shown_to_who_may_read_its_owner(stack: Stack) -> None:
    made = await stack.call("POST", "/personal-access-tokens", {"name": "laptop"}, who="member")
    (document,) = (await latest(stack, "security"))["documents"]
    assert (document["type"], document["name"]) == ("credential", made.json["id"])
    assert document["after"]["subject"] == "user:member@example.com"
    assert document["after"]["label"] == "laptop"
    (document,) = (await latest(stack, "auditor"))["documents"]
    assert (document["shown"], document["after"]) == (False, None)


async def test_a_chain_of_the_decision_log_is_shown_to_every_reader(stack: Stack) -> None:
    writer = LogWriter(name="inst@host@0", key_id="0" * 16)
    change = Change("host", Source.HOST, "start", puts=(writer,))
    await stack.runtime.changes.commit(change, None, stack.now[0])
    entry = await latest(stack, "auditor")
    assert (entry["actor"], entry["source"]) == ({"id": "host", "name": "host"}, "host")
    (document,) = entry["documents"]
    assert document["after"] == {"type": "log-writer", "name": "inst@host@0", "key_id": "0" * 16}


async def test_whoever_was_deleted_or_erased_is_an_id(stack: Stack) -> None:
    await stack.call("POST", "/personal-access-tokens", {"name": "laptop"}, who="other")
    before = await latest(stack)
    assert before["actor"]["name"] == "other@example.com"
    assert (await stack.call("DELETE", "/users/other@example.com")).status == 200
    (entry,) = [e for e in (await page(stack))["data"] if e["epoch"] == before["epoch"]]
    assert (entry["actor"]["id"], entry["actor"]["name"]) == (before["actor"]["id"], None)
    assert "other@example.com" not in str(await page(stack, "?limit=1000"))


async def test_the_log_is_not_for_everybody(stack: Stack) -> None:
    for who in ("member", "manager", "checkout", "restricted"):
        assert (await stack.call("GET", "/changes", who=who)).status == 403
    got = await stack.call("GET", "/changes", who="auditor")
    record = str(stack.record(got.headers["x-decision-id"]))
    assert "policy:read" in record and "any:policy" in record


async def test_a_long_entry_is_shown_in_part_and_a_page_of_them_ends_early(
    stack: Stack, monkeypatch: Any
) -> None:
    from proxy.api import changes

    monkeypatch.setattr(changes, "MAX_DOCUMENTS", 3)
    monkeypatch.setattr(changes, "BUDGET", 4)
    teams = [{"type": "team", "name": f"t{n}", "members": []} for n in range(5)]
    await stack.call("PUT", "/apply", {"manifests": teams})
    await stack.call("PUT", "/apply", {"manifests": [{**t, "description": "x"} for t in teams]})
    got = await page(stack)
    assert [(len(e["documents"]), e["documents_total"]) for e in got["data"]] == [(3, 5), (3, 5)]
    more = await page(stack, f"?cursor={got['next']}")
    assert more["data"][0]["epoch"] == got["data"][-1]["epoch"] - 1
