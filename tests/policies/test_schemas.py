"""The JSON Schemas are current, valid, and say no word against what the loader takes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from policies import schemas, yaml_nodes
from policies.documents import DOCUMENT_TYPES, INTERNAL_TYPES
from policies.loader import load_mapping
from policies.positions import Kind, Node
from policies.validate import validate

ROOT = Path(__file__).parents[2]
MADE = schemas.schemas()
WHOLE = Draft202012Validator(MADE[schemas.ALL])
SHAPES = {"unknown_field", "missing_field", "wrong_type", "unknown_type", "missing_type"}


def plain(node: Node) -> Any:
    if node.kind is Kind.SCALAR:
        return node.scalar()
    if node.kind is Kind.LIST:
        return [plain(item) for item in node.items]
    return {key: plain(entry.node) for key, entry in node.entries.items()}


def read(*folders: str) -> list[dict[str, Any]]:
    """The documents of folders as plain data."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).glob("*.yaml")):
            if not path.name.endswith(".cases.yaml"):
                nodes = yaml_nodes.documents(path.read_text(), path.name, [])
                found += [data for node in nodes if (data := plain(node)) is not None]
    return found


# Every kind with most of its fields, and nothing that does not exist.
ESTATE = [
    *read("conf/examples"),
    {"type": "resource-group", "name": "cheap", "resources": ["model:echo/small"]},
    {"type": "role", "name": "lead", "displayName": "Lead", "resourceType": "tenant",
     "permissions": ["team:read"], "grants": [{"actions": ["model:use"], "resources": ["model:echo/small"]}]},
    {"type": "role-binding", "name": "b", "subjects": [{"type": "team", "name": "search"}],
     "permissions": [{"resourceType": "model", "resourceFqn": "echo/small", "role": "provider-account-access"}]},
    {"type": "gateway-metadata-config", "name": "metadata",
     "rules": [{"id": "a", "subjects": ["team:search"], "metadata_override": {"team": "search"}}]},
    {"type": "gateway-logging-config", "name": "logging", "retention": {"payloads": 30, "requests": 400, "decisions": 400},
     "log": False, "when": {"subjects": {"in": ["team:search"], "not_in": ["team:everyone"]}, "servers": {"in": ["rem*"]}},
     "rules": [{"id": "a", "enabled": True, "log": "always", "when": {"models": {"in": ["echo/small"], "not_in": ["*/large"]},
                "metadata": {"env": "prod", "tier": ["a", "b"]}},
                "redact_with": {"presets": ["email"], "custom_patterns": [
                    {"pattern": "EMP-\\d{6}", "redaction_text": "[employee]"}]}}]},
    {"type": "gateway-data-access-config", "name": "data-access",
     "rules": [{"id": "a", "subjects": ["team:search"], "data_types": ["traces"], "scope": "all_data",
                "enabled": True, "filters": [{"field": "metadata", "key": "k", "value": ["v"], "trust": "claimed"}]}]},
    {"type": "virtual-account", "name": "full", "expiration_date": "2030-01-01", "state": "active",
     "auto_rotate": {"auto_rotate_interval": 90, "grace_period": 10}, "ownedBy": {"team": "search"}},
    {"type": "provider-account/virtual-model", "name": "alias", "integrations": [
        {"type": "integration/model/virtual", "name": "x", "routing_config": {
            "type": "priority-based-routing", "targets": [{"target": "echo/small"}]}}]},
    {"type": "mcp-server/remote", "name": "remote", "display_name": "Remote", "url": "https://m.example.com/mcp",
     "tls_settings": {"reject_unauthorized": True}, "tool_metadata": {"read": {"description": "Reads."}},
     "tool_policy": {"enable_tools_by_default": False, "disabled_tools": ["drop"], "enabled_tools": ["read"]},
     "auth_data": {"type": "header", "headers": {"X-Key": "env:KEY"}, "auth_level": "global"},
     "additional_headers": {"X-App": "a"}, "collaborators": [{"subject": "team:search", "role_id": "mcp-server-user"}]},
    {"type": "mcp-server/remote", "name": "login", "url": "https://l.example.com/mcp", "auth_data": {
        "type": "oauth2", "token_url": "https://l.example.com/t", "authorization_url": "https://l.example.com/a",
        "client_id": "me", "client_secret": "env:SECRET", "scopes": ["read"], "include_resource": False,
        "additional_token_params": {"audience": "x"}}},
    {"type": "mcp-server/virtual", "name": "both", "best_effort_mode": True,
     "servers": [{"name": "remote", "enabled_tools": ["read"]}, {"name": "login"}]},
    {"type": "mcp-server/openapi", "name": "api", "url": "https://a.example.com", "enable_all_tools": False,
     "openapi_spec_source": {"type": "remote", "url": "https://a.example.com/openapi.json"},
     "tool_settings": [{"method": "GET", "path": "/x", "name": "get_x", "description": "X."}]},
    {"type": "policy", "name": "p", "rules": [
        {"id": "a", "effect": "allow", "subjects": ["team:search"], "actions": ["model:use"],
         "resources": ["model:echo/*"], "from": "2026-01-01T00:00:00Z", "mode": "shadow", "trust": "claimed",
         "when": [{"field": "header.x-app", "operator": "IN", "value": ["a", "b"]}]}]},
]  # fmt: skip


def errors(documents: list[dict[str, Any]]) -> set[str]:
    return {p.code for p in validate(load_mapping(documents)) if p.severity == "error"}


def test_the_files_are_those_of_the_classes() -> None:
    """After a change of a document class: `python -m policies.schemas`."""
    folder = ROOT / "docs/schemas"
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == dict(
        schemas.texts()
    )


@pytest.mark.parametrize("kind", sorted(MADE))
def test_each_schema_is_valid(kind: str) -> None:
    Draft202012Validator.check_schema(MADE[kind])
    assert MADE[kind]["$schema"] == schemas.DRAFT


def test_each_kind_that_a_file_may_hold_has_one() -> None:
    named = set(DOCUMENT_TYPES) - INTERNAL_TYPES
    # MCP servers differ so much that each of their types has a schema.
    public = {
        name.replace("/", "-") if name.startswith("mcp-server/") else name.partition("/")[0]
        for name in named
    }
    assert set(MADE) == public | {schemas.ALL}
    for name in INTERNAL_TYPES:
        assert not WHOLE.is_valid({"type": name, "name": "x"})


def test_what_the_loader_takes_the_schemas_take() -> None:
    assert errors(ESTATE) == set()
    for document in [*ESTATE, *read("policies/shipped")]:
        own = document["type"].replace("/", "-")
        kind = own if own in MADE else document["type"].partition("/")[0]
        assert [e.message for e in WHOLE.iter_errors(document)] == []
        assert Draft202012Validator(MADE[kind]).is_valid(document)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "tem", "name": "x"},
        {"name": "x"},
        {"type": "team", "name": "x"},
        {"type": "team", "name": "a b", "members": []},
        {"type": "team", "name": "x", "members": [], "membrs": []},
        {"type": "team", "name": "x", "members": None},
        {"type": "role", "name": "x", "permissions": ["team:raed"]},
        {"type": "policy", "name": "x", "rules": [{"id": "a", "effect": "alow"}]},
    ],
)
def test_a_slip_is_seen_in_the_editor(wrong: dict[str, Any]) -> None:
    assert not WHOLE.is_valid(wrong)
    assert errors([wrong])


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(deep for key, each in inner for deep in paths(each, (*path, key)))]


VALUES = st.sampled_from([None, "", "x", "*", "user:a@b.cc", "any:x", 0, 7, -1, True, [], ["x"], {}, {"x": "y"}])  # fmt: skip


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_what_a_schema_rejects_the_loader_rejects_and_shapes_agree(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(ESTATE) - 1))
    document = copy.deepcopy(ESTATE[number])
    path = data.draw(st.sampled_from([each for each in paths(document) if each]))
    holder: Any = document
    for step in path[:-1]:
        holder = holder[step]
    match data.draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            holder[path[-1]] = data.draw(VALUES)
        case "remove":
            del holder[path[-1]]
        case _ if isinstance(holder, dict):
            holder[data.draw(st.sampled_from(["x", "name", "description", "tags"]))] = data.draw(
                VALUES
            )
        case _:
            holder.append(data.draw(VALUES))
    valid = WHOLE.is_valid(document)
    found = errors([*ESTATE[:number], document, *ESTATE[number + 1 :]])
    assert valid or found, (document, [e.message for e in WHOLE.iter_errors(document)])
    if {p.code for p in load_mapping([document]).problems} & SHAPES:
        assert not valid, document
