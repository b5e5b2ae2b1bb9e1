"""Documents become rows: what each kind comes to, and that little by little equals all at once."""

from __future__ import annotations

import random

import pytest
from estates import (
    House,
    account,
    catalogue,
    credential,
    mcp,
    policy,
    role,
    team,
    uid,
    user,
    virtual,
    virtual_mcp,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.conditions import decode
from authz.rows import Row, row
from policies.change import Source
from policies.compile import STRUCTURE_ROWS, rows_of
from policies.documents import Document, LogWriter, parse
from policies.errors import GuardRefused, InvalidDocuments, NotFound
from policies.mcp_catalogue import merged
from policies.planning import is_shareable


def rows(house: House, family: str, name: str) -> set[Row]:
    stored = house.estate.document((family, name))
    assert stored is not None
    return set(rows_of(stored.document, house.estate.names))


ANN, BOB, EVE = "ann@acme.com", "bob@acme.com", "eve@acme.com"
A, B = uid(ANN), uid(BOB)
USE = "provider-account-access"
MANAGE = "provider-account-manager"


def test_an_active_user_is_in_everyone_and_holds_roles() -> None:
    house = House(user(ANN, roles=["auditor"]))
    assert rows(house, "user", A.removeprefix("user:")) == {
        row("g2", A, "any:user"),
        row("g", A, "team:everyone"),
        row("g", A, "role:auditor"),
    }


@pytest.mark.parametrize("fields", [{"state": "suspended"}, {"suspended_by": ["scim"]}])
def test_a_suspended_user_is_known_and_has_no_other_row_anywhere(fields: dict[str, object]) -> None:
    house = House(
        user(ANN, roles=["auditor"]),
        team("search", ANN, managers=[ANN]),
        account("acme", f"user:{ANN}={USE}"),
    )
    house.put(user(ANN, **fields), source=Source.HOST)
    assert [r for r in house.rows if A in r.values] == [row("g2", A, "any:user")]
    # And nothing of it comes back by writing the document again: only a new state does that.
    house.put(user(ANN))
    assert not house.has("g", A)
    house.put(user(ANN, state="active", suspended_by=[]), source=Source.HOST)
    assert house.has("g", A, "team:search")
    assert house.has("g", A, "role:auditor")
    assert house.has("p", A, "open-models:acme")


def test_an_invited_user_has_grants_but_is_not_in_everyone() -> None:
    house = House(team("search", BOB))
    assert house.has("g", B, "team:search")
    assert not house.has("g", B, "team:everyone")


def test_a_team_has_members_bound_roles_and_managers() -> None:
    house = House(team("search", ANN, managers=[BOB], roles=["auditor"]))
    assert rows(house, "team", "search") == {
        row("g2", "team:search", "any:team"),
        row("g", "bound:search", "team:search"),
        row("g", A, "team:search"),
        row("g", "team:search", "role:auditor"),
        row("p", B, "team:search", "role:team-manager", "allow", "", f"team/search#manager/{B}"),
    }


def test_a_tenant_role_is_a_subject_and_a_resource_role_a_bundle() -> None:
    house = House(
        role(
            "helper",
            "team:read",
            grants=[{"actions": ["user:read"], "resources": ["any:user"]}],
        ),
        role("reader", "provider-account:read", kind="provider-account"),
    )
    assert rows(house, "role", "helper") == {
        row("g2", "role:helper", "any:role"),
        row(
            "p",
            "role:helper",
            "any:team",
            "team:read",
            "allow",
            "",
            "role/helper#team:read@any:team",
        ),
        row(
            "p",
            "role:helper",
            "any:user",
            "user:read",
            "allow",
            "",
            "role/helper#user:read@any:user",
        ),
    }
    assert rows(house, "role", "reader") == {
        row("g2", "role:reader", "any:role"),
        row("g3", "provider-account:read", "role:reader"),
    }


def test_a_grant_of_use_reaches_open_models_and_a_managers_the_account() -> None:
    house = House(team("s"), team("m"), account("acme", f"team:s={USE}", f"team:m={MANAGE}"))
    made = rows(house, "provider-account", "acme")
    assert made == {
        row("g2", "provider-account:acme", "any:provider-account"),
        row("g2", "model:acme/mini", "provider-account:acme"),
        row("g2", "model:acme/mini", "open-models:acme"),
        row("g2", "model:acme/mini", "any:model"),
        row(
            "p",
            "team:s",
            "open-models:acme",
            f"role:{USE}",
            "allow",
            "",
            f"provider-account/acme#collaborator/team:s/{USE}",
        ),
        row(
            "p",
            "team:m",
            "provider-account:acme",
            f"role:{MANAGE}",
            "allow",
            "",
            f"provider-account/acme#collaborator/team:m/{MANAGE}",
        ),
    }


def test_a_mixed_role_uses_open_models_and_does_the_rest_on_the_account() -> None:
    house = House(
        role("seer", "model:use", "provider-account:read", kind="provider-account"),
        team("s"),
        account("acme", "team:s=seer"),
    )
    assert house.has("p", "team:s", "open-models:acme", "role:seer")
    assert house.has("p", "team:s", "provider-account:acme", "provider-account:read")
    assert not house.has("p", "team:s", "provider-account:acme", "role:seer")


def test_authorized_subjects_replace_open_models_and_an_empty_list_means_nobody() -> None:
    def model(**fields: object) -> dict[str, object]:
        return {"type": "integration/model/openai", **fields}

    house = House(
        team("s"),
        account(
            "acme",
            integrations=[
                model(name="open"),
                model(name="some", authorized_subjects=["team:s"]),
                model(name="none", authorized_subjects=[]),
            ],
        ),
    )
    assert house.has("g2", "model:acme/open", "open-models:acme")
    assert not house.has("g2", "model:acme/some", "open-models:acme")
    assert not house.has("g2", "model:acme/none", "open-models:acme")
    assert house.has("p", "team:s", "model:acme/some", "model:use", "allow")
    assert not any(r.ptype == "p" and r.values[1] == "model:acme/none" for r in house.rows)
    assert house.has("g2", "model:acme/none", "provider-account:acme")


def test_a_virtual_model_is_an_alias() -> None:
    house = House(
        account("acme"),
        parse(
            {
                "type": "provider-account/virtual-model",
                "name": "virt",
                "integrations": [
                    {
                        "type": "integration/model/virtual",
                        "name": "x",
                        "routing_config": {"targets": [{"target": "acme/mini"}]},
                    }
                ],
            }
        ),
    )
    assert row("a", "model:virt/x", "model:acme/mini") in house.rows


def test_a_virtual_account_has_its_grants_and_only_a_bounded_one_hangs_on_the_team() -> None:
    owned = {"ownedBy": {"team": "search"}}
    house = House(team("search"), account("acme"))
    house.put(virtual("free", f"acme={USE}", **owned), may_grant=lambda thing: True)
    house.put(virtual("kept", f"acme={USE}", **owned), may_grant=lambda thing: False)
    assert house.has("p", "virtualaccount:free", "open-models:acme", f"role:{USE}")
    assert house.has("p", "virtualaccount:kept", "open-models:acme", f"role:{USE}")
    assert not house.has("g2", "virtualaccount:free", "team:search")
    assert house.has("g2", "virtualaccount:kept", "team:search")
    house.put(virtual("kept", f"acme={USE}", state="suspended", **owned))
    assert not house.has("p", "virtualaccount:kept")
    assert house.has("g2", "virtualaccount:kept", "any:virtualaccount")


def test_role_bindings_give_tenant_roles_and_grants() -> None:
    house = House(
        team("s"),
        account("acme"),
        parse(
            {
                "type": "role-binding",
                "name": "b",
                "subjects": [{"type": "team", "name": "s"}],
                "permissions": [
                    {"resourceType": "tenant", "resourceFqn": "acme", "role": "auditor"},
                    {
                        "resourceType": "provider-account",
                        "resourceFqn": "t:openai:acme",
                        "role": USE,
                    },
                ],
            }
        ),
    )
    assert house.has("g", "team:s", "role:auditor")
    assert house.has("p", "team:s", "open-models:acme", f"role:{USE}")


def test_a_policy_rule_becomes_rows_with_one_id_a_condition_and_a_message() -> None:
    house = House(
        team("s"),
        account("acme", models=["a1", "a2", "b"]),
        policy(
            "office",
            {
                "effect": "allow",
                "subjects": ["team:s"],
                "resources": ["model:acme/a*"],
                "when": [{"field": "time.hour", "operator": "LESS_THAN", "value": 18}],
                "until": "2027-01-01T00:00:00+01:00",
                "message": "office hours only",
            },
            {
                "effect": "deny",
                "subjects": ["any:subject"],
                "resources": ["model:*/b"],
                "actions": ["*"],
            },
            {
                "effect": "allow",
                "subjects": ["team:s"],
                "resources": ["model:acme/b"],
                "mode": "shadow",
            },
            {
                "effect": "allow",
                "subjects": ["team:s"],
                "resources": ["model:acme/b"],
                "enabled": False,
            },
        ),
    )
    made = [r for r in rows(house, "policy", "office") if r.ptype in ("p", "p2")]
    (name, text) = next(
        r.values for r in house.rows if r.ptype == "c" and "time.hour" in r.values[1]
    )
    assert set(made) == {
        row("p", "team:s", "model:acme/a1", "model:use", "allow", name, "policy/office#r0"),
        row("p", "team:s", "model:acme/a2", "model:use", "allow", name, "policy/office#r0"),
        row("p", "any:subject", "model:acme/b", "*", "deny", "", "policy/office#r1"),
        row("p2", "team:s", "model:acme/b", "model:use", "allow", "", "policy/office#r2"),
    }
    until = decode(text).items[1]
    assert (until.field, until.operator, until.value) == (
        "time.now",
        "LESS_THAN",
        "2026-12-31T23:00:00+00:00",
    )
    assert row("m", "policy/office#r0", "office hours only") in house.rows


def test_a_new_model_is_reached_by_patterns_that_stood_before() -> None:
    house = House(
        team("s"),
        account("acme", models=["a1"]),
        policy(
            "p",
            {"effect": "allow", "subjects": ["team:s"], "resources": ["model:acme/a*"]},
            {"effect": "deny", "subjects": ["team:s"], "resources": ["model:*/*"]},
        ),
        parse({"type": "resource-group", "name": "g", "resources": ["model:acme/*"]}),
    )
    made = house.put(account("acme", models=["a1", "a2"]))
    assert {r.ptype for r in made.added} == {"g2", "p"}
    assert house.has("p", "team:s", "model:acme/a2", "model:use", "allow")
    assert house.has("p", "team:s", "model:acme/a2", "model:use", "deny")
    assert house.has("g2", "model:acme/a2", "resource-group:g")
    # Nothing of it is the asker's own addition: it was judged when the patterns were written.
    assert [r for d in made.deltas.values() for r in d.added if r.ptype == "p"] == []


def test_data_rules_become_scopes_with_filters_as_conditions() -> None:
    house = House(
        team("s"),
        team("legal"),
        parse(
            {
                "type": "gateway-data-access-config",
                "name": "data-access",
                "rules": [
                    {
                        "id": "emea",
                        "subjects": ["team:s"],
                        "data_types": ["traces"],
                        "scope": "all_data",
                        "filters": [
                            {"field": "metadata", "key": "region", "value": ["emea"]},
                            {
                                "field": "created_by",
                                "operator": "NOT_IN",
                                "value": ["team:legal", f"user:{ANN}"],
                            },
                        ],
                    },
                    {
                        "id": "off",
                        "enabled": False,
                        "subjects": ["team:s"],
                        "data_types": ["metrics"],
                        "scope": "own_data",
                    },
                    {
                        "id": "own",
                        "subjects": ["team:s"],
                        "data_types": ["metrics"],
                        "scope": "team_virtual_account_data",
                    },
                ],
            }
        ),
    )
    granted = {
        r.values[1]
        for r in house.rows
        if r.ptype == "p" and r.values[2] == "data:read" and r.values[0] == "team:s"
    }
    assert granted == {"data:traces/all", "data:payloads/all", "data:metrics/team-accounts"}
    condition = next(
        decode(r.values[1])
        for r in house.rows
        if r.ptype == "c" and "record.metadata.region" in r.values[1]
    )
    assert [(i.field, i.operator.value, i.value) for i in condition.items] == [
        ("record.metadata.region", "IN", ("emea",)),
        ("record.created_by", "NOT_IN", (A,)),
        ("record.created_by_team", "NOT_IN", ("team:legal",)),
    ]


def test_a_filter_on_claimed_metadata_says_so_and_reads_nothing_that_is_pinned() -> None:
    one = {"field": "metadata", "key": "region", "value": ["emea"]}
    rule = {"subjects": ["team:s"], "data_types": ["metrics"], "scope": "all_data"}
    rules = [
        {**rule, "id": "pinned", "filters": [one]},
        {**rule, "id": "claimed", "filters": [{**one, "trust": "claimed"}]},
    ]
    config = {"type": "gateway-data-access-config", "name": "data-access", "rules": rules}
    house = House(team("s"), parse(config))
    defined = {r.values[0]: decode(r.values[1]) for r in house.rows if r.ptype == "c"}
    made = {
        r.values[5].partition("#")[2]: defined[r.values[4]].items[0].field
        for r in house.rows
        if r.ptype == "p" and r.values[1] == "data:metrics/all" and r.values[0] == "team:s"
    }
    assert made == {"pinned": "record.metadata.region", "claimed": "record.claimed.region"}


def test_created_by_in_people_and_teams_is_either_of_two_rows() -> None:
    house = House(
        team("legal"),
        parse(
            {
                "type": "gateway-data-access-config",
                "name": "data-access",
                "rules": [
                    {
                        "id": "x",
                        "subjects": ["team:legal"],
                        "data_types": ["metrics"],
                        "scope": "all_data",
                        "filters": [
                            {"field": "created_by", "value": ["team:legal", f"user:{ANN}"]}
                        ],
                    }
                ],
            }
        ),
    )
    made = [r for r in house.rows if r.ptype == "p" and r.values[5].endswith("#x")]
    assert len(made) == 2 and len({r.values[4] for r in made}) == 2


def test_a_restricted_credential_has_a_row_for_each_pair_and_an_empty_one_none() -> None:
    house = House(user(ANN), account("acme"))
    pairs = [{"actions": ["model:use", "provider-account:read"], "resources": ["model:acme/mini"]}]
    house.put(credential("t1", A, restrictions=pairs), credential("t2", A, restrictions=[]))
    assert {r.values for r in house.rows if r.values[0] == "token:t1"} == {
        ("token:t1", "model:acme/mini", "model:use", "allow", "", "credential/t1#0"),
        ("token:t1", "model:acme/mini", "provider-account:read", "allow", "", "credential/t1#1"),
    }
    assert not house.has("p", "token:t2")


def test_a_chain_of_the_decision_log_has_no_row_and_no_place_in_the_catalogue() -> None:
    house = House(user(ANN))
    before = set(house.rows)
    chain = LogWriter(name="gw@host-1@0", key_id="ab" * 8)
    house.put(chain)
    assert set(house.rows) == before
    assert house.plan(chain).empty


def test_empty_lists_grant_nothing() -> None:
    house = House(
        team("empty"),
        account("acme"),
        virtual("none"),
        policy("p", {"effect": "allow", "subjects": [], "resources": ["model:acme/mini"]}),
    )
    assert not [r for r in house.rows if r.ptype == "p" and "acme" in r.values[1]]
    assert not house.has("g", "team:empty")


def test_a_recreated_name_is_another_thing_to_allows_and_the_same_to_denies() -> None:
    house = House(
        team("s", ANN),
        account("acme", f"team:s={USE}"),
        policy("p", {"effect": "deny", "subjects": ["team:s"], "resources": ["model:acme/mini"]}),
    )
    house.delete(("team", "s"))
    assert not [r for r in house.rows if r.values[0] == "team:s" and "allow" in r.values]
    house.put(team("s", BOB))
    assert house.has("g", B, "team:s~2")
    assert not house.has("p", "team:s~2", "open-models:acme")
    assert house.has("p", "team:s~2", "model:acme/mini", "model:use", "deny")
    # Written again, the grant binds the team of now.
    house.put(account("acme", f"team:s={USE}"))
    assert house.has("p", "team:s~2", "open-models:acme")


def test_structure_rows_are_sorted_and_have_no_cycle() -> None:
    assert tuple(sorted(STRUCTURE_ROWS)) == STRUCTURE_ROWS
    assert not House(with_shipped=False).engine().link_problems(STRUCTURE_ROWS)


# --- little by little equals all at once ------------------------------------------------------------

_PEOPLE = [f"p{n}@acme.com" for n in range(4)]
_TEAMS = ["t0", "t1", "t2"]
_ACCOUNTS = ["acme", "beta"]
_MODELS = ["a1", "a2", "b1"]
_SERVERS = ["s0", "s1"]
_STORED_SERVERS = ["s0", "s1", "s0~2", "s0~3"]
_TOOLS = ["t0", "t1", "t2"]


def _random_document(pick: random.Random) -> Document:
    people = pick.sample(_PEOPLE, pick.randint(0, 3))
    subject = pick.choice(
        [
            f"team:{pick.choice(_TEAMS)}",
            f"user:{pick.choice(_PEOPLE)}",
            "team:everyone",
            "virtualaccount:v0",
        ]
    )
    match pick.randrange(13):
        case 0:
            state = pick.choice(["active", "suspended"])
            return user(pick.choice(_PEOPLE), state=state, roles=pick.sample(["auditor", "r0"], 1))
        case 1:
            return team(
                pick.choice(_TEAMS),
                *people,
                managers=people[:1],
                roles=pick.sample(["auditor"], pick.randint(0, 1)),
            )
        case 2:
            if pick.random() < 0.5:
                return role("r0", "team:read", *(["user:read"] if pick.random() < 0.5 else []))
            return role(
                "r1",
                "model:use",
                *(["provider-account:write"] if pick.random() < 0.5 else []),
                kind="provider-account",
            )
        case 3 | 4:
            return account(
                pick.choice(_ACCOUNTS),
                f"{subject}={pick.choice([USE, MANAGE, 'r1'])}",
                models=pick.sample(_MODELS, pick.randint(0, 3)),
            )
        case 5:
            return virtual(
                "v0",
                f"{pick.choice(_ACCOUNTS)}={USE}",
                state=pick.choice(["active", "suspended"]),
                ownedBy={"team": pick.choice(_TEAMS)},
            )
        case 6:
            when = [{"field": "time.hour", "operator": "LESS_THAN", "value": pick.choice([9, 18])}]
            return policy(
                pick.choice(["p0", "p1"]),
                {
                    "effect": pick.choice(["allow", "deny"]),
                    "subjects": [subject],
                    "resources": [
                        pick.choice(["model:acme/*", "model:beta/a*", "resource-group:g"])
                    ],
                    "when": when if pick.random() < 0.7 else [],
                },
            )
        case 7:
            return parse(
                {
                    "type": "resource-group",
                    "name": "g",
                    "resources": [
                        pick.choice(["model:acme/*", "provider-account:beta"]),
                        pick.choice(["mcp-tool:s0/t0", "mcp-tool:s1/*", "mcp-server:s0"]),
                    ],
                }
            )
        case 8:
            tools = pick.sample(_TOOLS, pick.randint(0, 3))
            return mcp(
                pick.choice(_SERVERS),
                f"{subject}={pick.choice(['mcp-server-user', 'mcp-server-manager'])}",
                tool_policy={
                    "enable_tools_by_default": pick.random() < 0.5,
                    "disabled_tools": tools[:1],
                    "enabled_tools": tools[1:],
                },
            )
        case 9:
            found = {"tool": [{"name": n} for n in pick.sample(_TOOLS, pick.randint(0, 3))]}
            before = merged(pick.choice(_STORED_SERVERS), None, found).catalogue
            if pick.random() < 0.5:
                return before
            found["tool"] = [{**item, "title": pick.choice("ab")} for item in found["tool"]]
            return merged(before.name, before, found).catalogue
        case 10:
            parts = pick.sample([*_SERVERS, "s0=t0", "s1=t0,t1"], 2)
            return virtual_mcp("v", *parts)
        case 11:
            return policy(
                "mcp",
                {
                    "effect": (effect := pick.choice(["allow", "deny"])),
                    "subjects": [subject],
                    "actions": ["mcp-tool:call"],
                    "resources": pick.sample(
                        ["mcp-tool:s0/t*", "mcp-tool:v/*", "mcp-tool:s1/t0", "mcp-server:v"]
                        + (["mcp-tool:*/t1"] if effect == "deny" else []),
                        2,
                    ),
                },
            )
        case _:
            return parse(
                {
                    "type": "role-binding",
                    "name": "b0",
                    "subjects": [{"type": "team", "name": pick.choice(_TEAMS)}],
                    "permissions": [
                        {"resourceType": "tenant", "resourceFqn": "x", "role": "auditor"}
                    ],
                }
            )


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(min_value=0, max_value=2**32))
def test_compiling_what_changed_equals_compiling_everything(seed: int) -> None:
    pick = random.Random(seed)
    house = House(
        role("r0", "team:read"),
        role("r1", "model:use", kind="provider-account"),
        *(team(name, *_PEOPLE[:2]) for name in _TEAMS),
        *(account(name, models=_MODELS) for name in _ACCOUNTS),
        virtual("v0"),
        parse({"type": "resource-group", "name": "g", "resources": ["model:acme/*"]}),
        *(mcp(name) for name in _SERVERS),
        *(catalogue(name, *_TOOLS) for name in _SERVERS),
        virtual_mcp("v", "s0"),
    )
    for _ in range(40):
        deletes = []
        puts = [_random_document(pick) for _ in range(pick.randint(0, 2))]
        if pick.random() < 0.3 or not puts:
            names = [
                ("team", pick.choice(_TEAMS)),
                ("user", pick.choice(_PEOPLE)),
                ("provider-account", pick.choice(_ACCOUNTS)),
                ("virtual-account", "v0"),
                ("policy", "p0"),
                ("mcp-server", "s0"),
                ("mcp-server", "v"),
            ]
            deletes = [pick.choice(names)]
        try:
            house.put(*puts, deletes=deletes)
        except (InvalidDocuments, NotFound, GuardRefused):
            continue
        assert house.rows == set(house.estate.rows())
    owners: dict[Row, int] = {}
    for stored in house.estate.documents.values():
        for made in rows_of(stored.document, house.estate.names):
            owners[made] = owners.get(made, 0) + 1
    assert all(count == 1 or is_shareable(made) for made, count in owners.items())
