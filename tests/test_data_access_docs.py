"""The page on records: its rules load, its edge cases are tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from policies.documents import DataAccessConfig
from policies.loader import load_text
from policies.validate import validate

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/logs.md").read_text("utf-8")
TEAMS = "".join(f"type: team\nname: {name}\nmembers: []\n---\n" for name in ("support", "legal"))


def test_the_rules_of_the_page_are_without_fault() -> None:
    (example,) = re.findall(r"```yaml\n(type: gateway-data-access-config\n.*?)```", PAGE, re.DOTALL)
    loaded = load_text(TEAMS + example, "logs.md")
    assert [one.text() for one in validate(loaded) if one.code != "empty_list"] == []
    assert any(isinstance(one, DataAccessConfig) for one in loaded.plain())


def test_each_ruling_names_tests_that_exist() -> None:
    table = PAGE.partition("## Edge cases of data access")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for line in rows:
        named = re.findall(r"`(tests/[^`]+)::(\w+)`", line)
        assert named, line
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text("utf-8"), name


def test_each_test_of_an_edge_case_stands_in_the_table() -> None:
    path = "tests/proxy/api/test_data_access.py"
    for name in re.findall(r"def (test_\w+)\(", (ROOT / path).read_text("utf-8")):
        assert f"`{path}::{name}`" in PAGE, name
