"""Decision cases: a case that holds passes, one that does not says what came instead."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from policies.cases import CaseReport, run
from policies.check import check

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


MATRIX = """\
matrix:
  - name: who uses what
    subjects: ["user:alice@example.com", "team:search", "virtualaccount:ci"]
    actions: [model:use, provider-account:write]
    resources: ["model:acme/mini", "provider-account:acme"]
    allowed:
      - {subjects: ["user:alice@example.com"], actions: [model:use], resources: ["model:acme/mini"]}
"""
ACCOUNT = "  - {type: virtual-account, name: ci, roles: [%s]}\n"


def with_account(roles: str = "") -> str:
    return FIXTURE.replace("  - type: policy\n", ACCOUNT % roles + "  - type: policy\n")


def test_what_a_matrix_does_not_list_is_expected_to_be_denied(tmp_path: Path) -> None:
    result = report(tmp_path, MATRIX, with_account())
    assert (len(result.results), result.failed, result.problems) == (12, (), ())
    opened = report(tmp_path, MATRIX, with_account("tenant-admin"))
    assert [one.name.partition(": ")[2] for one in opened.failed] == [
        "virtualaccount:ci model:use model:acme/mini",
        "virtualaccount:ci provider-account:write model:acme/mini",
        "virtualaccount:ci provider-account:write provider-account:acme",
    ]
    assert "got allow (allowed, role/tenant-admin#" in opened.failed[0].failures[0]
    assert "path virtualaccount:ci > role:tenant-admin | " in opened.failed[0].failures[0]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("{subjects: [", "{resources: [", "outside_matrix"),
        ("actions: [model:use, provider-account:write]", "actions: []", "empty_list"),
        ("    allowed:\n      - {", "    allowd:\n      - {", "missing_field"),
    ],
)
def test_a_matrix_that_says_nothing_or_too_much_is_refused(
    tmp_path: Path, old: str, new: str, code: str
) -> None:
    result = report(tmp_path, MATRIX.replace(old, new), with_account())
    assert code in [problem.code for problem in result.problems]
    assert result.exit_code == 1 and not result.results


def test_a_file_without_cases_is_a_mistake(tmp_path: Path) -> None:
    assert report(tmp_path, "").problems[0].code == "missing_field"


def test_coverage_names_the_rules_that_no_case_hits(tmp_path: Path) -> None:
    grant = "provider-account/acme#collaborator/user:alice@example.com/provider-account-access"
    by_day = report(tmp_path, case())
    assert by_day.coverage.rules == {grant, "policy/p#night"}
    assert by_day.coverage.missed == ("policy/p#night",)
    assert by_day.coverage.percent == 50
    assert "never hit: policy/p#night" in by_day.lines(coverage=True)
    night = report(tmp_path, case(now='"2026-01-07T03:00:00Z"', expect="deny"))
    assert night.coverage.missed == ()
    assert report(tmp_path, case(resource="model:acme/x", expect="deny")).coverage.percent == 0


def test_junit_has_a_suite_a_file_and_names_each_failure(tmp_path: Path) -> None:
    report(tmp_path, case() + "  - {as: 'user:alice@example.com', action: model:use,"
           " resource: 'model:acme/mini', expect: deny, name: \"a <b> & c\"}\n")  # fmt: skip
    (tmp_path / "y.cases.yaml").write_text("- 1\n")
    root = ElementTree.fromstring(run([tmp_path], MODEL).junit())
    assert {k: root.get(k) for k in ("tests", "failures", "errors")} == {
        "tests": "3", "failures": "1", "errors": "1",
    }  # fmt: skip
    failed = root.find(".//testcase[@name='a <b> & c']/failure")
    assert failed is not None and str(failed.get("message")).startswith("expected deny, got allow")
    assert root.find("./testsuite/testcase/error") is not None


POLICY = """\
type: policy
name: house
rules:
  - id: night
    effect: deny
    subjects: ["any:subject"]
    actions: [model:use]
    resources: ["any:model"]
    when: [{field: time.hour, operator: LESS_THAN, value: 6}]
cases:
  - {as: "user:alice@example.com", action: model:use, resource: "model:acme/mini", expect: allow}
  - as: user:alice@example.com
    action: model:use
    resource: model:acme/mini
    now: 2026-01-07T03:00:00Z
    expect: deny
    rule: policy/house#night
"""
ESTATE = """\
---
type: provider-account/echo
name: acme
collaborators: [{subject: "user:alice@example.com", role_id: provider-account-access}]
integrations: [{type: integration/model/echo, name: mini}]
---
type: user
name: alice@example.com
"""


def test_the_cases_inside_policies_are_asked_of_all_documents_of_the_paths(tmp_path: Path) -> None:
    (tmp_path / "house.yaml").write_text(POLICY)
    (tmp_path / "estate.yaml").write_text(ESTATE)
    result = run([tmp_path], MODEL)
    assert (len(result.results), result.exit_code) == (2, 0)
    assert run([tmp_path / "house.yaml", tmp_path / "estate.yaml"], MODEL).exit_code == 0
    (tmp_path / "house.yaml").write_text(POLICY.replace("value: 6", "value: 2"))
    broken = run([tmp_path], MODEL).failed
    assert [(one.line, one.file) for one in broken] == [(12, str(tmp_path / "house.yaml"))]
    alone = run([tmp_path / "house.yaml"], MODEL)
    assert {problem.code for problem in alone.problems} == {"dangling"}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("resource: model:acme/mini", "resource: model:acme/nimi", "dangling"),
        ("resource: model:acme/mini", "resource: model:acme/*", "bad_resource"),
        ("action: model:use\n", "action: model:us\n", "unknown_action"),
        ("  - as: user:alice@example.com\n", "  - as: any:user\n", "bad_subject"),
        ("    expect: deny\n", "    expect: deny\n    reason: nobody\n", "wrong_value"),
        ("    expect: deny\n", "    expect: deny\n    context: {bdy: 1}\n", "unknown_field"),
        ("    expect: deny\n", "    expect: deny\n    bound: nobody\n", "dangling"),
        ("    action: model:use\n    resource: model:acme/mini", "    action: team:write\n    resource: model:acme/mini", "action_mismatch"),
    ],
)  # fmt: skip
def test_a_case_in_a_policy_names_what_exists(
    tmp_path: Path, old: str, new: str, code: str
) -> None:
    assert old in POLICY
    (tmp_path / "house.yaml").write_text(POLICY.replace(old, new) + ESTATE)
    assert [problem.code for problem in check([tmp_path]).errors] == [code]


def test_a_case_about_what_must_not_exist_says_so(tmp_path: Path) -> None:
    gone = POLICY.replace("resource: model:acme/mini\n", "resource: model:acme/old\n").replace(
        "    rule: policy/house#night\n", "    reason: unknown_resource\n"
    )
    (tmp_path / "house.yaml").write_text(gone + ESTATE)
    assert not check([tmp_path]).errors
    assert run([tmp_path], MODEL).exit_code == 0


SERVERS = """\
documents:
  - {type: user, name: alice@example.com}
  - type: mcp-server/remote
    name: github
    url: https://mcp.example.com/mcp
    tool_policy: {disabled_tools: [drop]}
    collaborators: [{subject: "user:alice@example.com", role_id: mcp-server-user}]
  - type: mcp-server/virtual
    name: desk
    servers: [{name: github, enabled_tools: [search]}]
    collaborators: [{subject: "user:alice@example.com", role_id: mcp-server-user}]
  - type: policy
    name: p
    rules:
      - id: ours
        effect: deny
        subjects: ["any:subject"]
        actions: ["mcp-tool:call"]
        resources: ["mcp-tool:github/*"]
        when: [{field: tool.args.repo.owner, operator: EQUAL, value: other}]
"""


@pytest.mark.parametrize(
    ("resource", "context", "expect"),
    [
        ("mcp-tool:github/read", "{tool: {args: {repo: {owner: acme}}}}", "allow, reason: allowed"),
        ("mcp-tool:github/read", "{tool: {args: {repo: {owner: other}}}}", "deny"),
        ("mcp-tool:github/read", "{}", "deny, reason: denied_by_rule"),
        ("mcp-tool:github/drop", "{}", "deny, reason: unknown_resource"),
        ("mcp-tool:desk/search", "{tool.args.repo.owner: acme}", "allow"),
        ("mcp-tool:desk/search", "{tool.args.repo.owner: other}", "deny, reason: target_denied"),
        ("mcp-tool:desk/read", "{}", "deny, reason: unknown_resource"),
        ("mcp-resource:github/file:///a%20b", "{}", "allow"),
    ],
)
def test_what_a_case_names_of_a_server_counts_as_found(
    tmp_path: Path, resource: str, context: str, expect: str
) -> None:
    action = {"mcp-tool": "mcp-tool:call", "mcp-resource": "mcp-resource:read"}
    text = case(
        action=f'"{action[resource.partition(":")[0]]}"',
        resource=f'"{resource}"',
        context=context,
        expect=expect,
    )
    assert list(report(tmp_path, text, SERVERS).lines()) == ["1 cases, 0 failed"]
