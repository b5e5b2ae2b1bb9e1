"""Who may make which change. Each line of the matrix is tried by somebody who must fail (docs/attacks.md 3.5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from estates import House, account, credential, policy, role, team, uid, user, virtual

from authz.conditions import Context
from policies.authorise import authorise, may_grant
from policies.change import Plan
from policies.documents import Document, LogWriter, parse
from policies.errors import NotAuthorised
from policies.naming import Key
from policies.planning import plan

ADMIN, SEC, MGR, OWNER, PLAIN = (
    "root@acme.com",
    "sec@acme.com",
    "mgr@acme.com",
    "owner@acme.com",
    "plain@acme.com",
)
USE, MANAGE = "provider-account-access", "provider-account-manager"
NO_CONTEXT = Context()


@dataclass(frozen=True)
class Asker:
    id: str
    bound: str | None = None
    token: str | None = None


def house() -> House:
    """One of each: an admin, a security admin, a manager of a team and of an account, a plain member."""
    made = House(
        user(ADMIN, roles=["tenant-admin"]),
        user(SEC, roles=["security-admin"]),
        user(MGR),
        user(OWNER),
        user(PLAIN),
        team("search", PLAIN, managers=[MGR]),
        team("admins", ADMIN, roles=["tenant-admin"], managers=[MGR]),
        account("acme", f"team:search={USE}", f"user:{OWNER}={MANAGE}"),
        account("beta"),
        virtual("free", f"beta={USE}", ownedBy={"team": "search"}),
        policy(
            "rules", {"effect": "deny", "subjects": [f"user:{PLAIN}"], "resources": ["model:*/x*"]}
        ),
    )
    made.put(virtual("kept", f"beta={USE}", ownedBy={"team": "search"}), may_grant=lambda _: False)
    made.put(credential("tok", uid(PLAIN)))
    return made


HOUSE = house()
ENGINE = HOUSE.engine()


def attempt(who: str | Asker, *puts: Document, deletes: Iterable[Key] = (), **fields: Any) -> Plan:
    """Plan as the committer does, and authorise. Raises NotAuthorised."""
    asker = who if isinstance(who, Asker) else Asker(uid(who))

    def grants(thing: str) -> bool:
        return may_grant(ENGINE, asker, thing, NO_CONTEXT)

    made = plan(HOUSE.estate, HOUSE.change(puts, deletes, **fields), may_grant=grants)
    assert not made.empty
    authorise(ENGINE, asker, made, NO_CONTEXT)
    return made


def binding(subject: str, kind: str, what: str, held: str) -> Document:
    who, _, name = subject.partition(":")
    return parse(
        {
            "type": "role-binding",
            "name": "b",
            "subjects": [{"type": who, "name": name}],
            "permissions": [{"resourceType": kind, "resourceFqn": what, "role": held}],
        }
    )


def data_rule(subject: str) -> Document:
    rule = {
        "id": "x",
        "subjects": [subject],
        "data_types": ["traces"],
        "scope": "all_data",
    }
    return parse({"type": "gateway-data-access-config", "name": "data-access", "rules": [rule]})


def rule(effect: str, target: str = "model:acme/mini", **fields: Any) -> Document:
    return policy(
        "new", {"effect": effect, "subjects": [f"user:{PLAIN}"], "resources": [target], **fields}
    )


SEARCH = {"managers": [MGR]}
SHADOW = {"mode": "shadow"}
OWNED = {"ownedBy": {"team": "search"}}

# (name, document put or key deleted, who may; of ADMIN, SEC, MGR, OWNER, PLAIN)
MATRIX: list[tuple[str, Document | Key, str]] = [
    # users
    ("create a user", user("new@acme.com"), "ADMIN"),
    ("create an admin", user("new@acme.com", roles=["tenant-admin"]), "ADMIN"),
    ("make oneself admin", user(PLAIN, roles=["tenant-admin"]), "ADMIN"),
    ("suspend somebody", user(PLAIN, state="suspended"), "ADMIN"),
    (
        "take over an address",
        user(uid(ADMIN).removeprefix("user:"), email="mine@acme.com"),
        "ADMIN",
    ),
    ("delete a user", ("user", PLAIN), "ADMIN"),
    # teams: members are the manager's, nothing else is
    ("create a team", team("new", PLAIN), "ADMIN"),
    ("add a member", team("search", PLAIN, OWNER, **SEARCH), "ADMIN MGR"),
    (
        "add a suspended or unknown member",
        team("search", PLAIN, "x@acme.com", **SEARCH),
        "ADMIN MGR",
    ),
    ("remove a member", team("search", **SEARCH), "ADMIN MGR"),
    (
        "add a member to a team of admins",
        team("admins", ADMIN, PLAIN, roles=["tenant-admin"], managers=[MGR]),
        "ADMIN",
    ),
    (
        "remove a member of a team of admins",
        team("admins", roles=["tenant-admin"], managers=[MGR]),
        "ADMIN MGR",
    ),
    ("add a manager", team("search", PLAIN, managers=[MGR, PLAIN]), "ADMIN"),
    ("give a team a role", team("search", PLAIN, roles=["tenant-admin"], **SEARCH), "ADMIN"),
    (
        "map a claim to a team",
        team(
            "search",
            PLAIN,
            identity_provider_mapping=[{"identity_provider": "i", "value": "v"}],
            **SEARCH,
        ),
        "ADMIN",
    ),
    ("delete a team", ("team", "admins"), "ADMIN"),
    # provider accounts
    ("create an account", account("new", f"team:search={USE}"), "ADMIN"),
    (
        "grant use of one's account",
        account("acme", f"team:search={USE}", f"user:{OWNER}={MANAGE}", f"user:{PLAIN}={USE}"),
        "ADMIN OWNER",
    ),
    ("grant use of another's account", account("beta", f"user:{OWNER}={USE}"), "ADMIN"),
    (
        "add a model",
        account("acme", f"team:search={USE}", f"user:{OWNER}={MANAGE}", models=["mini", "max"]),
        "ADMIN OWNER",
    ),
    (
        "move an account with the host's secret",
        account(
            "acme", f"team:search={USE}", f"user:{OWNER}={MANAGE}", base_url="https://evil.example"
        ),
        "ADMIN",
    ),
    ("delete one's account", ("provider-account", "acme"), "ADMIN OWNER"),
    ("delete another's account", ("provider-account", "beta"), "ADMIN"),
    # policies: the security admin takes, and cannot give
    ("deny", rule("deny"), "ADMIN SEC"),
    ("shadow", rule("allow", **SHADOW), "ADMIN SEC"),
    ("allow", rule("allow"), "ADMIN"),
    ("allow what no model matches yet", rule("allow", "model:acme/later*"), "ADMIN"),
    ("allow administration", rule("allow", "any:role", actions=["role:assign"]), "ADMIN"),
    ("remove a deny", policy("rules"), "ADMIN SEC"),
    ("delete a policy", ("policy", "rules"), "ADMIN SEC"),
    (
        "group models",
        parse({"type": "resource-group", "name": "g", "resources": ["model:acme/*"]}),
        "ADMIN",
    ),
    # roles
    ("make a tenant role", role("strong", "role:assign"), "ADMIN"),
    ("make a bundle", role("strong", "model:use", kind="provider-account"), "ADMIN"),
    ("widen a bundle", role("team-manager", "team:write", "access:grant", kind="team"), "ADMIN"),
    ("widen one's tenant role", role("security-admin", "role:assign", "policy:write"), "ADMIN"),
    ("delete a role", ("role", "auditor"), "ADMIN"),
    ("bind a tenant role", binding(f"user:{PLAIN}", "tenant", "x", "tenant-admin"), "ADMIN"),
    (
        "bind a grant on one's account",
        binding(f"user:{PLAIN}", "provider-account", "acme", USE),
        "ADMIN OWNER",
    ),
    (
        "bind a grant on another's account",
        binding(f"user:{PLAIN}", "provider-account", "beta", USE),
        "ADMIN",
    ),
    # data access
    ("let somebody read all records", data_rule(f"user:{PLAIN}"), "ADMIN"),
    # virtual accounts
    ("create one without an owner", virtual("new", f"acme={USE}"), "ADMIN"),
    ("create one for one's team", virtual("new", f"acme={USE}", **OWNED), "ADMIN MGR"),
    (
        "create one for one's team with a role",
        virtual("new", roles=["tenant-admin"], **OWNED),
        "ADMIN",
    ),
    ("delete one of one's team", ("virtual-account", "kept"), "ADMIN"),
    (
        "grant an unbounded one more",
        virtual("free", f"beta={USE}", f"acme={USE}", **OWNED),
        "ADMIN",
    ),
    (
        "move one to another team",
        virtual("kept", f"beta={USE}", ownedBy={"team": "admins"}),
        "ADMIN",
    ),
    # tokens
    ("mint somebody's token", credential("new", uid(PLAIN)), "ADMIN PLAIN"),
    ("mint an admin's token", credential("new", uid(ADMIN)), "ADMIN"),
    ("end somebody's token", ("credential", "tok"), "ADMIN PLAIN"),
    ("mint a token of a bounded account", credential("new", "virtualaccount:kept"), "ADMIN MGR"),
    ("mint a token of an unbounded account", credential("new", "virtualaccount:free"), "ADMIN"),
]
PEOPLE = {"ADMIN": ADMIN, "SEC": SEC, "MGR": MGR, "OWNER": OWNER, "PLAIN": PLAIN}


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize(("what", "document", "may"), MATRIX, ids=[line[0] for line in MATRIX])
def test_who_may_make_which_change(what: str, document: Document | Key, may: str, who: str) -> None:
    puts = (document,) if isinstance(document, Document) else ()
    deletes = (document,) if not isinstance(document, Document) else ()
    if who in may.split():
        attempt(PEOPLE[who], *puts, deletes=deletes)
    else:
        with pytest.raises(NotAuthorised) as caught:
            attempt(PEOPLE[who], *puts, deletes=deletes)
        assert caught.value.missing, what


@pytest.mark.parametrize("who", [ADMIN, PLAIN])
def test_what_the_host_alone_writes_nobody_else_does(who: str) -> None:
    with pytest.raises(NotAuthorised, match="only the gateway itself"):
        attempt(who, LogWriter(name="gw@host-1@0", key_id="ab" * 8))


def test_a_managers_account_is_bound_to_the_team_and_an_admins_is_not() -> None:
    # docs/attacks.md T1, T3: what a manager makes can never do more than the team.
    def bound(made: Plan) -> object:
        (change,) = made.documents
        assert change.after is not None
        return change.after.get("bounded_by")

    assert bound(attempt(MGR, virtual("new", f"beta={USE}", **OWNED))) == "search"
    assert bound(attempt(ADMIN, virtual("new", f"beta={USE}", **OWNED))) is None


def test_unbinding_needs_its_own_right_and_all_that_the_account_grants() -> None:
    with pytest.raises(NotAuthorised) as caught:
        attempt(MGR, unbind=(("virtual-account", "kept"),))
    assert set(caught.value.missing) >= {
        ("virtualaccount:unbind", "virtualaccount:kept"),
        ("access:grant", "provider-account:beta"),
    }
    attempt(ADMIN, unbind=(("virtual-account", "kept"),))


def test_a_grant_to_somebody_suspended_is_judged_when_it_is_written() -> None:
    # It has no row until he is active again, and then nobody would be asked.
    made = house()
    made.put(user(PLAIN, state="suspended"))
    engine = made.engine()
    change = made.plan(
        team("admins", ADMIN, PLAIN, roles=["tenant-admin"], managers=[MGR]),
        may_grant=lambda _: False,
    )
    assert not change.added
    with pytest.raises(NotAuthorised):
        authorise(engine, Asker(uid(MGR)), change, NO_CONTEXT)


def test_a_restricted_token_makes_no_stronger_token() -> None:
    # docs/attacks.md T8.
    made = house()
    pairs = [
        {"actions": ["self:manage-tokens"], "resources": ["self:caller"]},
        {"actions": ["model:use"], "resources": ["model:acme/mini"]},
    ]
    made.put(credential("small", uid(PLAIN), restrictions=pairs))
    engine = made.engine()
    asker = Asker(uid(PLAIN), token="token:small")

    def judge(**fields: Any) -> None:
        change = made.plan(credential("new", uid(PLAIN), **fields), may_grant=lambda _: False)
        authorise(engine, asker, change, NO_CONTEXT)

    with pytest.raises(NotAuthorised):
        judge()
    with pytest.raises(NotAuthorised):
        judge(restrictions=[{"actions": ["model:use"], "resources": ["any:model"]}])
    judge(restrictions=pairs[1:])
    judge(restrictions=[])


def test_every_right_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(NotAuthorised) as caught:
        attempt(PLAIN, account("new"), team("search", PLAIN, roles=["auditor"], **SEARCH))
    missing = set(caught.value.missing)
    assert ("provider-account:create", "any:provider-account") in missing
    assert ("role:assign", "role:auditor") in missing


def test_aliases_need_the_right_to_grant_their_target() -> None:
    made = house()
    made.put(role("maker", "provider-account:create"), user(OWNER, roles=["maker"]))
    engine = made.engine()

    def judge(target: str) -> None:
        alias = parse(
            {
                "type": "provider-account/virtual-model",
                "name": "virt",
                "integrations": [
                    {
                        "type": "integration/model/virtual",
                        "name": "x",
                        "routing_config": {"targets": [{"target": target}]},
                    }
                ],
            }
        )
        change = made.plan(alias, may_grant=lambda _: False)
        authorise(engine, Asker(uid(OWNER)), change, NO_CONTEXT)

    judge("acme/mini")
    with pytest.raises(NotAuthorised) as caught:
        judge("beta/mini")
    assert caught.value.missing == (("access:grant", "model:beta/mini"),)


def test_what_is_re_resolved_in_other_documents_needs_nothing() -> None:
    made = house()
    made.put(
        policy("p", {"effect": "deny", "subjects": ["any:subject"], "resources": ["model:acme/*"]})
    )
    change = made.plan(
        account("acme", f"team:search={USE}", f"user:{OWNER}={MANAGE}", models=["mini", "new"]),
        may_grant=lambda _: False,
    )
    assert any(row.ptype == "p" and row.values[3] == "deny" for row in change.added)
    authorise(made.engine(), Asker(uid(OWNER)), change, NO_CONTEXT)
