"""Who gains and loses what: every pair that turns and no other, and lines that a person can read."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from estates import MODEL, House, account, policy, role, team, uid, user, virtual
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.conditions import Context
from authz.decision import Somebody
from authz.engine import Engine
from authz.errors import AuthzError, InvalidRow
from authz.leaves import leaves_of
from authz.population import Population
from authz.rows import Row, row
from authz.vocabulary import ACTIONS
from policies.change import Plan
from policies.difference import AccessLine, AccessPair, Difference, difference
from tests.authz.random_estates import bound_of, random_change, random_rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTEXT = Context({"time.now": NOW})
OPEN = Context({"time.now": NOW}, unbound=frozenset({"body.", "header.", "metadata."}))


def unbounded(name: str) -> None:
    return None


def compare(engine: Engine, added: Iterable[Row], removed: Iterable[Row], **fields: Any) -> Any:
    fields = {"bound_of": unbounded, "bound_after": unbounded, **fields}
    return difference(engine, list(added), list(removed), CONTEXT, **fields)


def of_plan(house: House, plan: Plan, **fields: Any) -> Difference:
    found: Difference = compare(house.engine(), plan.added, plan.removed, **fields)
    return found


def lines(found: Difference) -> list[tuple[str, ...]]:
    return [(one.subject, one.effect, one.action, one.resource) for one in found.lines]


def house(*members: str) -> House:
    return House(
        user("ada@example.com"),
        user("bob@example.com"),
        user("eve@example.com"),
        team("search", *(f"user:{name}@example.com" for name in members)),
        team("ads"),
        account("acme", models=("mini", "large")),
    )


ACCESS = "team:search=provider-account-access"


def test_a_grant_to_a_team_is_one_line_with_its_people_and_things() -> None:
    home = house("ada", "bob")
    found = of_plan(home, home.plan(account("acme", ACCESS, models=("mini", "large"))))
    access = "role:provider-account-access"
    rule = "provider-account/acme#collaborator/team:search/provider-account-access"
    use = AccessLine("team:search", "gains", access, "open-models:acme", rule, 2, 0, 2)
    assert found.lines[-1] == use
    assert {one.subject for one in found.lines} == {"team:search"}
    models = {pair for pair in found.pairs if pair.action == "model:use"}
    assert models == {
        AccessPair(uid(f"{name}@example.com"), "gains", "model:use", f"model:acme/{model}")
        for name in ("ada", "bob")
        for model in ("mini", "large")
    }
    assert (found.pairs_total, found.losses, found.truncated) == (len(found.pairs), 0, False)


def test_what_somebody_has_already_is_no_news() -> None:
    home = house("ada")
    home.put(
        team("ads", "user:ada@example.com"),
        account("acme", ACCESS, models=("mini", "large")),
    )
    plan = home.plan(
        account("acme", ACCESS, "team:ads=provider-account-access", models=("mini", "large"))
    )
    assert plan.added
    assert of_plan(home, plan) == Difference((), (), 0, 0, 0, False)


def test_a_member_more_is_a_line_for_each_that_the_team_holds() -> None:
    home = house("ada")
    home.put(account("acme", ACCESS, models=("mini", "large")))
    plan = home.plan(team("search", "user:ada@example.com", "user:bob@example.com"))
    found = of_plan(home, plan)
    bob = uid("bob@example.com")
    assert (bob, "gains", "role:provider-account-access", "open-models:acme") in lines(found)
    assert {pair.subject for pair in found.pairs} == {bob}
    back = of_plan(home, home.plan(team("search")))
    assert {(pair.subject, pair.effect) for pair in back.pairs} == {
        (uid("ada@example.com"), "loses")
    }


def test_a_model_more_is_a_line_for_each_that_holds_its_account() -> None:
    home = house("ada")
    home.put(account("acme", ACCESS, models=("mini",)))
    found = of_plan(home, home.plan(account("acme", ACCESS, models=("mini", "large"))))
    use = ("team:search", "gains", "role:provider-account-access", "model:acme/large")
    assert use in lines(found)
    assert {pair.resource for pair in found.pairs} == {"model:acme/large"}


def test_a_deny_is_a_loss_and_a_deny_that_goes_is_a_gain() -> None:
    home = house("ada")
    home.put(account("acme", ACCESS, models=("mini", "large")))
    deny = policy(
        "stop", {"subjects": ["any:user"], "resources": ["model:acme/mini"], "effect": "deny"}
    )
    found = of_plan(home, home.plan(deny))
    assert ("any:user", "loses", "model:use", "model:acme/mini") in lines(found)
    assert (found.gains, found.losses) == (0, 1)
    assert (found.lines[0].people, found.lines[0].things) == (1, 1)
    home.put(deny)
    found = of_plan(home, home.plan(deletes=[("policy", "stop")]))
    assert ("any:user", "gains", "model:use", "model:acme/mini") in lines(found)
    assert (found.gains, found.losses) == (1, 0)


def test_a_bundle_that_gets_an_action_is_a_line_for_that_action() -> None:
    home = house("ada")
    home.put(role("looker", "provider-account:read", kind="provider-account"))
    home.put(account("acme", "team:search=looker", models=("mini",)))
    wider = role("looker", "provider-account:read", "model:use", kind="provider-account")
    found = of_plan(home, home.plan(wider))
    assert [(pair.action, pair.resource) for pair in found.pairs] == [
        ("model:use", "model:acme/mini")
    ]


def test_a_condition_of_the_past_gives_nothing_and_one_of_the_body_gives_what_some_request_gets() -> (
    None
):
    home = house("ada")
    rule = {"subjects": ["team:search"], "resources": ["model:acme/mini"], "effect": "allow"}
    late = policy("late", {**rule, "valid_until": datetime(2025, 1, 1, tzinfo=UTC)})
    assert home.plan(late).added
    assert of_plan(home, home.plan(late)).pairs == ()
    test = {"field": "body.max_tokens", "operator": "LESS_THAN", "value": 100}
    small = policy("small", {**rule, "when": [test]})
    assert [pair.effect for pair in of_plan(home, home.plan(small)).pairs] == ["gains"]


def test_a_team_that_gains_lets_the_accounts_gain_that_it_bounds() -> None:
    home = house("ada")
    home.put(
        virtual("bot", "acme=provider-account-access", owned_by={"team": "search"}),
    )
    engine = home.engine()
    rows = [row("p", "team:search", "any:model", "model:use", "allow", "", "r")]
    bound = {"virtualaccount:bot": "bound:search"}.get
    found = compare(engine, rows, [], bound_of=bound, bound_after=bound)
    gained = {pair.subject for pair in found.pairs}
    assert gained == {uid("ada@example.com"), "virtualaccount:bot"}
    (line,) = found.lines
    assert (line.people, line.accounts, line.things) == (1, 1, 2)


def test_an_account_that_is_bounded_loses_what_its_team_may_not() -> None:
    home = house("ada")
    home.put(virtual("bot", "acme=provider-account-access"))
    bound = {"virtualaccount:bot": "bound:search"}.get
    found = compare(home.engine(), [], [], bound_after=bound)
    assert {(pair.subject, pair.effect) for pair in found.pairs} == {
        ("virtualaccount:bot", "loses")
    }
    assert {one.subject for one in found.lines} == {"virtualaccount:bot"}


def test_lines_of_groups_come_before_those_of_people() -> None:
    home = house("ada")
    plan = home.plan(
        account(
            "acme", "user:bob@example.com=provider-account-access", ACCESS, models=("mini", "large")
        )
    )
    kinds = [one.subject.partition(":")[0] for one in of_plan(home, plan).lines]
    assert kinds == sorted(kinds)
    assert set(kinds) == {"team", "user"}


def test_more_pairs_than_are_asked_are_counted_by_what_the_rows_reach() -> None:
    rows = [row("g2", f"model:a/{n:03}", "any:model") for n in range(50)]
    rows += [row("g", f"user:u-{n:03}", "team:t") for n in range(40)]
    engine = Engine.load(MODEL, rows, 1)
    grant = [row("p", "team:t", "any:model", "model:use", "allow", "", "r")]
    found = compare(engine, grant, [], most=100)
    assert found.truncated
    assert len(found.pairs) == 100
    assert (found.pairs_total, found.gains, found.losses) == (2000, 2000, 0)
    assert found.lines == (AccessLine("team:t", "gains", "model:use", "any:model", "r", 40, 0, 50),)
    whole = compare(engine, grant, [])
    assert (len(whole.pairs), whole.pairs_total, whole.truncated) == (2000, 2000, False)


def test_of_very_many_lines_each_has_a_witness_and_the_first_are_told() -> None:
    rows = [row("g2", f"model:a/{n:02}", "any:model") for n in range(20)]
    rows += [row("p", "team:t", "any:model", "model:use", "allow", "", "r")]
    engine = Engine.load(MODEL, rows, 1)
    joined = [row("g", f"user:u-{n:03}", "team:t") for n in range(90)]
    found = compare(engine, joined, [], most=30)
    assert found.truncated
    assert [one.subject for one in found.lines] == [f"user:u-{n:03}" for n in range(30)]
    assert (len(found.pairs), found.gains) == (30, 90 * 20)


def test_the_engine_is_back_where_it_was_whatever_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = house("ada")
    engine = home.engine()
    plan = home.plan(account("acme", ACCESS, models=("mini", "large")))
    at = engine.epoch, engine.digest
    compare(engine, plan.added, plan.removed)
    assert (engine.epoch, engine.digest) == at
    with pytest.raises(InvalidRow):
        compare(engine, [], [row("g", "user:none", "team:none")])
    assert (engine.epoch, engine.digest) == at

    def broken(*args: object) -> bool:
        raise RuntimeError

    monkeypatch.setattr(engine.enforcer, "_match", broken)
    with pytest.raises(AuthzError):
        compare(engine, plan.added, plan.removed)
    assert (engine.epoch, engine.digest) == at


def bound_after(name: str) -> str | None:
    """The first account is bounded by the change, the second by another team."""
    return {"virtualaccount:v-0": "bound:t1", "virtualaccount:v-1": "bound:t1"}.get(name)


Answers = set[tuple[str, str, str]]


def allowed(engine: Engine, people: Iterable[str], bounds: Any, leaves: Answers) -> Answers:
    return {
        (name, action, thing)
        for name in people
        for _, action, thing in leaves
        if engine.decide(Somebody(name, bounds(name)), action, thing, OPEN)
    }


def leaves(engine: Engine) -> Answers:
    return {("", action, thing) for action in ACTIONS for thing in leaves_of(engine, action)}


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 30), rebinds=st.booleans())
def test_the_pairs_are_those_of_a_question_for_everyone_and_everything(
    seed: int, rebinds: bool
) -> None:
    rnd = random.Random(seed)
    rows = random_rows(rnd)
    added, removed = random_change(rnd, rows)
    before = Engine.load(MODEL, rows, 1)
    after = Engine.load(MODEL, sorted((set(rows) - set(removed)) | set(added)), 2)
    people = Population(before).known() | Population(after).known()
    things = leaves(before) | leaves(after)
    later = bound_after if rebinds else bound_of
    had = allowed(before, people, bound_of, things)
    has = allowed(after, people, later, things)
    engine = Engine.load(MODEL, rows, 1)
    found = compare(engine, added, removed, bound_of=bound_of, bound_after=later)
    pairs = {(one.subject, one.effect, one.action, one.resource) for one in found.pairs}
    gains = {(name, "gains", action, thing) for name, action, thing in has - had}
    losses = {(name, "loses", action, thing) for name, action, thing in had - has}
    assert pairs == gains | losses
    assert (found.gains, found.losses) == (len(gains), len(losses))
    assert bool(found.lines) == bool(found.pairs)
    assert {one.effect for one in found.lines} == {one.effect for one in found.pairs}
    assert all(one.people + one.accounts and one.things for one in found.lines)
    assert engine.digest == before.digest


def test_the_random_changes_turn_something_more_often_than_not() -> None:
    turned = 0
    for seed in range(40):
        rnd = random.Random(seed)
        rows = random_rows(rnd)
        added, removed = random_change(rnd, rows)
        found = compare(
            Engine.load(MODEL, rows, 1), added, removed, bound_of=bound_of, bound_after=bound_of
        )
        turned += bool(found.pairs)
    assert turned > 20
