"""The report of `gatewarden check`: all findings, an exit code, and the same as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from policies.check import check

TEAM = "type: team\nname: {}\nmembers: []\n"


def test_a_clean_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEAM.format("a"))
    report = check([tmp_path])
    assert list(report.lines()) == ["1 document in 1 file: 0 errors, 0 warnings"]
    assert report.exit_code == 0


def test_errors_of_all_files_are_reported_sorted_and_make_the_exit_code_one(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("type: tem\nname: x\n")
    (tmp_path / "a.yaml").write_text(
        TEAM.format("v1") + "displayname: x\n---\n" + TEAM.format("V1")
    )
    report = check([tmp_path])
    assert report.exit_code == 1
    places = [(Path(p.file).name, p.line, p.code) for p in report.problems]
    assert places == [("a.yaml", 4, "unknown_field"), ("a.yaml", 7, "reserved_name"), ("b.yaml", 1, "unknown_type")]  # fmt: skip
    assert list(report.lines())[-1] == "1 document in 2 files: 3 errors, 0 warnings"


def test_references_between_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "type: virtual-account\nname: v\nownedBy: {team: search}\nroles: [auditor]\n"
    )
    assert check([tmp_path]).errors[0].code == "dangling"
    (tmp_path / "b.yaml").write_text(TEAM.format("search"))
    assert check([tmp_path]).exit_code == 0


def test_warnings_alone_leave_the_exit_code_at_zero(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "type: virtual-account\nname: v\nexpiration_date: 2026-01-01\n"
    )
    assert check([tmp_path]).warnings == ()
    report = check([tmp_path], now=datetime(2026, 2, 1, tzinfo=UTC))
    assert [p.code for p in report.warnings] == ["expired"]
    assert report.exit_code == 0


def test_the_json_report_holds_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("type: mcp-server/stdio\nname: x\n---\ntype: tem\n")
    report = check([tmp_path], skip_unsupported=True)
    data = json.loads(json.dumps(report.to_json()))
    assert data["ok"] is False
    assert (data["documents"], data["errors"], data["warnings"]) == (0, 1, 0)
    assert data["problems"][0]["code"] == "unknown_type"
    assert data["problems"][0]["line"] == 4
    assert data["problems"][0]["hint"] == "did you mean `team`?"
    assert data["skipped"][0]["what"] == "the type `mcp-server/stdio`"
    assert any("skipped" in line for line in report.lines())


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert check([tmp_path / "none"]).exit_code == 1


def test_a_part_of_an_estate_may_name_what_it_does_not_declare(tmp_path: Path) -> None:
    text = (
        "type: role-binding\nname: x\nsubjects: [{type: team, name: search}]\n"
        "permissions: [{resourceType: model, resourceFqn: acme/mini, role: no-such-role}]\n"
    )
    (tmp_path / "part.yaml").write_text(text)
    assert check([tmp_path]).exit_code == 1
    report = check([tmp_path], partial=True)
    assert report.exit_code == 0
    assert {problem.severity for problem in report.problems} == {"warning"}
