"""Patterns are anchored, stay inside their account, and cost little whatever they are."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import globs


@pytest.mark.parametrize(
    ("pattern", "model", "expected"),
    [
        ("model:acme/gpt-4*", "model:acme/gpt-4", True),
        ("model:acme/gpt-4*", "model:acme/gpt-4o/x", True),
        ("model:acme/gpt-4*", "model:acme2/gpt-4", False),
        ("model:acme/gpt-4*", "model:acme/xgpt-4", False),
        ("model:acme/gpt-4", "model:acme/gpt-4o", False),
        ("model:acme/*", "model:acme/a/b", True),
        ("model:*/gpt", "model:a/b/gpt", False),
        ("model:*/gpt", "model:a/gpt", True),
        ("model:a?/x", "model:ab/x", True),
        ("model:a?/x", "model:a/x", False),
        ("model:acme/a.c*", "model:acme/abc", False),
        ("model:acme/*", "provider-account:acme", False),
        ("team:*", "team:search", False),
        ("model:acme/*", "model:acme", False),
        ("mcp-tool:github/get_*", "mcp-tool:github/get_issue", True),
        ("mcp-tool:github/get_*", "mcp-tool:github2/get_issue", False),
        ("mcp-tool:*/delete_*", "mcp-tool:jira~2/delete_all", True),
        ("mcp-tool:github/*", "mcp-prompt:github/x", False),
        ("mcp-tool:acme/*", "model:acme/x", False),
        ("mcp-resource:docs/file:///a/*", "mcp-resource:docs/file:///a/b%20c", True),
        ("mcp-tool:*", "mcp-server:github", False),
    ],
)
def test_a_pattern_matches_whole_names_only(pattern: str, model: str, expected: bool) -> None:
    assert globs.matches(pattern, model) is expected


@pytest.mark.parametrize(
    ("pattern", "valid", "account"),
    [
        ("model:acme/*", True, "acme"),
        ("model:*/x", True, None),
        ("model:*", False, None),
        ("model:acme/", False, "acme"),
        ("model:acme/[ab]", False, "acme"),
        ("model:acme/%2A", False, "acme"),
        ("team:x/*", False, "x"),
        ("mcp-tool:github/*", True, "github"),
        ("mcp-tool:*/x", True, None),
        ("mcp-resource:docs/a%20b*", True, "docs"),
        ("mcp-resource:docs/a b*", False, "docs"),
        ("mcp-server:*", False, None),
    ],
)
def test_a_pattern_says_its_account(pattern: str, valid: bool, account: str | None) -> None:
    assert globs.is_valid(pattern) is valid
    assert globs.account_of(pattern) == account


NAMES = st.text(alphabet="ab/*?", min_size=1, max_size=12)


@given(NAMES, st.text(alphabet="ab/", min_size=1, max_size=12))
def test_matching_equals_a_regular_expression(pattern: str, name: str) -> None:
    text = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    expected = re.fullmatch(text, name, re.DOTALL) is not None
    assert globs.matches(f"model:x/{pattern}", f"model:x/{name}") is expected


def test_no_pattern_backtracks_without_end() -> None:
    start = time.process_time()
    globs.matches("model:x/" + "a*" * 60 + "b", "model:x/" + "a" * 128)
    assert time.process_time() - start < 1
