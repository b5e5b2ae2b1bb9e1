"""Who owns a document and who asserts what of it: each rule through a plan, and any writes in any order."""

from __future__ import annotations

from typing import Any

import pytest
from estates import House, account, credential, role, team, uid, user, virtual
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.change import Drift, Plan, Source
from policies.documents import Document, dump, parse, parse_json
from policies.errors import GuardRefused, InvalidDocuments, ManagedBy
from policies.loader import load_text
from policies.naming import Key
from policies.resolve import rendered

ANN, BOB, CAT, DAN = (f"{name}@example.com" for name in ("ann", "bob", "cat", "dan"))
SEARCH = ("team", "search")
GITOPS, SCIM, MANUAL, HOST = Source.GITOPS, Source.SCIM, Source.MANUAL, Source.HOST


def house(*documents: Document, source: Source = GITOPS) -> House:
    made = House()
    made.put(*(user(one) for one in (ANN, BOB, CAT, DAN)))
    if documents:
        made.put(*documents, source=source)
    return made


def members(made: House, key: Key = SEARCH) -> set[str]:
    stored = made.estate.documents[key]
    return {made.estate.people[one.removeprefix("user:")].email for one in stored.document.members}  # type: ignore[attr-defined]


def owner(made: House, key: Key = SEARCH) -> Source:
    return made.estate.documents[key].source


# --- plain fields ---


@pytest.mark.parametrize("first", [GITOPS, SCIM, MANUAL, Source.SSO, Source.ROTATION])
@pytest.mark.parametrize("second", [GITOPS, SCIM, MANUAL])
def test_only_the_owner_edits_a_plain_field(first: Source, second: Source) -> None:
    made = house(team("search", ANN), source=first)
    edited = team("search", ANN, description="new")
    if first is second:
        assert made.put(edited, source=second).documents[0].source is first
        return
    with pytest.raises(ManagedBy) as refused:
        made.plan(edited, source=second)
    assert refused.value.code == "managed_by" and refused.value.owner == first.value
    assert refused.value.message == f"team/search: `description` is managed by `{first.value}`"
    assert "take it over" in refused.value.hint
    plan = made.put(edited, source=second, take_over=True)
    assert plan.taken == {SEARCH} and owner(made) is second


def test_every_document_that_is_managed_elsewhere_is_counted_in_one_refusal() -> None:
    made = house(team("a"), team("b"), team("c"))
    with pytest.raises(ManagedBy, match=r"and 2 more documents"):
        made.plan(*(team(name, description="x") for name in "abc"), source=MANUAL)


@pytest.mark.parametrize("source", [HOST, Source.RECOVERY])
def test_the_host_edits_everything_and_leaves_the_owner(source: Source) -> None:
    made = house(team("search", ANN, BOB))
    made.put(team("search", ANN, description="new"), source=source)
    assert owner(made) is GITOPS and members(made) == {ANN}


@pytest.mark.parametrize("first", [HOST, Source.RECOVERY, Source.SHIPPED])
@pytest.mark.parametrize("second", [GITOPS, MANUAL])
def test_what_the_host_or_a_version_brought_belongs_to_whoever_edits_it(
    first: Source, second: Source
) -> None:
    made = house(team("search", ANN, BOB), source=first)
    plan = made.put(team("search", ANN), source=second)
    assert owner(made) is second and members(made) == {ANN}
    assert not plan.taken and not plan.drift


def test_somebody_invited_by_being_mentioned_belongs_to_whoever_writes_him_first() -> None:
    made = house(team("search", "new@example.com"))
    key = ("user", uid("new@example.com").removeprefix("user:"))
    assert owner(made, key) is GITOPS
    made.put(user("new@example.com", displayName="New"), source=SCIM)
    assert owner(made, key) is SCIM


def test_who_a_person_is_belongs_to_the_source_of_the_person() -> None:
    made = house(user("eve@example.com", displayName="Eve"), source=SCIM)
    with pytest.raises(ManagedBy, match="`displayName`"):
        made.plan(user("eve@example.com", displayName="Mallory"), source=MANUAL)


def test_writing_what_stands_is_no_change_and_takes_nothing_over() -> None:
    made = house(team("search", ANN, description="x"))
    assert made.plan(team("search", ANN, description="x"), source=MANUAL).empty


def test_taking_over_without_an_edit_changes_the_owner_alone() -> None:
    made = house(team("search", ANN))
    plan = made.put(team("search", ANN), source=MANUAL, take_over=True)
    assert [item.source for item in plan.documents] == [MANUAL]
    assert not plan.added and not plan.removed


def test_files_leave_alone_what_was_taken_over_from_them_and_the_plan_says_so() -> None:
    made = house(team("search", ANN, BOB))
    made.put(team("search", ANN), source=MANUAL, take_over=True)
    plan = made.put(team("search", ANN, BOB), team("other", CAT), source=GITOPS)
    assert plan.drift == (Drift(SEARCH, "", "", ("manual",)),)
    assert members(made) == {ANN} and members(made, ("team", "other")) == {CAT}
    made.put(team("search", ANN, BOB), source=GITOPS, take_over=True)
    assert owner(made) is GITOPS and members(made) == {ANN, BOB}
    assert made.plan(team("search", ANN, BOB), source=GITOPS).empty


# --- elements ---


def test_an_element_stays_while_any_source_asserts_it() -> None:
    """The file lists two, the identity provider brings a third, a person a fourth."""
    made = house(team("search", ANN, BOB))
    made.put(team("search", ANN, BOB, CAT), source=SCIM)
    made.put(team("search", ANN, BOB, CAT, DAN), source=MANUAL)
    plan = made.put(team("search", ANN, BOB), source=GITOPS)
    assert plan.empty and members(made) == {ANN, BOB, CAT, DAN} and owner(made) is GITOPS
    assert plan.drift == (
        Drift(SEARCH, "members", uid(CAT), ("scim",)),
        Drift(SEARCH, "members", uid(DAN), ("manual",)),
    )
    made.put(team("search", ANN, BOB, DAN), source=SCIM)
    assert members(made) == {ANN, BOB, DAN}
    made.put(team("search", ANN), source=GITOPS)
    assert members(made) == {ANN, DAN}


def test_a_source_removes_only_what_it_asserts() -> None:
    made = house(team("search", ANN, BOB))
    plan = made.plan(team("search", ANN), source=SCIM)
    assert plan.empty
    assert plan.drift == (Drift(SEARCH, "members", uid(BOB), ("gitops",)),)


def test_what_a_file_lists_it_asserts_too_whoever_brought_it() -> None:
    made = house(team("search", ANN))
    made.put(team("search", ANN, BOB), source=MANUAL)
    made.put(team("search", ANN, BOB), source=GITOPS)
    made.put(team("search", ANN), source=GITOPS)
    assert members(made) == {ANN, BOB}
    made.put(team("search", ANN), source=MANUAL)
    assert members(made) == {ANN}


def test_a_person_is_told_that_a_file_or_the_directory_holds_what_he_removes() -> None:
    made = house(team("search", ANN, BOB))
    made.put(team("search", ANN, BOB, CAT), source=SCIM)
    for left, holder in (((ANN, CAT), "gitops"), ((ANN, BOB), "scim")):
        with pytest.raises(ManagedBy, match=f"in `members` is managed by `{holder}`"):
            made.plan(team("search", *left), source=MANUAL)
    made.put(team("search", ANN), source=MANUAL, take_over=True)
    assert members(made) == {ANN} and owner(made) is MANUAL


def test_taking_over_by_files_passes_on_what_the_owner_asserted_and_nothing_else() -> None:
    made = house(team("search", ANN, BOB), source=MANUAL)
    made.put(team("search", ANN, BOB, CAT), source=SCIM)
    plan = made.put(team("search", ANN), source=GITOPS, take_over=True)
    assert members(made) == {ANN, CAT} and plan.taken == {SEARCH}


def test_roles_and_managers_know_their_sources_and_roles_unsaid_stay() -> None:
    made = house(role("r1"), role("r2"), user("eve@example.com", roles=["r1"]), team("t", ANN))
    key = ("user", uid("eve@example.com").removeprefix("user:"))
    made.put(user("eve@example.com", roles=["r1", "r2"]), source=HOST)
    made.put(user("eve@example.com"), source=GITOPS)
    made.put(user("eve@example.com", roles=["r1"]), source=GITOPS)
    assert made.estate.documents[key].document.roles == ("r1", "r2")  # type: ignore[attr-defined]
    made.put(user("eve@example.com", roles=["r1"]), source=MANUAL)
    assert made.estate.documents[key].document.roles == ("r1",)  # type: ignore[attr-defined]
    made.put(team("t", ANN, managers=[BOB]), source=SCIM)
    plan = made.put(team("t", ANN), source=GITOPS)
    assert plan.drift == (Drift(("team", "t"), "managers", uid(BOB), ("scim",)),)
    assert made.has("p", uid(BOB), "team:t")


SOURCES = st.sampled_from([GITOPS, SCIM, MANUAL, Source.SSO])
WRITES = st.lists(st.tuples(SOURCES, st.sets(st.sampled_from([ANN, BOB, CAT]))), max_size=8)


@settings(max_examples=60, deadline=None)
@given(SOURCES, WRITES)
def test_an_element_exists_exactly_while_some_source_asserts_it(
    first: Source, writes: list[tuple[Source, set[str]]]
) -> None:
    made = house(team("search", ANN, BOB), source=first)
    held = {ANN: {first}, BOB: {first}}
    for source, listed in writes:
        fresh = {name: set(sources) for name, sources in held.items()}
        for name in listed:
            if name not in fresh or source is GITOPS:
                fresh.setdefault(name, set()).add(source)
        blocked = False
        for name in fresh.keys() - listed:
            fresh[name].discard(source)
            blocked |= source is MANUAL and bool(fresh[name])
        document = team("search", *sorted(listed))
        if blocked:
            with pytest.raises(ManagedBy):
                made.plan(document, source=source)
        else:
            made.put(document, source=source)
            held = {name: sources for name, sources in fresh.items() if sources}
        stored = made.estate.documents[SEARCH]
        assert members(made) == held.keys() and stored.source is first
        said = stored.document.sources.get("members", {})
        for name, sources in held.items():
            assert set(said.get(uid(name), [first.value])) == {one.value for one in sources}
        groups = [row.values for row in made.rows if row.ptype == "g"]
        rows = {one for one, group in groups if group == "team:search" and one.startswith("user:")}
        assert {uid(name) for name in held} == rows


# --- what is kept of it ---


def test_who_asserts_what_is_stored_beside_the_fields_and_shown_to_nobody() -> None:
    made = house(team("search", ANN))
    made.put(team("search", ANN, BOB), source=SCIM)
    stored = made.estate.documents[SEARCH].document
    data = dump(stored)
    assert data["sources"] == {"members": {uid(BOB): ["scim"]}}
    assert parse(data) == stored and dump(parse(data)) == data
    assert "sources" not in rendered(stored, lambda user_id: None)
    plain = {name: value for name, value in data.items() if name != "sources"}
    assert dump(parse(plain)) == plain and parse(plain).sources == {}


def test_a_stored_body_is_read_with_and_without_it() -> None:
    body = b'{"type":"team","name":"t","members":[],"sources":{"taken_from":"gitops"}}'
    assert parse_json("team", body).sources == {"taken_from": "gitops"}
    assert parse_json("team", b'{"type":"team","name":"t","members":[]}').sources == {}


def test_a_file_cannot_say_who_asserts_what() -> None:
    text = "type: team\nname: t\nmembers: []\nsources: {members: {}}\n"
    assert [problem.code for problem in load_text(text, "t.yaml").problems] == ["unknown_field"]


# --- suspension ---


def suspended(made: House, key: Key) -> tuple[str, ...]:
    return made.estate.documents[key].document.suspended_by  # type: ignore[attr-defined,no-any-return]


def test_only_who_set_a_cause_of_suspension_lifts_it() -> None:
    made = house(user("eve@example.com"), source=SCIM)
    key = ("user", uid("eve@example.com").removeprefix("user:"))
    made.put(user("eve@example.com", state="suspended"), source=SCIM)
    made.put(user("eve@example.com", state="suspended"), source=MANUAL)
    assert suspended(made, key) == ("admin", "scim") and owner(made, key) is SCIM
    plan = made.put(user("eve@example.com", state="active"), source=SCIM)
    assert suspended(made, key) == ("admin",)
    assert plan.drift == (Drift(key, "suspended_by", "admin", ("admin",)),)
    assert not made.has("g", uid("eve@example.com"))
    made.put(user("eve@example.com", state="active"), source=MANUAL)
    assert made.has("g", uid("eve@example.com"), "team:everyone")


def test_a_person_is_told_that_he_cannot_lift_what_the_directory_set() -> None:
    made = house(user("eve@example.com"), source=MANUAL)
    key = ("user", uid("eve@example.com").removeprefix("user:"))
    made.put(user("eve@example.com", state="suspended"), source=SCIM)
    with pytest.raises(ManagedBy, match="the suspension is managed by `scim`"):
        made.plan(user("eve@example.com", state="active"), source=MANUAL)
    made.put(user("eve@example.com", suspended_by=["scim", "admin"]), source=MANUAL)
    assert suspended(made, key) == ("admin", "scim")
    made.put(user("eve@example.com", suspended_by=["scim"]), source=MANUAL)
    assert suspended(made, key) == ("scim",)
    made.put(user("eve@example.com", state="active"), source=HOST)
    assert suspended(made, key) == ()


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        (MANUAL, {"suspended_by": ["scim"]}),
        (SCIM, {"suspended_by": ["admin"]}),
        (GITOPS, {"suspended_by": ["scim"]}),
        (Source.SSO, {"state": "suspended"}),
    ],
)
def test_nobody_suspends_in_the_name_of_another(source: Source, fields: dict[str, Any]) -> None:
    made = house()
    with pytest.raises(ManagedBy):
        made.plan(user(ANN, **fields), source=source)


def test_signing_in_lifts_no_suspension() -> None:
    made = house()
    made.put(user(ANN, state="suspended"))
    plan = made.put(user(ANN, state="active"), source=Source.SSO)
    assert plan.empty and plan.drift


def test_a_suspension_without_a_cause_is_the_owners() -> None:
    made = house(user("eve@example.com"), source=SCIM)
    key = ("user", uid("eve@example.com").removeprefix("user:"))
    old = made.estate.documents[key]
    document = parse({**dump(old.document), "state": "suspended"})
    made.estate.documents[key] = type(old)(document, old.version, old.source, old.epoch)
    made.put(user("eve@example.com", state="suspended"), source=MANUAL)
    assert suspended(made, key) == ("admin", "scim")


def test_an_account_that_files_own_is_suspended_by_hand_and_stays_so() -> None:
    made = house(virtual("ci"))
    made.put(virtual("ci", state="suspended"), source=MANUAL)
    assert made.put(virtual("ci"), source=GITOPS).empty
    assert owner(made, ("virtual-account", "ci")) is GITOPS


# --- deletion ---


def test_a_source_deletes_what_it_owns() -> None:
    made = house(team("search", ANN))
    with pytest.raises(ManagedBy, match="team/search is managed by `gitops`"):
        made.plan(deletes=[SEARCH], source=MANUAL)
    assert made.plan(deletes=[SEARCH], source=HOST).removed
    assert made.plan(deletes=[SEARCH], source=MANUAL, take_over=True).taken == {SEARCH}
    made.put(deletes=[SEARCH], source=GITOPS)
    assert SEARCH not in made.estate.documents


def test_a_token_is_ended_by_any_source() -> None:
    made = house(virtual("ci"))
    made.put(credential("t1", "virtualaccount:ci"), source=Source.ROTATION)
    made.put(deletes=[("credential", "t1")], source=MANUAL)
    assert ("credential", "t1") not in made.estate.documents


def owning(source: Source = MANUAL) -> House:
    made = house(
        team("old", ANN, BOB, managers=[CAT]),
        team("new", DAN),
        virtual("ci", ownedBy={"team": "old"}),
        virtual("bot", ownedBy={"team": "old"}),
        source=source,
    )
    made.put(
        credential("c1", "virtualaccount:ci"),
        credential("c2", "virtualaccount:ci"),
        credential("c3", uid(ANN), team="old"),
        credential("c4", uid(ANN)),
    )
    return made


def bounded(made: House) -> str | None:
    return made.estate.documents["virtual-account", "ci"].document.bounded_by  # type: ignore[attr-defined,no-any-return]


OLD = ("team", "old")


def test_a_team_that_owns_things_says_what_would_end_with_it() -> None:
    with pytest.raises(GuardRefused) as refused:
        owning().plan(deletes=[OLD])
    assert refused.value.message == (
        "the team `old` still owns 2 things: virtual-account/bot, virtual-account/ci "
        "(3 people lose the membership, 3 tokens end)"
    )
    assert "reassign_to" in refused.value.hint and "cascade" in refused.value.hint


def ending(plan: Plan) -> dict[str, Any]:
    (found,) = plan.endings
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def test_what_a_team_owned_goes_to_another_with_its_bound() -> None:
    made = owning()
    ci = ("virtual-account", "ci")
    held = made.estate.documents[ci]
    data = {**dump(held.document), "bounded_by": "old"}
    made.estate.documents[ci] = type(held)(parse(data), held.version, held.source, held.epoch)
    made.rows |= set(made.estate.rows())
    plan = made.put(deletes=[OLD], reassign_to="new")
    assert ending(plan) == {
        "team": "old",
        "accounts": (),
        "reassigned": ("virtual-account/bot", "virtual-account/ci"),
        "tokens": 1,
        "people": 3,
    }
    for name in ("ci", "bot"):
        document = made.estate.documents["virtual-account", name].document
        assert document.owned_by.team == "new"  # type: ignore[attr-defined]
    assert bounded(made) == "new" and not plan.alarms
    assert ("credential", "c1") in made.estate.documents
    assert ("credential", "c3") not in made.estate.documents
    assert made.rows == set(made.estate.rows())


def test_accounts_end_with_their_team_and_their_tokens_with_them() -> None:
    made = owning()
    plan = made.put(deletes=[OLD], cascade=True)
    assert ending(plan) == {
        "team": "old",
        "accounts": ("virtual-account/bot", "virtual-account/ci"),
        "reassigned": (),
        "tokens": 3,
        "people": 3,
    }
    left = {name for family, name in made.estate.documents if family == "credential"}
    assert left == {"c4"}
    assert {("virtual-account", "ci"), ("virtual-account", "bot")} <= plan.deltas.keys()
    assert made.rows == set(made.estate.rows())


def test_a_provider_account_is_never_deleted_without_being_named() -> None:
    made = owning()
    made.put(account("acme", ownedBy={"team": "old"}))
    with pytest.raises(GuardRefused, match="still owns 1 thing: provider-account/acme"):
        made.plan(deletes=[OLD], cascade=True)
    plan = made.plan(deletes=[OLD, ("provider-account", "acme")], cascade=True)
    assert len(plan.endings[0].accounts) == 2
    plan = made.plan(deletes=[OLD], reassign_to="new")
    assert "provider-account/acme" in plan.endings[0].reassigned


@pytest.mark.parametrize("heir", ["nowhere", "old"])
def test_what_a_team_owned_goes_only_to_a_team_that_stays(heir: str) -> None:
    with pytest.raises(InvalidDocuments, match=f"there is no team `{heir}`"):
        owning().plan(deletes=[OLD], reassign_to=heir)


@pytest.mark.parametrize("more", [{"cascade": True}, {"reassign_to": "new"}])
def test_accounts_of_another_source_neither_move_nor_end_without_a_take_over(
    more: dict[str, Any],
) -> None:
    made = owning()
    made.put(virtual("git", ownedBy={"team": "old"}), source=GITOPS)
    with pytest.raises(ManagedBy, match="virtual-account/git"):
        made.plan(deletes=[OLD], **more)
    plan = made.plan(deletes=[OLD], take_over=True, **more)
    assert plan.taken == {("virtual-account", "git")}
