"""A LiteLLM installation as an estate: `config.yaml`, the team export and the key export.

Pure: values in, documents and notes out. What is carried over and what is not is said note by note; nothing
that is left out is granted, and no secret is copied. Keys are never carried over.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from policies import yaml_nodes
from policies.errors import InvalidDocuments, PolicyError, Problem
from policies.litellm_access import Access
from policies.litellm_models import Models
from policies.litellm_notes import Migration, Notes, shown
from policies.positions import Kind, Node

_SETTINGS = ("router_settings", "litellm_settings", "general_settings")
_WHY: Mapping[str, str] = {
    "cache": "caching",
    "callbacks": "callbacks",
    "content_policy_fallbacks": "fallbacks",
    "context_window_fallbacks": "fallbacks",
    "database_url": "the database of LiteLLM",
    "default_fallbacks": "fallbacks",
    "failure_callback": "callbacks",
    "fallbacks": "fallbacks",
    "guardrails": "guardrails",
    "master_key": "the master key: administrators hold the role `tenant-admin`",
    "mcp_servers": "MCP servers",
    "model_group_alias": "aliases of models",
    "success_callback": "callbacks",
}


def read_config(text: str, file: str) -> Mapping[str, Any]:
    """The configuration of a YAML text.

    Raises:
        InvalidDocuments: it is not YAML of one mapping, with every problem.
    """
    problems: list[Problem] = []
    nodes = list(yaml_nodes.documents(text, file, problems))
    if problems:
        raise InvalidDocuments(tuple(sorted(problems)))
    if len(nodes) != 1 or nodes[0].kind is not Kind.MAPPING:
        problem = Problem(file, 1, 1, "not_a_config", "a LiteLLM configuration is one mapping")
        raise InvalidDocuments((problem,))
    value = _plain(nodes[0])
    assert isinstance(value, dict)
    return value


def _plain(node: Node) -> object:
    if node.kind is Kind.SCALAR:
        return node.scalar()
    if node.kind is Kind.LIST:
        return [_plain(item) for item in node.items]
    return {key: _plain(entry.node) for key, entry in node.entries.items()}


def migrate(
    config: Mapping[str, Any],
    *,
    teams: object = None,
    keys: object = None,
    now: datetime | None = None,
) -> Migration:
    """What an installation comes to.

    `teams` and `keys` are the decoded answers of `/team/list` and `/key/list`; keys that ended before `now`
    grant nothing.

    Raises:
        PolicyError: one of them has another form.
    """
    notes = Notes()
    models = Models(notes, _credentials(config))
    for index, entry in enumerate(_entries(config.get("model_list"), "model_list", "model_list")):
        models.add(entry, f"model_list[{index}]")
    access = Access(notes, models.by_name, now)
    for index, entry in enumerate(_entries(teams, "teams", "the team export")):
        access.team(entry, f"teams[{index}]")
    for index, entry in enumerate(_entries(keys, "keys", "the key export")):
        access.key(entry, f"keys[{index}]")
    _settings(config, notes)
    return Migration(
        documents=(*models.documents(), *access.documents),
        models={name: tuple(d.name for d in found) for name, found in models.by_name.items()},
        variables=tuple(sorted(models.variables)),
        notes=tuple(sorted(set(notes.found))),
    )


def _entries(value: object, field: str, what: str) -> list[Any]:
    """The entries of an export: a list, or one under its name or under `data`."""
    if isinstance(value, Mapping):
        value = next((value[name] for name in (field, "data") if name in value), value)
    if value is None:
        return []
    if not isinstance(value, list):
        raise PolicyError(f"{what} is no list", hint="give the answer of LiteLLM as it is")
    return value


def _credentials(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for entry in config.get("credential_list") or ():
        values = entry.get("credential_values") if isinstance(entry, Mapping) else None
        if isinstance(values, Mapping):
            found[str(entry.get("credential_name"))] = values
    return found


def _settings(config: Mapping[str, Any], notes: Notes) -> None:
    """Everything that is not about models: named, never carried over."""
    for key in sorted(set(map(str, config)) - {"model_list", "credential_list"}):
        value = config.get(key)
        if key in _SETTINGS and isinstance(value, Mapping):
            for inner in sorted(map(str, value)):
                notes.left(f"{key}.{shown(inner)}", _WHY.get(inner, "a setting of LiteLLM"))
        else:
            notes.left(shown(key), _WHY.get(key, "a part that has no counterpart here"))


__all__ = ["Migration", "migrate", "read_config"]
