"""Logging configurations: how they are written, checked and stored."""

from __future__ import annotations

import re
from pathlib import Path

from policies.documents import LoggingConfig, dump, parse
from policies.errors import Problem
from policies.loader import load_text
from policies.patterns import compiled
from policies.validate import validate

ESTATE = """\
type: team
name: search
members: [ann@example.com]
---
type: provider-account/echo
name: acme
integrations:
  - {type: integration/model/echo, name: mini}
---
type: mcp-server/echo
name: tools
---
"""


def problems(text: str) -> list[Problem]:
    return validate(load_text(ESTATE + text, "f.yaml"))


def codes(rule: str) -> list[str]:
    return [p.code for p in problems(f"type: gateway-logging-config\nrules:\n  - {rule}\n")]


def test_a_rule_that_means_something_has_no_fault() -> None:
    rule = """{id: a, log: never, when: {subjects: {in: ["team:search"], not_in: ["user:ann@example.com"]},
      models: {in: [acme/mini, "*/gpt-*"]}, servers: {in: [tools]}, metadata: {env: prod, tier: [a, b]}},
      redact_with: {presets: [email, iban], custom_patterns: [{pattern: 'EMP-\\d{6}'}]}}"""
    assert codes(rule) == []


def test_names_that_are_not_there_are_said() -> None:
    when = '{subjects: {in: ["team:nope"]}, models: {in: [acme/nope]}, servers: {not_in: [nope]}}'
    assert codes(f"{{id: a, log: true, when: {when}}}") == ["dangling"] * 3


def test_what_does_nothing_is_said() -> None:
    assert codes("{id: a}") == ["no_effect"]
    assert codes("{id: a, log: never, when: {subjects: {in: []}}}") == ["empty_list"]


def test_unknown_modes_presets_and_wild_patterns_are_refused() -> None:
    assert codes("{id: a, log: sometimes}") == ["wrong_value"]
    assert codes("{id: a, redact_with: {presets: [emial]}}") == ["wrong_value"]
    assert codes('{id: a, redact_with: {custom_patterns: [{pattern: "(a+)+b"}]}}') == [
        "bad_pattern"
    ]


def test_what_was_said_is_not_kept_longer_than_its_request() -> None:
    text = "type: gateway-logging-config\nretention: {payloads: 40, requests: 30}\n"
    assert [p.code for p in problems(text)] == ["never_valid"]


def test_decisions_cannot_be_made_unreadable_at_once() -> None:
    text = "type: gateway-logging-config\nretention: {decisions: 7}\n"
    assert [p.code for p in problems(text)] == ["wrong_value"]


def test_a_document_may_be_a_rule_itself() -> None:
    config = parse(
        {
            "type": "gateway-logging-config",
            "name": "one",
            "log": False,
            "when": {"subjects": {"in": ["team:search"]}},
            "rules": [{"id": "b", "log": True}, {"id": "c", "enabled": False}],
        }
    )
    assert isinstance(config, LoggingConfig)
    assert [(rule.id, rule.mode) for rule in config.every_rule] == [
        ("self", "never"),
        ("b", "always"),
    ]
    assert parse(dump(config)) == config


def test_what_the_pages_show_is_taken() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    for page in ("payloads.md", "prices.md"):
        for block in re.findall(r"```yaml\n(.*?)```", (docs / page).read_text("utf-8"), re.DOTALL):
            assert load_text(block, page).problems == []
            for located in load_text(block, page).documents:
                if isinstance(located.document, LoggingConfig):
                    custom = located.document.rules[-1].redact_with.custom_patterns
                    assert [compiled(one.pattern).pattern for one in custom]
