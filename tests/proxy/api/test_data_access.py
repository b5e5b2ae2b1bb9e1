"""The edge cases of data access, through the API: docs/logs.md says what holds, and names the test.

A stamp is made when the record is and never again; the reader's teams are those of now.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from authz.records import RequestRecord
from identity.issue import account_subject, user_subject
from policies.documents import DataAccessConfig, Restriction, dump
from policies.loader import shipped
from tests.proxy.api.records_kit import Archive, archive_on

EVERYBODY = ["team:everyone", "any:virtualaccount"]
OWN = {"id": "own", "subjects": EVERYBODY, "data_types": ["traces"], "scope": "own_data"}
TEAM = {"id": "team", "subjects": ["team:everyone"], "data_types": ["traces"], "scope": "team_data"}
CRAWLER = {"type": "virtual-account", "name": "crawler", "ownedBy": {"team": "search"}}


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    """With the rules that an installation starts with."""
    async with archive_on(tmp_path) as made:
        config = next(one for one in shipped() if isinstance(one, DataAccessConfig))
        await made.stack.commit(dump(config), CRAWLER)
        yield made


def stamped(archive: Archive, who: str, number: int = 0, **more: Any) -> RequestRecord:
    """The record of a request, stamped as the gateway does it with the token of a reader."""
    runtime = archive.stack.runtime
    by = runtime.directory.authenticate(archive.stack.tokens[who], archive.stack.now[0])
    teams = (by.team,) if by.team else runtime.changes.engine.teams_of(by.id)
    made: dict[str, Any] = {"teams": teams, "owner_team": by.owner_team or "", **more}
    return archive.request(who, number, **made)


async def rules(archive: Archive, *given: Mapping[str, Any]) -> None:
    """These rules and no other."""
    await archive.stack.commit(
        {"type": "gateway-data-access-config", "name": "data-access", "rules": list(map(dict, given))}
    )  # fmt: skip


def sees(who: str, **more: Any) -> dict[str, Any]:
    """A rule for `who` on everything that one filter leaves."""
    return {
        "id": "r",
        "subjects": [who],
        "data_types": ["traces"],
        "scope": "all_data",
        "filters": [more],
    }


def team(name: str, *members: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "team",
        "name": name,
        "members": [f"{one}@example.com" for one in members],
        **more,
    }


async def delete(archive: Archive, path: str) -> None:
    got = await archive.stack.call("DELETE", path)
    assert got.status == 200, got.raw


async def made(archive: Archive, **records: RequestRecord) -> dict[str, str]:
    """Writes records; the name that each has here, by its id."""
    return dict(zip(await archive.write(records.values()), records, strict=True))


async def found(archive: Archive, names: dict[str, str], who: str, **query: Any) -> str:
    """The names of what a reader finds, in order; each is also shown, and nothing else is."""
    ids = await archive.listed(who, **query)
    if not query:
        for id in names:
            got = await archive.stack.call("GET", f"/requests/{id}", who=who)
            assert got.status == (200 if id in ids else 404), (who, names[id])
    return " ".join(names[id] for id in ids)


# --- teams ------------------------------------------------------------------------------------------


async def test_a_deleted_team_shows_its_records_to_nobody_and_its_name_inherits_nothing(
    archive: Archive,
) -> None:
    ask = partial(stamped, archive)
    names = await made(archive, member=ask("member"), manager=ask("manager"), bot=ask("crawler"))
    assert await found(archive, names, "member") == "member manager bot"
    await delete(archive, "/teams/search?reassign_to=support")
    assert await found(archive, names, "member") == "member"
    assert await found(archive, names, "helper") == ""  # of the team that got the account
    await archive.stack.commit(team("search", "other", "member"))
    assert await found(archive, names, "other") == ""
    assert await found(archive, names, "member") == "member"
    assert await found(archive, names, "root", team="search") == ""
    assert await found(archive, names, "root", team="search~1") == "member manager bot"
    assert await found(archive, names, "root") == "member manager bot"


async def test_a_team_that_is_called_otherwise_is_another_team(archive: Archive) -> None:
    names = await made(archive, member=stamped(archive, "member"))
    await archive.stack.commit(
        team("search", "member", "manager", displayName="Discovery", managers=["manager@example.com"])
    )  # fmt: skip
    assert (
        await found(archive, names, "manager") == "member"
    )  # what it is called on a page says nothing
    await archive.stack.commit(team("discovery", "manager", "other"))
    await delete(archive, "/teams/search?reassign_to=discovery")
    assert await found(archive, names, "manager") == await found(archive, names, "other") == ""


async def test_who_leaves_a_team_keeps_own_records_and_who_joins_sees_the_old_ones(
    archive: Archive,
) -> None:
    ask = partial(stamped, archive)
    names = await made(archive, member=ask("member"), manager=ask("manager"))
    await archive.stack.commit(team("search", "manager", "other"))
    assert await found(archive, names, "member") == "member"
    assert await found(archive, names, "manager") == "member manager"
    assert await found(archive, names, "other") == "member manager"
    names |= await made(archive, later=ask("member", 1))
    assert await found(archive, names, "member") == "member later"
    assert await found(archive, names, "manager") == "member manager"  # made after he had left


async def test_a_record_of_somebody_in_several_teams_is_of_each(archive: Archive) -> None:
    await archive.stack.commit(team("support", "helper", "member"))
    ask = partial(stamped, archive)
    await archive.stack.mint("counted", archive.ids["member"], team="support")
    archive.ids["counted"] = archive.ids["member"]
    both = ask("member")
    assert sorted(both.teams) == ["team:search", "team:support"]
    names = await made(archive, both=both, counted=ask("counted", 1))
    assert await found(archive, names, "helper") == "both counted"
    assert await found(archive, names, "manager") == "both"  # a token of one team stamps that one
    assert await found(archive, names, "member") == "both counted"


async def test_a_token_of_a_team_ends_when_its_holder_leaves_the_team(archive: Archive) -> None:
    await archive.stack.mint("counted", archive.ids["member"], team="search")
    assert (await archive.stack.call("GET", "/requests", who="counted")).status == 200
    await archive.stack.commit(team("search", "manager"))
    assert (await archive.stack.call("GET", "/requests", who="counted")).status == 401
    assert (await archive.stack.call("GET", "/requests", who="member")).status == 200


async def test_everyone_is_no_team(archive: Archive) -> None:
    names = await made(archive, other=stamped(archive, "other", teams=("team:everyone",)))
    assert await found(archive, names, "member") == ""
    assert await found(archive, names, "other") == "other"


# --- people -----------------------------------------------------------------------------------------


async def test_a_new_person_with_an_old_address_sees_nothing_of_the_old_one(
    archive: Archive,
) -> None:
    names = await made(archive, old=stamped(archive, "other"))
    old = archive.ids["other"].partition(":")[2]
    await delete(archive, "/users/other@example.com")
    await archive.stack.commit({"type": "user", "name": "other@example.com"})
    await archive.stack.mint("newcomer", user_subject("other@example.com"))
    assert await found(archive, names, "newcomer") == ""
    assert await found(archive, names, "root", user="other@example.com") == ""
    assert await found(archive, names, "root", user=old) == "old"
    await archive.stack.commit(team("hidden", "other"))
    assert await found(archive, names, "newcomer") == "old"  # as anybody who joins the team sees it


@pytest.mark.parametrize(("operator", "expected"), [("IN", "old"), ("NOT_IN", "member")])
async def test_whom_a_filter_named_by_an_address_stays_the_one_of_that_day(
    archive: Archive, operator: str, expected: str
) -> None:
    one = {"field": "created_by", "operator": operator, "value": ["user:other@example.com"]}
    await rules(archive, sees("team:support", **one))
    names = await made(archive, old=stamped(archive, "other"), member=stamped(archive, "member"))
    await delete(archive, "/users/other@example.com")
    assert await found(archive, names, "helper") == expected
    await archive.stack.commit({"type": "user", "name": "other@example.com"})
    await archive.stack.mint("newcomer", user_subject("other@example.com"))
    archive.ids["newcomer"] = (await archive.stack.call("GET", "/whoami", who="newcomer")).json[
        "id"
    ]
    names |= await made(archive, new=stamped(archive, "newcomer"))
    more = (
        "" if operator == "IN" else " new"
    )  # somebody else, and so neither let through nor left out
    assert await found(archive, names, "helper") == f"{expected}{more}"


# --- virtual accounts -------------------------------------------------------------------------------


async def test_a_virtual_account_sees_its_own_records_and_not_its_teams(archive: Archive) -> None:
    ask = partial(stamped, archive)
    names = await made(archive, bot=ask("crawler"), free=ask("checkout"), member=ask("member"))
    assert await found(archive, names, "crawler") == "bot"
    assert await found(archive, names, "checkout") == "free"
    assert await found(archive, names, "member") == "bot member"
    # One that reports on a team has a rule of its own.
    await rules(
        archive,
        sees("virtualaccount:checkout", field="created_by", value=["team:search"]),
    )
    assert await found(archive, names, "checkout") == "bot member"
    assert await found(archive, names, "crawler") == ""


async def test_an_account_that_moves_leaves_its_records_with_the_team_of_then(
    archive: Archive,
) -> None:
    names = await made(archive, before=stamped(archive, "crawler"))
    await archive.stack.commit({**CRAWLER, "ownedBy": {"team": "support"}})
    names |= await made(archive, after=stamped(archive, "crawler", 1))
    assert await found(archive, names, "member") == "before"
    assert await found(archive, names, "helper") == "after"
    assert await found(archive, names, "crawler") == "before after"


async def test_records_of_a_deleted_account_stay_with_the_team_and_its_name_inherits_nothing(
    archive: Archive,
) -> None:
    names = await made(archive, old=stamped(archive, "crawler"))
    await delete(archive, "/virtual-accounts/crawler")
    assert await found(archive, names, "member") == "old"
    await archive.stack.commit(CRAWLER)
    await archive.stack.mint("newcomer", account_subject("crawler"))
    assert await found(archive, names, "newcomer") == ""
    assert await found(archive, names, "root", virtual_account="crawler") == ""


async def test_team_accounts_are_the_owned_ones_and_no_people(archive: Archive) -> None:
    await rules(archive, OWN, {**TEAM, "scope": "team_virtual_account_data"})
    ask = partial(stamped, archive)
    names = await made(archive, member=ask("member"), manager=ask("manager"), bot=ask("crawler"))
    assert await found(archive, names, "member") == "member bot"
    assert await found(archive, names, "crawler") == "bot"


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("IN", ["virtualaccount:crawler"], "bot"),
        ("NOT_IN", ["virtualaccount:crawler"], "member other"),
        ("IN", ["team:search"], "member bot"),
        ("NOT_IN", ["team:search"], "other"),
        ("IN", ["team:search", "user:other@example.com"], "member bot other"),
        ("NOT_IN", ["virtualaccount:crawler", "user:other@example.com"], "member"),
    ],
)
async def test_created_by_names_people_accounts_and_teams(
    archive: Archive, operator: str, value: list[str], expected: str
) -> None:
    await rules(archive, sees("team:support", field="created_by", operator=operator, value=value))
    ask = partial(stamped, archive)
    # The team of an account is the one that owns it.
    bot = ask("crawler")
    assert (bot.teams, bot.owner_team) == ((), "team:search")
    names = await made(archive, member=ask("member"), bot=bot, other=ask("other"))
    assert await found(archive, names, "helper") == expected


async def test_a_bounded_account_sees_no_more_than_a_rule_gives_its_team(archive: Archive) -> None:
    grant = {
        "resource_fqn": "acme",
        "resource_type": "provider-account",
        "role_id": "provider-account-access",
    }
    got = await archive.stack.call(
        "PUT",
        "/virtual-accounts/worker",
        {
            "type": "virtual-account",
            "name": "worker",
            "ownedBy": {"team": "search"},
            "permissions": [grant],
        },
        who="manager",
    )
    assert got.status == 201 and got.json["document"]["bounded_by"] == "search"
    await archive.stack.mint("worker", account_subject("worker"))
    archive.ids["worker"] = "virtualaccount:worker"
    ask = partial(stamped, archive)
    names = await made(archive, worker=ask("worker"), member=ask("member"))
    assert await found(archive, names, "worker") == ""  # nothing names the team
    assert await found(archive, names, "member") == "worker member"
    await rules(archive, OWN, {**OWN, "id": "of-team", "subjects": ["team:search"]})
    assert await found(archive, names, "worker") == "worker"
    every = {"id": "all", "subjects": ["virtualaccount:worker"], "data_types": ["traces"]}
    await rules(archive, {**every, "scope": "all_data"})
    assert await found(archive, names, "worker") == ""


# --- rules ------------------------------------------------------------------------------------------


async def test_a_rule_that_is_off_grants_nothing_and_rules_add_up(archive: Archive) -> None:
    ask = partial(stamped, archive)
    names = await made(archive, member=ask("member"), manager=ask("manager"))
    await rules(archive, OWN, {**TEAM, "enabled": False})
    assert await found(archive, names, "member") == "member"
    await rules(archive, {**TEAM, "enabled": True}, {**OWN, "enabled": False})
    assert await found(archive, names, "member") == "member manager"
    await rules(archive, {**OWN, "enabled": False})
    assert await found(archive, names, "member") == ""
    await rules(archive)
    assert await found(archive, names, "root") == ""


async def test_types_are_granted_one_by_one(archive: Archive) -> None:
    await rules(archive, OWN, {**TEAM, "data_types": ["metrics"]})
    ask = partial(stamped, archive)
    names = await made(archive, member=ask("member"), manager=ask("manager"))
    assert await found(archive, names, "member") == "member"
    got = await archive.stack.call("POST", "/metrics/query", {"since": "2026-01-01T00:00:00Z", "until": "2026-12-31T00:00:00Z"}, who="member")  # fmt: skip
    assert got.status == 200, got.raw
    assert sum(one["count"] for one in got.json["data"]) == 2


async def test_a_rule_for_a_role_holds_for_who_has_the_role_now(archive: Archive) -> None:
    names = await made(archive, other=stamped(archive, "other"))
    every = {"id": "all", "subjects": ["role:security-admin"], "data_types": ["traces"]}
    await rules(archive, {**every, "scope": "all_data"})
    assert await found(archive, names, "helper") == ""
    await archive.stack.commit(team("support", "helper", roles=["security-admin"]))
    assert (
        await found(archive, names, "helper") == "other"
    )  # a role of the team is a role of its members
    await archive.stack.commit(team("support", "helper"))
    assert await found(archive, names, "helper") == ""


async def test_without_their_rule_admins_see_their_own_and_can_write_it_again(
    archive: Archive,
) -> None:
    ask = partial(stamped, archive)
    names = await made(archive, root=ask("root"), other=ask("other"))
    assert await found(archive, names, "root") == "root other"
    await rules(archive, OWN)
    assert await found(archive, names, "root") == "root"
    assert await found(archive, names, "auditor") == "root other"  # by the role, not by a rule
    config = dump(next(one for one in shipped() if isinstance(one, DataAccessConfig)))
    got = await archive.stack.call(
        "PUT", "/gateway-configs/gateway-data-access-config", config, who="root"
    )
    assert got.status == 200, got.raw
    assert await found(archive, names, "root") == "root other"


async def test_records_of_one_chain_of_calls_are_decided_one_by_one(archive: Archive) -> None:
    ask = partial(stamped, archive)
    one: dict[str, Any] = {"request_id": "req-shared"}
    names = await made(archive, mine=ask("member", **one), theirs=ask("other", 1, **one))
    assert await found(archive, names, "member") == "mine"
    assert await found(archive, names, "member", request="req-shared") == "mine"
    assert await found(archive, names, "auditor", request="req-shared") == "mine theirs"


async def test_a_deny_of_a_policy_holds_whatever_the_rules_grant(archive: Archive) -> None:
    ask = partial(stamped, archive)
    names = await made(archive, legal=ask("other", pinned={"legal-hold": "yes"}), plain=ask("other", 1))  # fmt: skip
    deny = {
        "id": "hold",
        "effect": "deny",
        "subjects": ["any:subject"],
        "actions": ["data:read"],
        "resources": ["data:traces/all"],
        "when": [{"field": "record.metadata.legal-hold", "operator": "EXISTS"}],
    }
    await archive.stack.commit({"type": "policy", "name": "hold", "rules": [deny]})
    for who in ("other", "root", "auditor"):
        assert await found(archive, names, who) == "plain", who


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ([("data:read", "data:traces/own")], "root"),
        ([("data:read", "data:traces/all")], "root other"),
        ([("data:read", "data:metrics/all")], ""),
        ([("model:use", "model:acme/mini")], ""),
        ([], ""),
    ],
)
async def test_a_restricted_token_sees_what_it_names_and_its_holder_may(
    archive: Archive, reads: list[tuple[str, str]], expected: str
) -> None:
    restrictions = tuple(Restriction(actions=(one,), resources=(on,)) for one, on in reads)
    subject = archive.ids["root"]
    await archive.stack.mint("narrow", subject, restrictions=restrictions)
    ask = partial(stamped, archive)
    names = await made(archive, root=ask("root"), other=ask("other"))
    assert await found(archive, names, "narrow") == expected


# --- metadata ---------------------------------------------------------------------------------------

EMEA = {"region": "emea"}
APAC = {"region": "apac"}


@pytest.mark.parametrize(
    ("operator", "trust", "expected"),
    [
        ("IN", {}, "pinned over"),
        ("NOT_IN", {}, "other"),  # who does not have the key meets neither
        ("IN", {"trust": "claimed"}, "claimed"),
        ("NOT_IN", {"trust": "claimed"}, "over"),
    ],
)
async def test_a_filter_reads_what_is_pinned_and_what_is_claimed_only_where_it_says_so(
    archive: Archive, operator: str, trust: dict[str, str], expected: str
) -> None:
    ask = partial(stamped, archive)
    names = await made(
        archive,
        bare=ask("other"),
        pinned=ask("other", 1, pinned=EMEA),
        claimed=ask("other", 2, claimed=EMEA),
        over=ask("other", 3, pinned=EMEA, claimed=APAC),
        other=ask("other", 4, pinned=APAC),
    )
    one = {"field": "metadata", "key": "region", "operator": operator, "value": ["emea"]}
    await rules(archive, sees("team:support", **one, **trust))
    assert await found(archive, names, "helper") == expected
    shown = await archive.get("auditor")
    (record,) = (one for one in shown["data"] if names[one["id"]] == "over")
    assert (record["metadata"], record["claimed"]) == (EMEA, APAC)


async def test_filters_of_one_rule_all_hold_and_an_empty_one_lets_nothing_through(
    archive: Archive,
) -> None:
    ask = partial(stamped, archive)
    names = await made(
        archive,
        both=ask("member", pinned=EMEA),
        team=ask("member", 1),
        region=ask("other", 2, pinned=EMEA),
    )
    region = {"field": "metadata", "key": "region", "value": ["emea"]}
    maker = {"field": "created_by", "value": ["team:search"]}
    rule = sees("team:support")
    await rules(archive, {**rule, "filters": [region, maker]})
    assert await found(archive, names, "helper") == "both"
    for operator in ("IN", "NOT_IN"):
        nothing = {**region, "operator": operator, "value": []}
        await rules(archive, {**rule, "filters": [nothing]})
        assert await found(archive, names, "helper") == ""
