"""Decision cases: a case that holds passes, one that does not says what came instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.cases import CaseReport, run

MODEL = (Path(__file__).parents[2] / "conf" / "model.conf").read_text()

FIXTURE = """\
documents:
  - {type: user, name: alice@example.com}
  - {type: team, name: search, members: [alice@example.com]}
  - type: provider-account/echo
    name: acme
    collaborators:
      - {subject: "user:alice@example.com", role_id: provider-account-access}
    integrations:
      - {type: integration/model/echo, name: mini}
  - type: policy
    name: p
    rules:
      - id: night
        effect: deny
        subjects: ["team:search"]
        actions: [model:use]
        resources: ["model:acme/*"]
        when: [{field: time.hour, operator: LESS_THAN, value: 6}]
        message: not at night
      - id: "off"
        effect: deny
        enabled: false
        subjects: ["any:subject"]
        actions: ["*"]
        resources: ["any:model"]
"""


def report(tmp_path: Path, text: str, fixture: str = FIXTURE) -> CaseReport:
    (tmp_path / "x.cases.yaml").write_text(fixture + text)
    return run([tmp_path], MODEL)


def case(**fields: str) -> str:
    fields = {"as": '"user:alice@example.com"', "action": '"model:use"',
              "resource": '"model:acme/mini"', "expect": "allow", **fields}  # fmt: skip
    return "cases:\n  - {" + ", ".join(f"{k}: {v}" for k, v in fields.items()) + "}\n"


def test_cases_that_hold_pass(tmp_path: Path) -> None:
    rule = "provider-account/acme#collaborator/user:alice@example.com/provider-account-access"
    text = case(reason="allowed", rule=f'"{rule}"')
    assert list(report(tmp_path, text).lines()) == ["1 cases, 0 failed"]
    night = case(
        now='"2026-01-07T03:00:00Z"', expect="deny", reason="denied_by_rule", rule='"policy/p#night"',
        message="not at night",
    )  # fmt: skip
    assert report(tmp_path, night).exit_code == 0
    by_hour = case(context="{time: {hour: 3}}", expect="deny", rule='"policy/p#night"')
    assert report(tmp_path, by_hour).exit_code == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"expect": "deny"}, "expected deny, got allow (allowed, provider-account/acme#"),
        ({"resource": '"model:acme/x"'}, "expected allow, got deny (unknown_resource, no rule)"),
        ({"expect": "deny", "reason": "error", "resource": '"model:acme/x"'}, "expected the reason error"),
        ({"rule": "a/b#c"}, "expected the rule a/b#c, got provider-account/acme#"),
        ({"message": "hello"}, "expected the message `hello`, got ``"),
        ({"shadow": "deny"}, "expected the shadow effect deny, got none"),
        ({"as": '"user:eve@example.com"'}, "no document mentions `eve@example.com`"),
        ({"bound": "search"}, "expected allow, got deny (outside_bound"),
    ],
)  # fmt: skip
def test_a_case_that_does_not_hold_says_what_came_instead(
    tmp_path: Path, fields: dict[str, str], said: str
) -> None:
    result = report(tmp_path, case(**fields))
    assert result.exit_code == 1
    assert result.failed[0].line == FIXTURE.count("\n") + 2
    assert said in next(iter(result.lines()))
    assert result.to_json()["failed"][0]["failures"]


def test_a_rule_that_is_off_can_be_switched_on(tmp_path: Path) -> None:
    assert report(tmp_path, "enable: [p/off]\n" + case(expect="deny")).exit_code == 0
    wrong = report(tmp_path, "enable: [p/of]\n" + case())
    assert [problem.code for problem in wrong.problems] == ["dangling"]


def test_a_fixture_is_found_beside_the_file_and_its_faults_are_said(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("type: team\nname: search\nmembers: [alice@example.com]\n")
    text = 'fixture: team.yaml\ncases:\n  - {as: "user:alice@example.com", action: self:read, resource: self:caller, expect: deny}\n'
    (tmp_path / "a.cases.yaml").write_text(text)
    assert run([tmp_path / "a.cases.yaml"], MODEL).exit_code == 0  # invited, so not yet in everyone
    (tmp_path / "team.yaml").write_text("type: team\nname: search\nmembrs: []\n")
    assert [p.code for p in run([tmp_path], MODEL).problems] == ["missing_field", "unknown_field"]


def test_a_file_of_cases_is_checked_in_the_same_words(tmp_path: Path) -> None:
    result = report(tmp_path, case(expect="alloq", ruleq="x"))
    assert [problem.text().partition(": error ")[2] for problem in result.problems] == [
        "wrong_value: `alloq` is not a value of `cases[0].expect`; did you mean `allow`?",
        "unknown_field: `cases[0].ruleq` is not a known field; did you mean `rule`?",
    ]
    assert result.exit_code == 1
    assert run([tmp_path / "none.yaml"], MODEL).problems[0].code == "no_such_file"
    (tmp_path / "x.cases.yaml").write_text("- 1\n")
    assert run([tmp_path], MODEL).problems[0].code == "wrong_type"
