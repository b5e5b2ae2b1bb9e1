"""Whoever may change something tries to gain what he may not grant, in every way into the system (T1, T2, T3, T8, T14).

Four attackers: the manager of a team, the manager of a provider account, a security admin, and a pipeline's
account that may write documents of nearly every kind and grant nothing. After each attempt nobody may do what
he could not do before: that is measured on the engine, whatever the answer was. What an attacker may do by
right is named (`by_right`); everything else must be refused.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from authz.conditions import Context
from identity.issue import account_subject, user_subject
from policies.documents import VirtualAccount
from tests.proxy.api.stack import NOW, Stack, stack_on

ATTACKERS = ("manager", "owner", "security", "git")
ADDRESS = {name: f"{name}@example.com" for name in ("manager", "owner", "security")}
USE, MANAGE = "provider-account-access", "provider-account-manager"


def echo(name: str, *models: dict[str, Any] | str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "provider-account/echo",
        "name": name,
        "collaborators": [],
        "integrations": [
            m if isinstance(m, dict) else {"type": "integration/model/echo", "name": m}
            for m in models
        ],
        **fields,
    }


def grant(subject: str, role: str) -> dict[str, str]:
    return {"subject": subject, "role_id": role}


def rule(**fields: Any) -> dict[str, Any]:
    return {"id": "r", "effect": "allow", "subjects": ["any:subject"], "actions": ["model:use"],
            "resources": ["model:vault/crown"], **fields}  # fmt: skip


def policy(name: str, *rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "policy", "name": name, "rules": list(rules), **fields}


def team(name: str, *members: str, **fields: Any) -> dict[str, Any]:
    return {"type": "team", "name": name, "members": list(members), **fields}


def bot(name: str, *grants: tuple[str, str, str], **fields: Any) -> dict[str, Any]:
    permissions = [
        {"resource_fqn": what, "resource_type": kind, "role_id": held}
        for what, kind, held in grants
    ]
    return {"type": "virtual-account", "name": name, "permissions": permissions, **fields}


def role(name: str, *permissions: str, kind: str = "tenant", **fields: Any) -> dict[str, Any]:
    return {"type": "role", "name": name, "resourceType": kind,
            "permissions": list(permissions), **fields}  # fmt: skip


def binding(kind: str, who: str, what: tuple[str, str], held: str) -> dict[str, Any]:
    return {"type": "role-binding", "name": "mine", "subjects": [{"type": kind, "name": who}],
            "permissions": [{"resourceType": what[0], "resourceFqn": what[1], "role": held}]}  # fmt: skip


WRITES = [
    {"actions": ["team:create", "team:read", "team:write", "team:manage-members"], "resources": ["any:team"]},
    {"actions": ["user:create", "user:read"], "resources": ["any:user"]},
    {"actions": ["role:read", "role:write"], "resources": ["any:role"]},
    {"actions": ["policy:read", "policy:write"], "resources": ["any:policy", "any:resource-group"]},
    {"actions": ["gateway-config:read", "gateway-config:write"], "resources": ["any:gateway-config"]},
    {"actions": ["virtualaccount:create", "virtualaccount:read", "virtualaccount:write"], "resources": ["any:virtualaccount"]},
    {"actions": ["provider-account:create", "provider-account:read", "provider-account:write"], "resources": ["any:provider-account"]},
    {"actions": ["self:manage-tokens", "self:read"], "resources": ["self:caller"]},
]  # fmt: skip

ESTATE: tuple[dict[str, Any], ...] = (
    {"type": "user", "name": "root@example.com"},
    {"type": "user", "name": "manager@example.com"},
    {"type": "user", "name": "member@example.com"},
    {"type": "user", "name": "owner@example.com"},
    {"type": "user", "name": "security@example.com", "roles": ["security-admin"]},
    {"type": "user", "name": "gone@example.com", "roles": ["tenant-admin"], "state": "suspended"},
    team("search", "member@example.com", managers=["manager@example.com"]),
    team("admins", "root@example.com", roles=["tenant-admin"], managers=["manager@example.com"]),
    team("old", "root@example.com"),
    team("vips", "root@example.com"),
    echo("acme", "mini", "secret", collaborators=[
        grant("team:search", USE), grant("user:owner@example.com", MANAGE)]),
    echo("vault", "crown", collaborators=[
        grant("team:old", USE), grant("virtualaccount:retired", USE), grant("team:vips", USE)]),
    {"type": "resource-group", "name": "open", "resources": ["model:acme/mini"]},
    policy("open", rule(subjects=["team:search"], resources=["resource-group:open"])),
    policy("gold", rule(when=[{"field": "pinned.tier", "operator": "EQUAL", "value": "gold"}])),
    policy("shadow", rule(mode="shadow")),
    bot("retired"),
    bot("ops", roles=["tenant-admin"]),
    bot("off", roles=["tenant-admin"], state="suspended", ownedBy={"team": "search"}),
    role("git-writes", grants=WRITES),
    bot("git", roles=["git-writes"]),
)  # fmt: skip

GOALS = (
    ("model:use", "model:vault/crown"),
    ("model:use", "model:acme/secret"),
    ("access:grant", "provider-account:vault"),
    ("access:grant", "any:object"),
    ("provider-account:read", "provider-account:vault"),
    ("provider-account:create", "any:provider-account"),
    ("policy:write", "any:policy"),
    ("role:assign", "any:role"),
    ("team:write", "any:team"),
    ("team:manage-members", "team:admins"),
    ("user:write", "any:user"),
    ("user:manage-tokens", "any:user"),
    ("virtualaccount:read-token", "virtualaccount:ops"),
    ("virtualaccount:unbind", "any:virtualaccount"),
    ("decision:ask", "any:object"),
    ("data:read", "data:payloads/all"),
    ("settings:write", "settings:gateway"),
)  # fmt: skip


@dataclass(frozen=True)
class Somebody:
    id: str
    bound: str | None = None
    token: str | None = None


@dataclass
class Attempt:
    """One try. `documents` go in one change; `{me}` in them is the attacker."""

    name: str
    documents: tuple[dict[str, Any], ...]
    by_right: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()  # who gives rights by it that are his to give

    def of(self, me: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(json.dumps(self.documents).replace("{me}", me))
        return found


def attempt(
    name: str,
    *documents: dict[str, Any],
    by_right: tuple[str, ...] = (),
    gives: tuple[str, ...] = (),
) -> Any:
    return pytest.param(Attempt(name, documents, by_right + gives, gives), id=name)


ME = "user:{me}"
LATER = "2030-01-01T00:00:00Z"
CLAIM = [{"field": "metadata.project", "operator": "EQUAL", "value": "x"}]
ALIAS = {"type": "integration/model/virtual", "name": "mirror", "routing_config": {
    "type": "priority-based-routing", "targets": [{"target": "vault/crown"}]}}  # fmt: skip

ATTEMPTS = [
    # --- people and teams
    attempt("a role of one's own", {"type": "user", "name": "{me}", "roles": ["tenant-admin"]}),
    attempt("a new person with a role", {"type": "user", "name": "spy@example.com", "roles": ["tenant-admin"]}),
    attempt("a suspension that is lifted", {"type": "user", "name": "gone@example.com", "state": "active"}),
    attempt("an administrator's address", {"type": "user", "name": "root@example.com", "email": "root@example.com", "displayName": "x"}),
    attempt("joining the admins", team("admins", "root@example.com", "{me}", roles=["tenant-admin"], managers=["manager@example.com"])),
    attempt("a role for the own team", team("search", "member@example.com", "{me}", roles=["tenant-admin"], managers=["manager@example.com"])),
    attempt("another manager", team("search", "member@example.com", managers=["manager@example.com", "member@example.com", "{me}"]), by_right=("git",)),
    attempt("a team made with a role", team("fresh", "{me}", roles=["tenant-admin"])),
    attempt("a team that others join", team("vips", "root@example.com", "{me}"), gives=("git",)),
    attempt("everyone as a team", team("everyone", "{me}")),
    attempt("a team of another spelling", team("Admins", "{me}")),
    attempt("a team as a member", team("search", "team:admins", managers=["manager@example.com"])),
    attempt("a name that is taken", team("admins~2", "{me}")),
    # --- grants
    attempt("a binding to a role", binding("user", "{me}", ("tenant", "tenant"), "tenant-admin")),
    attempt("a binding for the team", binding("team", "search", ("tenant", "tenant"), "tenant-admin")),
    attempt("a binding to an account", binding("team", "search", ("provider-account", "vault"), MANAGE)),
    attempt("a binding to one model", binding("team", "search", ("model", "vault/crown"), USE)),
    attempt("a collaborator of another account", echo("vault", "crown", collaborators=[grant(ME, MANAGE)])),
    attempt("everybody as a collaborator", echo("vault", "crown", collaborators=[grant("any:subject", USE)])),
    attempt("a model's own subjects", echo("vault", {"type": "integration/model/echo", "name": "crown", "authorized_subjects": [ME]})),
    attempt("an alias in a new account", {"type": "provider-account/virtual-model", "name": "mirrors", "integrations": [ALIAS], "collaborators": [grant("any:subject", USE)]}),
    attempt("an account that becomes an alias", {"type": "provider-account/virtual-model", "name": "acme", "integrations": [ALIAS], "collaborators": [grant("any:subject", USE)]}),
    # --- virtual accounts
    attempt("an account with a role", bot("spy", roles=["tenant-admin"], ownedBy={"team": "search"})),
    attempt("an account with a foreign grant", bot("spy", ("vault", "provider-account", MANAGE), ownedBy={"team": "search"}), by_right=("manager", "git")),
    attempt("an account that nobody owns", bot("spy", ("vault", "provider-account", USE))),
    attempt("an owner that is somebody else's team", bot("spy", ("vault", "provider-account", USE), ownedBy={"team": "vips"}), gives=("git",)),
    attempt("another account's owner", bot("ops", roles=["tenant-admin"], ownedBy={"team": "search"}), by_right=("git",)),
    attempt("a bound that is chosen", bot("off", bounded_by="admins", roles=["tenant-admin"], state="active", ownedBy={"team": "search"})),
    attempt("a suspended account", bot("off", roles=["tenant-admin"], state="active", ownedBy={"team": "search"})),
    attempt("more for a pipeline", bot("git", ("vault", "provider-account", MANAGE), roles=["git-writes", "tenant-admin"])),
    # --- roles
    attempt("more in a bundle", role(USE, "model:use", "access:grant", "provider-account:read", kind="provider-account")),
    attempt("more for all members", role("tenant-member", grants=[{"actions": ["model:use"], "resources": ["any:model"]}])),
    attempt("more in one's own role", role("git-writes", grants=[*WRITES, {"actions": ["access:grant"], "resources": ["any:object"]}])),
    attempt("more for security", role("security-admin", grants=[{"actions": ["role:assign"], "resources": ["any:role"]}])),
    attempt("a new role and a binding", role("mine", grants=[{"actions": ["model:use"], "resources": ["any:model"]}]), binding("user", "{me}", ("tenant", "tenant"), "mine")),
    attempt("a new bundle on an account", role("all", "model:use", "access:grant", kind="provider-account"), binding("user", "{me}", ("provider-account", "vault"), "all")),
    # --- policies and groups
    attempt("an allow for everybody", policy("mine", rule())),
    attempt("an allow by a group", policy("mine", rule(resources=["any:model"]))),
    attempt("an allow by a pattern", policy("mine", rule(resources=["model:vault/*"]))),
    attempt("a pattern that matches later", policy("mine", rule(resources=["model:vault/future*"]))),
    attempt("an allow on a claim", policy("mine", rule(when=CLAIM, trust="claimed"))),
    attempt("an allow that starts later", policy("mine", rule(**{"from": LATER}))),
    attempt("an allow on the control plane", policy("mine", rule(actions=["role:assign"], resources=["any:role"], subjects=[ME]))),
    attempt("an allow on records", policy("mine", rule(actions=["data:read"], resources=["data:payloads/all"]))),
    attempt("a shadow rule that is enforced", policy("shadow", rule())),
    attempt("a condition that is dropped", policy("gold", rule())),
    attempt("a rule that means more things", policy("open", rule(subjects=["team:search"], resources=["resource-group:open", "model:vault/crown"]))),
    attempt("a group that grows", {"type": "resource-group", "name": "open", "resources": ["model:acme/mini", "model:vault/crown"]}),
    attempt("a group with a pattern", {"type": "resource-group", "name": "open", "resources": ["model:vault/*"]}),
    attempt("a group with an account", {"type": "resource-group", "name": "open", "resources": ["provider-account:vault"]}),
    attempt("a group and its rule", {"type": "resource-group", "name": "g", "resources": ["model:vault/crown"]}, policy("mine", rule(resources=["resource-group:g"]))),
    # --- configuration
    attempt("all records by configuration", {"type": "gateway-data-access-config", "name": "data-access", "rules": [
        {"id": "all", "subjects": ["any:subject"], "data_types": ["payloads"], "scope": "all_data"}]}),
    attempt("metadata that a rule reads", {"type": "gateway-metadata-config", "name": "metadata", "rules": [
        {"id": "gold", "subjects": ["any:subject"], "metadata_override": {"tier": "gold"}}]}),
    # --- what only the server makes
    attempt("a credential as a document", {"type": "credential", "name": "t", "token_kind": "pat", "subject": "user:root@example.com", "digest": "0" * 64, "created_at": "2026-01-01T00:00:00Z"}),
    attempt("a writer of the log", {"type": "log-writer", "name": "a@b@1", "key_id": "0" * 16}),
]  # fmt: skip


@dataclass
class House:
    """The control plane of the estate, and everybody's power in it."""

    stack: Stack
    ids: dict[str, str] = field(default_factory=dict)

    def me(self, who: str) -> str:
        return ADDRESS.get(who, "member@example.com")  # an account speaks for an accomplice

    async def everybody(self) -> list[Somebody]:
        changes = self.stack.runtime.changes
        found = [Somebody(subject) for subject in changes.engine.resources_of("user:")]
        found += [Somebody(subject) for subject in changes.engine.resources_of("team:")]
        for subject in changes.engine.resources_of("virtualaccount:"):
            stored = await changes.document(("virtual-account", subject.partition(":")[2]))
            account = stored.document if stored is not None else None
            bound = account.bounded_by if isinstance(account, VirtualAccount) else None
            found.append(Somebody(subject, f"bound:{bound}" if bound else None))
        return found

    async def power(self) -> set[tuple[str, str, str]]:
        """(who, action, thing) of all goals that are reached by anybody, on any day and with any claim."""
        engine = self.stack.runtime.changes.engine
        pins = self.stack.runtime.pins
        held = set()
        for one in await self.everybody():
            for day in ("2026-11-25T12:00:00+00:00", "2031-01-01T12:00:00+00:00"):
                pinned = pins.pinned(one.id, engine.subject_closure(one.id))
                values: dict[str, object] = {f"pinned.{k}": v for k, v in pinned.items()}
                values |= {"time.now": NOW.fromisoformat(day), "metadata.project": "x"}
                for action, thing in GOALS:
                    if engine.decide(one, action, thing, Context(values)):
                        held.add((one.id, action, thing))
        return held


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with stack_on(tmp_path, estate=()) as stack:
        await stack.commit(*ESTATE)
        for name, address in ADDRESS.items():
            await stack.mint(name, user_subject(address))
        await stack.mint("root", user_subject("root@example.com"))
        await stack.mint("git", account_subject("git"))
        yield House(stack)


def ways(documents: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, arguments) of each way in that takes documents."""
    text = "\n---\n".join(json.dumps(document) for document in documents)
    yaml = {"data": text.encode(), "headers": {"Content-Type": "application/yaml"}}
    yield "PUT", "/apply?dry_run=true", yaml
    yield "PUT", "/apply", {"body": {"manifests": documents, "dry_run": True}}
    for document in documents if len(documents) == 1 else ():
        path = COLLECTION.get(document["type"].partition("/")[0])
        if path is not None:
            yield "PUT", path.format(document["name"]), {"body": document}
    yield "PUT", "/apply", {"body": {"manifests": documents}}
    yield "PUT", "/apply", {"body": {"manifests": documents, "source": "gitops"}}
    yield "PUT", "/apply", yaml


COLLECTION = {
    "user": "/users/{}",
    "team": "/teams/{}",
    "role": "/roles/{}",
    "role-binding": "/role-bindings/{}",
    "virtual-account": "/virtual-accounts/{}",
    "provider-account": "/provider-accounts/{}",
    "policy": "/policies/{}",
    "resource-group": "/resource-groups/{}",
    "gateway-data-access-config": "/gateway/data-access",
    "gateway-metadata-config": "/gateway/metadata",
    "gateway-logging-config": "/gateway/logging",
}


@pytest.mark.parametrize("tried", ATTEMPTS)
async def test_t1_no_document_gives_anybody_what_its_author_may_not_grant(
    house: House, tried: Attempt
) -> None:
    before = await house.power()
    for who in ATTACKERS:
        documents = tried.of(house.me(who))
        for method, path, more in ways(documents):
            got = await house.stack.call(method, path, who=who, **more)
            gained = await house.power() - before
            assert not gained or who in tried.gives, (who, method, path, gained)
            assert got.status < 500, (who, path, got.raw)
            if who not in tried.by_right:
                assert got.status >= 400, (who, method, path, got.raw)
                assert "rows_added" not in got.json, (who, path)


async def test_t1_every_attempt_is_one_that_an_administrator_could_make(house: House) -> None:
    """So that none of them is refused for being badly written."""
    made_elsewhere = {
        "everyone as a team", "a team of another spelling", "a team as a member", "a name that is taken",
        "an account that becomes an alias", "a credential as a document", "a writer of the log",
    }  # fmt: skip
    for param in ATTEMPTS:
        tried = param.values[0]
        body = {"manifests": tried.of("member@example.com"), "dry_run": True}
        got = await house.stack.call("PUT", "/apply", body)
        wanted = 422 if tried.name in made_elsewhere else 200
        assert got.status == wanted, (tried.name, got.raw)


async def test_t2_no_token_is_made_or_read_for_somebody_stronger(house: House) -> None:
    call = house.stack.call
    for who in ATTACKERS:
        for method, path, body in (
            (
                "POST",
                "/personal-access-tokens/for-user",
                {"email": "root@example.com", "name": "t"},
            ),
            ("DELETE", "/personal-access-tokens/revoke/all?email=root@example.com", None),
            ("GET", "/virtual-accounts/ops/token", None),
            ("POST", "/virtual-accounts/ops/regenerate-token", {}),
            ("GET", "/virtual-accounts/ops/tokens", None),
            ("POST", "/virtual-accounts/ops/unbind", None),
            ("POST", "/virtual-accounts/off/unbind", None),
        ):
            got = await call(method, path, body, who=who)
            assert got.status in (400, 403, 404), (who, path, got.raw)
            assert b"gw_" not in got.raw


async def test_t3_a_managers_account_holds_no_token_stronger_than_the_team(house: House) -> None:
    spy = bot("spy", ("vault", "provider-account", MANAGE), ownedBy={"team": "search"})
    made = await house.stack.call("PUT", "/virtual-accounts/spy", spy, who="manager")
    assert made.status == 201 and made.json["token"]
    before = await house.power()
    assert not any(who == "virtualaccount:spy" for who, _, _ in before)
    edits = [
        {**spy, "ownedBy": {"team": "vips"}},
        {**spy, "roles": ["tenant-admin"]},
        {key: value for key, value in spy.items() if key != "ownedBy"},
        {**spy, "bounded_by": "vips"},
    ]
    for who in ("manager", "owner", "security"):
        for edit in edits:
            await house.stack.call("PUT", "/virtual-accounts/spy", edit, who=who)
            assert await house.power() == before, (who, edit)
        got = await house.stack.call("POST", "/virtual-accounts/spy/unbind", who=who)
        assert got.status in (403, 404)


async def test_t2_a_name_that_is_taken_again_brings_none_of_its_rights(house: House) -> None:
    call = house.stack.call
    for path in ("/teams/old", "/virtual-accounts/retired"):
        assert (await call("DELETE", path)).status == 200
    before = await house.power()
    old = team("old", "member@example.com")
    assert (await call("PUT", "/teams/old", old, who="git")).status == 201
    assert (await call("PUT", "/virtual-accounts/retired", bot("retired"), who="git")).status == 201
    assert await house.power() == before
    spelled = await call("PUT", "/teams/old", {**old, "name": "old~1"}, who="git")
    assert spelled.status in (400, 422)


async def test_t8_a_restricted_token_makes_no_stronger_one(house: House) -> None:
    weak = [{"actions": ["self:manage-tokens", "self:read"], "resources": ["self:caller"]}]
    made = await house.stack.call(
        "POST", "/personal-access-tokens", {"name": "weak", "restrictions": weak}, who="owner"
    )
    assert made.status == 201
    token = made.json["token"]
    for body in ({"name": "all"}, {"name": "more", "restrictions": [
        {"actions": ["model:use"], "resources": ["model:acme/mini"]}]}):  # fmt: skip
        got = await house.stack.call("POST", "/personal-access-tokens", body, token=token)
        assert got.status == 403, got.raw
    refused = await house.stack.call("PUT", "/provider-accounts/acme", echo("acme"), token=token)
    assert refused.status in (403, 404)


async def test_t1_a_fence_is_taken_down_by_who_writes_policy_only(house: House) -> None:
    fence = policy(
        "fence", rule(effect="deny", subjects=["team:search"], resources=["model:acme/secret"])
    )
    await house.stack.commit(fence)
    for who in ("manager", "owner"):
        for method, body in (("DELETE", None), ("PUT", policy("fence"))):
            got = await house.stack.call(method, "/policies/fence", body, who=who)
            assert got.status in (403, 404)
    assert (await house.stack.call("DELETE", "/policies/fence", who="security")).status == 200


async def test_t14_what_is_emptied_grants_nobody_anything(house: House) -> None:
    before = await house.power()
    for document in (
        policy("open", rule(subjects=[], resources=["resource-group:open"])),
        policy("gold", rule(subjects=[])),
        {"type": "resource-group", "name": "open", "resources": []},
        echo("vault", "crown", collaborators=[]),
        echo(
            "vault", {"type": "integration/model/echo", "name": "crown", "authorized_subjects": []}
        ),
        team("vips"),
    ):
        assert (await house.stack.call("PUT", "/apply", {"manifest": document})).status == 200
        assert await house.power() <= before, document


@pytest.mark.parametrize("expect", ["allow", "deny"])
async def test_t1_a_case_is_no_question_for_who_may_not_ask(house: House, expect: str) -> None:
    """The answer to a change with a case must not depend on whether the case holds."""
    case = {"as": "user:root@example.com", "action": "model:use", "resource": "model:vault/crown",
            "expect": expect}  # fmt: skip
    for dry_run in (True, False):
        body = {"manifests": [policy("mine", cases=[case])], "dry_run": dry_run}
        for who in ("manager", "owner", "git"):
            got = await house.stack.call("PUT", "/apply", body, who=who)
            assert got.status in (403, 404) and b"case_failed" not in got.raw
            assert b"vault" not in got.raw
    may = await house.stack.call("PUT", "/apply", {**body, "dry_run": True}, who="security")
    assert may.status == 200
    assert bool(may.json["plan"]["cases_failed"]) == (expect == "deny")


async def test_t1_a_stored_case_tells_nothing_to_who_may_not_ask(house: House) -> None:
    case = {"name": "root's secret", "as": "user:root@example.com", "action": "model:use",
            "resource": "model:acme/secret", "expect": "allow"}  # fmt: skip
    await house.stack.commit(policy("kept", rule(subjects=["role:tenant-admin"], resources=["model:acme/secret"]), cases=[case]))  # fmt: skip
    fence = policy("fence", rule(effect="deny", resources=["model:acme/secret"]))
    for who, told in (("git", False), ("security", True)):
        got = await house.stack.call("PUT", "/policies/fence", fence, who=who)
        assert (got.status, got.code) == (409, "case_failed"), got.raw
        assert (b"root's secret" in got.raw) is told
        assert (b"policy/fence#r" in got.raw) is told


@pytest.mark.parametrize("who", ATTACKERS)
async def test_t1_a_preview_says_no_more_than_the_change_would(house: House, who: str) -> None:
    bodies = [
        policy("mine", rule()),
        echo("vault", "crown", collaborators=[grant("team:search", USE)]),
        binding("team", "search", ("provider-account", "vault"), MANAGE),
    ]
    for document in bodies:
        answers = []
        for dry_run in (True, False):
            body = {"manifests": [document], "dry_run": dry_run}
            got = await house.stack.call("PUT", "/apply", body, who=who)
            answers.append((got.status, got.code, got.json["detail"], got.json["problems"]))
        assert answers[0] == answers[1]


@pytest.mark.parametrize("who", ATTACKERS)
async def test_t1_rows_are_no_way_in(house: House, who: str) -> None:
    """Casbin's own form is read by the command line, which sends documents; the service takes none."""
    before = await house.power()
    rows = b"p, any:subject, model:vault/crown, model:use, allow\ng, user:x, role:tenant-admin\n"
    for kind, status in (("text/csv", 415), ("text/plain", 415), ("application/yaml", 422)):
        got = await house.stack.call(
            "PUT", "/apply", data=rows, headers={"Content-Type": kind}, who=who
        )
        assert got.status == status, got.raw
    assert await house.power() == before
