"""Patterns of documents: what is known is read as everybody reads it, what could go astray is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.patterns import MAX_PATTERN, BadPattern, compiled


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"EMP-\d{6}", "of EMP-123456 and", "EMP-123456"),
        (r"[A-Z]{2}\d+", "xAB12y", "AB12"),
        (r"(?:ab|cd){2,}", "xabcdabx", "abcdab"),
        (r"(secret|key)=\S+", "key=a%b c", "key=a%b"),
        (r"\bcat\b", "a cat!", "cat"),
        (r"a\.b\{1\}", "a.b{1}", "a.b{1}"),
        (r"[^\]\s]+x?", "]]ab ", "ab"),
        (r"colou?r", "color", "color"),
        (r"é{2}", "éé", "éé"),
    ],
)
def test_what_is_known_means_what_it_means_elsewhere(pattern: str, text: str, found: str) -> None:
    match = compiled(pattern).search(text)
    assert match is not None and match[0] == found


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+b", r"(a|a)*{2}", r".*.*.*.*.*.*.*.*.*x", r"(?=a)b", r"(?<!a)b", r"(a)\1", r"(?P<x>a)", r"(?i)a",
        r"^a", r"a$", r"a**", r"a+?", r"*a", r"a{3", r"a{5,2}", r"a{2000}", r"[[:alpha:]]", r"[]", r"[a", r"(a",
        r"a)", r"", r"a?", r"(|a)", r"\b", r"\b+a", r"\Aa", r"\x41", r"\u0041", r"[z-a]", r"[a&&b]", "a\\", r"{2}",
        "(" * 20 + "a" + ")" * 20, "a" * (MAX_PATTERN + 1),
    ],
)  # fmt: skip
def test_what_is_not_known_or_too_much_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compiled(pattern)


def test_the_error_says_where() -> None:
    with pytest.raises(BadPattern, match="at character 4"):
        compiled("ab(?=c)")


def test_a_repetition_gives_nothing_back() -> None:
    assert compiled("a+b").search("aaab")
    assert compiled("a+ab").search("aaab") is None
    assert compiled("(?:a|ab)c").search("abc") is None


LETTERS = st.sampled_from(["a", "b", r"\d", "[ab]", ".", "[^a]", " "])
PATTERNS = st.recursive(
    LETTERS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{1,3}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=8,
)


@given(PATTERNS, st.text("ab1 ", max_size=30))
def test_whatever_it_finds_the_pattern_as_it_is_written_matches_too(
    pattern: str, text: str
) -> None:
    try:
        found = compiled(pattern).search(text)
    except BadPattern:
        return
    assert found is None or re.fullmatch(pattern, found[0])
