"""What is kept of a request: `never` wins, then `always`, then the caller's header, then the default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from multidict import CIMultiDict

from policies.documents import LoggingConfig, parse
from policies.redaction import Counted, Redactor
from proxy.logging_rules import LoggingRules, Said

NOBODY = CIMultiDict[str]()
YES = {"x-gatewarden-logging-config": '{"enabled": true}'}
NO = {"x-tfy-logging-config": '{"enabled": false}'}


@dataclass(frozen=True)
class Snapshot:
    documents: tuple[LoggingConfig, ...]


def config(*rules: dict[str, Any], name: str = "logging", **fields: Any) -> LoggingConfig:
    made = [{"id": f"r{number}", **rule} for number, rule in enumerate(rules)]
    found = parse({"type": "gateway-logging-config", "name": name, "rules": made, **fields})
    assert isinstance(found, LoggingConfig)
    return found


def rules_of(*documents: LoggingConfig, by_default: bool = False) -> LoggingRules:
    rules = LoggingRules(by_default)
    rules.load(Snapshot(documents))
    return rules


def said(
    who: str = "user:u-1",
    groups: tuple[str, ...] = ("team:search",),
    model: str = "acme/mini",
    **fields: Any,
) -> Said:
    return Said(
        who, lambda: groups, fields.pop("pinned", {}), fields.pop("claimed", {}), model, **fields
    )


def keeps(rules: LoggingRules, of: Said | None = None, headers: Any = ()) -> bool:
    return rules.keeps(of or said(), CIMultiDict(headers)) is not None


def test_without_a_rule_the_header_decides_and_without_that_the_default() -> None:
    rules = rules_of()
    assert not keeps(rules) and keeps(rules, headers=YES)
    assert keeps(rules_of(by_default=True)) and not keeps(rules_of(by_default=True), headers=NO)


def test_it_is_silent_only_where_nothing_could_be_kept() -> None:
    assert rules_of().silent(NOBODY)
    assert not rules_of().silent(CIMultiDict(NO))
    assert not rules_of(by_default=True).silent(NOBODY)
    assert not rules_of(config({"log": "never"})).silent(NOBODY)


@pytest.mark.parametrize(
    "value",
    ["", "true", "{}", "[]", '{"enabled": 1}', '{"enabled": "true"}', '{"enabled": true, "x": 1}', "[" * 5000,
     '{"enabled": true, "enabled": false}', '{"enabled": true}' + " " * 2000, '{"enabled": false}'],
)  # fmt: skip
def test_a_header_that_does_not_plainly_say_yes_says_no(value: str) -> None:
    assert not keeps(rules_of(by_default=True), headers={"x-gatewarden-logging-config": value})


def test_two_headers_that_differ_say_no() -> None:
    assert not keeps(rules_of(), headers={**YES, **NO})


def test_never_wins_over_always_and_always_over_the_header() -> None:
    always, never = {"log": "always"}, {"log": False, "when": {"subjects": {"in": ["team:search"]}}}
    assert keeps(rules_of(config(always)), headers=NO)
    assert not keeps(rules_of(config(always, never)), headers=YES)
    assert not keeps(rules_of(config(never, name="a"), config(always, name="b")))
    assert keeps(rules_of(config(always, never)), said(groups=()))


@pytest.mark.parametrize(
    ("when", "of", "matches"),
    [
        ({"subjects": {"in": ["user:u-1"]}}, said(), True),
        ({"subjects": {"in": ["any:user"]}}, said(), True),
        ({"subjects": {"in": ["any:virtualaccount"]}}, said(), False),
        ({"subjects": {"in": ["virtual-account:va"]}}, said("virtualaccount:va"), True),
        ({"subjects": {"not_in": ["team:search"]}}, said(), False),
        ({"subjects": {"in": ["any:user"], "not_in": ["user:u-2"]}}, said(), True),
        ({"models": {"in": ["acme/*"]}}, said(), True),
        ({"models": {"in": ["acme/mini"], "not_in": ["*/mini"]}}, said(), False),
        ({"models": {"in": ["acme/mini"]}}, said(model="acme~2/mini"), True),
        ({"models": {"in": ["acme/*"]}}, said(model="", server="github"), False),
        ({"servers": {"in": ["git*"]}}, said(model="", server="github~3"), True),
        ({"servers": {"in": ["git*"]}, "models": {"in": ["acme/*"]}}, said(), True),
        ({"models": {"in": ["b/*"]}, "metadata": {"env": "prod"}}, said(pinned={"env": "prod"}), False),
        ({"metadata": {"env": ["prod", "test"]}}, said(pinned={"env": "test"}), True),
        ({"metadata": {"env": "prod"}}, said(), False),
    ],
)  # fmt: skip
def test_all_that_a_rule_says_must_hold(when: dict[str, Any], of: Said, matches: bool) -> None:
    assert keeps(rules_of(config({"log": "always", "when": when})), of) is matches
    rules = rules_of(config({"log": "never", "when": when}), by_default=True)
    assert keeps(rules, of) is not matches


def test_a_claim_can_prevent_and_never_record() -> None:
    claim = said(claimed={"env": "prod"})
    when = {"metadata": {"env": "prod"}}
    assert not keeps(rules_of(config({"log": "always", "when": when})), claim)
    assert not keeps(rules_of(config({"log": "never", "when": when}), by_default=True), claim)
    pinned = said(claimed={"env": "prod"}, pinned={"env": "test"})
    assert keeps(rules_of(config({"log": "never", "when": when}), by_default=True), pinned)


def test_a_rule_that_protects_holds_for_whoever_has_the_name_again() -> None:
    newcomer = said(groups=("team:search~2",))
    never = config({"log": "never", "when": {"subjects": {"in": ["team:search"]}}})
    assert not keeps(rules_of(never, by_default=True), newcomer)
    always = config({"log": "always", "when": {"subjects": {"in": ["team:search"]}}})
    assert not keeps(rules_of(always), newcomer)
    spared = config({"log": "always", "when": {"subjects": {"not_in": ["team:search"]}}})
    assert not keeps(rules_of(spared), newcomer)
    hidden = config({"log": "never", "when": {"subjects": {"not_in": ["team:search"]}}})
    assert not keeps(rules_of(hidden, by_default=True), newcomer)


def redactor(rules: LoggingRules, of: Said | None = None) -> Redactor:
    found = rules.keeps(of or said(), NOBODY)
    assert found is not None
    return found


def test_redactions_of_all_rules_that_match_add_up_and_others_do_not() -> None:
    rules = rules_of(
        config(
            {"log": "always", "redact_with": {"presets": ["email"]}},
            {"redact_with": {"custom_patterns": [{"pattern": "EMP-[0-9]+"}]}},
            {"redact_with": {"presets": ["iban"]}, "when": {"models": {"in": ["other/*"]}}},
        )
    )
    found = redactor(rules).text("a@b.example EMP-12 GB82WEST12345698765432", Counted())
    assert found == "[email] [redacted] GB82WEST12345698765432"
    assert redactor(rules) is redactor(rules)


def test_a_rule_that_is_switched_off_says_nothing() -> None:
    assert not keeps(rules_of(config({"log": "always", "enabled": False})))


def test_the_shortest_retention_of_all_documents_holds() -> None:
    rules = rules_of(
        config(name="a", retention={"payloads": 30, "requests": 90}),
        config(name="b", retention={"payloads": 7}),
    )
    kept = rules.retention()
    assert (kept.payloads, kept.requests, kept.decisions) == (7, 90, None)
