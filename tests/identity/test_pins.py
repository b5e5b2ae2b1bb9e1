"""Which pinned metadata a caller gets: the rule is written in the module's docstring."""

from __future__ import annotations

from typing import Any

import pytest

from identity.pins import Pins
from policies.documents import MetadataConfig, MetadataRule


@pytest.fixture
def pins(log: Any) -> Pins:
    pins = Pins()
    log.subscribe(pins)
    return pins


def rule(number: int, *subjects: str, **override: str) -> MetadataRule:
    return MetadataRule(id=f"r{number}", subjects=subjects, metadata_override=override)


def config(*rules: MetadataRule, name: str = "metadata") -> MetadataConfig:
    return MetadataConfig(name=name, rules=rules)


def test_nothing_is_pinned_without_rules(pins: Pins) -> None:
    assert pins.pinned("user:u-1", ["team:search"]) == {}


@pytest.mark.parametrize(
    ("subject", "matches"),
    [
        ("user:u-1", True),
        ("user:u-2", False),
        ("team:search", True),
        ("team:sea", False),
        ("role:auditor", True),
        ("any:user", True),
        ("any:subject", True),
        ("any:virtualaccount", False),
        ("virtualaccount:u-1", False),
    ],
)
def test_rule_matches_the_caller_and_his_groups(
    log: Any, pins: Pins, subject: str, matches: bool
) -> None:
    log.put(config(rule(1, subject, cost="1")))
    expected = {"cost": "1"} if matches else {}
    assert pins.pinned("user:u-1", ["team:search", "role:auditor"]) == expected


def test_later_rule_wins_for_each_key(log: Any, pins: Pins) -> None:
    log.put(
        config(
            rule(1, "any:subject", tier="free", region="eu"),
            rule(2, "team:search", tier="gold"),
            rule(3, "user:u-2", tier="none"),
        )
    )
    assert pins.pinned("user:u-1", ["team:search"]) == {"tier": "gold", "region": "eu"}
    assert pins.pinned("user:u-1", []) == {"tier": "free", "region": "eu"}
    assert pins.pinned("user:u-2", ["team:search"]) == {"tier": "none", "region": "eu"}


def test_order_of_groups_does_not_matter(log: Any, pins: Pins) -> None:
    log.put(config(rule(1, "team:a", k="1"), rule(2, "team:b", k="2")))
    assert pins.pinned("user:u-1", ["team:b", "team:a"]) == {"k": "2"}
    assert pins.pinned("user:u-1", {"team:a", "team:b"}) == {"k": "2"}


def test_documents_are_taken_in_order_of_their_names(log: Any, pins: Pins) -> None:
    log.put(config(rule(1, "any:user", k="b"), name="b"))
    log.put(config(rule(1, "any:user", k="a"), name="a"))
    assert pins.pinned("user:u-1", []) == {"k": "b"}
    log.delete(("gateway-metadata-config", "b"))
    assert pins.pinned("user:u-1", []) == {"k": "a"}


def test_rule_without_subjects_matches_nobody(log: Any, pins: Pins) -> None:
    log.put(config(rule(1, k="v")))
    assert pins.pinned("user:u-1", ["team:search"]) == {}


def test_older_spelling_of_a_subject_is_understood(log: Any, pins: Pins) -> None:
    log.put(config(rule(1, "serviceaccount:checkout", k="v")))
    assert pins.pinned("virtualaccount:checkout", []) == {"k": "v"}


def test_caller_cannot_change_what_is_pinned(log: Any, pins: Pins) -> None:
    """I9: what is pinned is stamped by us and never mixed with claims."""
    log.put(config(rule(1, "any:user", k="v")))
    pinned: Any = pins.pinned("user:u-1", [])
    with pytest.raises(TypeError):
        pinned["k"] = "mine"


def test_change_and_load_come_to_the_same(log: Any, pins: Pins) -> None:
    log.put(config(rule(1, "any:user", k="old")))
    log.put(config(rule(1, "team:search", k="new")))
    fresh = Pins()
    fresh.load(log)
    for groups in ([], ["team:search"]):
        assert fresh.pinned("user:u-1", groups) == pins.pinned("user:u-1", groups)
    assert pins.pinned("user:u-1", []) == {}
