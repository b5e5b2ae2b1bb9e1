"""Manifests written for TrueFoundry apply unchanged; what is not supported says so, or is skipped."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from estates import House, uid

from authz.conditions import Context
from policies.check import check
from policies.documents import DOCUMENT_TYPES, INTERNAL_TYPES, dump
from policies.loader import load_paths

FIXTURES = Path(__file__).parent / "fixtures"
SUPPORTED, UNSUPPORTED = FIXTURES / "truefoundry", FIXTURES / "truefoundry-unsupported"
# Kinds that are ours alone, and a provider that answers itself.
OURS = {"policy", "resource-group", "user", "provider-account/echo", "mcp-server/echo"}
OURS |= {"provider-account/openai-compatible"}


class Asker(NamedTuple):
    id: str
    bound: str | None = None
    token: str | None = None


def test_every_kind_that_both_have_is_checked_without_error() -> None:
    report = check([SUPPORTED])
    assert [problem.text() for problem in report.errors] == []
    assert {problem.code for problem in report.warnings} == {"legacy_name", "unused"}
    kinds = {each.document.type for each in load_paths([SUPPORTED]).documents}
    assert kinds == set(DOCUMENT_TYPES) - INTERNAL_TYPES - OURS


def test_they_are_planned_as_one_change_and_a_second_time_nothing_changes() -> None:
    documents = load_paths([SUPPORTED]).plain()
    house = House()
    made = house.put(*documents)
    assert {f"{key[0]}" for key in (change.key for change in made.documents)} >= {"team", "role"}
    assert house.plan(*documents).documents == ()


@pytest.mark.parametrize(
    ("subject", "model", "allowed"),
    [
        (uid("bob@acme.example"), "acme-openai/mini", True),
        (uid("bob@acme.example"), "acme-openai/large", False),  # it has subjects of its own
        (uid("alice@acme.example"), "acme-openai/large", True),
        (uid("bob@acme.example"), "acme-anthropic/haiku", True),  # by the role binding
        (uid("bob@acme.example"), "acme-bedrock/nova", False),
        (uid("carol@acme.example"), "acme-openai/large", True),  # manages the account
        (uid("bob@acme.example"), "prod/default", True),
        ("virtualaccount:checkout", "acme-openai/mini", True),
        ("virtualaccount:later", "acme-openai/mini", False),
    ],
)
def test_they_mean_what_they_meant(subject: str, model: str, allowed: bool) -> None:
    house = House(*load_paths([SUPPORTED]).plain())
    decision = house.engine().decide(Asker(subject), "model:use", f"model:{model}", Context())
    assert (decision.effect == "allow") is allowed, decision


def test_what_is_not_supported_is_named_at_its_place_with_the_way_out() -> None:
    report = check([UNSUPPORTED])
    assert {problem.code for problem in report.errors} == {"unsupported"}
    hints = [problem.hint for problem in report.errors]
    assert all("--skip-unsupported" in hint or "did you mean" in hint for hint in hints)
    said = " ".join(problem.message for problem in report.errors)
    for what in (
        "mcp-server/stdio", "gateway-rate-limiting-config", "google-vertex", "`agent`", "secret-group",
        "`metadata`", "agent:UseAgent", "`notification_target`", "`secret_store_config`",
        "`discount_percent`", "`rate_limits`", "`weight`", "`retry_config`",
    ):  # fmt: skip
        assert what in said, what


def test_what_is_not_supported_is_skipped_and_listed_when_asked() -> None:
    report = check([UNSUPPORTED], skip_unsupported=True)
    assert report.errors == ()
    assert len(report.skipped) == len(check([UNSUPPORTED]).errors)
    found = {d.key: dump(d) for d in load_paths([UNSUPPORTED], skip_unsupported=True).plain()}
    assert len(found["virtual-account", "robot"]["permissions"]) == 1
    assert found["role", "ops"]["permissions"] == ["team:ReadTeam"]
    target = found["provider-account", "prod"]["integrations"][0]["routing_config"]["targets"]
    assert target == [{"target": "main/mini"}]
    House(*load_paths([UNSUPPORTED], skip_unsupported=True).plain())


def test_a_reference_to_their_secret_store_says_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "type: provider-account/openai\nname: a\n"
        'auth_data: {type: api-key, api_key: "tfy-secret://acme:llm:openai"}\n'
    )
    (problem,) = check([tmp_path]).errors
    assert (problem.line, problem.code) == (3, "unsupported_reference")
    assert "env:NAME" in problem.hint
