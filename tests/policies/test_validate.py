"""Documents checked against each other: each fault at its place, and no fault where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from policies.documents import Document
from policies.errors import InvalidDocuments, Problem
from policies.loader import as_loaded, load_mapping, load_text, shipped
from policies.naming import Key
from policies.planning import offline
from policies.validate import validate

ESTATE = """\
type: team
name: search
members: [alice@example.com]
---
type: provider-account/echo
name: acme
integrations:
  - {type: integration/model/echo, name: mini}
  - {type: integration/model/echo, name: org/large}
---
type: virtual-account
name: checkout
---
type: resource-group
name: cheap
resources: ["model:acme/mini"]
"""


def found(text: str, *, estate: str = ESTATE, now: datetime | None = None) -> list[Problem]:
    """The problems of `text` beside the estate, with the lines of `text`."""
    shift = estate.count("\n") + 1
    problems = validate(load_text(f"{estate}---\n{text}", "f.yaml"), now=now)
    return [
        Problem(p.file, p.line - shift, p.column, p.code, p.message, p.hint, p.severity)
        for p in problems
    ]


def only(text: str, **options: object) -> Problem:
    problems = found(text, **options)  # type: ignore[arg-type]
    assert len(problems) == 1, [problem.text() for problem in problems]
    return problems[0]


def rule(**fields: str) -> str:
    """A policy of one allow rule, with fields replaced; every field is on a line of its own."""
    lines = {
        "effect": "allow",
        "subjects": '["team:search"]',
        "actions": '["model:use"]',
        "resources": '["model:acme/mini"]',
        **fields,
    }
    head = "type: policy\nname: p\nrules:\n  - id: r\n"
    return head + "".join(f"    {name}: {value}\n" for name, value in lines.items())


def test_the_estate_itself_has_no_fault() -> None:
    assert found(rule()) == []


# -- subjects ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subject",
    [
        "user:alice@example.com",
        "user:nobody.yet+x@sub.example.com",  # becomes an invited user
        "team:search",
        "team:everyone",
        "virtualaccount:checkout",
        "role:tenant-admin",
        "any:subject",
        "any:user",
        "any:virtualaccount",
    ],
)
def test_a_subject_that_exists_is_fine(subject: str) -> None:
    assert found(rule(subjects=f'["{subject}"]')) == []


@pytest.mark.parametrize(
    ("subject", "code", "hint"),
    [
        ("team:searxh", "dangling", "did you mean `search`?"),
        ("team:Search", "dangling", "did you mean `search`?"),
        ("virtualaccount:chexkout", "dangling", "did you mean `checkout`?"),
        ("role:tenant-admn", "dangling", "did you mean `tenant-admin`?"),
        ("role:provider-account-access", "wrong_role", ""),
        ("user:alice", "bad_email", ""),
        ("user:alice@", "bad_email", ""),
        ("user:a b@example.com", "bad_email", ""),
        ("user:alice@exa_mple.com", "bad_email", ""),
        ("user:u-123", "dangling", ""),
        ("alice@example.com", "bad_subject", "write `user:alice@example.com`"),
        ("search", "bad_subject", ""),
        ("teem:search", "bad_subject", "did you mean `team`?"),
        ("any:users", "bad_subject", "did you mean `any:user`?"),
        ("any:object", "bad_subject", ""),
        ("bound:search", "bad_subject", ""),
        ("token:x", "bad_subject", ""),
        ("agent:x", "unsupported_subject", ""),
        ("team:", "bad_subject", ""),
        ("team:search,role:tenant-admin", "dangling", ""),
        ("team:search\\nrole:x", "dangling", ""),
    ],
)
def test_a_subject_that_is_none_is_reported(subject: str, code: str, hint: str) -> None:
    problem = only(rule(subjects=f'["{subject}"]'))
    assert (problem.line, problem.column, problem.code) == (6, 16, code)
    assert hint in problem.hint


def test_an_old_spelling_of_a_subject_is_a_warning() -> None:
    for kind in ("serviceaccount", "virtual-account"):
        problem = only(rule(subjects=f'["{kind}:checkout"]'))
        assert (problem.code, problem.severity) == ("legacy_name", "warning")


def test_the_same_subject_twice_is_a_warning() -> None:
    problem = only(rule(subjects='["user:a@example.com", "user:A@example.com"]'))
    assert (problem.code, problem.severity, problem.column) == ("repeated", "warning", 38)


# -- names and identity ------------------------------------------------------------------------------


def test_a_thing_that_is_declared_twice_is_reported_at_the_second() -> None:
    problem = only("type: team\nname: search\nmembers: []\n")
    assert (problem.code, problem.line, problem.column) == ("duplicate", 2, 7)
    assert problem.hint == "the first is at f.yaml:1"


def test_names_that_differ_in_case_only_are_one() -> None:
    assert only("type: team\nname: Search\nmembers: []\n").code == "duplicate"
    two = "type: user\nname: bob@example.com\n---\ntype: user\nname: Bob@example.com\n"
    assert only(two).code == "duplicate"


def test_provider_types_share_one_name_space() -> None:
    text = "type: provider-account/openai-compatible\nname: acme\nbase_url: https://x.example/v1\n"
    assert [p.code for p in found(text)].count("duplicate") == 1


@pytest.mark.parametrize(
    "text",
    [
        "type: team\nname: everyone\nmembers: []\n",
        "type: team\nname: Everyone\nmembers: []\n",
        "type: provider-account/echo\nname: v1\n",
        "type: virtual-account\nname: V1\n",
        *(
            f"type: role\nname: {name}\nresourceType: provider-account\npermissions: [model:use]\n"
            for name in ("assign", "read", "write", "delete")
        ),
    ],
)
def test_reserved_names_are_refused(text: str) -> None:
    assert only(text).code == "reserved_name"


def test_a_broken_document_does_not_make_its_mentions_dangle() -> None:
    problems = found("type: team\nname: ops\nmembrs: []\n---\n" + rule(subjects='["team:ops"]'))
    assert [problem.code for problem in problems] == ["missing_field", "unknown_field"]


# -- people ------------------------------------------------------------------------------------------


def test_people_are_checked_where_they_are_named() -> None:
    text = """\
type: team
name: ops
managers: [bob@example.com, "user:carol@example.com", bob]
members: [bob@example.com, BOB@example.com]
roles: [tenant-admin, team-manager]
ownedBy: {team: searxh}
---
type: user
name: bob
---
type: user
name: dave@example.com
email: eve@example.com
roles: [nobody]
"""
    assert [(p.line, p.code, p.severity) for p in found(text)] == [
        (3, "bad_email", "error"),
        (4, "repeated", "warning"),
        (5, "wrong_role", "error"),
        (6, "dangling", "error"),
        (9, "bad_email", "error"),
        (13, "wrong_value", "error"),
        (14, "dangling", "error"),
    ]


# -- actions and resources ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "code"),
    [("model:uze", "unknown_action"), ("*", "wild_action"), ("use", "unknown_action"),
     ("team:read", "action_mismatch"), ("mcp-server:UseMcpServer", "action_mismatch"), ("agent:UseAgent", "unknown_action")],
)  # fmt: skip
def test_an_action_that_cannot_be_asked_is_reported(action: str, code: str) -> None:
    problems = found(rule(actions=f'["model:use", "{action}"]'))
    assert [(p.line, p.code) for p in problems] == [(7, code)]


def test_a_misspelt_action_names_the_nearest() -> None:
    assert only(rule(actions='["model:uze"]')).hint == "did you mean `model:use`?"


def test_a_permission_of_truefoundry_stands_for_its_actions() -> None:
    assert found(rule(actions='["provider-account:UseIntegrations"]')) == []


@pytest.mark.parametrize(
    "resource",
    ["model:acme/org/large", "provider-account:acme", "any:model", "resource-group:cheap",
     "model:acme/*", "model:acme/org/*", "any:provider-account", "any:object"],
)  # fmt: skip
def test_a_resource_that_exists_is_fine(resource: str) -> None:
    assert found(rule(resources=f'["{resource}"]')) == []


@pytest.mark.parametrize(
    ("resource", "code", "hint"),
    [
        ("model:acme/mimi", "dangling", "did you mean `mini`?"),
        ("model:acmee/mini", "dangling", "did you mean `acme`?"),
        ("model:mini", "bad_resource", "write `<account>/<model>`"),
        ("acme/mini", "bad_resource", "write `model:acme/mini`"),
        ("resource-group:dear", "dangling", ""),
        ("any:models", "bad_resource", "did you mean `any:model`?"),
        ("open-models:acme", "bad_resource", ""),
        ("modxl:acme/mini", "bad_resource", "did you mean `model:acme/mini`?"),
        ("model:*/mini", "unbound_pattern", ""),
        ("model:ac*/mini", "unbound_pattern", ""),
        ("model:*", "bad_pattern", ""),
        ("*", "bad_pattern", ""),
        ("provider-account:*", "bad_pattern", ""),
        ("model:acme/[ab]*", "bad_pattern", ""),
        ("model:nope/*", "dangling", ""),
        ("team:search", "action_mismatch", ""),
    ],
)
def test_a_resource_that_is_none_is_reported(resource: str, code: str, hint: str) -> None:
    problems = found(rule(resources=f'["model:acme/mini", "{resource}"]'))
    assert [(p.line, p.code) for p in problems] == [(8, code)], problems
    assert hint in problems[0].hint


def test_a_deny_may_span_all_accounts_and_all_actions() -> None:
    assert found(rule(effect="deny", actions='["*"]', resources='["model:*/gpt-4*"]')) == []


def test_a_pattern_that_matches_nothing_is_a_warning() -> None:
    problem = only(rule(resources='["model:acme/gpt*"]'))
    assert (problem.code, problem.severity) == ("matches_nothing", "warning")


@pytest.mark.parametrize("scope", ["own", "team", "team-accounts"])
def test_a_deny_names_the_widest_scope_of_data(scope: str) -> None:
    target = f"data:metrics/{scope}"
    problem = only(rule(effect="deny", actions='["data:read"]', resources=f'["{target}"]'))
    assert problem.code == "deny_scope" and f"`{target}`" in problem.message
    assert "`data:metrics/all`" in problem.hint


def test_a_deny_on_a_narrow_scope_of_data_is_refused() -> None:
    text = rule(effect="deny", actions='["data:read"]', resources='["data:traces/own"]')
    assert only(text).code == "deny_scope"
    assert only(text.replace('"data:read"', '"*"')).code == "deny_scope"
    assert found(text.replace("traces/own", "traces/all")) == []
    assert found(text.replace("deny", "allow")) == []
    assert only(text.replace("traces/own", "trace/all")).hint == "did you mean `data:traces/all`?"


def test_a_resource_group_holds_single_things_of_one_account() -> None:
    text = 'type: resource-group\nname: g\nresources: ["{}"]\n'
    assert found(text.format("model:acme/*")) == []
    assert found(text.format("team:search")) == []
    for wrong in ("resource-group:cheap", "any:model", "model:*/mini", "data:traces/all"):
        assert only(text.format(wrong)).code in ("bad_resource", "unbound_pattern")
    assert only(text.replace('["{}"]', "[]")).code == "empty_list"


# -- rules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["subjects", "actions", "resources"])
def test_an_empty_list_is_a_warning_that_it_grants_nobody(name: str) -> None:
    problem = only(rule(**{name: "[]"}))
    assert (problem.code, problem.severity) == ("empty_list", "warning")
    assert "grants nobody" in problem.message


@pytest.mark.parametrize(
    ("when", "part"),
    [
        ("{field: body.stream, operator: EQUALS, value: true}", "did you mean `EQUAL`?"),
        ("{field: bdy.stream, operator: EQUAL, value: true}", "is not a field"),
        ("{field: metadata.env, operator: EQUAL, value: prod}", "trust: claimed"),
        ("{field: record.created_by, operator: EQUAL, value: x}", "is not supplied by"),
        ("{field: time.hour, operator: LESS_THAN, value: noon}", "can never be compared"),
        ("{field: time.weekday, operator: IN, value: sat}", "takes a list"),
        ('{field: principal.id, operator: EQUAL, value: "user:alice"}', "is not an e-mail"),
        ('{field: principal.team, operator: EQUAL, value: "team:searxh"}', "does not exist"),
    ],
)
def test_a_condition_that_could_not_hold_is_refused(when: str, part: str) -> None:
    problem = only(rule(when=f"[{when}]"))
    assert problem.line == 9
    assert part in problem.text()


def test_conditions_that_hold_are_fine() -> None:
    for when in (
        "{field: body.stream, operator: EQUAL, value: true}",
        "{field: body.max_tokens, operator: EXISTS}",
        '{field: principal.team, operator: EQUAL, value: "team:search"}',
        '{field: client.ip, operator: IN_NETWORK, value: ["10.0.0.0/8"]}',
    ):
        assert found(rule(when=f"[{when}]")) == []
    claimed = "[{field: metadata.env, operator: EQUAL, value: prod}]"
    assert found(rule(when=claimed, trust="claimed")) == []
    assert found(rule(when=claimed, effect="deny")) == []


def test_a_rule_that_is_never_valid_is_refused_and_one_that_is_over_is_a_warning() -> None:
    start, end = '"2026-02-01T00:00:00Z"', '"2026-01-01T00:00:00Z"'
    assert only(rule(**{"from": start, "until": end})).code == "never_valid"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert only(rule(until=end), now=now).code == "expired"
    assert found(rule(until=end)) == []
    assert found(rule(until=start), now=now) == []


def test_rule_ids_are_unique_within_a_document() -> None:
    text = rule() + "  - {id: R, effect: deny, subjects: [], actions: [], resources: []}\n"
    problems = [p for p in found(text) if p.severity == "error"]
    assert [(p.code, p.line, p.hint) for p in problems] == [
        (
            "duplicate",
            9,
            f"the first is at line {ESTATE.count(chr(10)) + 5}; give each rule its own id",
        )
    ]


# -- roles and grants --------------------------------------------------------------------------------


def test_a_role_is_checked_by_its_kind() -> None:
    text = """\
type: role
name: a
permissions: ["data:read", "model:use", "team:reed"]
grants:
  - actions: ["*", "model:use"]
    resources: ["model:*/x", "team:search"]
---
type: role
name: b
resourceType: provider-account
permissions: ["team:read", "model:use"]
grants: [{actions: [], resources: []}]
---
type: role
name: c
resourceType: provider-acount
---
type: role
name: d
resourceType: team
"""
    assert [(p.line, p.code) for p in found(text)] == [
        (3, "not_tenant_wide"),
        (3, "unknown_action"),
        (5, "wild_action"),
        (5, "action_mismatch"),
        (6, "unbound_pattern"),
        (6, "action_mismatch"),
        (11, "action_mismatch"),
        (12, "wrong_value"),
        (16, "wrong_value"),
        (18, "empty_list"),
    ]


def test_a_binding_and_a_virtual_account_grant_what_exists_by_roles_that_fit() -> None:
    text = """\
type: role-binding
name: b
subjects: [{type: team, name: searxh}, {type: user, name: alice@example.com}]
permissions:
  - {resourceType: provider-account, resourceFqn: "t:echo:acme", role: provider-account-access}
  - {resourceType: tenant, resourceFqn: t, role: tenant-member}
  - {resourceType: tenant, resourceFqn: t, role: team-manager}
  - {resourceType: team, resourceFqn: search, role: provider-account-access}
  - {resourceType: provider-account, resourceFqn: "t:echo:nope", role: nope}
---
type: virtual-account
name: v
roles: [provider-account-access]
permissions:
  - {resource_type: provider-account, resource_fqn: "t:echo:acme:model:mini", role_id: provider-account-access}
  - {resource_type: provider-account, resource_fqn: "a:b", role_id: tenant-admin}
  - {resource_type: workspace-x, resource_fqn: "a", role_id: provider-account-access}
ownedBy: {team: everyone}
auto_rotate: {auto_rotate_interval: 5, grace_period: 5}
expiration_date: 2026-01-01
"""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert [(p.line, p.code) for p in found(text, now=now)] == [
        (3, "dangling"),
        (7, "wrong_role"),
        (8, "wrong_role"),
        (9, "dangling"),
        (9, "dangling"),
        (13, "wrong_role"),
        (16, "unknown_resource_name"),
        (16, "wrong_role"),
        (17, "unknown_resource_name"),
        (18, "wrong_value"),
        (19, "wrong_value"),
        (20, "expired"),
    ]
    before = datetime(2026, 1, 1, 23, 59, tzinfo=UTC)
    assert "expired" not in [p.code for p in found(text, now=before)]


# -- provider accounts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["https://u:p4ss@x.example/v1", "https://x.example/v1#a", "https://x.example/?k=p4ss", "ftp://x.example",
     "file:///etc/passwd", "https:///v1", "https://x.example/../v1", "https://x.example/%2e%2e/v1", "//x.example",
     "https://x.example:99999", "https://x.exa mple", "https://x.example\\\\@y.example", "https://[::1",
     "https://x..example", "javascript:alert(1)", "https://x.example:", "gopher://p4ss"],
)  # fmt: skip
def test_a_dangerous_address_is_refused_and_not_repeated(url: str) -> None:
    problem = only(f'type: provider-account/openai-compatible\nname: x\nbase_url: "{url}"\n')
    assert (problem.code, problem.line) == ("bad_address", 3)
    assert "p4ss" not in problem.text()


@pytest.mark.parametrize(
    "url", ["https://llm.example.com/v1", "http://127.0.0.1:8000", "https://[2001:db8::1]:8443/v1/"]
)
def test_an_ordinary_address_is_fine(url: str) -> None:
    assert found(f'type: provider-account/openai-compatible\nname: x\nbase_url: "{url}"\n') == []


@pytest.mark.parametrize(
    ("key", "code", "severity"),
    [
        ("env:OPENAI_API_KEY", "", ""),
        ("file:openai", "", ""),
        ("secret:abc123", "", ""),
        ("sk-p4ss", "plain_secret", "warning"),
        ("env:A B", "bad_reference", "error"),
        ("env:", "bad_reference", "error"),
        ("file:../../etc/shadow", "bad_reference", "error"),
        ("file:/etc/shadow", "bad_reference", "error"),
        ("file:.hidden", "bad_reference", "error"),
        ("tfy-secret://acme:llm:p4ss", "unsupported_reference", "error"),
        ("", "empty_secret", "error"),
        ("p4ss\\r\\nHost: x", "wrong_value", "error"),
    ],
)
def test_a_secret_is_a_reference_and_never_repeated(key: str, code: str, severity: str) -> None:
    text = (
        f'type: provider-account/openai\nname: x\nauth_data: {{type: api-key, api_key: "{key}"}}\n'
    )
    problems = found(text)
    assert [(p.code, p.severity) for p in problems] == ([(code, severity)] if code else [])
    assert not any("p4ss" in p.text() for p in problems)


def test_a_secret_in_a_request_is_the_way_in_and_no_warning() -> None:
    body = {
        "type": "provider-account/openai",
        "name": "x",
        "auth_data": {"type": "api-key", "api_key": "sk-x"},
    }
    assert validate(load_mapping(body)) == []


def test_a_provider_account_is_checked_through_and_through() -> None:
    text = """\
type: provider-account/aws-bedrock
name: aws
region: us-east-1.evil.example/
api_version: "1/../2"
dialects: []
auth_data: {type: api-key, api_key: "env:AWS"}
collaborators:
  - {subject: "team:searxh", role_id: provider-account-access}
  - {subject: "team:search", role_id: tenant-admin}
  - {subject: "team:search", role_id: team-manager}
integrations:
  - {type: integration/model/bedrock, name: a, model_types: [chats]}
  - {type: integration/model/bedrock, name: A}
  - {type: integration/guardrail, name: b}
  - {type: integration/model/bedrock, name: c, authorized_subjects: []}
  - {type: integration/model/bedrock, name: d, authorized_subjects: ["team:nope"]}
  - {type: integration/model/bedrock, name: e, routing_config: {targets: [{target: acme/mini}]}}
---
type: provider-account/openai
name: o
---
type: provider-account/azure-openai
name: z
auth_data: {type: access-key-based, access_key_id: AK, secret_access_key: "env:X"}
"""
    assert [(p.line, p.code) for p in found(text)] == [
        (3, "bad_region"),
        (4, "wrong_value"),
        (5, "empty_list"),
        (8, "dangling"),
        (9, "wrong_role"),
        (10, "wrong_role"),
        (12, "wrong_value"),
        (13, "duplicate"),
        (14, "wrong_value"),
        (15, "empty_list"),
        (16, "dangling"),
        (17, "wrong_value"),
        (19, "no_credentials"),
        (22, "missing_field"),
        (24, "wrong_value"),
    ]


def virtual(**targets: str) -> str:
    lines = "".join(
        f"  - {{type: integration/model/virtual, name: {name},"
        f' routing_config: {{targets: [{{target: "{target}"}}]}}}}\n'
        for name, target in targets.items()
    )
    return f"type: provider-account/virtual-model\nname: virt\nintegrations:\n{lines}"


def test_virtual_models_stand_for_what_exists_without_a_circle() -> None:
    assert found(virtual(x="acme/mini", y="virt/x")) == []
    assert only(virtual(x="acme/nope")).code == "dangling"
    assert only(virtual(x="acme")).code == "bad_resource"
    assert {p.code for p in found(virtual(x="virt/y", y="virt/x"))} == {"cycle"}
    assert {p.code for p in found(virtual(x="virt/x"))} == {"cycle"}
    chain = {f"m{n}": f"virt/m{n + 1}" for n in range(9)} | {"m9": "acme/mini"}
    assert {p.code for p in found(virtual(**chain))} == {"too_deep"}


# -- data access and metadata ------------------------------------------------------------------------


def data_filter(one: str, scope: str = "all_data") -> str:
    """A data access document with one rule and one filter, which stands at line 8."""
    return f"""\
type: gateway-data-access-config
rules:
  - id: a
    subjects: ["team:search"]
    data_types: [traces]
    scope: {scope}
    filters:
      - {one}
"""


@pytest.mark.parametrize(
    "good",
    [
        "{field: metadata, key: env, value: [prod]}",
        "{field: metadata, key: env, operator: NOT_IN, value: [prod], trust: claimed}",
        '{field: created_by, value: ["team:search", "user:alice@example.com", "virtualaccount:checkout"]}',
    ],
)
def test_a_filter_of_data_access_that_can_be_met_is_taken(good: str) -> None:
    assert found(data_filter(good)) == []


@pytest.mark.parametrize(
    ("wrong", "code", "hint"),
    [
        ("{field: metadata, value: [prod]}", "missing_field", "add `key:`"),
        ('{field: metadata, key: "", value: [prod]}', "missing_field", "add `key:`"),
        ("{field: metadata, key: env, value: []}", "empty_list", "name values"),
        ("{field: created_by, value: []}", "empty_list", "name values"),
        ('{field: created_by, key: x, value: ["team:search"]}', "unknown_field", "remove `key:`"),
        ('{field: created_by, trust: claimed, value: ["team:search"]}', "unknown_field", "remove `trust:`"),
        ('{field: created_by, value: ["team:everyone"]}', "bad_subject", "name users"),
        ('{field: created_by, operator: NOT_IN, value: ["team:everyone"]}', "bad_subject", "name users"),
        ('{field: created_by, value: ["any:user"]}', "bad_subject", "name users"),
        ('{field: created_by, value: ["role:auditor"]}', "bad_subject", "name users"),
        ('{field: created_by, value: ["alice@example.com"]}', "bad_subject", "write `user:alice@example.com`"),
        ('{field: created_by, value: ["team:sarch"]}', "dangling", "did you mean `search`?"),
    ],
)  # fmt: skip
def test_a_filter_of_data_access_that_says_too_little_names_the_field_and_the_way_out(
    wrong: str, code: str, hint: str
) -> None:
    problem = only(data_filter(wrong))
    assert (problem.line, problem.code) == (8, code)
    assert hint in problem.hint


def test_data_access_rules_are_checked() -> None:
    text = """\
type: gateway-data-access-config
rules:
  - {id: a, subjects: ["team:nope"], data_types: [traces], scope: own_data}
  - {id: b, subjects: [], data_types: [], scope: own_data}
  - {id: b, subjects: ["role:auditor"], data_types: [traces], scope: team_data}
"""
    problems = found(text)
    assert [(p.line, p.code) for p in problems] == [
        (3, "dangling"),
        (4, "empty_list"),
        (4, "empty_list"),
        (5, "duplicate"),
    ]
    assert all(problem.hint for problem in problems)
    problem = only(data_filter("{field: metadata, key: env, value: [prod]}", scope="team_data"))
    assert problem.code == "filters_scope" and "`scope: all_data`" in problem.hint
    problem = only("type: gateway-data-access-config\nrules: []\n")
    assert (problem.line, problem.code, problem.severity) == (2, "empty_list", "warning")
    assert "nobody" in problem.message and "add a rule" in problem.hint


@pytest.mark.parametrize(
    ("rule", "says", "hint"),
    [
        ("data_types: [tracess], scope: own_data", "`tracess` is not a value of `rules[0].data_types[0]`", "did you mean `traces`?"),
        ("data_types: [traces], scope: everything", "`everything` is not a value of `rules[0].scope`", "`all_data`"),
        ("data_types: [traces]", "`rules[0].scope` is missing", ""),
        ("data_types: [traces], scope: own_data, effect: deny", "`rules[0].effect` is not a known field", "known here"),
        ("data_types: [traces], scope: all_data, filters: [{field: model, value: [a]}]", "`model` is not a value of", "`metadata`"),
        ("data_types: [traces], scope: all_data, filters: [{field: metadata, key: a, operator: EQUAL, value: [a]}]", "`EQUAL` is not a value of", "`IN`"),
        ("data_types: [traces], scope: all_data, filters: [{field: metadata, key: a, value: [a], trust: pinned}]", "`pinned` is not a value of", "`claimed`"),
    ],
)  # fmt: skip
def test_what_a_data_access_rule_cannot_say_is_refused_with_its_place(
    rule: str, says: str, hint: str
) -> None:
    head = "type: gateway-data-access-config\nrules:\n"
    text = f'{head}  - {{id: a, subjects: ["team:everyone"], {rule}}}\n'
    with pytest.raises(InvalidDocuments) as refused:
        load_text(text, "f.yaml").plain()
    (problem,) = refused.value.problems
    assert problem.line == 3
    assert says in problem.message and hint in problem.hint


@pytest.mark.parametrize(
    ("field", "operator", "value", "hint"),
    [
        ("created_by_team", "EQUAL", '"team:everyone"', "name a team"),
        ("created_by_team", "IN", '["team:search", "team:everyone"]', "name a team"),
        ("created_by_team", "NOT_IN", '["virtualaccount:checkout"]', "name a team"),
        ("created_by", "EQUAL", '"team:search"', "test `record.created_by_team`"),
        ("created_by", "NOT_EQUAL", '"role:auditor"', "name a user or a virtual account"),
        ("created_by", "EQUAL", '"alice@example.com"', "name a user or a virtual account"),
    ],
)
def test_a_policy_tests_of_a_record_only_what_records_say(
    field: str, operator: str, value: str, hint: str
) -> None:
    fields = {
        "effect": "deny",
        "actions": '["data:read"]',
        "resources": '["data:traces/all"]',
        "when": f"[{{field: record.{field}, operator: {operator}, value: {value}}}]",
    }
    problem = only(rule(**fields))
    assert problem.code == "bad_subject" and hint in problem.hint
    text = '["team:search"]' if field.endswith("team") else '["user:alice@example.com"]'
    good = f"[{{field: record.{field}, operator: IN, value: {text}}}]"
    assert found(rule(**{**fields, "when": good})) == []


def test_metadata_rules_are_checked() -> None:
    text = """\
type: gateway-metadata-config
rules:
  - {id: a, subjects: ["team:nope"], metadata_override: {cost: "1"}}
  - {id: a, subjects: ["team:search"], metadata_override: {}}
"""
    assert [(p.line, p.code) for p in found(text)] == [
        (3, "dangling"),
        (4, "duplicate"),
        (4, "empty_list"),
    ]


# -- what is stored ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fact:
    models: tuple[str, ...] = ()
    bundle: tuple[str, ...] | None = None
    tenant_role: bool = False


@dataclass
class Stored:
    """The smallest estate that `things.Known` can be."""

    facts: dict[Key, Fact] = field(default_factory=dict)

    @property
    def names(self) -> Stored:
        return self

    def current(self, family: str, plain: str) -> str | None:
        return plain if (family, plain) in self.facts else None

    def spelling(self, family: str, plain: str) -> str | None:
        folded = {(f, n.casefold()): n for f, n in self.facts}
        return folded.get((family, plain.casefold()))

    def fact(self, key: Key) -> Fact | None:
        return self.facts.get(key)

    def keys(self) -> Iterator[Key]:
        return iter(self.facts)

    def document(self, key: Key) -> None:
        return None


def against(stored: Stored, text: str) -> list[tuple[str, str]]:
    return [(p.code, p.hint) for p in validate(load_text(text), stored)]


def test_what_is_stored_may_be_mentioned() -> None:
    stored = Stored(
        {
            ("team", "search"): Fact(),
            ("provider-account", "acme"): Fact(models=("mini",)),
            ("role", "admin"): Fact(tenant_role=True),
            ("role", "access"): Fact(bundle=("model:use",)),
            ("user", "u-1"): Fact(),
        }
    )
    assert against(stored, rule()) == []
    assert against(stored, rule(subjects='["user:u-1", "role:admin"]')) == []
    assert against(stored, rule(resources='["model:acme/*"]')) == []
    assert against(stored, rule(subjects='["role:access"]'))[0][0] == "wrong_role"
    assert against(stored, rule(subjects='["team:searxh"]')) == [
        ("dangling", "did you mean `search`?")
    ]
    assert against(stored, rule(resources='["model:acme/mimi"]')) == [
        ("dangling", "did you mean `mini`?")
    ]
    # Only what is stored counts: the shipped roles may have been deleted.
    assert against(stored, rule(subjects='["role:tenant-admin"]'))[0][0] == "dangling"


def test_a_name_that_differs_from_a_stored_one_in_case_only_is_refused() -> None:
    stored = Stored({("team", "search"): Fact()})
    assert against(stored, "type: team\nname: Search\nmembers: []\n") == [
        ("duplicate", "write `search`, or choose another name")
    ]
    assert against(stored, "type: team\nname: search\nmembers: []\n") == []


def test_the_files_replace_what_is_stored() -> None:
    stored = Stored(
        {("provider-account", "acme"): Fact(models=("mini",)), ("team", "search"): Fact()}
    )
    account = "type: provider-account/echo\nname: acme\n---\n"
    assert [code for code, _ in against(stored, account + rule())] == ["dangling"]


def test_a_document_type_without_checks_is_left_alone() -> None:
    class Other(Document):
        type: str = "other"
        name: str = "x"

    loaded = load_text("type: team\nname: a\nmembers: []\n")
    object.__setattr__(loaded.documents[0], "document", Other())
    assert validate(loaded) == []


def test_a_real_estate_can_be_asked() -> None:
    estate = offline([*shipped(), *load_text(ESTATE).plain()])
    text = rule(subjects='["team:search", "user:alice@example.com"]')
    assert validate(load_text(text), estate) == []
    assert [p.code for p in validate(load_text(rule(subjects='["team:x"]')), estate)] == [
        "dangling"
    ]
    again = load_text(ESTATE)
    assert validate(again, estate) == []
    assert validate(as_loaded(again.plain()), estate) == []
