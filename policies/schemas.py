"""JSON Schemas of the documents, for editors: made from the classes that the loader itself uses.

`python -m policies.schemas [FOLDER]` writes one file for each kind and `documents.json` for all of them. What
a schema rejects, `gatewarden check` rejects too (tested); the other way round an editor cannot know which
names exist. Closed sets that are checked by hand (actions, fields, operators) stand here as enumerations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from authz.conditions import FIELDS, Operator
from authz.vocabulary import WILD_ACTION, Action
from policies import mcp_servers, parts, provider_accounts
from policies.check_accounts import MODEL_TYPES
from policies.documents import DOCUMENT_TYPES, INTERNAL_TYPES, Document, Policy
from policies.fits import ANY_SUBJECTS, ROLE_TYPES
from policies.mentions import SUBJECT_KINDS
from policies.shape import SERVER_FIELDS
from policies.spots import fields_of
from policies.truefoundry import PERMISSIONS, SUBJECT_ALIASES

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
ALL: Final = "documents"
Schema = dict[str, Any]
_DROPPED: Final = ("title", "default", "discriminator")

_ACTIONS = sorted({*(action.value for action in Action), *PERMISSIONS})
_KINDS = sorted({*SUBJECT_KINDS, *SUBJECT_ALIASES} - {"any"})
_SUBJECT = {
    "type": "string",
    "maxLength": 320,
    "pattern": f"^(?:(?:{'|'.join(_KINDS)}):.+|{'|'.join(sorted(ANY_SUBJECTS))})$",
}
_FIELD = "|".join(
    name.replace(".", "\\.") + (".+" if name.endswith(".") else "") for name in sorted(FIELDS)
)
# Classes of unions, which `type` tells apart.
_TOLD_APART: Final = frozenset(
    {
        provider_accounts.AccessKeyAuth,
        provider_accounts.ApiKeyAuth,
        mcp_servers.HeaderAuth,
        mcp_servers.InlineSpec,
        mcp_servers.OAuth2Auth,
        mcp_servers.RemoteSpec,
        mcp_servers.SigV4Auth,
    }
)
# By the name of the class and the field: what is checked by hand, so that pydantic does not know it.
_CLOSED: Mapping[tuple[str, str], Schema] = {
    ("Collaborator", "subject"): _SUBJECT,
    ("DataRule", "subjects"): {"type": "array", "items": _SUBJECT},
    ("Integration", "authorized_subjects"): {"type": "array", "items": _SUBJECT},
    ("Integration", "model_types"): {"type": "array", "items": {"enum": sorted(MODEL_TYPES)}},
    ("Integration", "type"): {"type": "string", "pattern": "^integration/model/"},
    ("MetadataRule", "subjects"): {"type": "array", "items": _SUBJECT},
    ("PolicyRule", "actions"): {"type": "array", "items": {"enum": [WILD_ACTION, *_ACTIONS]}},
    ("PolicyRule", "subjects"): {"type": "array", "items": _SUBJECT},
    ("Role", "permissions"): {"type": "array", "items": {"enum": _ACTIONS}},
    ("Role", "resourceType"): {"enum": ["tenant", *ROLE_TYPES]},
    ("RoleGrant", "actions"): {"type": "array", "items": {"enum": _ACTIONS}},
    ("SubjectTest", "in"): {"type": "array", "items": _SUBJECT},
    ("SubjectTest", "not_in"): {"type": "array", "items": _SUBJECT},
    ("WhenItem", "field"): {"type": "string", "pattern": f"^(?:{_FIELD})$"},
    ("WhenItem", "operator"): {"enum": [operator.value for operator in Operator]},
}


def schemas() -> dict[str, Schema]:
    """The schema of each kind by its name, and of all of them as `documents`."""
    kinds: dict[str, tuple[type[Document], list[str]]] = {}
    for name in sorted(set(DOCUMENT_TYPES) - INTERNAL_TYPES):
        model = DOCUMENT_TYPES[name]
        kinds.setdefault(_kind_of(name, model), (model, []))[1].append(name)
    made = {kind: _schema(model, kind, types) for kind, (model, types) in kinds.items()}
    definitions: Schema = {}
    cases = []
    for kind, (_, types) in kinds.items():
        whole = {key: value for key, value in made[kind].items() if key not in ("$schema", "$defs")}
        definitions |= made[kind].get("$defs", {}) | {kind: whole}
        test = {"properties": {"type": {"enum": types}}, "required": ["type"]}
        cases.append({"if": test, "then": {"$ref": f"#/$defs/{kind}"}})
    every = [name for _, types in kinds.values() for name in types]
    made[ALL] = {
        "$schema": DRAFT,
        "title": "A document of Gatewarden",
        "type": "object",
        "properties": {"type": {"enum": every}},
        "required": ["type"],
        "allOf": cases,
        "$defs": definitions,
    }
    return made


def _kind_of(name: str, model: type[Document]) -> str:
    """What a schema is called: as its family, or where that has several classes as its type."""
    classes = {each for each in DOCUMENT_TYPES.values() if each.family == model.family}
    return model.family if model.family and len(classes) == 1 else name.replace("/", "-")


def _schema(model: type[Document], kind: str, types: list[str]) -> Schema:
    made = TypeAdapter(model).json_schema(by_alias=True)
    definitions = made.pop("$defs", {})
    root = _object(made, model, kind)
    root["properties"]["type"] = {"enum": types}
    root["required"] = sorted({*root.get("required", ()), "type"})
    inner = {name: _definition(name, each) for name, each in definitions.items()}
    return {"$schema": DRAFT, **root, **({"$defs": inner} if inner else {})}


def _definition(name: str, schema: Schema) -> Schema:
    return _object(schema, _classes()[name], "")


def _classes() -> dict[str, type[BaseModel]]:
    """The classes that documents are made of, by name."""
    found: dict[str, type[BaseModel]] = {}
    left: list[type[BaseModel]] = [parts.Part]
    while left:
        for each in left.pop().__subclasses__():
            found[each.__name__] = each
            left.append(each)
    return found


def _object(schema: Schema, model: type[BaseModel], kind: str) -> Schema:
    """The schema of one class: both names of a field, nothing where the loader takes nothing for absent."""
    required = set(schema.get("required", ()))
    if model in _TOLD_APART:
        required.add("type")  # what tells the one from the other
    properties: Schema = {}
    either: list[Schema] = []
    for name, written in schema["properties"].items():
        closed = _CLOSED.get((model.__name__, name))
        made = _clean(closed if closed is not None else written)
        if name in SERVER_FIELDS.get(kind, ()):
            made = {"readOnly": True, "description": "set by the server, ignored in a file"}
        elif name not in required:
            made = _optional(made)
        properties[name] = made
        field = next(f for f, info in model.model_fields.items() if name in (f, info.alias))
        if field != name:
            properties[field] = {**made, "deprecated": True}
            if name in required:
                required.discard(name)
                either.append({"anyOf": [{"required": [name]}, {"required": [field]}]})
    assert set(properties) == set(fields_of(model)), model
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    if model.__doc__ and model is not Policy:
        made["description"] = " ".join(model.__doc__.split())
    if required:
        made["required"] = sorted(required)
    if either:
        made["allOf"] = either
    return made


def _optional(schema: Schema) -> Schema:
    """A key without a value is absent, but a list without one is an error: see `shape`."""
    choices = [each for each in schema.get("anyOf", [schema]) if each != {"type": "null"}]
    if not any(each.get("type") == "array" for each in choices):
        choices.append({"type": "null"})
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _clean(value: Any) -> Any:
    """Without titles, defaults and what only OpenAPI knows."""
    if isinstance(value, Mapping):
        return {key: _clean(inner) for key, inner in value.items() if key not in _DROPPED}
    return [_clean(inner) for inner in value] if isinstance(value, list) else value


def texts() -> Iterable[tuple[str, str]]:
    """(file name, text) of each schema: the same text for the same classes."""
    for kind, schema in sorted(schemas().items()):
        yield f"{kind}.json", json.dumps(schema, indent=1, sort_keys=True) + "\n"


def main(folder: Path) -> None:
    """Write the schemas; those of kinds that are gone are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    made = dict(texts())
    for path in folder.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, "utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas"))
