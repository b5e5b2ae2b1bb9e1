"""Who may read which records: the filter finds what the single check allows, and neither more nor less."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz import keys
from authz.conditions import MEMBERSHIP, Condition, Context, Item, Operator
from authz.decision import Reason, Somebody
from authz.engine import Engine
from authz.filters import EVERYTHING, NOTHING, FilterTooWide, all_of, both, either, has, lacks
from authz.keys import Stamp, keys_of, stamp_of
from authz.kleene import compile_condition
from authz.record_items import SPACE, TEAM, outcome
from authz.rows import Row, row
from authz.scopes import Check, DataType, Relation, may_read, relations, scope
from tests.authz.random_scopes import (
    BOT,
    DANA,
    EMIL,
    LEGAL,
    NOW,
    OTHER_BOT,
    SEARCH,
    SUPPORT,
    askers,
    engine,
    estates,
    exact_items,
    rule,
    stamps,
    wide_items,
)


def readable(given: Engine, reader: Somebody, stamp: Stamp) -> bool:
    """By both ways, which must agree."""
    listed = scope(given, reader, DataType.TRACES, NOW)
    allowed = bool(may_read(given, reader, stamp, DataType.TRACES, NOW))
    assert allowed is listed.matches(keys_of(stamp))
    return allowed


def metadata(key: str, operator: Operator, *values: str) -> Item:
    return Item(f"record.metadata.{key}", operator, values)


# --- how a reader stands to a record ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (Stamp(DANA), [Relation.OWN]),
        (Stamp(EMIL), []),
        (Stamp(EMIL, teams=(SUPPORT,)), [Relation.TEAM]),
        (Stamp(EMIL, teams=(LEGAL,)), []),
        (Stamp(BOT, owner_team=SUPPORT), [Relation.TEAM_ACCOUNTS, Relation.TEAM]),
        (Stamp(BOT, owner_team=LEGAL, teams=(SUPPORT,)), [Relation.TEAM]),
        # An owner is an account's: a person has none, whatever a record says.
        (Stamp(EMIL, owner_team=SUPPORT), []),
        # Everyone is no team.
        (Stamp(EMIL, teams=("team:everyone",)), []),
        (Stamp(BOT, owner_team="team:everyone"), []),
        # Another generation is another team.
        (Stamp(EMIL, teams=("team:support~2",)), []),
    ],
)
def test_relations_follow_from_the_stamp_and_the_teams_of_now(
    stamp: Stamp, expected: list[Relation]
) -> None:
    assert relations(DANA, [SUPPORT, "team:everyone"], stamp) == (*expected, Relation.ALL)


def test_a_member_sees_own_records_and_a_stranger_nothing() -> None:
    given = engine(row("g", DANA, "team:everyone"), rule("team:everyone", "own"))
    assert readable(given, Somebody(DANA), Stamp(DANA))
    assert not readable(given, Somebody(DANA), Stamp(EMIL))
    assert scope(given, Somebody(EMIL), DataType.TRACES, NOW) == NOTHING
    assert scope(given, Somebody(DANA), DataType.PAYLOADS, NOW) == NOTHING


def test_who_leaves_a_team_loses_sight_and_a_newcomer_gains_it() -> None:
    old = Stamp(EMIL, teams=(SUPPORT,))
    given = engine(row("g", DANA, SUPPORT), row("g", DANA, "team:everyone"), rule(SUPPORT, "team"))
    assert readable(given, Somebody(DANA), old)
    given.apply([], [row("g", DANA, SUPPORT)], 2)
    assert not readable(given, Somebody(DANA), old)


def test_own_and_forty_teams_are_one_clause() -> None:
    teams = [row("g", DANA, f"team:t{n}") for n in range(40)]
    given = engine(row("g", DANA, "any:user"), *teams, rule("any:user", "team"), rule(DANA, "own"))
    (arm,) = scope(given, Somebody(DANA), DataType.TRACES, NOW).arms
    ((sense, named),) = arm
    assert sense == "has"
    assert len(named) == 41


def test_a_rule_on_all_makes_closer_relations_superfluous() -> None:
    given = engine(rule("any:user", "own"), rule(DANA, "all"))
    assert scope(given, Somebody(DANA), DataType.TRACES, NOW) == EVERYTHING


# --- filters ----------------------------------------------------------------------------------------


def test_a_support_team_sees_its_region_but_for_another_teams_records() -> None:
    region = metadata("region", Operator.IN, "emea")
    given = engine(
        row("g", DANA, SUPPORT),
        rule(SUPPORT, "all", region, Item(TEAM, Operator.NOT_IN, (LEGAL,))),
    )
    emea = {"region": "emea"}
    assert readable(given, Somebody(DANA), Stamp(EMIL, pinned=emea))
    assert readable(given, Somebody(DANA), Stamp(EMIL, teams=(SEARCH,), pinned=emea))
    # One of several teams is enough to be left out.
    assert not readable(given, Somebody(DANA), Stamp(EMIL, teams=(SEARCH, LEGAL), pinned=emea))
    assert not readable(given, Somebody(DANA), Stamp(BOT, owner_team=LEGAL, pinned=emea))
    assert not readable(given, Somebody(DANA), Stamp(EMIL))
    assert not readable(given, Somebody(DANA), Stamp(EMIL, pinned={"region": "apac"}))


def test_not_in_is_not_met_by_a_record_without_the_key() -> None:
    given = engine(rule(DANA, "all", metadata("region", Operator.NOT_IN, "emea")))
    assert readable(given, Somebody(DANA), Stamp(EMIL, pinned={"region": "apac"}))
    assert not readable(given, Somebody(DANA), Stamp(EMIL))


def test_what_a_caller_claims_is_no_pinned_metadata() -> None:
    stamp = Stamp(EMIL, claimed={"region": "emea"})
    pinned = engine(rule(DANA, "all", metadata("region", Operator.IN, "emea")))
    assert not readable(pinned, Somebody(DANA), stamp)
    says_so = Item("record.claimed.region", Operator.IN, ("emea",))
    assert readable(engine(rule(DANA, "all", says_so)), Somebody(DANA), stamp)


@pytest.mark.parametrize("operator", [Operator.IN, Operator.NOT_IN])
def test_a_rule_on_everyone_as_a_team_finds_nothing(operator: Operator) -> None:
    given = engine(rule(DANA, "all", Item(TEAM, operator, ("team:everyone",))))
    assert not readable(given, Somebody(DANA), Stamp(EMIL))
    assert not readable(given, Somebody(DANA), Stamp(EMIL, teams=(LEGAL,)))


# --- denies, bounds, tokens -------------------------------------------------------------------------


def test_a_deny_wins_over_every_relation_and_unknown_counts_as_yes() -> None:
    given = engine(
        rule(DANA, "own"),
        rule("any:user", "all", metadata("secret", Operator.NOT_IN, "no"), effect="deny"),
    )
    assert readable(given, Somebody(DANA), Stamp(DANA, pinned={"secret": "no"}))
    assert not readable(given, Somebody(DANA), Stamp(DANA, pinned={"secret": "yes"}))
    assert not readable(given, Somebody(DANA), Stamp(DANA))


def test_a_deny_without_a_record_field_leaves_nothing() -> None:
    given = engine(
        rule(DANA, "all"),
        rule("any:user", "all", Item("client.ip", Operator.IN_NETWORK, ("10.0.0.0/8",)), effect="deny"),
    )  # fmt: skip
    assert scope(given, Somebody(DANA), DataType.TRACES, NOW) == NOTHING
    decision = may_read(given, Somebody(DANA), Stamp(DANA), DataType.TRACES, NOW)
    assert decision.reason is Reason.DENIED_BY_RULE


def test_a_shadow_deny_takes_nothing_away() -> None:
    items = (metadata("region", Operator.IN, "emea"),)
    made = rule("any:user", "all", *items, effect="deny")
    shadow = [row("p2", *made[0].values), made[1]]
    stamp = Stamp(DANA, pinned={"region": "emea"})
    assert readable(engine(rule(DANA, "own"), shadow), Somebody(DANA), stamp)
    assert not readable(engine(rule(DANA, "own"), made), Somebody(DANA), stamp)


def test_a_condition_that_nobody_defined_opens_nothing_and_closes_everything() -> None:
    made = ("data:traces/all", "data:read")
    allow = row("p", DANA, *made, "allow", "c-gone", "r/1")
    deny = row("p", "any:user", *made, "deny", "c-gone", "r/2")
    assert not readable(engine(allow), Somebody(DANA), Stamp(DANA))
    assert not readable(engine(rule(DANA, "own"), deny), Somebody(DANA), Stamp(DANA))


def test_a_token_and_a_bound_narrow() -> None:
    given = engine(
        rule(BOT, "all"),
        rule("token:t", "own"),
        rule("bound:search", "all", metadata("region", Operator.IN, "emea")),
    )
    own, emea = Stamp(BOT), Stamp(BOT, pinned={"region": "emea"})
    assert readable(given, Somebody(BOT), own)
    assert readable(given, Somebody(BOT, None, "token:t"), own)
    other = Stamp(OTHER_BOT, pinned={"region": "emea"})
    assert not readable(given, Somebody(BOT, None, "token:t"), other)
    assert not readable(given, Somebody(BOT, "bound:search"), own)
    assert readable(given, Somebody(BOT, "bound:search"), other)
    assert readable(given, Somebody(BOT, "bound:search", "token:t"), emea)
    refused = may_read(given, Somebody(BOT, "bound:search"), own, DataType.TRACES, NOW)
    assert refused.reason is Reason.OUTSIDE_BOUND


def test_the_decision_on_a_record_says_by_which_rule_and_what_was_read() -> None:
    given = engine(row("g", DANA, SUPPORT), rule(SUPPORT, "all", metadata("r", Operator.IN, "x")))
    decision = may_read(given, Somebody(DANA), Stamp(EMIL, pinned={"r": "x"}), DataType.TRACES, NOW)
    assert decision.path == f"{DANA} > {SUPPORT} | data:traces/all"
    assert decision.verdicts[0].conditions[0].met is True
    assert decision.context["record.metadata.r"] == "x"
    refused = may_read(given, Somebody(EMIL), Stamp(DANA), DataType.TRACES, NOW)
    assert (refused.reason, refused.message) == (Reason.NO_GRANT, "")


def test_an_error_is_a_refusal_of_one_record_and_no_half_list() -> None:
    def broken(field: str) -> object:
        raise RuntimeError(field)

    given = engine(rule(DANA, "all", Item("header.x", Operator.EQUAL, "y")))
    context = Context({}, broken)
    assert may_read(given, Somebody(DANA), Stamp(DANA), DataType.TRACES, context).reason == "error"
    with pytest.raises(RuntimeError):
        scope(given, Somebody(DANA), DataType.TRACES, context)
    with pytest.raises(RuntimeError):
        Check(given, Somebody(DANA), DataType.TRACES, context).allows(Stamp(DANA))


def test_a_check_of_many_records_forgets_none_and_follows_the_epoch() -> None:
    given = engine(row("g", DANA, SUPPORT), rule(SUPPORT, "all", metadata("r", Operator.IN, "x")))
    check = Check(given, Somebody(DANA), DataType.TRACES, NOW)
    yes, no = Stamp(EMIL, pinned={"r": "x"}), Stamp(EMIL, pinned={"r": "y"})
    assert [bool(check(one)) for one in (yes, no, yes)] == [True, False, True]
    assert check(no).context["record.metadata.r"] == "y"
    assert "record.metadata.r" not in check(Stamp(EMIL)).context
    given.apply([], [row("g", DANA, SUPPORT)], 2)
    assert not check(yes)


# --- the filter form --------------------------------------------------------------------------------


def test_nothing_and_everything() -> None:
    assert not NOTHING
    assert not NOTHING.matches(["c:a"])
    assert EVERYTHING.matches([])
    assert all_of(has()) == NOTHING
    assert all_of(lacks()) == EVERYTHING
    assert all_of(has("a"), lacks("a")) == NOTHING
    assert EVERYTHING.narrowed([has("a")]) == all_of(has("a"))
    assert NOTHING.narrowed([has("a")]) == NOTHING


def test_too_wide_a_filter_is_refused_and_never_cut() -> None:
    pairs = [all_of(has(f"a{n}"), has(f"b{n}")) for n in range(257)]
    with pytest.raises(FilterTooWide):
        either(*pairs)
    with pytest.raises(FilterTooWide):
        both(*(either(all_of(has(f"a{n}"), has("x")), all_of(has(f"b{n}"), has("y"))) for n in range(20)))  # fmt: skip


ALPHABET = "abcd"
clauses = st.builds(
    lambda sense, named: sense(*named),
    st.sampled_from([has, lacks]),
    st.sets(st.sampled_from(ALPHABET), max_size=3),
)
filters = st.lists(st.lists(clauses, max_size=3), max_size=3)
key_sets = st.sets(st.sampled_from(ALPHABET))


@given(filters, filters, key_sets)
def test_both_and_either_mean_what_they_say(
    left: list[list[object]], right: list[list[object]], given_keys: set[str]
) -> None:
    one, other = (either(*(all_of(*arm) for arm in side)) for side in (left, right))  # type: ignore[arg-type]
    said = [any(all(c.holds(given_keys) for c in arm) for arm in side) for side in (left, right)]  # type: ignore[attr-defined]
    assert [one.matches(given_keys), other.matches(given_keys)] == said
    assert both(one, other).matches(given_keys) == all(said)
    assert either(one, other).matches(given_keys) == any(said)


# --- keys -------------------------------------------------------------------------------------------


def test_every_character_of_metadata_stays_in_its_place() -> None:
    tricky = [('a","b', "c"), ("a", 'b","c'), ("a\\", "b"), ("a", "\\b"), ("", ""), ("é", "\n")]
    made = {keys.pinned(*pair) for pair in tricky}
    assert len(made) == len(tricky)
    assert made.isdisjoint(keys.claimed(*pair) for pair in tricky)
    assert made.isdisjoint(keys.pinned(name) for name, _ in tricky)


def test_the_stamp_of_a_journal_line_is_read_with_what_was_claimed_aside() -> None:
    body = {
        "type": "request",
        "principal": BOT,
        "owner_team": SUPPORT,
        "teams": [LEGAL],
        "model": "acme/mini",
        "status": 404,
        "pinned": {"region": "emea"},
    }
    stamp = stamp_of(body, {"claimed": {"app": "x", "n": 1}})
    found = set(keys_of(stamp))
    assert {keys.creator(BOT), keys.owner(SUPPORT), keys.team(SUPPORT), keys.team(LEGAL)} < found
    assert {keys.plain("status", "4xx"), keys.plain("model", "acme/mini")} < found
    assert {keys.pinned("region", "emea"), keys.claimed("app", "x"), keys.claimed("app")} < found
    assert keys.claimed("n") not in found
    # Once it is erased it is no longer known.
    assert keys.claimed("app") not in keys_of(stamp_of(body))


# --- both ways agree, on random rules and records ---------------------------------------------------


@given(estates(exact_items), askers, st.lists(stamps(3), min_size=1, max_size=8))
def test_listed_is_what_may_be_read(
    rows: list[Row], reader: Somebody, records: list[Stamp]
) -> None:
    given = engine(*rows)
    listed = scope(given, reader, DataType.TRACES, NOW)
    assert listed.exact
    for stamp in records:
        allowed = bool(may_read(given, reader, stamp, DataType.TRACES, NOW))
        assert listed.matches(keys_of(stamp)) is allowed, stamp
        assert Check(given, reader, DataType.TRACES, NOW).allows(stamp) is allowed


@given(estates(wide_items), askers, st.lists(stamps(3), min_size=1, max_size=8))
def test_what_no_key_can_say_is_listed_too_widely_and_marked(
    rows: list[Row], reader: Somebody, records: list[Stamp]
) -> None:
    given = engine(*rows)
    listed = scope(given, reader, DataType.TRACES, NOW)
    for stamp in records:
        allowed = bool(may_read(given, reader, stamp, DataType.TRACES, NOW))
        found = listed.matches(keys_of(stamp))
        assert found is allowed or (found and not listed.exact), stamp


@given(estates(wide_items), askers, st.lists(stamps(3), min_size=1, max_size=6))
def test_a_record_that_may_be_read_is_one_that_casbin_allows_with_its_fields_bound(
    rows: list[Row], reader: Somebody, records: list[Stamp]
) -> None:
    given = engine(*rows)
    for stamp in records:
        values = {
            **NOW.values,
            "record.created_by": stamp.created_by,
            TEAM: stamp.every_team,
            **{f"{SPACE}metadata.{name}": said for name, said in stamp.pinned.items()},
            **{f"{SPACE}claimed.{name}": said for name, said in stamp.claimed.items()},
        }
        mine = relations(reader.id, given.teams_of(reader.id), stamp)
        asked = [
            given.decide(reader, "data:read", f"data:traces/{one}", Context(values)) for one in mine
        ]
        ours = may_read(given, reader, stamp, DataType.TRACES, NOW)
        assert bool(ours) is any(asked), (stamp, ours)
        for decision in asked:
            if decision and decision.path == ours.path:
                assert set(ours.rules) == set(decision.rules)


@given(
    st.sampled_from(Operator),
    st.lists(st.sampled_from([SUPPORT, LEGAL, "team:everyone"]), min_size=1, max_size=2),
    stamps(3),
)
def test_one_test_of_the_teams_says_the_same_by_the_keys_of_a_record_and_as_a_condition(
    operator: Operator, named: list[str], stamp: Stamp
) -> None:  # fmt: skip
    value: Any = tuple(named) if operator in MEMBERSHIP else named[0]
    if operator is Operator.EXISTS:
        value = len(named) > 1
    item = Item(TEAM, operator, value)
    (test,) = compile_condition(Condition((item,)))
    if operator is not Operator.IN_NETWORK:
        assert outcome(item, stamp) is test.test(stamp.every_team)


def test_the_types_are_those_of_the_documents() -> None:
    from policies.fits import DATA_RELATIONS, DATA_TYPES

    assert sorted(DataType) == sorted(DATA_TYPES)
    assert sorted(Relation) == sorted(DATA_RELATIONS)
