"""Which regular expressions are tried, and that the others are left alone."""

from __future__ import annotations

import pytest

from proxy.mcp.patterns import differs, steps


@pytest.mark.parametrize(
    ("pattern", "length"),
    [
        (r"^[a-z0-9-]+$", 200),
        (r"^\d{4}-\d{2}-\d{2}$", 1_000),
        (r"^(?:red|green|blue)$", 100),
        (r"^[^@]+@[^@]+$", 60),
        (r"[)]*x", 50),
    ],
)
def test_simple_patterns_are_tried(pattern: str, length: int) -> None:
    assert steps(pattern, length) is not None


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(a+)+$",
        r"^(a|aa)*b$",
        r"(x){2,50}",
        r"^(.*)\1$",
        r"^(?=a*b)a",
        r"^(?P<x>a)",
        "a?" * 30 + "a" * 30,
        "^" + "(a|b)" * 9 + "$",
        "a" * 2_000,
    ],
)
def test_patterns_whose_work_multiplies_are_not(pattern: str) -> None:
    assert steps(pattern, 100) is None


def test_a_long_text_is_left_to_the_service() -> None:
    assert steps("a*a*b", 20) is not None
    assert steps("a*a*b", 200) is None


def test_a_pattern_of_another_dialect_differs_from_nothing() -> None:
    assert differs("^a$", "b")
    assert not differs("^a$", "a")
    assert not differs(r"^\p{L}$", "b")
