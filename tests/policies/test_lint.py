"""What is hardly meant is said, at its place, with a way to mend it; what is meant is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from estates import House, account, policy, team
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.conditions import Condition, Context, Item, Operator
from authz.kleene import Reading, compile_condition, evaluate
from policies.check import check
from policies.contradictions import Extent, contradiction
from policies.lint import lint
from policies.loader import as_loaded, load_text
from policies.validate import validate

ROOT = Path(__file__).parents[2]
ESTATE = """\
type: team
name: search
members: [alice@example.com]
---
type: provider-account/echo
name: acme
integrations:
  - {type: integration/model/echo, name: mini}
  - {type: integration/model/echo, name: maxi}
---
type: virtual-account
name: checkout
---
type: policy
name: house
rules:
"""
USUAL = {
    "effect": "allow",
    "subjects": '["team:search"]',
    "actions": '["model:use"]',
    "resources": '["model:acme/mini"]',
}


def rule(name: str, **fields: str) -> str:
    written = "".join(f", {key}: {value}" for key, value in (USUAL | fields).items())
    return f"  - {{id: {name}{written}}}\n"


def found(text: str) -> list[tuple[int, str]]:
    """The warnings of `text` beside the estate: the line in `text`, and the code."""
    loaded = load_text(ESTATE + text, "f.yaml")
    problems = [*validate(loaded), *lint(loaded)]
    assert not [problem.text() for problem in problems if problem.severity == "error"]
    assert all(problem.hint for problem in problems)
    return sorted((p.line - ESTATE.count("\n"), p.code) for p in set(problems))


def when(*tests: str) -> str:
    return "[" + ", ".join("{" + _test(each) + "}" for each in tests) + "]"


def _test(text: str) -> str:
    field, operator, value = text.split(" ", 2)
    return f"field: {field}, operator: {operator}, value: {value}"


DENY = {"effect": "deny"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (rule("a", effect="deny", subjects='["team:everyone"]'), "everyone_denied"),
        (rule("a", when="[]"), "unconditional"),
        (rule("a", subjects="[]"), "empty_list"),
        (rule("a", actions="[]"), "empty_list"),
        (rule("a", resources="[]"), "empty_list"),
        (rule("a", when=when("time.hour EQUAL 1", "time.hour EQUAL 2")), "never_matches"),
        (rule("a", when=when("time.hour GREATER_THAN 23")), "never_matches"),
        (rule("a", when=when("time.weekday IN [mon]", "time.weekday IN [tue]")), "never_matches"),
        (
            rule("a", when=when("body.n GREATER_THAN 5", "body.n LESS_THAN_EQUAL 5")),
            "never_matches",
        ),
        (rule("a", when=when("body.x EXISTS false", "body.x EQUAL 1")), "never_matches"),
        (rule("a", when=when("body.x EXISTS false", "body.x EXISTS true")), "never_matches"),
        (rule("a", when=when("body.x IN [a, b]", "body.x NOT_IN [a, b]")), "never_matches"),
        (
            rule("a", when=when("body.x STRING_STARTS_WITH a", "body.x STRING_STARTS_WITH b")),
            "never_matches",
        ),
        (rule("a", effect="deny", when=when("body.x EQUAL 1", "body.x EQUAL 2")), "never_matches"),
    ],
)  # fmt: skip
def test_a_rule_that_is_hardly_meant_is_named_on_its_line(text: str, code: str) -> None:
    assert found(text) == [(1, code)]


@pytest.mark.parametrize(
    "text",
    [
        rule("a", effect="deny", subjects='["any:virtualaccount"]'),
        rule("a", effect="deny", subjects='["team:everyone"]', mode="shadow"),
        rule("a", effect="deny", when="[]"),
        rule("a", when=when("time.hour GREATER_THAN 8", "time.hour LESS_THAN 18")),
        rule("a", when=when("body.n GREATER_THAN_EQUAL 5", "body.n LESS_THAN_EQUAL 5")),
        rule("a", when=when("body.x EXISTS true", "body.x EQUAL 1")),
        rule("a", effect="deny", when=when("body.x EXISTS false", "body.x EQUAL 1")),
        rule("a", when=when("body.x IN [a, b]", "body.x NOT_EQUAL a")),
        rule("a", when=when("body.x STRING_STARTS_WITH a", "body.x STRING_STARTS_WITH ab")),
        rule("a") + rule("b", resources='["model:acme/maxi"]'),
    ],
)  # fmt: skip
def test_a_rule_that_is_meant_has_no_finding(text: str) -> None:
    assert found(text) == []


def test_a_contradiction_in_a_deny_says_what_it_still_refuses() -> None:
    text = ESTATE + rule("a", effect="deny", when=when("body.x EQUAL 1", "body.x EQUAL 2"))
    (problem,) = validate(load_text(text, "f.yaml"))
    assert problem.message.endswith(
        "so it refuses only requests where that is missing or of another kind"
    )


@pytest.mark.parametrize(
    "ban",
    [
        DENY,
        {**DENY, "subjects": '["any:user"]'},
        {**DENY, "subjects": '["any:subject"]', "resources": '["any:object"]'},
        {**DENY, "actions": '["*"]'},
        {**DENY, "resources": '["provider-account:acme"]'},
        {**DENY, "resources": '["any:model"]'},
        {**DENY, "resources": '["model:acme/*"]'},
        {**DENY, "resources": '["model:*/m*"]'},
    ],
)
def test_an_allow_under_a_deny_without_conditions_is_shadowed(ban: dict[str, str]) -> None:
    assert found(rule("ban", **ban) + rule("a")) == [(2, "shadowed")]


@pytest.mark.parametrize(
    "ban",
    [
        {**DENY, "mode": "shadow"},
        {**DENY, "enabled": "false"},
        {**DENY, "until": "2030-01-01T00:00:00Z"},
        {**DENY, "when": when("time.hour EQUAL 1")},
        {**DENY, "subjects": '["any:virtualaccount"]'},
        {**DENY, "resources": '["model:acme/maxi"]'},
        {**DENY, "resources": '["any:policy"]', "actions": '["*"]'},
    ],
)
def test_an_allow_that_a_deny_leaves_something_of_is_not_shadowed(ban: dict[str, str]) -> None:
    assert found(rule("ban", **ban) + rule("a")) == []


def test_a_member_is_shadowed_by_the_deny_on_the_team_and_an_account_by_all_of_its_models() -> None:
    ban = rule("ban", effect="deny", resources='["model:acme/*"]')
    allow = rule("a", subjects='["user:Alice@example.com"]', resources='["provider-account:acme"]')
    assert found(ban + allow) == [(2, "shadowed")]


SERVER = """\
type: mcp-server/echo
name: tools
---
"""
TOOL = {"actions": '["mcp-tool:call"]', "resources": '["mcp-tool:tools/say"]'}


@pytest.mark.parametrize(
    ("resources", "shadowed"),
    [
        ('["mcp-tool:tools/say"]', True),
        ('["mcp-server:tools"]', True),
        ('["any:mcp-server"]', True),
        ('["any:object"]', True),
        ('["mcp-tool:tools/s*"]', True),
        ('["mcp-tool:*/say"]', True),
        ('["mcp-tool:tools/add"]', False),
        ('["mcp-prompt:tools/*"]', False),
    ],
)
def test_an_allow_on_a_tool_is_shadowed_by_a_deny_on_what_holds_it(
    resources: str, shadowed: bool
) -> None:
    ban = rule("ban", **{**TOOL, **DENY, "actions": '["*"]', "resources": resources})
    text = SERVER + ESTATE + ban + rule("a", **TOOL)
    loaded = load_text(text, "f.yaml")
    codes = {problem.code for problem in (*validate(loaded), *lint(loaded))}
    assert ("shadowed" in codes) is shadowed


def test_a_rule_that_stands_twice_is_told_across_documents_with_the_place_of_the_first() -> None:
    twice = rule("a") + "---\ntype: policy\nname: second\nrules:\n" + rule("b")
    assert found(twice) == [(6, "duplicate_rule")]
    loaded = load_text(ESTATE + twice, "f.yaml")
    assert "`policy/house#a` (f.yaml:17)" in lint(loaded)[0].message


GROUP = "---\ntype: resource-group\nname: cheap\nresources: [model:acme/mini]\n"
ROLE = "---\ntype: role\nname: reader\npermissions: [policy:read]\n"


def test_a_group_and_a_role_that_nothing_names_are_unused() -> None:
    assert found(rule("a") + GROUP) == [(4, "unused")]
    assert found(rule("a", resources='["resource-group:cheap"]') + GROUP) == []
    assert found(rule("a") + ROLE) == [(4, "unused")]
    held = "---\ntype: user\nname: bob@example.com\nroles: [reader]\n"
    assert found(rule("a") + ROLE + held) == []
    assert found(rule("a", subjects='["role:reader"]') + ROLE) == []


def test_in_a_part_of_an_estate_nothing_is_called_unused(tmp_path: Path) -> None:
    (tmp_path / "part.yaml").write_text(ESTATE + rule("a") + GROUP)
    assert [problem.code for problem in check([tmp_path]).warnings] == ["unused"]
    assert check([tmp_path], partial=True).warnings == ()


def test_the_demo_estate_and_the_shipped_documents_have_no_finding() -> None:
    for folder in ("conf/examples", "policies/shipped"):
        assert check([ROOT / folder]).problems == ()


def test_broken_documents_are_linted_without_a_crash() -> None:
    bad = rule("a", effect="deny", subjects='["nobody", "team:"]', resources='["x", "model:*"]')
    loaded = load_text(ESTATE + bad + rule("b", actions='["no:such"]'), "f.yaml")
    assert {p.severity for p in validate(loaded)} == {"error"}
    assert lint(loaded) == []


def test_a_change_is_warned_of_as_a_file_is() -> None:
    everyone = {"effect": "deny", "subjects": ["team:everyone"], "resources": ["any:model"]}
    documents = [team("search"), account("acme"), policy("house", everyone)]
    assert [p.code for p in validate(as_loaded(documents))] == ["everyone_denied"]
    assert [p.code for p in House().plan(*documents).warnings] == ["everyone_denied"]


VALUES = st.sampled_from([0, 1, 2, 5, True, "a", "ab", "b"])
ITEMS = st.one_of(
    st.builds(Item, st.just("body.x"), st.sampled_from(["EQUAL", "NOT_EQUAL"]).map(Operator), VALUES),
    st.builds(
        Item,
        st.just("body.x"),
        st.sampled_from(["IN", "NOT_IN"]).map(Operator),
        st.lists(VALUES, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(
        Item,
        st.just("body.x"),
        st.sampled_from(
            ["LESS_THAN", "LESS_THAN_EQUAL", "GREATER_THAN", "GREATER_THAN_EQUAL"]
        ).map(Operator),
        st.integers(0, 6),
    ),
    st.builds(Item, st.just("body.x"), st.just(Operator.EXISTS), st.booleans()),
    st.builds(
        Item, st.just("body.x"), st.just(Operator.STRING_STARTS_WITH), st.sampled_from(["a", "ab", "b"])
    ),
)  # fmt: skip


@given(st.lists(ITEMS, min_size=1, max_size=4), st.sampled_from(["allow", "deny"]))
@settings(max_examples=150, deadline=None)
def test_what_is_called_impossible_is_met_by_no_value(items: list[Item], effect: str) -> None:
    clash = contradiction(items, effect)
    if clash is None:
        return
    compiled = compile_condition(Condition(tuple(items)))
    for value in [None, 0, 1, 2, 3, 4, 5, 6, 7, 2.5, True, False, "a", "ab", "abc", "b", "z"]:
        values = {} if value is None else {"body.x": value}
        met = evaluate(compiled, Reading(Context(values), "user:u-1", "model:a/b"), effect)
        assert met is not True
        if clash.extent is Extent.NEVER and effect == "deny":
            assert met is False


def test_a_record_of_two_teams_may_meet_two_tests_of_its_teams() -> None:
    tests = [Item("record.created_by_team", Operator.EQUAL, f"team:{name}") for name in ("a", "b")]
    assert contradiction(tests, "allow") is None
    assert contradiction([replace(one, field="record.created_by") for one in tests], "allow")
