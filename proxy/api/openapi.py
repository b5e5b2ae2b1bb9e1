"""The OpenAPI 3.1 document of the control plane, made from the route table and the models.

Nothing is written by hand twice: paths, parameters, bodies, answers, errors and the actions that a route
asks come from the `Route`s. `python -m proxy.api.openapi` writes `docs/openapi.json`; a test compares the
file with what is served.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from authz.vocabulary import Action
from policies.documents import DOCUMENT_TYPES, INTERNAL_TYPES, Document
from proxy.api.problem import PROBLEM_JSON, ProblemBody
from proxy.api.progress import NDJSON
from proxy.api.routes import PREFIX, Body, Route

FILE = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
Shown = tuple[type[BaseModel], JsonSchemaMode]  # a model, as it is read or as it is sent
_REF = "#/components/schemas/{model}"
_VARIABLE = re.compile(r"\{([a-z_]+)\}")

_PARAMETERS: Mapping[str, str] = {
    "name": "The name of the thing; a user's e-mail or id.",
    "id": "The id of the token, as its list shows it.",
    "record": "The id of the record, as its list shows it.",
    "type": "The type of the configuration document.",
}
_ERRORS: Mapping[int, str] = {
    400: "The request is malformed.",
    401: "No credential, or one that is unknown, expired or revoked.",
    403: "The caller may see the thing, but not do this.",
    404: "The thing does not exist, or the caller may not know that it does.",
    408: "The body did not arrive in time.",
    409: "The thing changed meanwhile, belongs to another source, or a guard refused the change.",
    412: "`If-Match` or `If-None-Match` does not hold.",
    413: "The body is too large.",
    415: "The route does not take this media type.",
    422: "The documents are invalid (`problems` has every finding); or the rules of a reader come to too wide a query.",
    429: "Too many refusals; wait for `retry-after` seconds.",
    500: "Something went wrong on our side.",
    503: "This process cannot decide or record now; try again after `retry-after` seconds.",
}


def build(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document."""
    table = tuple(routes)
    names, definitions = _schemas(table)
    documents = sorted({_class_of(name).__name__ for name in public_types()})
    definitions["Document"] = {
        "title": "Document",
        "description": "One thing; `type` says which.",
        "oneOf": [{"$ref": _REF.format(model=name)} for name in documents],
    }
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        path = paths.setdefault(PREFIX + route.path, {})
        path[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gatewarden control API",
            "version": "1",
            "description": (
                "Documents, tokens and questions of one Gatewarden installation. Every route "
                "names the action that it asks (`x-gatewarden-actions`); every answer outside "
                "2xx is `application/problem+json`."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": tag} for tag in sorted({route.tag for route in table})],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(definitions.items())),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "gw_pat_… or gw_vat_…",
                    "description": "A personal access token or a virtual account's token.",
                }
            },
            "headers": {
                "x-request-id": {"schema": {"type": "string"}, "required": True},
                "x-policy-epoch": {
                    "schema": {"type": "string", "pattern": "^[0-9]+$"},
                    "required": True,
                    "description": "The change-log position that the answer was decided at.",
                },
                "x-decision-id": {
                    "schema": {"type": "string"},
                    "description": "The record of the decision.",
                },
                "x-policy-applied": {
                    "schema": {"type": "string", "pattern": "^[0-9]+/[0-9]+$"},
                    "description": "With `wait=applied`: live processes that decide by it, of how many.",
                },
                "x-policy-waiting": {
                    "schema": {"type": "string"},
                    "description": "With `wait=applied`: those that do not yet, as `host@slot`.",
                },
                "ETag": {"schema": {"type": "string"}, "description": "The document's version."},
            },
            "responses": {
                str(status): {
                    "description": text,
                    "headers": _headers(etag=False),
                    "content": {PROBLEM_JSON: {"schema": {"$ref": _REF.format(model="Problem")}}},
                }
                for status, text in _ERRORS.items()
            },
        },
    }


def render(document: Mapping[str, Any]) -> bytes:
    """The bytes that are served and that `docs/openapi.json` holds."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def public_types() -> tuple[str, ...]:
    """The document types that people write."""
    return tuple(name for name in DOCUMENT_TYPES if name not in INTERNAL_TYPES)


def _class_of(name: str) -> type[Document]:
    return DOCUMENT_TYPES[name]


def _schemas(
    table: Iterable[Route],
) -> tuple[dict[Shown, str], dict[str, Any]]:
    """(component name of each model, all components)."""
    wanted: list[Shown] = [(ProblemBody, "serialization")]
    wanted += [(_class_of(name), "validation") for name in public_types()]
    for route in table:
        wanted.append((route.answer, "serialization"))
        wanted.append((route.query, "validation"))
        if route.body is not None and route.body.model is not None:
            wanted.append((route.body.model, "validation"))
    unique = list(dict.fromkeys(wanted))
    references, made = models_json_schema(unique, ref_template=_REF)
    names: dict[Shown, str] = {
        (model, mode): references[model, mode]["$ref"].rpartition("/")[2] for model, mode in unique
    }
    definitions: dict[str, Any] = made["$defs"]
    problem = names[(ProblemBody, "serialization")]
    if problem != "Problem":
        definitions["Problem"] = definitions.pop(problem)
    definitions = _with_documents(definitions)
    for model, mode in unique:  # parameters stand in the operations, not as schemas
        if mode == "validation" and any(route.query is model for route in table):
            names[(model, mode)] = json.dumps(definitions.pop(names[(model, mode)]))
    return names, definitions


def _with_documents(value: Any) -> Any:
    """`value` with every place-holder for a document replaced by the reference."""
    if isinstance(value, dict):
        if value.get("x-document"):
            return {"$ref": _REF.format(model="Document")}
        return {key: _with_documents(inner) for key, inner in value.items()}
    return [_with_documents(inner) for inner in value] if isinstance(value, list) else value


def _operation(route: Route, names: Mapping[Shown, str]) -> dict[str, Any]:
    errors = {400, 500, 503} | (set() if route.public else {401, 403, 404, 429})
    if route.mutates:
        errors |= {409, 422}
    if route.filtered and Action.DATA_READ in route.actions:
        errors.add(422)
    if route.versioned and route.method != "GET":
        errors.add(412)
    if route.body is not None:
        errors |= {408, 413, 415}
    answer = names[(route.answer, "serialization")]
    content: dict[str, Any] = {"schema": {"$ref": _REF.format(model=answer)}}
    if route.example:
        content["example"] = dict(route.example)
    done = {
        "description": "Done." if route.mutates else "The answer.",
        "headers": _headers(etag=route.versioned, waits=route.mutates),
        "content": _file(route, content)
        if route.media
        else {"text/event-stream" if route.events else "application/json": content},
    }
    responses: dict[str, Any] = {"200": done}
    if route.created:
        responses["201"] = {**done, "description": "Created."}
    if route.versioned and route.method == "GET":
        responses["304"] = {"description": "`If-None-Match` names the version that stands."}
    for status in sorted(errors):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    made: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": _parameters(route, json.loads(names[(route.query, "validation")])),
        "responses": responses,
        "x-gatewarden-actions": [action.value for action in route.actions],
        "x-gatewarden-credentials": sorted(kind.value for kind in route.credentials),
    }
    if route.public:
        made["security"] = []
        made["x-gatewarden-credentials"] = ["one-time"]
    if route.description:
        made["description"] = route.description
    if route.body is not None:
        made["requestBody"] = _body(route.body, names)
    return made


def _file(route: Route, rows: dict[str, Any]) -> dict[str, Any]:
    """A file in each of the forms that it has; lines of JSON are shown as what one of them is."""
    text = {"schema": {"type": "string"}}
    return {media: rows if media == NDJSON else text for media in route.media}


def _headers(*, etag: bool, waits: bool = False) -> dict[str, Any]:
    listed = ["x-request-id", "x-policy-epoch", "x-decision-id", *(["ETag"] if etag else [])]
    listed += ["x-policy-applied", "x-policy-waiting"] if waits else []
    return {name: {"$ref": f"#/components/headers/{name}"} for name in listed}


def _parameters(route: Route, query: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PARAMETERS[name],
            "schema": {"type": "string", "minLength": 1, "maxLength": 254},
        }
        for name in _VARIABLE.findall(route.path)
    ]
    if route.mutates:
        found.append(
            {
                "name": "wait",
                "in": "query",
                "required": False,
                "description": "`applied`: answer once every live process decides by the change, or"
                " after 5 seconds; `x-policy-applied` says how many do.",
                "schema": {"type": "string", "enum": ["applied"]},
            }
        )
    required = set(query.get("required", ()))
    for name, schema in query.get("properties", {}).items():
        text = schema.pop("description", "")
        schema.pop("title", None)
        parameter = {"name": name, "in": "query", "required": name in required, "schema": schema}
        if text:
            parameter["description"] = text
        found.append(parameter)
    if route.versioned:
        texts = {
            "If-None-Match": "`*`: only if it does not exist."
            if route.method != "GET"
            else "The ETag that the caller has: answers 304 while it stands.",
        }
        if route.method != "GET":
            texts["If-Match"] = "The ETag that the caller saw; `*`: only if it exists."
        if route.method == "DELETE":
            del texts["If-None-Match"]
        for name, text in texts.items():
            found.append(
                {
                    "name": name,
                    "in": "header",
                    "required": False,
                    "description": text,
                    "schema": {"type": "string", "pattern": r'^(\*|"[0-9]{1,18}")$'},
                }
            )
    return found


def _body(body: Body, names: Mapping[Shown, str]) -> dict[str, Any]:
    if body.model is not None:
        schema: dict[str, Any] = {"$ref": _REF.format(model=names[(body.model, "validation")])}
    else:
        classes = sorted({_class_of(name).__name__ for name in body.documents})
        refs = [{"$ref": _REF.format(model=name)} for name in classes]
        schema = refs[0] if len(refs) == 1 else {"oneOf": refs}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if body.example:
        content["application/json"]["example"] = dict(body.example)
    if body.yaml:
        content["application/yaml"] = {
            "schema": {"type": "string", "description": "YAML; `---` between documents."}
        }
    return {"required": body.required, "content": content}


def main() -> None:
    """Write `docs/openapi.json` (or the path given)."""
    from proxy.api.site import ROUTES  # the table imports this module

    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    path.write_bytes(render(build(ROUTES)))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
