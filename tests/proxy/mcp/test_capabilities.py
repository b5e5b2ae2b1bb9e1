"""What would be refused is not announced; what may be used still is."""

from __future__ import annotations

import pytest

from proxy.mcp.capabilities import capabilities_without, usable
from proxy.mcp.era import Generation
from proxy.mcp.primitive import Primitive

S, N = Generation.SESSIONS, Generation.STATELESS
FULL = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "logging": {},
    "completions": {},
    "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
    "extensions": {"com.example/a": {}, "com.example/b": {}},
    "experimental": {"x": {}},
}
EVERY = frozenset(Primitive)


def test_who_may_use_everything_is_told_of_everything_that_has_a_meaning_here() -> None:
    left = capabilities_without(FULL, usable(S, EVERY))
    assert left == {k: v for k, v in FULL.items() if k not in ("extensions", "experimental")}
    stateless = capabilities_without(FULL, usable(N, EVERY))
    assert stateless == {k: v for k, v in left.items() if k != "tasks"}


@pytest.mark.parametrize(
    ("primitives", "left"),
    [
        ({Primitive.TOOL}, {"tools", "tasks", "logging"}),
        ({Primitive.PROMPT}, {"prompts", "completions", "logging"}),
        ({Primitive.RESOURCE}, {"resources", "logging"}),
        ({Primitive.TEMPLATE}, {"resources", "completions", "logging"}),
        (set(), {"logging"}),
    ],
)
def test_less_is_told_to_who_may_use_less(primitives: set[Primitive], left: set[str]) -> None:
    assert set(capabilities_without(FULL, usable(S, primitives))) == left
    assert set(capabilities_without(FULL, usable(N, primitives))) == left - {"tasks"}


def test_a_feature_goes_without_its_capability_and_others_stay() -> None:
    may = usable(S, EVERY) - {"resources.subscribe", "tasks.list", "logging"}
    left = capabilities_without(FULL, may)
    assert left["resources"] == {"listChanged": True}
    assert left["tasks"] == {"cancel": {}, "requests": {"tools": {"call": {}}}}
    assert "logging" not in left


def test_an_extension_is_kept_by_name() -> None:
    left = capabilities_without(FULL, {"extensions.com.example/a", "experimental"})
    assert left == {"extensions": {"com.example/a": {}}, "experimental": {"x": {}}}


def test_what_is_given_is_not_changed() -> None:
    given = {"tools": {"listChanged": True}, "odd": 1}
    assert capabilities_without(given, {"odd"}) == {"odd": 1}
    assert given == {"tools": {"listChanged": True}, "odd": 1}
