"""The engine: the conjunction, what is never raised, what is known, lists against decisions."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.conditions import MISSING, Condition, Context, Item, Operator, encode, name_of
from authz.decision import Effect, Part, Reason
from authz.engine import Engine
from authz.errors import AuthzError
from authz.rows import row

ROWS = [
    ["g", "user:u-1", "team:ml"],
    ["g2", "model:acme/mini", "any:model"],
    ["g2", "model:acme/large", "any:model"],
    ["g2", "any:model", "any:object"],
    ["g2", "team:ml", "any:team"],
    ["p", "team:ml", "model:acme/mini", "model:use", "allow", "", "ml-mini"],
]
EngineOf = Callable[..., Engine]


def test_a_decision_carries_the_epoch_and_the_digest(engine_of: EngineOf, someone: Any) -> None:
    engine = engine_of(ROWS, 7)
    decision = engine.decide(someone("user:u-1"), "model:use", "model:acme/mini", Context())
    assert decision and decision.epoch == 7 and decision.digest == engine.digest
    assert len(engine.digest) == 64


def test_a_question_that_fails_is_refused_with_reason_error(
    engine_of: EngineOf, someone: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(field: str) -> object:
        raise RuntimeError("the body cannot be read")

    condition = Condition((Item("body.stream", Operator.EQUAL, True),))
    engine = engine_of(
        [
            *ROWS,
            ["c", name_of(condition), encode(condition)],
            ["p", "any:user", "model:acme/mini", "model:use", "deny", name_of(condition), "d"],
        ]
    )
    with caplog.at_level(logging.ERROR, "gatewarden.authz"):
        decision = engine.decide(
            someone("user:u-1"), "model:use", "model:acme/mini", Context({}, broken)
        )
    assert not decision and decision.reason is Reason.ERROR and decision.rules == ()
    assert "a decision failed" in caplog.text


@pytest.mark.parametrize("asker", ["", None, 7])
def test_an_asker_without_an_id_is_an_error(
    engine_of: EngineOf, someone: Any, asker: object, caplog: pytest.LogCaptureFixture
) -> None:
    decision = engine_of(ROWS).decide(someone(asker), "model:use", "model:acme/mini", Context())
    assert decision.reason is Reason.ERROR and not decision
    caplog.clear()


def test_an_alias_that_leads_to_itself_is_an_error(
    engine_of: EngineOf, someone: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of([*ROWS, ["a", "model:acme/mini", "model:acme/mini"]])
    decision = engine.decide(someone("user:u-1"), "model:use", "model:acme/mini", Context())
    assert decision.reason is Reason.ERROR
    caplog.clear()


def test_every_question_that_was_asked_is_in_the_record(engine_of: EngineOf, someone: Any) -> None:
    engine = engine_of(
        [
            *ROWS,
            ["g", "bound:ml", "team:ml"],
            ["p", "token:t", "model:acme/mini", "model:use", "allow", "", "t"],
            ["a", "model:acme/mini", "model:acme/large"],
        ]
    )
    asker = someone("user:u-1", "bound:ml", "token:t")
    decision = engine.decide(asker, "model:use", "model:acme/mini", Context())
    assert [verdict.question[:2] for verdict in decision.verdicts] == [
        (Part.SUBJECT, "user:u-1"),
        (Part.BOUND, "bound:ml"),
        (Part.TOKEN, "token:t"),
        (Part.TARGET, "user:u-1"),
        (Part.TARGET, "bound:ml"),
    ]
    assert decision.rules == ("ml-mini",) and decision.path.startswith("user:u-1 > team:ml |")


def test_questions_after_a_refusal_are_not_asked(engine_of: EngineOf, someone: Any) -> None:
    asker = someone("user:u-2", "bound:ml", "token:t")
    decision = engine_of(ROWS).decide(asker, "model:use", "model:acme/mini", Context())
    assert [verdict.question.part for verdict in decision.verdicts] == [Part.SUBJECT]


def test_the_values_that_conditions_read_are_kept_and_no_others(
    engine_of: EngineOf, someone: Any
) -> None:
    condition = Condition(
        (Item("body.stream", Operator.EXISTS, True), Item("metadata.env", Operator.EXISTS, False))
    )
    engine = engine_of(
        [
            *ROWS,
            ["c", name_of(condition), encode(condition)],
            ["p", "any:user", "model:acme/mini", "model:use", "allow", name_of(condition), "w"],
        ]
    )
    context = Context({"body.stream": False, "client.ip": "10.0.0.1"})
    decision = engine.decide(someone("user:u-1"), "model:use", "model:acme/mini", context)
    assert decision.context == {"body.stream": False}
    assert decision.verdicts[0].conditions == (("w", name_of(condition), True),)


def test_what_is_known_is_what_g2_mentions(engine_of: EngineOf) -> None:
    engine = engine_of(ROWS)
    assert engine.knows("model:acme/mini") and engine.knows("any:object")
    assert not engine.knows("model:acme/ghost") and not engine.knows("")
    assert engine.resources_of("model:") == ["model:acme/large", "model:acme/mini"]
    assert engine.groups_of("user:u-1") == ("team:ml",) and engine.groups_of("user:u-2") == ()
    assert engine.subject_closure("user:u-1") >= {"user:u-1", "team:ml", "any:user"}
    assert engine.alias_of("model:acme/mini") is None


def test_the_list_of_the_known_follows_a_change(engine_of: EngineOf) -> None:
    engine = engine_of(ROWS)
    engine.resources_of("model:").clear()
    engine.apply([row("g2", "model:acme/new", "any:model")], [], 2)
    assert "model:acme/new" in engine.resources_of("model:")


def test_links_are_checked_before_they_are_committed(engine_of: EngineOf) -> None:
    engine = engine_of(ROWS)
    assert engine.link_problems([row("g", "team:ml", "team:all")]) == []
    assert engine.link_problems([row("g2", "any:object", "any:model")])
    assert engine.link_problems(
        [row("g3", "bundle:a", "bundle:b"), row("g3", "bundle:b", "bundle:a")]
    )


# --- lists against decisions ------------------------------------------------------------------------

MODELS = ["model:acme/a", "model:acme/b", "model:acme/c"]
ITEMS = [
    Item("body.stream", Operator.EQUAL, True),
    Item("body.max_tokens", Operator.LESS_THAN, 10),
    Item("body.max_tokens", Operator.EXISTS, False),
    Item("body.user", Operator.NOT_IN, ("x",)),
    Item("metadata.env", Operator.EQUAL, "dev"),
    Item("time.hour", Operator.LESS_THAN, 12),
]
BODIES: list[dict[str, object]] = [
    {},
    {"body.stream": True},
    {"body.stream": False, "body.max_tokens": 5, "body.user": "y"},
    {"body.stream": True, "body.max_tokens": 50, "body.user": "x"},
    {"body.stream": "odd", "body.max_tokens": "5"},
]
conditions_ = st.lists(st.sampled_from(ITEMS), min_size=1, max_size=3, unique=True).map(
    lambda items: Condition(tuple(items))
)
grounded = conditions_.filter(lambda c: not any(i.field.startswith("body.") for i in c.items))


def rules_of(condition: st.SearchStrategy[Condition]) -> st.SearchStrategy[list[Any]]:
    return st.lists(
        st.tuples(
            st.sampled_from(["user:u-1", "team:ml", "bound:ml", "token:t"]),
            st.sampled_from([*MODELS, "any:model"]),
            st.sampled_from(["allow", "allow", "deny"]),
            st.none() | condition,
        ),
        max_size=8,
    )


def world(engine_of: EngineOf, rules: list[Any], alias: bool) -> Engine:
    rows = [["g", "user:u-1", "team:ml"], ["g", "bound:ml", "team:ml"]]
    rows += [["g2", model, "any:model"] for model in MODELS]
    rows += [["a", MODELS[0], MODELS[1]]] if alias else []
    for n, (subject, thing, effect, condition) in enumerate(rules):
        name = ""
        if condition is not None:
            name = name_of(condition)
            rows.append(["c", name, encode(condition)])
        rows.append(["p", subject, thing, "model:use", effect, name, f"r{n}"])
    return engine_of(rows)


known = st.fixed_dictionaries(
    {}, optional={"metadata.env": st.sampled_from(["dev", "prod", 1]), "time.hour": st.just(9)}
)
askers = st.sampled_from(
    [("user:u-1", None, None), ("user:u-1", "bound:ml", None), ("user:u-1", None, "token:t")]
)
small = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@small
@given(rules=rules_of(conditions_), values=known, who=askers, alias=st.booleans())
def test_what_is_not_listed_is_allowed_for_no_body(
    engine_of: EngineOf, someone: Any, rules: Any, values: Any, who: Any, alias: bool
) -> None:
    engine, asker = world(engine_of, rules, alias), someone(*who)
    listed = engine.visible(asker, "model:use", MODELS, Context(values))
    for model in MODELS:
        if model not in listed:
            for body in BODIES:
                assert not engine.decide(asker, "model:use", model, Context({**values, **body}))


@small
@given(rules=rules_of(grounded), values=known, who=askers, alias=st.booleans())
def test_without_conditions_on_the_body_listed_is_allowed(
    engine_of: EngineOf, someone: Any, rules: Any, values: Any, who: Any, alias: bool
) -> None:
    engine, asker = world(engine_of, rules, alias), someone(*who)
    listed = engine.visible(asker, "model:use", MODELS, Context(values))
    decided = [m for m in MODELS if engine.decide(asker, "model:use", m, Context(values))]
    assert list(listed) == decided


@small
@given(rules=rules_of(conditions_), values=known, who=askers, alias=st.booleans())
def test_a_bound_or_a_token_never_widens(
    engine_of: EngineOf, someone: Any, rules: Any, values: Any, who: Any, alias: bool
) -> None:
    engine, asker = world(engine_of, rules, alias), someone(*who)
    alone = dataclasses.replace(asker, bound=None, token=None)
    for model in MODELS:
        if engine.decide(asker, "model:use", model, Context(values)):
            assert engine.decide(alone, "model:use", model, Context(values))


def test_a_list_reads_no_body(engine_of: EngineOf, someone: Any) -> None:
    def lazy(field: str) -> object:
        assert not field.startswith("body.")
        return MISSING

    condition = Condition((ITEMS[0], ITEMS[4]))
    engine = world(engine_of, [("user:u-1", "any:model", "allow", condition)], False)
    assert engine.visible(someone("user:u-1"), "model:use", MODELS, Context({}, lazy)) == ()


def test_a_list_leaves_out_what_is_unknown_and_keeps_the_order(
    engine_of: EngineOf, someone: Any
) -> None:
    engine = world(engine_of, [("user:u-1", "any:model", "allow", None)], False)
    asked = [MODELS[2], "model:acme/ghost", MODELS[0]]
    assert engine.visible(someone("user:u-1"), "model:use", asked, Context()) == (
        MODELS[2],
        MODELS[0],
    )


def test_a_list_that_fails_is_no_list(engine_of: EngineOf, someone: Any) -> None:
    engine = engine_of([*ROWS, ["a", "model:acme/mini", "model:acme/mini"]])
    with pytest.raises(AuthzError):
        engine.visible(someone("user:u-1"), "model:use", ["model:acme/mini"], Context())


def test_an_unknown_target_refuses_with_its_own_verdict(engine_of: EngineOf, someone: Any) -> None:
    engine = engine_of([*ROWS, ["a", "model:acme/mini", "model:acme/gone"]])
    decision = engine.decide(someone("user:u-1"), "model:use", "model:acme/mini", Context())
    assert decision.reason is Reason.UNKNOWN_RESOURCE and decision.effect is Effect.DENY
    assert decision.verdicts[-1].question.resource == "model:acme/gone"


def test_the_teams_of_a_subject_are_those_of_this_epoch_and_everyone_is_none(
    model_text: str,
) -> None:
    rows = [row("g", "user:u-1", "team:a"), row("g", "user:u-1", "team:everyone")]
    engine = Engine.load(model_text, rows, 1)
    assert engine.teams_of("user:u-1") == ("team:a",)
    engine.apply([row("g", "user:u-1", "team:b")], [rows[0]], 2)
    assert engine.teams_of("user:u-1") == ("team:b",)
    assert engine.teams_of("user:nobody") == ()
