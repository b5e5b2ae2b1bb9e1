"""Conditions as documents and rows have them: the registry, the checks, the writing."""

from __future__ import annotations

import pytest

from authz.conditions import (
    FIELDS,
    MISSING,
    Condition,
    Item,
    Operator,
    Trust,
    check,
    decode,
    encode,
    in_words,
    name_of,
    root_of,
)
from authz.errors import InvalidCondition

EVERY = [
    Item("metadata.env", Operator.IN, ("dev", "té\u2028st")),
    Item("body.stream", Operator.EQUAL, True),
    Item("body.max_tokens", Operator.LESS_THAN, 4096),
    Item("client.ip", Operator.IN_NETWORK, ("10.0.0.0/8",)),
    Item("header.x-team", Operator.EXISTS, False),
]


def test_a_condition_survives_its_row() -> None:
    condition = Condition(tuple(EVERY))
    assert decode(encode(condition)) == condition


def test_the_name_is_made_from_the_content() -> None:
    one, other = Condition((EVERY[1],)), Condition((EVERY[1], EVERY[2]))
    assert name_of(one) == name_of(Condition((EVERY[1],))) != name_of(other)
    assert name_of(one).startswith("c-") and len(name_of(one)) == 22


def test_true_and_one_are_different_conditions() -> None:
    flag = Condition((Item("body.n", Operator.EQUAL, True),))
    number = Condition((Item("body.n", Operator.EQUAL, 1),))
    assert name_of(flag) != name_of(number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "null",
        "[1]",
        '[["f"]]',
        '[["f","EQUAL"]]',
        '[["f","EQUAL",1,2]]',
        '[["f","LIKE","x"]]',
        '[["","EQUAL","x"]]',
        '[[1,"EQUAL","x"]]',
        '[["f","EQUAL",null]]',
        '[["f","EQUAL",1.5]]',
        '[["f","IN",[["x"]]]]',
        '[["f",["EQUAL"],"x"]]',
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidCondition):
        decode(text)


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("body.stream", "body.stream"),
        ("body.temperature", "body."),
        ("body.", ""),
        ("metadata.cost-center", "metadata."),
        ("record.metadata.env", "record.metadata."),
        ("record.env", ""),
        ("principal.id", "principal.id"),
        ("principal.email", ""),
        ("", ""),
    ],
)
def test_a_field_falls_under_its_entry(name: str, root: str) -> None:
    assert root_of(name) == root


def test_every_field_says_who_vouches_for_it_and_which_actions_supply_it() -> None:
    for name, known in FIELDS.items():
        assert known.actions, name
        claimed = name in ("metadata.", "header.", "record.claimed.")
        assert (known.trust is Trust.CLAIMED) == claimed, name


@pytest.mark.parametrize("item", EVERY)
def test_good_items_have_no_problem_on_a_deny(item: Item) -> None:
    assert check(item, ["model:use"], "deny", None) == []


@pytest.mark.parametrize(
    ("item", "actions", "effect", "trust", "says"),
    [
        # who vouches
        (EVERY[0], ["model:use"], "allow", None, "trust: claimed"),
        (EVERY[0], ["model:use"], "allow", "claimed", ""),
        (EVERY[4], ["team:read"], "allow", None, "trust: claimed"),
        # which actions supply it
        (EVERY[1], ["model:use", "team:read"], "deny", None, "`team:read`"),
        (EVERY[1], ["*"], "deny", None, "is not supplied by"),
        (Item("time.hour", Operator.LESS_THAN, 9), ["*"], "deny", None, ""),
        (
            Item("record.created_by", Operator.EQUAL, "u"),
            ["model:use"],
            "deny",
            None,
            "`model:use`",
        ),
        (Item("record.metadata.env", Operator.IN, ("a",)), ["data:read"], "allow", None, ""),
        (
            Item("record.claimed.env", Operator.IN, ("a",)),
            ["data:read"],
            "allow",
            None,
            "trust: claimed",
        ),
        (Item("record.claimed.env", Operator.IN, ("a",)), ["data:read"], "allow", "claimed", ""),
        (Item("record.claimed.env", Operator.IN, ("a",)), ["data:read"], "deny", None, ""),
        (
            Item("record.claimed.", Operator.IN, ("a",)),
            ["data:read"],
            "deny",
            None,
            "is not a field",
        ),
        # names
        (Item("principle.id", Operator.EQUAL, "x"), ["model:use"], "deny", None, "`principal.id`"),
        (Item("nonsense", Operator.EQUAL, "x"), ["model:use"], "deny", None, "is not a field"),
        # operators and values
        (
            Item("client.ip", Operator.IN_NETWORK, ("10.0.0.1/8",)),
            ["model:use"],
            "deny",
            None,
            "`10.0.0.1/8`",
        ),
        (Item("client.ip", Operator.IN_NETWORK, ()), ["model:use"], "deny", None, "at least one"),
        (
            Item("client.ip", Operator.IN_NETWORK, "10.0.0.0/8"),
            ["model:use"],
            "deny",
            None,
            "a list",
        ),
        (
            Item("time.hour", Operator.IN_NETWORK, ("::/0",)),
            ["model:use"],
            "deny",
            None,
            "not an address",
        ),
        (
            Item("time.now", Operator.LESS_THAN, "tomorrow"),
            ["model:use"],
            "deny",
            None,
            "`tomorrow`",
        ),
        (
            Item("time.now", Operator.LESS_THAN, "2026-01-01T00:00:00"),
            ["model:use"],
            "deny",
            None,
            "never be compared",
        ),
        (
            Item("time.now", Operator.LESS_THAN, "2026-01-01T00:00:00Z"),
            ["model:use"],
            "deny",
            None,
            "",
        ),
        (
            Item("time.weekday", Operator.IN, ("mon", "funday")),
            ["model:use"],
            "deny",
            None,
            "`funday`",
        ),
        (
            Item("time.hour", Operator.LESS_THAN, "9"),
            ["model:use"],
            "deny",
            None,
            "never be compared",
        ),
        (
            Item("principal.id", Operator.LESS_THAN, "x"),
            ["model:use"],
            "deny",
            None,
            "has no order",
        ),
        (
            Item("time.hour", Operator.STRING_CONTAINS, "9"),
            ["model:use"],
            "deny",
            None,
            "not a text",
        ),
        (Item("body.x", Operator.STRING_CONTAINS, 9), ["model:use"], "deny", None, "takes a text"),
        (
            Item("body.stream", Operator.EQUAL, "true"),
            ["model:use"],
            "deny",
            None,
            "never be compared",
        ),
        (Item("body.x", Operator.EXISTS, "yes"), ["model:use"], "deny", None, "`true` or `false`"),
        (Item("body.x", Operator.IN, "yes"), ["model:use"], "deny", None, "a list"),
        (Item("body.x", Operator.EQUAL, ("yes",)), ["model:use"], "deny", None, "one value"),
        (Item("body.x", Operator.IN, ("x",) * 1025), ["model:use"], "deny", None, "at most"),
    ],
)
def test_what_a_rule_cannot_say_is_told(
    item: Item, actions: list[str], effect: str, trust: str | None, says: str
) -> None:
    found = check(item, actions, effect, trust)
    assert bool(found) == bool(says), found
    assert says in " ".join(found)


def test_every_problem_of_an_item_is_told_at_once() -> None:
    item = Item("metadata.env", Operator.IN, "dev")
    assert len(check(item, ["team:read"], "allow", None)) == 3


def test_missing_shows_as_what_it_is() -> None:
    assert repr(MISSING) == "MISSING"


def test_a_condition_reads_as_its_tests() -> None:
    condition = Condition(
        (
            Item("time.hour", Operator.LESS_THAN, 8),
            Item("tool.args.path", Operator.IN, ("a", "b")),
        )
    )
    assert in_words(condition) == 'time.hour LESS_THAN 8 and tool.args.path IN ["a", "b"]'
