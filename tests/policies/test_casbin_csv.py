"""Casbin's CSV beside YAML: what it comes to, and each fault at its cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import casbin_csv
from policies.check import check
from policies.documents import Policy, ResourceGroup, RoleBinding, Team, dump
from policies.loader import Loaded, load_paths, load_text
from policies.validate import validate

ACME = """\
type: provider-account/echo
name: acme
integrations: [{type: integration/model/echo, name: mini}, {type: integration/model/echo, name: maxi}]
---
type: virtual-account
name: checkout
"""
RULES = """\
# what the search team may use
p, team:search, model:acme/mini, model:use
p, any:user, "model:acme/maxi", model:use, deny

p2, team:search, model:acme/maxi, model:use, allow
g, user:alice@example.com, team:search
g, user:bob@example.com, team:search
g, user:alice@example.com, role:auditor
g, virtualaccount:checkout, role:auditor
g2, model:acme/mini, resource-group:cheap
"""


def folder(tmp_path: Path, text: str | bytes, name: str = "house.csv") -> Path:
    (tmp_path / "acme.yaml").write_text(ACME)
    raw = text.encode() if isinstance(text, str) else text
    (tmp_path / name).write_bytes(raw)
    return tmp_path


def documents(loaded: Loaded) -> dict[type, dict[str, object]]:
    return {type(each): dump(each) for each in loaded.plain()}


def test_rows_become_one_policy_with_ids_from_lines_and_what_holds_the_memberships(
    tmp_path: Path,
) -> None:
    report = check([folder(tmp_path, RULES)])
    assert [(p.line, p.code) for p in report.problems] == [(5, "shadowed"), (10, "unused")]
    found = documents(load_paths([tmp_path / "house.csv"]))
    policy = found[Policy]
    assert policy["name"] == "house"
    assert [
        (r["id"], r["effect"], r["subjects"], r["resources"], r.get("mode"))  # type: ignore[attr-defined]
        for r in policy["rules"]  # type: ignore[attr-defined]
    ] == [
        ("line-2", "allow", ["team:search"], ["model:acme/mini"], None),
        ("line-3", "deny", ["any:user"], ["model:acme/maxi"], None),
        ("line-5", "allow", ["team:search"], ["model:acme/maxi"], "shadow"),
    ]
    assert found[Team]["members"] == ["user:alice@example.com", "user:bob@example.com"]
    binding = found[RoleBinding]
    assert binding["name"] == "house-auditor"
    assert binding["subjects"] == [
        {"type": "user", "name": "alice@example.com"},
        {"type": "virtualaccount", "name": "checkout"},
    ]
    assert found[ResourceGroup]["resources"] == ["model:acme/mini"]


def test_a_byte_order_mark_and_every_kind_of_line_end_change_nothing(tmp_path: Path) -> None:
    plain = documents(load_paths([folder(tmp_path, RULES) / "house.csv"]))
    for raw in (
        b"\xef\xbb\xbf" + RULES.encode(),
        RULES.replace("\n", "\r\n").encode(),
        RULES.replace("\n", "\r").encode(),
        RULES.replace(", ", " ,\t").encode(),
    ):
        assert documents(load_paths([folder(tmp_path, raw) / "house.csv"])) == plain


@pytest.mark.parametrize(
    ("line", "column", "code", "hint"),
    [
        ("p, team:search, model:acme/mini", 1, "missing_field", "write `p, <subject>"),
        ("p, team:search, model:acme/mini, model:use, alow", 45, "wrong_value", "allow"),
        ("p, team:search, model:acme/mini, model:use, allow, c-1", 52, "unknown_field", "conditions"),
        ("p, , model:acme/mini, model:use", 4, "no_value", "write `p, <subject>"),
        ("p, alice, model:acme/mini, model:use", 4, "bad_subject", "write `user:<e-mail>`"),
        ("p, alice@example.com, model:acme/mini, model:use", 4, "bad_subject", "user:alice@"),
        ("p, team:search, acme/mini, model:use", 17, "bad_resource", "model:acme/mini"),
        ("p, team:search, model:acme/mini, read", 34, "unknown_action", ""),
        ("p, team:search, model:acme/mini, *", 34, "wild_action", "name the actions"),
        ('p, "team:search, model:acme/mini, model:use', 4, "csv_syntax", "close the quote"),
        ('p, "team:search" x, model:acme/mini, model:use', 4, "csv_syntax", "close the quote"),
        ("p; team:search; model:acme/mini; model:use", 1, "unknown_row", "commas"),
        ("ptype,v0,v1,v2", 1, "unknown_row", "remove the heading"),
        ("r, a, b", 1, "unknown_row", "write `p, <subject>"),
        ("g, team:a, team:search", 4, "bad_membership", "people only"),
        ("g, alice, admin", 4, "bad_membership", "user:<e-mail>"),
        ("g, user:alice@example.com", 1, "missing_field", "write `g, user:"),
        ("g, user:alice, team:search", 4, "bad_email", "name@example.com"),
        ("g, user:a@example.com, team:a b", 29, "bad_name", ""),
        ("g, user:a@example.com, role:none", 29, "dangling", ""),
        ("g2, data:traces/all, resource-group:x", 5, "bad_resource", ""),
        ("g3, model:use, bundle", 1, "unsupported", "role"),
        ("p, =cmd|' /C calc'!A0, model:acme/mini, model:use", 4, "bad_subject", "user:"),
        ("p, user:=HYPERLINK(1), model:acme/mini, model:use", 4, "bad_email", ""),
        ("+p, team:search, model:acme/mini, model:use", 1, "unknown_row", ""),
        ("g, user:a@example.com, team:@SUM", 29, "bad_name", ""),
    ],
)  # fmt: skip
def test_each_fault_is_reported_at_its_cell(
    tmp_path: Path, line: str, column: int, code: str, hint: str
) -> None:
    good = "p, any:user, model:acme/maxi, model:use\ng, user:bob@example.com, team:search\n"
    report = check([folder(tmp_path, good + line + "\n")])
    (problem,) = report.errors
    assert (problem.line, problem.column, problem.code) == (3, column, code), problem.text()
    assert hint in problem.hint


def test_a_file_whose_name_is_no_name_is_reported(tmp_path: Path) -> None:
    report = check([folder(tmp_path, "p, any:user, model:acme/mini, model:use\n", "=my rules.csv")])
    assert [(p.code, p.line) for p in report.errors] == [("bad_name", 1)]


def test_a_team_that_is_declared_elsewhere_too_is_a_duplicate(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("type: team\nname: search\nmembers: []\n")
    report = check([folder(tmp_path, "g, user:a@example.com, team:search\n")])
    assert [p.code for p in report.errors] == ["duplicate"]


def test_a_control_character_and_too_many_rows_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = load_text("# ok\r\np, a\x00b", "x.csv")
    assert [(p.line, p.column, p.code) for p in loaded.problems] == [(2, 5, "bad_character")]
    monkeypatch.setattr(casbin_csv, "MAX_ROWS", 20)
    loaded = load_text("p, any:user, any:model, model:use\n" * 21, "x.csv")
    assert [(p.line, p.code) for p in loaded.problems] == [(21, "too_large")]
    assert loaded.documents == []


CELLS = st.sampled_from(
    ["p", "g", "g2", '"', '""', ",", " ", "\n", "\r\n", "#", "team:a", "user:a@b.cc", "model:use", "=", "allow"]
)  # fmt: skip


@given(st.lists(CELLS, max_size=25).map("".join) | st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_no_text_crashes_the_reader_and_every_finding_has_a_place(text: str) -> None:
    loaded = load_text(text, "x.csv")
    problems = validate(loaded)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)
    if not loaded.documents and text.strip() and not text.lstrip().startswith(("#", "\ufeff")):
        assert problems or all(line.lstrip().startswith("#") for line in text.splitlines() if line.strip())  # fmt: skip
