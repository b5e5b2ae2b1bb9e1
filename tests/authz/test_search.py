"""The searches: everyone whom a question would allow, nobody else, page by page as in one go."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.conditions import Condition, Context, Item, Operator, encode, name_of
from authz.decision import Somebody
from authz.engine import Engine
from authz.errors import AuthzError
from authz.leaves import is_leaf, leaves_of, starts_of
from authz.population import Population
from authz.search import QUESTIONS, Ability, Holder, can, who
from authz.vocabulary import ACTIONS
from tests.authz.random_estates import ACCOUNTS, USERS, bound_of, random_rows

EngineOf = Callable[..., Engine]
CONTEXT = Context({"time.now": datetime(2026, 1, 1, tzinfo=UTC)})
ROWS = [
    ["g2", "model:acme/mini", "provider-account:acme"],
    ["g2", "model:acme/mini", "any:model"],
    ["g2", "provider-account:acme", "any:provider-account"],
    ["g2", "team:search", "any:team"],
    ["g2", "any:team", "any:object"],
    ["g", "user:u-1", "team:search"],
    ["g", "user:u-2", "team:search"],
    ["g", "team:search", "team:all"],
    ["g", "bound:search", "team:search"],
    ["g2", "virtualaccount:v", "any:virtualaccount"],
    ["g3", "model:use", "role:access"],
]


def holders(engine: Engine, action: str, resource: str, **fields: Any) -> list[str]:
    fields = {"bound_of": lambda name: None, "limit": 1000, **fields}
    found = who(engine, action, resource, CONTEXT, **fields)
    return [one.subject for one in found if one is not None]


def abilities(engine: Engine, asker: Somebody, **fields: Any) -> list[tuple[str, str]]:
    found = can(engine, asker, CONTEXT, **{"limit": 1000, **fields})
    return [(one.action, one.resource) for one in found if one is not None]


def test_who_says_the_members_of_a_group_that_holds_and_by_which_rule(engine_of: EngineOf) -> None:
    engine = engine_of(
        [*ROWS, ["p", "team:all", "provider-account:acme", "role:access", "allow", "", "r"]]
    )
    found = list(who(engine, "model:use", "model:acme/mini", CONTEXT, bound_of=lambda _: None))
    path = "user:u-1 > team:search > team:all | model:acme/mini > provider-account:acme"
    assert found[0] == Holder("user:u-1", path, ("r",))
    assert [one.subject for one in found if one] == ["user:u-1", "user:u-2"]


def test_who_leaves_out_whom_a_deny_refuses(engine_of: EngineOf) -> None:
    engine = engine_of(
        [
            *ROWS,
            ["p", "any:user", "any:model", "role:access", "allow", "", "r"],
            ["p", "user:u-1", "any:model", "*", "deny", "", "d"],
        ]
    )
    assert holders(engine, "model:use", "model:acme/mini") == ["user:u-2"]


def test_who_knows_an_account_without_any_grant_of_its_own_and_its_bound(
    engine_of: EngineOf,
) -> None:
    engine = engine_of([*ROWS, ["p", "any:subject", "any:model", "role:access", "allow", "", "r"]])
    everyone = ["user:u-1", "user:u-2", "virtualaccount:v"]
    assert holders(engine, "model:use", "model:acme/mini") == everyone
    bounded = holders(engine, "model:use", "model:acme/mini", bound_of=lambda _: "bound:search")
    assert bounded == everyone[:2]
    acting = holders(engine, "model:use", "model:acme/mini", acts=lambda name: name != "user:u-1")
    assert acting == everyone[1:]


def test_nobody_may_do_what_is_no_action_or_to_what_is_not_there(engine_of: EngineOf) -> None:
    engine = engine_of([*ROWS, ["p", "any:subject", "any:model", "role:access", "allow", "", "r"]])
    assert holders(engine, "role:access", "model:acme/mini") == []
    assert holders(engine, "model:use", "model:acme/none") == []
    assert holders(engine, "model:use", "model:acme/mini", limit=0) == []


def test_can_lists_things_and_never_groups_but_for_creations(engine_of: EngineOf) -> None:
    engine = engine_of(
        [
            *ROWS,
            ["p", "user:u-1", "any:model", "role:access", "allow", "", "m"],
            ["p", "user:u-1", "any:object", "team:create", "allow", "", "c"],
            ["p", "user:u-1", "any:object", "team:read", "allow", "", "t"],
        ]
    )
    assert abilities(engine, Somebody("user:u-1")) == [
        ("model:use", "model:acme/mini"),
        ("team:create", "any:team"),
        ("team:read", "team:search"),
    ]
    only = abilities(engine, Somebody("user:u-1"), actions={"team:read", "no:action"})
    assert only == [("team:read", "team:search")]


def test_a_failed_decision_fails_the_search(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of([*ROWS, ["p", "any:user", "any:model", "role:access", "allow", "", "r"]])

    def broken(*args: object) -> bool:
        raise RuntimeError

    monkeypatch.setattr(engine.enforcer, "_match", broken)
    with pytest.raises(AuthzError):
        holders(engine, "model:use", "model:acme/mini")
    with pytest.raises(AuthzError):
        abilities(engine, Somebody("user:u-1"))


def test_others_have_their_turn_among_many_questions(engine_of: EngineOf) -> None:
    rows: list[Iterable[str]] = [*ROWS]
    rows += [["g", f"user:n-{n:05}", "team:all"] for n in range(3 * QUESTIONS)]
    rows += [
        ["p", "team:all", "any:model", "role:access", "allow", "", "r"],
        ["p", "team:all", "any:model", "*", "deny", "", "d"],
    ]
    found = list(
        who(engine_of(rows), "model:use", "model:acme/mini", CONTEXT, bound_of=lambda _: None)
    )
    assert found == [None] * 3


def test_a_condition_is_judged_in_the_context_given(engine_of: EngineOf) -> None:
    condition = Condition((Item("body.stream", Operator.EQUAL, True),))
    rows = [
        *ROWS,
        ["c", name_of(condition), encode(condition)],
        ["p", "any:user", "any:model", "role:access", "allow", name_of(condition), "r"],
    ]
    engine = engine_of(rows)
    question = "model:use", "model:acme/mini"
    assert holders(engine, *question) == []
    open_body = Context(unbound=frozenset({"body."}))
    found = list(who(engine, *question, open_body, bound_of=lambda _: None))
    assert [one.subject for one in found if one] == ["user:u-1", "user:u-2"]


def test_every_action_is_asked_on_something_and_a_word_that_is_none_on_nothing() -> None:
    assert all(starts_of(action) for action in ACTIONS)
    assert starts_of("role:access") == ()
    assert is_leaf("team:create", "any:team")
    assert not is_leaf("team:read", "any:team")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_who_is_everyone_whom_a_question_allows(seed: int, model_text: str) -> None:
    rnd = random.Random(seed)
    engine = Engine.load(model_text, random_rows(rnd), 1)
    for action in ACTIONS_OF_ESTATES:
        for resource in (*engine.resources_of(""),):
            asked = {
                name
                for name in Population(engine).known()
                if engine.decide(Somebody(name, bound_of(name)), action, resource, CONTEXT)
            }
            whole = holders(engine, action, resource, bound_of=bound_of)
            assert whole == sorted(asked)
            paged: list[str] = []
            while page := holders(
                engine, action, resource, bound_of=bound_of, limit=2, after=(paged or [""])[-1]
            ):
                paged += page
            assert paged == whole


ACTIONS_OF_ESTATES = ("model:use", "access:grant", "provider-account:read")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_can_is_everything_that_a_question_allows(seed: int, model_text: str) -> None:
    rnd = random.Random(seed)
    engine = Engine.load(model_text, random_rows(rnd), 1)
    for name in (*USERS, *ACCOUNTS):
        asker = Somebody(name, bound_of(name))
        asked = sorted(
            (action, resource)
            for action in ACTIONS
            for resource in leaves_of(engine, action)
            if engine.decide(asker, action, resource, CONTEXT)
        )
        assert abilities(engine, asker) == asked
        paged: list[tuple[str, str]] = []
        while page := abilities(engine, asker, limit=2, after=(paged or [("", "")])[-1]):
            paged += page
        assert paged == asked


def test_an_ability_names_its_rules_and_its_path(engine_of: EngineOf) -> None:
    engine = engine_of([*ROWS, ["p", "team:all", "any:model", "model:use", "allow", "", "r"]])
    found = next(can(engine, Somebody("user:u-1"), CONTEXT))
    path = "user:u-1 > team:search > team:all | model:acme/mini > any:model"
    assert found == Ability("model:use", "model:acme/mini", path, ("r",))
