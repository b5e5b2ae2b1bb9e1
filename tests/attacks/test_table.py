"""`docs/attacks.md` is true: every number has its tests, every test exists and names its number."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "attacks.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NUMBERS = {f"{letter}{n}" for letter, last in (("K", 18), ("M", 10), ("P", 24), ("D", 8), ("A", 13), ("B", 8), ("H", 10), ("I", 11))
           for n in range(1, last + 1)}  # fmt: skip
NUMBERS |= {"T1", "T2", "T3", "T5", "T8", "T14"}


def lines() -> list[tuple[str, str]]:
    """(number, the cell of tests) of each line of the tables."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| #")
    ]
    return [(number, tests) for number, _, tests in cells]


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_every_number_has_one_line() -> None:
    numbers = [number for number, _ in lines()]
    assert len(numbers) == len(set(numbers))
    assert {number for number in numbers if not number.startswith("4.")} == NUMBERS


@pytest.mark.parametrize(("number", "cell"), lines())
def test_a_line_names_tests_that_exist_and_name_the_number(number: str, cell: str) -> None:
    named = TEST.findall(cell)
    assert named or cell.startswith("later: "), cell
    assert re.sub(TEST, "", cell).replace("<br>", "") == "" or cell.startswith("later: ")
    for file, test in named:
        assert test in functions_of(file), f"{file}::{test}"
    if named and not number.startswith("4."):
        word = re.compile(rf"(?<![A-Za-z0-9]){number}(?![0-9])")
        assert any(word.search((ROOT / file).read_text("utf-8")) for file, _ in named), number


def test_every_test_here_that_names_a_number_is_in_the_table() -> None:
    """So that a reader of the table finds all of them."""
    page = PAGE.read_text("utf-8")
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        for test in functions_of(f"tests/attacks/{file.name}"):
            found = re.match(r"test_([kmdabhipt]\d+)_", test)
            if found:
                line = re.search(rf"^\| {found[1].upper()} \|.*$", page, re.MULTILINE)
                assert line is not None and f"::{test}`" in page, f"{file.name}::{test}"
