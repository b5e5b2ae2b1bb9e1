"""What an installation starts with, and the demo estate: without a fault, and deciding what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.vocabulary import Action
from policies import cases
from policies.check import check
from policies.compile import rows_of
from policies.documents import DataAccessConfig, Policy, ProviderAccount, Role, dump, parse
from policies.estate import Estate
from policies.loader import load_paths, shipped
from policies.planning import offline
from policies.truefoundry import actions_of

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "policies" / "shipped"
EXAMPLES = ROOT / "conf" / "examples"
MODEL = (ROOT / "conf" / "model.conf").read_text()


def role(name: str) -> Role:
    return next(each for each in shipped() if isinstance(each, Role) and each.name == name)


@pytest.mark.parametrize("folder", [SHIPPED, EXAMPLES])
def test_every_file_checks_without_error_and_without_warning(folder: Path) -> None:
    report = check([folder])
    assert list(report.lines())[:-1] == []
    assert report.documents > 0


def test_the_examples_check_without_their_keys_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert check([EXAMPLES]).exit_code == 0


def test_the_cases_beside_the_policies_hold() -> None:
    report = cases.run([SHIPPED, EXAMPLES], MODEL)
    assert list(report.lines())[:-1] == []
    assert len(report.results) > 25


def test_the_roles_of_the_contract_are_shipped() -> None:
    kinds = {each.name: each.resource_type for each in shipped() if isinstance(each, Role)}
    assert kinds == {
        "auditor": "tenant",
        "mcp-server-manager": "mcp-server",
        "mcp-server-user": "mcp-server",
        "provider-account-access": "provider-account",
        "provider-account-manager": "provider-account",
        "security-admin": "tenant",
        "team-manager": "team",
        "tenant-admin": "tenant",
        "tenant-member": "tenant",
    }


def test_a_tenant_admin_may_do_everything_but_read_records_by_role() -> None:
    """Records are read by the data access rules, which name the role."""
    held = {a for grant in role("tenant-admin").grants for a in grant.actions}
    about_oneself = {Action.SELF_READ, Action.SELF_MANAGE_TOKENS}
    assert set(Action) - held == {Action.DATA_READ} | about_oneself


def test_a_security_admin_writes_policies_and_touches_no_provider() -> None:
    held = {a for grant in role("security-admin").grants for a in grant.actions}
    assert {Action.POLICY_WRITE, Action.DECISION_ASK} <= held
    assert not any(a.startswith(("provider-account:", "access:", "model:", "data:")) for a in held)
    writes = {a for a in held if not a.endswith((":read", ":ask"))}
    assert writes == {Action.POLICY_WRITE, Action.POLICY_DELETE}


def test_an_auditor_changes_nothing_and_reads_no_payload() -> None:
    grants = role("auditor").grants
    assert all(a.endswith((":read", ":ask")) for grant in grants for a in grant.actions)
    assert not any("payloads" in r for grant in grants for r in grant.resources)


def test_an_access_role_gives_use_and_nothing_else() -> None:
    assert role("provider-account-access").permissions == ("model:use",)


def test_the_three_default_rules_have_their_public_ids() -> None:
    config = next(each for each in shipped() if isinstance(each, DataAccessConfig))
    assert [(r.id, r.subjects, r.scope) for r in config.rules] == [
        ("default-everyone-own-data", ("team:everyone", "any:virtualaccount"), "own_data"),
        ("default-everyone-team-data", ("team:everyone",), "team_data"),
        ("default-tenant-admin-all-data", ("role:tenant-admin",), "all_data"),
    ]


def test_the_sample_policy_is_switched_off_as_shipped() -> None:
    sample = next(each for each in shipped() if isinstance(each, Policy) and each.name == "sample")
    assert not any(rule.enabled for rule in sample.rules)
    assert {row.ptype for row in rows_of(sample, Estate().names)} == {"g2"}


def test_every_permission_named_is_an_action() -> None:
    for document in shipped():
        if isinstance(document, Role):
            for permission in document.permissions:
                assert actions_of(permission)


def test_shipped_documents_survive_being_stored_and_read_back() -> None:
    for document in shipped():
        assert parse(dump(document)) == document


def test_shipped_documents_and_the_examples_compile() -> None:
    estate = offline([*shipped(), *load_paths([EXAMPLES]).plain()])
    assert len(estate.rows()) > 100


def test_the_demo_has_what_the_readme_promises() -> None:
    documents = {each.key: each for each in load_paths([EXAMPLES]).plain()}
    echo = documents["provider-account", "echo"]
    assert isinstance(echo, ProviderAccount)
    assert [model.name for model in echo.integrations] == ["small", "large", "secret"]
    assert {name for family, name in documents if family == "user"} == {
        "alice@example.com",
        "bob@example.com",
        "carol@example.com",
        "dave@example.com",
    }
    assert {name for family, name in documents if family == "virtual-account"} == {
        "checkout",
        "operator",
    }


def test_no_shipped_file_holds_a_secret() -> None:
    for path in [*SHIPPED.glob("*.yaml"), *EXAMPLES.glob("*.yaml")]:
        text = path.read_text()
        assert "sk-" not in text and "gw_" not in text
