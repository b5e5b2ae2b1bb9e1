"""Explanations beyond the cases: what is told of conditions, links and parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from authz.conditions import Condition, Context, Item, Operator, encode, name_of
from authz.engine import Engine
from authz.explain import MOST_LINKS, MOST_ROWS, MissingLink, explain

EngineOf = Callable[..., Engine]
ROWS = [
    ["g2", "model:acme/mini", "any:model"],
    ["g", "user:u-1", "team:a"],
    ["g3", "model:use", "role:access"],
    ["g3", "provider-account:read", "role:viewer"],
]


def ask(engine: Engine, someone: Any, user: str = "user:u-1", **values: object) -> Any:
    context = Context({name.replace("__", "."): value for name, value in values.items()})
    return explain(engine, someone(user), "model:use", "model:acme/mini", context)


def test_each_item_of_a_condition_says_what_it_came_to(engine_of: EngineOf, someone: Any) -> None:
    condition = Condition(
        (
            Item("time.now", Operator.LESS_THAN, "2026-01-01T00:00:00Z"),
            Item("body.stream", Operator.EQUAL, True),
        )
    )
    name = name_of(condition)
    rows = [
        ["c", name, encode(condition)],
        ["p", "team:a", "any:model", "role:access", "allow", name, "r"],
    ]
    told = ask(engine_of(ROWS + rows), someone, time__now=datetime(2025, 1, 1, tzinfo=UTC))
    rule = told.parts[0].rules[0]
    assert (rule.ignored, rule.decisive) == ("the condition is unknown", False)
    assert [(item.field, item.met) for item in rule.items] == [
        ("time.now", True),
        ("body.stream", None),
    ]
    assert told.context == {"time.now": "2025-01-01T00:00:00+00:00"}
    told = ask(engine_of(ROWS + rows), someone, time__now=datetime(2027, 1, 1, tzinfo=UTC))
    assert told.parts[0].rules[0].ignored == "the condition is not met"


def test_a_default_deny_names_each_single_link_that_would_mend_it(
    engine_of: EngineOf, someone: Any
) -> None:
    rows = [
        ["p", "team:b", "any:model", "role:access", "allow", "", "b"],
        ["p", "team:a", "any:model", "role:viewer", "allow", "", "v"],
        ["p", "team:a", "resource-group:small", "model:use", "allow", "", "l"],
        ["p", "team:a", "model:acme/large", "model:use", "allow", "", "no model is in another"],
        ["p", "team:a", "open-models:other", "model:use", "allow", "", "nor in other accounts"],
        ["p", "team:c", "model:acme/large", "model:use", "allow", "", "two links away"],
        ["p", "team:d", "any:model", "role:access", "deny", "", "a deny is no help"],
    ]
    part = ask(engine_of(ROWS + rows), someone).parts[0]
    assert set(part.missing) == {
        MissingLink("membership", "user:u-1", "team:b", "b"),
        MissingLink("action", "model:use", "role:viewer", "v"),
        MissingLink("object", "model:acme/mini", "resource-group:small", "l"),
    }
    assert part.holders == ("team:b",) and part.unknown == () and not part.truncated


def test_what_no_row_mentions_is_named(engine_of: EngineOf, someone: Any) -> None:
    engine = engine_of(ROWS)
    assert ask(engine, someone, "user:u-9").parts[0].unknown == ("subject",)
    told = explain(engine, someone("user:u-1"), "access:grant", "model:acme/mini", Context())
    assert told.parts[0].unknown == ("action",)
    told = explain(engine, someone("user:u-1"), "model:use", "model:acme/no", Context())
    assert told.parts[0].unknown == ("resource",) and told.reason == "unknown_resource"


def test_a_popular_thing_is_looked_at_in_part(engine_of: EngineOf, someone: Any) -> None:
    rows = [
        ["p", f"user:x-{n:05}", "any:model", "model:use", "allow", "", f"r{n}"]
        for n in range(MOST_ROWS + 1)
    ]
    part = ask(engine_of(ROWS + rows), someone).parts[0]
    assert part.truncated and len(part.holders) == len(part.missing) == MOST_LINKS


def test_an_allow_that_a_deny_overruled_is_ignored(engine_of: EngineOf, someone: Any) -> None:
    rows = [
        ["p", "team:a", "any:model", "model:use", "allow", "", "yes"],
        ["p", "any:user", "any:model", "*", "deny", "", "no"],
    ]
    part = ask(engine_of(ROWS + rows), someone).parts[0]
    assert [(r.rule, r.decisive, r.ignored) for r in part.rules] == [
        ("no", True, ""),
        ("yes", False, "a deny wins"),
    ]


def test_parts_after_the_refusal_are_told_too(engine_of: EngineOf, someone: Any) -> None:
    rows = [["p", "token:t", "any:model", "model:use", "allow", "", "t"]]
    engine = engine_of(ROWS + rows)
    told = explain(
        engine, someone("user:u-1", "bound:a", "token:t"), "model:use", "model:acme/mini", Context()
    )
    assert [(p.part, p.effect, p.decisive) for p in told.parts] == [
        ("subject", "deny", True),
        ("bound", "deny", False),
        ("token", "allow", False),
    ]


def test_a_shadow_rule_is_marked(engine_of: EngineOf, someone: Any) -> None:
    rows = [
        ["p", "team:a", "any:model", "model:use", "allow", "", "yes"],
        ["p2", "team:a", "any:model", "model:use", "deny", "", "trial"],
    ]
    part = ask(engine_of(ROWS + rows), someone).parts[0]
    assert [(r.rule, r.shadow, r.decisive) for r in part.rules] == [
        ("yes", False, True),
        ("trial", True, False),
    ]


def test_it_is_json(engine_of: EngineOf, someone: Any) -> None:
    text = json.dumps(ask(engine_of(ROWS), someone).as_json())
    assert json.loads(text)["parts"][0]["reason"] == "no_grant"
