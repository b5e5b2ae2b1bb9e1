"""TrueFoundry's names become ours, or are refused; never guessed."""

from __future__ import annotations

import pytest

from authz.vocabulary import Action
from policies.truefoundry import (
    PERMISSIONS,
    UnknownPermission,
    UnknownResource,
    actions_of,
    resource_of,
    subject_of,
    tenant_wide,
)


def test_every_action_of_ours_stands_for_itself() -> None:
    for action in Action:
        assert actions_of(action.value) == (action,)


def test_every_mapped_permission_is_known_tenant_wide() -> None:
    for permission in PERMISSIONS:
        assert [action for action, _ in tenant_wide(permission)] == list(actions_of(permission))


def test_a_grant_inside_a_permission_reaches_its_own_kind_only() -> None:
    manage = dict(tenant_wide("provider-account:ManageProviderAccount"))
    assert manage[Action.ACCESS_GRANT] == "any:provider-account"
    assert tenant_wide("access:grant") == ((Action.ACCESS_GRANT, "any:object"),)


@pytest.mark.parametrize("text", ["", "*", "model", "Model:Use", "agent:UseAgent", "a:b"])
def test_an_unknown_permission_is_refused(text: str) -> None:
    with pytest.raises(UnknownPermission):
        actions_of(text)


def test_records_cannot_be_read_tenant_wide_by_a_permission() -> None:
    with pytest.raises(UnknownPermission):
        tenant_wide("data:read")


@pytest.mark.parametrize(
    ("fqn", "kind", "expected"),
    [
        ("acme:openai:main", "provider-account", "provider-account:main"),
        ("acme:openai:main:model:mini", "provider-account", "model:main/mini"),
        ("acme:openai:main:model:llama:8b", "integration", "model:main/llama:8b"),
        ("provider-account:main", "provider-account", "provider-account:main"),
        ("model:main/org/mini", "model", "model:main/org/mini"),
        ("model:main/llama:8b", "model", "model:main/llama:8b"),
        ("main/mini", "model", "model:main/mini"),
        ("main", "provider-account", "provider-account:main"),
        ("team:search", "team", "team:search"),
        ("acme:team:search", "team", "team:search"),
        ("search", "team", "team:search"),
        ("virtual-account:v", "virtual-account", "virtualaccount:v"),
        ("virtualaccount:v", "virtualaccount", "virtualaccount:v"),
        ("resource-group:g", "resource-group", "resource-group:g"),
        ("acme", "tenant", "any:object"),
    ],
)
def test_a_qualified_name_becomes_an_id(fqn: str, kind: str, expected: str) -> None:
    assert resource_of(fqn, kind) == expected


@pytest.mark.parametrize(
    ("fqn", "kind"),
    [
        ("", "provider-account"),
        ("a:b", "provider-account"),
        ("a:mcp-server:x", "provider-account"),
        ("a:openai:main:guardrail-config:x", "provider-account"),
        ("a::main", "provider-account"),
        ("model:/x", "model"),
        ("a:b:x", "mcp-server"),
        ("mcp-tool:x", "mcp-tool"),
        ("mcp-tool:x/a b", "mcp-tool"),
        ("x", "agent"),
        ("role:x", "team"),
        ("", "team"),
    ],
)
def test_a_name_of_another_form_is_refused(fqn: str, kind: str) -> None:
    with pytest.raises(UnknownResource):
        resource_of(fqn, kind)


def test_an_old_spelling_of_a_subject_becomes_ours() -> None:
    for old in ("serviceaccount", "service-account", "virtual-account", "virtualaccount"):
        assert subject_of(f"{old}:x") == "virtualaccount:x"
    assert subject_of("team:virtual-account:x") == "team:virtual-account:x"
