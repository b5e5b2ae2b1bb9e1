"""Many documents as one change: all or nothing, JSON or YAML, with a plan."""

from __future__ import annotations

from typing import Any

import pytest

from policies.change import Source
from store.entries import decode
from tests.proxy.api.stack import Stack

USER = {"type": "user", "name": "new@example.com"}
TEAM = {"type": "team", "name": "ml", "members": ["new@example.com"]}
YAML = {"Content-Type": "application/yaml"}


async def test_apply_commits_everything_as_one_entry(stack: Stack) -> None:
    epoch = stack.runtime.changes.engine.epoch
    got = await stack.call("PUT", "/apply", {"manifests": [TEAM, USER], "comment": "first team"})
    assert got.status == 200, got.raw
    assert (got.json["changed"], got.json["epoch"]) == (True, epoch + 1)
    created = {(item["type"], item["name"]) for item in got.json["plan"]["created"]}
    assert ("team", "ml") in created
    (raw,) = await stack.store.entries(epoch, 10)
    entry = decode(raw.epoch, raw.hash, raw.body)
    assert (entry.comment, entry.source) == ("first team", Source.MANUAL)
    assert entry.request_id == got.headers["x-request-id"]
    assert entry.actor == (await stack.call("GET", "/whoami")).json["id"]
    again = await stack.call("PUT", "/apply", {"manifests": [TEAM, USER]})
    assert (again.json["changed"], again.json["epoch"]) == (False, epoch + 1)
    assert len(again.json["plan"]["unchanged"]) == 2


async def test_one_bad_document_stops_all(stack: Stack) -> None:
    bad = {"type": "team", "name": "bad", "members": [], "roles": ["nothing"]}
    got = await stack.call("PUT", "/apply", {"manifests": [TEAM, bad]})
    assert (got.status, got.code) == (422, "invalid_documents")
    assert (await stack.call("GET", "/teams/ml")).status == 404


async def test_the_form_of_truefoundry_is_taken(stack: Stack) -> None:
    got = await stack.call("PUT", "/apply", {"manifest": TEAM})
    assert got.status == 200 and (await stack.call("GET", "/teams/ml")).status == 200


async def test_yaml_with_several_documents_is_taken(stack: Stack) -> None:
    text = b"type: user\nname: new@example.com\n---\ntype: team\nname: ml\nmembers: [new@example.com]\n"
    plan = await stack.call("PUT", "/apply?dry_run=true", data=text, headers=YAML)
    assert (plan.status, plan.json["changed"], plan.json["dry_run"]) == (200, True, True)
    assert (await stack.call("GET", "/teams/ml")).status == 404
    done = await stack.call("PUT", "/apply", data=text, headers=YAML)
    assert done.status == 200 and (await stack.call("GET", "/teams/ml")).status == 200


async def test_findings_in_yaml_have_line_and_column(stack: Stack) -> None:
    text = (
        b"type: user\nname: new@example.com\n---\ntype: team\nname: ml\nmembers: []\ncolour: red\n"
    )
    got = await stack.call("PUT", "/apply", data=text, headers=YAML)
    assert got.status == 422
    assert [
        (item["line"], item["column"])
        for item in got.json["problems"]
        if item["severity"] == "error"
    ] == [(7, 1)]


@pytest.mark.parametrize("dry_run", ["true", "false"])
async def test_what_is_wrong_with_documents_together_has_line_and_column_too(
    stack: Stack, dry_run: str
) -> None:
    text = (
        b"type: team\nname: ml\nmembers: []\n---\n"
        b"type: team\nname: ops\nmembers: []\nroles: [tenant-member, nothing]\n---\n"
        b"type: user\nname: root@example.com\nemail: member@example.com\n---\n"
        b"type: provider-account/virtual-model\nname: acme\nintegrations: []\n"
    )
    got = await stack.call("PUT", f"/apply?dry_run={dry_run}", data=text, headers=YAML)
    assert (got.status, got.code) == (422, "invalid_documents")
    found = [(p["line"], p["column"], p["code"], p["path"]) for p in got.json["problems"]]
    assert (8, 24, "dangling", ["roles", 1]) in found, found
    assert (12, 8, "wrong_value", ["email"]) in found, found
    assert (await stack.call("GET", "/teams/ml")).status == 404


async def test_what_only_the_estate_can_tell_has_line_and_column_too(stack: Stack) -> None:
    me = (await stack.call("GET", "/whoami")).json["id"].removeprefix("user:")
    text = f"type: user\nname: {me}\n\nemail: member@example.com\n".encode()
    got = await stack.call("PUT", "/apply", data=text, headers=YAML)
    assert got.status == 422, got.raw
    (problem,) = got.json["problems"]
    assert (problem["line"], problem["column"], problem["code"]) == (4, 8, "email_taken")


async def test_warnings_about_documents_together_are_in_the_plan(stack: Stack) -> None:
    empty = {"type": "policy", "name": "empty", "rules": []}
    got = await stack.call("PUT", "/apply", {"manifests": [TEAM, empty], "dry_run": True})
    assert got.status == 200, got.raw
    (warning,) = got.json["plan"]["warnings"]
    assert (warning["file"], warning["code"], warning["path"]) == (
        "request[1]",
        "empty_list",
        ["rules"],
    )
    one = await stack.call("PUT", "/policies/empty?dry_run=true", empty)
    assert [item["code"] for item in one.json["plan"]["warnings"]] == ["empty_list"]


async def test_a_finding_names_its_manifest(stack: Stack) -> None:
    got = await stack.call("PUT", "/apply", {"manifests": [USER, {**TEAM, "colour": "red"}]})
    assert got.json["problems"][0]["file"] == "request[1]"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"manifests": []},
        {"manifests": [TEAM], "manifest": TEAM},
        {"manifests": {"0": TEAM}},
        {"manifests": [TEAM], "prune": True},
        {"manifests": [TEAM], "source": "scim"},
        {"manifests": [TEAM], "dryrun": True},
    ],
)
async def test_an_unclear_request_is_refused(stack: Stack, body: Any) -> None:
    got = await stack.call("PUT", "/apply", body)
    assert (got.status, got.code) == (400, "invalid_body"), got.raw


async def test_switches_beside_a_json_body_are_refused(stack: Stack) -> None:
    got = await stack.call("PUT", "/apply?dry_run=true", {"manifest": TEAM})
    assert (got.status, got.code) == (400, "invalid_query")
    assert (await stack.call("GET", "/teams/ml")).status == 404


async def test_prune_deletes_what_gitops_no_longer_names_and_nothing_else(stack: Stack) -> None:
    other = {"type": "team", "name": "old", "members": []}
    applied = await stack.call("PUT", "/apply", {"manifests": [TEAM, other], "source": "gitops"})
    assert applied.status == 200
    pruned = await stack.call(
        "PUT", "/apply", {"manifests": [TEAM], "source": "gitops", "prune": True}
    )
    assert pruned.status == 200, pruned.raw
    assert pruned.json["plan"]["deleted"] == [{"type": "team", "name": "old"}]
    assert (await stack.call("GET", "/teams/old")).status == 404
    assert (await stack.call("GET", "/teams/search")).status == 200


async def test_a_credential_cannot_be_applied(stack: Stack) -> None:
    document = {
        "type": "credential",
        "name": "x",
        "token_kind": "pat",
        "subject": "user:root@example.com",
        "digest": "0" * 64,
        "created_at": "2026-01-01T00:00:00Z",
    }
    got = await stack.call("PUT", "/apply", {"manifests": [document]})
    assert (got.status, got.code) == (422, "invalid_documents")


async def test_a_refusal_does_not_say_whether_the_document_exists(stack: Stack) -> None:
    there = {"type": "team", "name": "hidden", "members": []}
    absent = {"type": "team", "name": "absent", "members": []}
    for document in (there, absent):
        got = await stack.call("PUT", "/apply", {"manifests": [document]}, who="member")
        assert got.status == 403
        assert got.json["detail"] == f"you may not write `team/{document['name']}`"


async def test_nobody_applies_a_right_that_he_may_not_grant(stack: Stack) -> None:
    # docs/attacks.md T1: security admins write policies, and grant nothing by it
    rule = {
        "type": "policy",
        "name": "gift",
        "rules": [
            {
                "id": "one",
                "effect": "allow",
                "subjects": ["user:security@example.com"],
                "actions": ["model:use"],
                "resources": ["model:acme/mini"],
            }
        ],
    }
    got = await stack.call("PUT", "/apply", {"manifests": [rule]}, who="security")
    assert (got.status, got.code) == (403, "not_authorised")
    assert "access:grant" in got.json["detail"]
