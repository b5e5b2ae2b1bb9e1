"""Documents as YAML: whatever is written is read back as the same value."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from proxy import yaml_text

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "yes",
        "No",
        "null",
        "~",
        "1.5",
        "2026-11-25",
        "a: b",
        "# x",
        " x",
        "x ",
        "a\nb\n",
        "\n",
        "- x",
        "&a",
    ]
)
_VALUES = st.recursive(
    _TEXT | st.booleans() | st.integers(-(10**9), 10**9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(_TEXT, _VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_back(value: dict[str, Any]) -> None:
    assert YAML(typ="safe", pure=True).load(yaml_text.document(value)) == value


def test_plain_names_stand_without_quotes() -> None:
    made = yaml_text.document({"type": "team", "members": ["ann@example.com"], "tags": {}})
    assert made == "type: team\nmembers:\n  - ann@example.com\ntags: {}\n"
