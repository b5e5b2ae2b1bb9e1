"""What a change comes to: documents, versions, people, secrets, and what ends with what."""

from __future__ import annotations

import pytest
from estates import House, account, credential, policy, role, team, uid, user, virtual

from policies.change import Change, Plan, Source
from policies.documents import dump, parse
from policies.errors import Conflict, GuardRefused, InvalidDocuments, NotFound
from policies.estate import Estate
from policies.naming import Key
from policies.planning import offline, plan
from policies.resolve import rendered

ANN, BOB = "ann@acme.com", "bob@acme.com"
A, B = uid(ANN), uid(BOB)
USE = "provider-account-access"


def keys(made: Plan) -> set[Key]:
    return {change.key for change in made.documents}


class Vault:
    """Seals like the real one: the same secret in the same place is the same reference."""

    def seal(self, key: Key, field: str, origin: str, secret: str) -> str:
        return f"secret:{abs(hash((key, field, origin, secret))):x}"


def sealed(**fields: object) -> dict[str, object]:
    return {"auth_data": {"type": "api-key", "api_key": "sk-canary"}, **fields}


def codes(error: pytest.ExceptionInfo[InvalidDocuments]) -> set[str]:
    return {problem.code for problem in error.value.problems}


# --- no change, versions ----------------------------------------------------------------------------


def test_documents_applied_again_are_no_change() -> None:
    # docs/attacks.md G1: apply, then plan is empty.
    documents = (
        user(ANN, roles=["auditor"], displayName="Ann"),
        team("search", ANN, BOB, managers=[BOB]),
        account("acme", "team:search=provider-account-access", **sealed()),
        virtual("v", f"t:openai:acme={USE}"),
        policy("p", {"effect": "deny", "subjects": [f"user:{BOB}"], "resources": ["model:*/*"]}),
    )
    house = House()
    house.put(*documents, vault=Vault())
    again = house.plan(*documents, vault=Vault())
    assert again.empty
    assert keys(again) == set()


def test_what_is_read_back_is_no_change_and_has_no_ids_of_people() -> None:
    documents = (
        team("search", ANN, managers=[BOB]),
        account("acme", f"team:search={USE}", f"user:{ANN}={USE}", **sealed()),
        virtual("v", f"acme={USE}", ownedBy={"team": "search"}),
        policy(
            "p", {"effect": "allow", "subjects": [f"user:{BOB}"], "resources": ["model:acme/*"]}
        ),
    )
    house = House()
    house.put(*documents, vault=Vault())

    def email(user_id: str) -> str | None:
        person = house.estate.people.get(user_id)
        return person.email if person else None

    back = [
        parse(rendered(stored.document, email))
        for key, stored in house.estate.documents.items()
        if key[0] not in ("user", "role")
    ]
    assert not any("u-" in str(dump(document)) for document in back)
    assert house.plan(*back, vault=Vault()).empty


def test_versions_count_writes_and_a_stale_one_conflicts() -> None:
    house = House(team("search"))
    made = house.put(team("search", ANN), expect={("team", "search"): 1})
    assert [c.version for c in made.documents if c.key == ("team", "search")] == [2]
    with pytest.raises(Conflict):
        house.plan(team("search"), expect={("team", "search"): 1})
    with pytest.raises(Conflict):
        house.plan(team("search"), expect={("team", "search"): 0})
    with pytest.raises(Conflict):
        house.plan(deletes=[("team", "search")], expect={("team", "search"): 1})
    house.plan(team("other"), expect={("team", "other"): 0})


def test_a_recreated_name_never_has_a_version_of_the_old_thing() -> None:
    house = House(team("search"))
    house.delete(("team", "search"))
    made = house.put(team("search"))
    assert [(c.key, c.version > 1000) for c in made.documents] == [(("team", "search~2"), True)]
    house.put(team("search", ANN))
    assert house.estate.document(("team", "search~2")) is not None
    house.delete(("team", "search"))
    assert house.estate.names.current("team", "search") is None


def test_deleting_what_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        House().plan(deletes=[("team", "nobody")])


def test_a_plan_leaves_the_estate_as_it_is() -> None:
    house = House(team("search"))
    before = dict(house.estate.documents)
    house.plan(team("search", ANN), account("acme", f"team:search={USE}"))
    assert house.estate.documents == before
    assert house.estate.names.current("provider-account", "acme") is None
    assert house.estate.person(ANN) is None


# --- people -----------------------------------------------------------------------------------------


def test_an_unknown_email_is_invited_by_the_same_change() -> None:
    house = House()
    made = house.put(team("search", ANN, "Ann@Acme.com", managers=[ANN]))
    assert keys(made) == {("team", "search"), ("user", A.removeprefix("user:"))}
    assert [p.email for p in made.people] == [ANN]
    invited = house.estate.document(("user", A.removeprefix("user:")))
    assert invited is not None and dump(invited.document)["state"] == "invited"
    # Stored documents hold no address.
    assert not any("@" in str(data) for _, data in house.estate.stored())


def test_an_address_is_unique_by_casefold_and_moves_with_its_user() -> None:
    house = House(user(ANN), user(BOB))
    with pytest.raises(InvalidDocuments) as caught:
        house.plan(user(B.removeprefix("user:"), email="ANN@acme.com"))
    assert "email_taken" in codes(caught)
    house.put(user(A.removeprefix("user:"), email="ann@new.com"))
    assert house.estate.person("ann@new.com") is not None
    assert house.estate.person(ANN) is None
    made = house.put(user("ANN@NEW.com"))
    assert made.empty


def test_a_display_name_alone_is_a_change_of_the_users_document() -> None:
    # Personal attributes live outside the log, so the document's version says that somebody wrote.
    house = House(user(ANN))
    made = house.put(user(ANN, displayName="Ann"))
    assert [(c.key[0], c.before == c.after, c.version) for c in made.documents] == [
        ("user", True, 2)
    ]
    assert not made.added and not made.removed


def test_roles_that_are_not_said_stay_and_an_empty_list_takes_them() -> None:
    house = House(user(ANN, roles=["auditor"]))
    house.put(user(ANN, displayName="Ann"))
    assert house.has("g", A, "role:auditor")
    house.put(user(ANN, roles=[]))
    assert not house.has("g", A, "role:auditor")


def test_a_deleted_users_address_is_free_and_makes_another_user() -> None:
    house = House(user(ANN), team("search", ANN))
    house.delete(("user", ANN))
    assert not house.has("g", A)
    ids = iter(["u-second"])
    made = plan(house.estate, house.change([user(ANN)]), new_id=lambda _: next(ids))
    assert {c.key for c in made.documents} == {("user", "u-second")}


# --- references -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        account("acme", f"team:nobody={USE}"),
        account("acme", "team:everyone=nothing"),
        virtual("v", f"nowhere={USE}"),
        team("search", "not an address"),
        team("search", ANN, roles=["nothing"]),
        parse({"type": "resource-group", "name": "g", "resources": ["model:nowhere/*"]}),
        parse({"type": "resource-group", "name": "g", "resources": ["any:model"]}),
        policy("p", {"effect": "allow", "subjects": ["any:user"], "resources": ["model:*/*"]}),
        policy(
            "p",
            {
                "effect": "allow",
                "subjects": ["any:user"],
                "resources": ["any:model"],
                "actions": ["*"],
            },
        ),
        policy(
            "p",
            {
                "effect": "allow",
                "subjects": ["any:user"],
                "resources": ["any:model"],
                "when": [{"field": "metadata.team", "operator": "EQUAL", "value": "x"}],
            },
        ),
        credential("t", "user:u-nobody"),
        role("assign", "model:use", kind="provider-account"),
        team("v1"),
        team("everyone"),
        team("search~2"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_committed_too(document: object) -> None:
    # The same checks as for files: there is no way into the log around them.
    house = House()
    with pytest.raises(InvalidDocuments):
        house.plan(document)  # type: ignore[arg-type]


def test_documents_of_one_change_may_name_each_other_in_any_order() -> None:
    made = House().plan(
        account("acme", "team:search=seer"),
        team("search"),
        role("seer", "model:use", kind="provider-account"),
    )
    assert any(r.ptype == "p" and r.values[0] == "team:search" for r in made.added)


def test_names_that_differ_in_case_only_are_refused_until_one_is_free() -> None:
    house = House(team("search"))
    with pytest.raises(InvalidDocuments):
        house.plan(team("Search"))
    with pytest.raises(InvalidDocuments):
        house.plan(team("ops"), team("Ops"))
    house.delete(("team", "search"))
    house.plan(team("Search"))


def test_an_alias_of_an_alias_is_refused() -> None:
    def alias(name: str, target: str) -> object:
        return parse(
            {
                "type": "provider-account/virtual-model",
                "name": name,
                "integrations": [
                    {
                        "type": "integration/model/virtual",
                        "name": "x",
                        "routing_config": {"targets": [{"target": target}]},
                    }
                ],
            }
        )

    house = House(account("acme"), alias("one", "acme/mini"))  # type: ignore[arg-type]
    with pytest.raises(InvalidDocuments):
        house.plan(alias("two", "one/x"))  # type: ignore[arg-type]
    with pytest.raises(InvalidDocuments):
        house.plan(account("one"))  # an account never turns from one into the other


# --- what ends with what ----------------------------------------------------------------------------


def test_credentials_end_with_their_owner() -> None:
    house = House(user(ANN), user(BOB), virtual("v"))
    house.put(credential("a1", A), credential("b1", B), credential("v1x", "virtualaccount:v"))
    assert ("credential", "a1") in keys(house.delete(("user", ANN)))
    assert ("credential", "v1x") in keys(house.delete(("virtual-account", "v")))
    assert house.estate.document(("credential", "b1")) is not None


def test_leaving_a_team_ends_the_tokens_that_were_bound_to_it() -> None:
    # docs/attacks.md T6.
    house = House(team("s", ANN, BOB), user(ANN))
    house.put(credential("a1", A, team="s"), credential("a2", A), credential("b1", B, team="s"))
    made = house.put(team("s", BOB))
    assert {k for k in keys(made) if k[0] == "credential"} == {("credential", "a1")}
    made = house.delete(("team", "s"))
    assert {k for k in keys(made) if k[0] == "credential"} == {("credential", "b1")}


def test_the_owner_of_a_credential_never_changes() -> None:
    # docs/attacks.md T2.
    house = House(user(ANN), user(BOB))
    house.put(credential("a1", A))
    with pytest.raises(InvalidDocuments) as caught:
        house.plan(credential("a1", B))
    assert "read_only" in codes(caught)


def test_a_team_that_cannot_be_deleted_says_what_hangs_on_it_and_what_to_do() -> None:
    house = House(team("a"), team("b"), virtual("of-b", ownedBy={"team": "b"}))
    house.put(*(virtual(f"of-a-{n:02}", ownedBy={"team": "a"}) for n in range(22)))
    with pytest.raises(GuardRefused) as refused:
        house.plan(deletes=[("team", "a"), ("team", "b")])
    text = refused.value.message
    assert text.startswith("the team `a` still owns 22 things: virtual-account/of-a-00, ")
    assert "virtual-account/of-a-19 and 2 more; the team `b` still owns 1 thing: " in text
    assert text.endswith("virtual-account/of-b")
    assert "another team" in refused.value.hint
    assert "delete" in refused.value.hint
    moved = virtual("of-b", ownedBy={"team": "a"})
    assert not house.plan(moved, deletes=[("team", "b")]).empty


def test_a_team_that_owns_accounts_is_deleted_only_with_them_or_without() -> None:
    # docs/attacks.md R9.
    house = House(team("s"), team("t"), virtual("v", ownedBy={"team": "s"}))
    with pytest.raises(GuardRefused):
        house.plan(deletes=[("team", "s")])
    house.plan(deletes=[("team", "s"), ("virtual-account", "v")])
    house.put(virtual("v", ownedBy={"team": "t"}), deletes=[("team", "s")])


def test_a_deletion_says_what_it_leaves_dangling_and_commits() -> None:
    house = House(team("s"), account("acme", f"team:s={USE}"))
    made = house.delete(("team", "s"))
    assert made.only_revokes
    assert made.alarms == ("provider-account/acme still names team/s, which is gone",)


def test_removing_the_last_subject_never_widens() -> None:
    # docs/attacks.md T14.
    house = House(
        team("s"),
        account(
            "acme",
            integrations=[
                {
                    "type": "integration/model/openai",
                    "name": "mini",
                    "authorized_subjects": ["team:s"],
                }
            ],
        ),
    )
    made = house.put(
        account(
            "acme",
            integrations=[
                {"type": "integration/model/openai", "name": "mini", "authorized_subjects": []}
            ],
        )
    )
    assert made.only_revokes
    assert not house.has("g2", "model:acme/mini", "open-models:acme")


# --- rows that several documents assert -------------------------------------------------------------


def test_a_row_stays_while_any_document_asserts_it() -> None:
    binding = parse(
        {
            "type": "role-binding",
            "name": "b",
            "subjects": [{"type": "user", "name": ANN}],
            "permissions": [{"resourceType": "tenant", "resourceFqn": "x", "role": "auditor"}],
        }
    )
    house = House(user(ANN, roles=["auditor"]))
    made = house.put(binding)
    assert not any(r.values[-1] == "role:auditor" for r in made.added)
    assert made.deltas[("role-binding", "b")].added  # but the asker is judged by it
    house.put(user(ANN, roles=[]))
    assert house.has("g", A, "role:auditor")
    house.delete(("role-binding", "b"))
    assert not house.has("g", A, "role:auditor")


# --- secrets ----------------------------------------------------------------------------------------


def test_a_secret_is_sealed_on_the_way_in_and_stays_when_the_document_is_written_back() -> None:
    house = House()
    house.put(account("acme", **sealed()), vault=Vault())
    stored = house.estate.document(("provider-account", "acme"))
    assert stored is not None
    data = dump(stored.document)
    assert data["auth_data"]["api_key"].startswith("secret:")
    assert "canary" not in str(data)
    assert house.plan(parse(data), vault=Vault()).empty


def test_a_secret_never_follows_a_changed_address() -> None:
    house = House()
    house.put(account("acme", **sealed()), vault=Vault())
    stored = house.estate.document(("provider-account", "acme"))
    assert stored is not None
    moved = parse({**dump(stored.document), "base_url": "https://evil.example/v1"})
    with pytest.raises(InvalidDocuments) as caught:
        house.plan(moved, vault=Vault())
    assert "secret_needed" in codes(caught)
    # Given again, it is another secret, and the old one ends.
    made = house.plan(account("acme", **sealed(base_url="https://evil.example/v1")), vault=Vault())
    assert len(made.secrets_ended) == 1


def test_another_path_at_the_same_address_keeps_the_secret() -> None:
    house = House()
    house.put(account("acme", **sealed(base_url="https://api.example/v1")), vault=Vault())
    stored = house.estate.document(("provider-account", "acme"))
    assert stored is not None
    house.plan(parse({**dump(stored.document), "base_url": "https://API.example:443/v2"}))


def test_a_sealed_secret_of_another_document_is_refused() -> None:
    house = House()
    house.put(account("acme", **sealed()), vault=Vault())
    stored = house.estate.document(("provider-account", "acme"))
    assert stored is not None
    stolen = {**dump(stored.document), "name": "mine"}
    with pytest.raises(InvalidDocuments) as caught:
        house.plan(parse(stolen), vault=Vault())
    assert "foreign_secret" in codes(caught)


def test_bounded_by_is_the_servers_and_survives_every_edit() -> None:
    house = House(team("s"), account("acme"))
    owned = {"ownedBy": {"team": "s"}}
    with pytest.raises(InvalidDocuments) as caught:
        house.plan(virtual("v", f"acme={USE}", bounded_by="s", **owned))
    assert "read_only" in codes(caught)
    house.put(virtual("v", f"acme={USE}", **owned), may_grant=lambda thing: False)
    house.put(virtual("v", f"acme={USE}", tags={"a": "b"}, **owned), may_grant=lambda thing: True)
    stored = house.estate.document(("virtual-account", "v"))
    assert stored is not None and dump(stored.document)["bounded_by"] == "s"
    made = house.put(unbind=(("virtual-account", "v"),))
    assert made.granted[("virtual-account", "v")] == ("open-models:acme",)
    assert not house.has("g2", "virtualaccount:v", "team:s")


def test_offline_estates_hold_everything_that_was_given() -> None:
    estate = offline([team("s", ANN)])
    assert isinstance(estate, Estate)
    assert estate.person(ANN) is not None
    assert Change("host", Source.HOST, "r").unbind == ()
