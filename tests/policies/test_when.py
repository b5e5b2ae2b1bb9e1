"""Values of conditions that name things: they mean one generation, or all of them."""

from __future__ import annotations

from typing import Any

import pytest
from estates import House, account, policy, team, uid, user

from authz.conditions import Context, decode
from authz.errors import InvalidCondition
from authz.vocabulary import Action
from policies.compile import rows_of
from policies.documents import Document, parse
from policies.errors import InvalidDocuments
from policies.estate import Estate
from policies.loader import load_text
from policies.resolve import rendered
from policies.validate import validate

ANN = "ann@acme.com"
USE = "provider-account-access"


class Ann:
    id, bound, token = uid(ANN), None, None


def rule(effect: str, field: str, operator: str, value: object) -> dict[str, Any]:
    return {
        "effect": effect,
        "subjects": ["any:user"],
        "resources": ["any:model"],
        "when": [{"field": field, "operator": operator, "value": value}],
    }


def may(house: House, model: str, **values: object) -> bool:
    return bool(house.engine().decide(Ann(), Action.MODEL_USE.value, model, Context(values)))


def taken_again(*rules: dict[str, Any], grant: bool = True) -> House:
    """An estate with a policy, whose account acme and team search were deleted and made again."""
    house = House(user(ANN), team("search", ANN), account("acme", f"user:{ANN}={USE}"))
    house.put(policy("p", *rules))
    house.put(deletes=[("provider-account", "acme"), ("team", "search")])
    house.put(team("search", ANN), account("acme", *([f"user:{ANN}={USE}"] if grant else [])))
    return house


@pytest.mark.parametrize(
    ("field", "value"),
    [("resource.account", "acme"), ("resource.id", "model:acme/mini")],
)
def test_a_deny_by_its_condition_holds_for_the_account_that_takes_the_name_again(
    field: str, value: str
) -> None:
    assert not may(taken_again(rule("deny", field, "EQUAL", value)), "model:acme~2/mini")
    assert not may(taken_again(rule("deny", field, "IN", [value])), "model:acme~2/mini")


@pytest.mark.parametrize(
    ("field", "value"),
    [("resource.account", "acme"), ("resource.id", "model:acme/mini")],
)
def test_an_allow_by_its_condition_does_not_carry_over(field: str, value: str) -> None:
    house = taken_again(rule("allow", field, "EQUAL", value), grant=False)
    assert not may(house, "model:acme~2/mini")
    house.put(policy("again", rule("allow", field, "EQUAL", value)))
    assert may(house, "model:acme~2/mini")


def test_what_a_deny_leaves_out_is_the_thing_of_today_alone() -> None:
    old = taken_again(rule("deny", "resource.account", "NOT_EQUAL", "acme"))
    assert not may(old, "model:acme~2/mini")
    old.put(policy("p", rule("deny", "resource.account", "NOT_EQUAL", "acme")))
    assert may(old, "model:acme~2/mini")


def test_what_an_allow_leaves_out_stays_out() -> None:
    house = taken_again(rule("allow", "resource.account", "NOT_IN", ["acme"]), grant=False)
    assert not may(house, "model:acme~2/mini")


def test_a_token_s_team_is_denied_in_every_generation() -> None:
    house = taken_again(rule("deny", "principal.team", "EQUAL", "team:search"))
    assert may(house, "model:acme~2/mini", **{"principal.team": "team:other"})
    for generation in ("team:search", "team:search~2"):
        assert not may(house, "model:acme~2/mini", **{"principal.team": generation})


def test_whose_records_a_rule_leaves_out_stay_out_when_the_team_s_name_is_taken_again() -> None:
    def config(operator: str) -> Document:
        one = {"field": "created_by", "operator": operator, "value": ["team:search"]}
        rule = {"id": "r", "subjects": ["team:ops"], "data_types": ["metrics"]}
        rules = [{**rule, "scope": "all_data", "filters": [one]}]
        return parse({"type": "gateway-data-access-config", "name": "data-access", "rules": rules})

    def stored_after(operator: str) -> list[object]:
        house = House(team("search"), team("ops"), config(operator))
        house.put(deletes=[("team", "search")])
        house.put(team("search"))
        return [decode(r.values[1]).items[0].value for r in house.rows if "created_by" in r[1][1]]

    assert stored_after("NOT_IN") == [("team:search", "team:search~2")]
    assert stored_after("IN") == [("team:search",)]


def test_a_condition_reads_back_as_it_was_written_and_applied_again_changes_nothing() -> None:
    written = policy(
        "p",
        rule("deny", "resource.account", "IN", ["acme"]),
        rule("allow", "resource.id", "EQUAL", "model:acme/mini"),
    )
    house = House(user(ANN), team("search", ANN), account("acme"), written)
    house.put(deletes=[("provider-account", "acme")])
    house.put(account("acme"))
    house.put(written)
    stored = house.estate.document(("policy", "p"))
    assert stored is not None
    assert stored.document.rules[1].when[0].value == "model:acme~2/mini"  # type: ignore[attr-defined]
    back = rendered(stored.document, lambda _: None)
    assert [r["when"][0]["value"] for r in back["rules"]] == [["acme"], "model:acme/mini"]
    assert house.plan(written).empty


def test_a_test_of_a_text_names_nothing() -> None:
    text = rule("deny", "principal.id", "STRING_STARTS_WITH", "user:")
    house = House(account("acme"), policy("p", text))
    stored = house.estate.document(("policy", "p"))
    assert stored is not None
    items = [
        decode(r.values[1]) for r in rows_of(stored.document, house.estate.names) if r[0] == "c"
    ]
    assert items[0].items[0].value == "user:"


def test_a_condition_on_something_that_does_not_exist_is_reported_at_its_value() -> None:
    text = """\
type: policy
name: p
rules:
  - id: r
    effect: deny
    subjects: ["any:user"]
    actions: ["model:use"]
    resources: ["any:model"]
    when: [{field: resource.account, operator: EQUAL, value: acmee}]
"""
    (problem,) = validate(load_text(text))
    assert (problem.code, problem.line, problem.column) == ("dangling", 9, 62)
    with pytest.raises(InvalidDocuments, match="acmee"):
        House(policy("p", rule("deny", "resource.account", "EQUAL", "acmee")))


def test_a_condition_that_no_engine_could_read_is_never_compiled() -> None:
    many = [f"team:t{n}" for n in range(2000)]
    with pytest.raises(InvalidCondition):
        rows_of(policy("p", rule("deny", "principal.team", "IN", many)), Estate().names)


def test_more_conditions_than_an_engine_reads_are_reported() -> None:
    test = {"field": "client.ip", "operator": "EXISTS"}
    long = {**rule("deny", "client.ip", "EXISTS", True), "when": [test] * 33}
    with pytest.raises(InvalidDocuments, match="at most 32"):
        House(policy("p", long))
