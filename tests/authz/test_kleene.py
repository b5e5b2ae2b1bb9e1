"""Evaluation: true, false or unknown, and what is remembered of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from authz.conditions import MISSING, Condition, Context, Item, Operator
from authz.kleene import Reading, compile_condition, evaluate

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)  # a Monday


def met(item: Item, found: object) -> bool | None:
    values = {} if found is MISSING else {item.field: found}
    reading = Reading(Context(values), "user:u-1", "model:acme/mini")
    return evaluate(compile_condition(Condition((item,))), reading, "allow")


def item(operator: Operator, value: Any, field: str = "body.x") -> Item:
    return Item(field, operator, value)


@pytest.mark.parametrize(
    ("operator", "value", "found", "outcome"),
    [
        # equality keeps types apart
        (Operator.EQUAL, "a", "a", True),
        (Operator.EQUAL, "a", "b", False),
        (Operator.EQUAL, 1, 1, True),
        (Operator.EQUAL, 1, 1.0, True),
        (Operator.EQUAL, 1, True, None),
        (Operator.EQUAL, True, 1, None),
        (Operator.EQUAL, True, True, True),
        (Operator.EQUAL, "1", 1, None),
        (Operator.EQUAL, "a", None, None),
        (Operator.EQUAL, "a", ["a"], None),
        (Operator.EQUAL, 1, float("nan"), None),
        (Operator.EQUAL, "a", MISSING, None),
        (Operator.NOT_EQUAL, "a", "b", True),
        (Operator.NOT_EQUAL, "a", "a", False),
        (Operator.NOT_EQUAL, "a", 1, None),
        (Operator.NOT_EQUAL, "a", MISSING, None),
        # membership
        (Operator.IN, ("a", "b"), "b", True),
        (Operator.IN, ("a", "b"), "c", False),
        (Operator.IN, ("a", 1), 2, False),
        (Operator.IN, ("a", "b"), 1, None),
        (Operator.IN, (), "a", None),
        (Operator.NOT_IN, ("a", "b"), "c", True),
        (Operator.NOT_IN, ("a", "b"), "a", False),
        (Operator.NOT_IN, ("a", "b"), MISSING, None),
        # order, of numbers only
        (Operator.LESS_THAN, 5, 4, True),
        (Operator.LESS_THAN, 5, 4.9, True),
        (Operator.LESS_THAN, 5, 5, False),
        (Operator.LESS_THAN_EQUAL, 5, 5, True),
        (Operator.GREATER_THAN, 5, 6, True),
        (Operator.GREATER_THAN_EQUAL, 5, 4, False),
        (Operator.LESS_THAN, 5, True, None),
        (Operator.LESS_THAN, 5, "4", None),
        (Operator.LESS_THAN, "b", "a", None),
        (Operator.LESS_THAN, 5, float("nan"), None),
        (Operator.LESS_THAN, 5, MISSING, None),
        # text
        (Operator.STRING_CONTAINS, "ell", "hello", True),
        (Operator.STRING_CONTAINS, "z", "hello", False),
        (Operator.STRING_CONTAINS, "a", ["a"], None),
        (Operator.STRING_STARTS_WITH, "he", "hello", True),
        (Operator.STRING_ENDS_WITH, "he", "hello", False),
        (Operator.STRING_ENDS_WITH, "lo", MISSING, None),
        # several at once
        (Operator.EQUAL, "team:a", ("team:a", "team:b"), True),
        (Operator.EQUAL, "team:c", ("team:a", "team:b"), False),
        (Operator.EQUAL, "team:a", (), False),
        (Operator.NOT_EQUAL, "team:a", (), True),
        (Operator.IN, ("team:b", "team:c"), ("team:a", "team:b"), True),
        (Operator.NOT_IN, ("team:b", "team:c"), ("team:a", "team:b"), False),
        (Operator.NOT_IN, ("team:c",), ("team:a", "team:b"), True),
        (Operator.IN, (1, 2), ("team:a",), None),
        (Operator.IN, ("team:everyone",), ("team:a",), None),
        (Operator.NOT_IN, ("team:everyone", "team:b"), ("team:a",), None),
        (Operator.EXISTS, True, ("team:a",), True),
        (Operator.EXISTS, True, (), False),
        (Operator.STRING_STARTS_WITH, "team:", ("team:a",), True),
        (Operator.STRING_STARTS_WITH, "team:", ("team:a", "team:b"), None),
        (Operator.STRING_STARTS_WITH, "team:", (), None),
        # networks
        (Operator.IN_NETWORK, ("10.0.0.0/8",), "10.1.2.3", True),
        (Operator.IN_NETWORK, ("10.0.0.0/8",), "11.1.2.3", False),
        (Operator.IN_NETWORK, ("10.0.0.0/8",), "::ffff:10.1.2.3", True),
        (Operator.IN_NETWORK, ("10.0.0.0/8",), "::1", False),
        (Operator.IN_NETWORK, ("::/0",), "10.0.0.1", False),
        (Operator.IN_NETWORK, ("10.0.0.0/8",), "10.1.2", None),
        (Operator.IN_NETWORK, ("10.0.0.0/8",), 167837955, None),
        (Operator.IN_NETWORK, ("10.0.0.0/8", "oops"), "10.1.2.3", None),
        (Operator.IN_NETWORK, ("10.0.0.0/8",), MISSING, None),
        # existence is never unknown
        (Operator.EXISTS, True, None, True),
        (Operator.EXISTS, True, MISSING, False),
        (Operator.EXISTS, False, MISSING, True),
        (Operator.EXISTS, False, "", False),
    ],
)
def test_one_item(operator: Operator, value: Any, found: object, outcome: bool | None) -> None:
    assert met(item(operator, value), found) is outcome


@pytest.mark.parametrize(
    ("text", "operator", "outcome"),
    [
        ("2026-01-05T12:00:00Z", Operator.LESS_THAN, False),
        ("2026-01-05T12:00:00Z", Operator.GREATER_THAN_EQUAL, True),
        ("2026-01-05T14:00:00+02:00", Operator.EQUAL, True),
        ("2026-01-05T12:00:01Z", Operator.LESS_THAN, True),
        ("2026-01-05T12:00:00", Operator.LESS_THAN, None),  # no offset: which instant is it?
        ("noon", Operator.LESS_THAN, None),
    ],
)
def test_instants(text: str, operator: Operator, outcome: bool | None) -> None:
    assert met(item(operator, text, "time.now"), NOON) is outcome


def test_an_instant_without_an_offset_is_unknown() -> None:
    wanted = item(Operator.LESS_THAN, "2027-01-01T00:00:00Z", "time.now")
    assert met(wanted, NOON.replace(tzinfo=None)) is None


@pytest.mark.parametrize(
    ("outcomes", "together"),
    [
        ("TT", True),
        ("TF", False),
        ("FU", False),
        ("UF", False),
        ("TU", None),
        ("UT", None),
        ("UU", None),
        ("UFT", False),
        ("", True),
    ],
)
def test_a_list_is_false_before_it_is_unknown(outcomes: str, together: bool | None) -> None:
    values: dict[str, object] = {"body.T": 1, "body.F": 2}
    items = tuple(item(Operator.EQUAL, 1, f"body.{name}") for name in outcomes)
    reading = Reading(Context(values), "user:u-1", "model:acme/mini")
    assert evaluate(compile_condition(Condition(items)), reading, "allow") is together


@pytest.mark.parametrize("unbound", ["body.", "body.x"])
def test_an_open_field_counts_as_met_on_an_allow_and_not_met_on_a_deny(unbound: str) -> None:
    compiled = compile_condition(Condition((item(Operator.EQUAL, 1),)))
    reading = Reading(Context({"body.x": 2}, None, frozenset({unbound})), "user:u", "model:a/b")
    assert evaluate(compiled, reading, "allow") is True
    assert evaluate(compiled, reading, "deny") is False
    assert reading.read == {}


def test_an_open_field_does_not_hide_what_is_known() -> None:
    known, open_ = item(Operator.EQUAL, 1, "metadata.m"), item(Operator.EQUAL, 1)
    compiled = compile_condition(Condition((open_, known)))
    for found, outcome in (({"metadata.m": 1}, True), ({"metadata.m": 2}, False), ({}, None)):
        reading = Reading(Context(found, None, frozenset({"body."})), "user:u", "model:a/b")
        assert evaluate(compiled, reading, "allow") is outcome


def test_a_lazy_field_is_asked_once_and_only_when_read() -> None:
    asked: list[str] = []

    def lazy(field: str) -> object:
        asked.append(field)
        return MISSING if field == "body.gone" else 7

    reading = Reading(Context({"body.here": 1}, lazy), "user:u-1", "model:acme/mini")
    assert [reading.value("body.here"), reading.value("body.x"), reading.value("body.x")] == [
        1,
        7,
        7,
    ]
    assert reading.value("body.gone") is reading.value("body.gone") is MISSING
    assert asked == ["body.x", "body.gone"]
    assert reading.read == {"body.here": 1, "body.x": 7}


@pytest.mark.parametrize(
    ("resource", "account", "model"),
    [
        ("model:acme/mini", "acme", "mini"),
        ("model:acme/org/mini", "acme", "org/mini"),
        ("provider-account:acme", "acme", MISSING),
        ("open-models:acme", "acme", MISSING),
        ("team:acme/mini", MISSING, MISSING),
        ("model:acme", "acme", MISSING),
    ],
)
def test_the_resource_gives_its_account_and_model(
    resource: str, account: object, model: object
) -> None:
    claimed = {"resource.account": "x", "resource.model": "x", "resource.id": "x"}
    reading = Reading(Context(claimed), "user:u-1", resource)
    assert reading.value("resource.account") == account
    assert reading.value("resource.model") == model
    assert reading.value("resource.id") == resource


def test_the_principal_is_the_one_who_asks() -> None:
    reading = Reading(Context({"principal.id": "user:u-2"}), "virtualaccount:v", "model:a/b")
    assert reading.value("principal.id") == "virtualaccount:v"
    assert reading.value("principal.kind") == "virtualaccount"


def test_hour_and_weekday_follow_from_the_instant_in_utc() -> None:
    east = timezone(timedelta(hours=14))
    reading = Reading(Context({"time.now": NOON.astimezone(east)}), "user:u-1", "model:a/b")
    assert (reading.value("time.hour"), reading.value("time.weekday")) == (12, "mon")
    assert Reading(Context(), "user:u-1", "model:a/b").value("time.hour") is MISSING


@pytest.mark.parametrize(
    ("resource", "server", "tool"),
    [
        ("mcp-tool:github~2/a%20b/c", "github~2", "a b/c"),
        ("mcp-prompt:github/x", "github", MISSING),
        ("mcp-resource:docs/file:///x", "docs", MISSING),
        ("mcp-server:github", "github", MISSING),
        ("model:github/x", MISSING, MISSING),
    ],
)
def test_server_and_tool_come_from_the_question_alone(
    resource: str, server: object, tool: object
) -> None:
    claimed = {"resource.server": "x", "resource.tool": "x", "tool.name": "x"}
    reading = Reading(Context(claimed), "user:u-1", resource)
    assert reading.value("resource.server") == server
    assert reading.value("resource.tool") == tool
    assert reading.value("tool.name") == tool


def test_only_the_arguments_of_a_tool_are_open_in_a_list() -> None:
    opened = Context({}, unbound=frozenset({"tool.args."}))
    reading = Reading(opened, "user:u-1", "mcp-tool:github/read")

    def outcome(field: str, value: str, effect: str = "allow") -> bool | None:
        condition = Condition((item(Operator.EQUAL, value, field),))
        return evaluate(compile_condition(condition), reading, effect)

    assert outcome("tool.args.path.root", "x") is True
    assert outcome("tool.args.path.root", "x", "deny") is False
    assert outcome("tool.name", "write") is False
    assert outcome("tool.name", "read") is True
